"""Frames: where one packet ends and the next begins.

A frame is a 4-byte big-endian length, which counts itself, and a packet. Pure: it is fed with bytes and
gives packets. Not for: what is in a packet (`wire/packet.py`).
"""

from __future__ import annotations

from struct import Struct
from typing import Final

from skerry.tars.errors import FrameError

MIN_FRAME_BYTES: Final = 5
"""A length and one byte of packet, as in C++."""

DEFAULT_MAX_FRAME_BYTES: Final = 100 * 1024 * 1024
"""As TarsCpp (TarsGo: 10 MiB)."""

_LENGTH: Final = Struct(">I")
_read_length: Final = _LENGTH.unpack_from


def frame(packet: bytes) -> bytes:
    """A packet with its length in front."""
    return _LENGTH.pack(len(packet) + 4) + packet


def checked_length(data: bytes | bytearray, at: int, max_frame_bytes: int) -> int:
    """The length of the frame that starts at `at`, itself included; FrameError when it is out of range."""
    length: int = _read_length(data, at)[0]
    if not MIN_FRAME_BYTES <= length <= max_frame_bytes:
        raise FrameError(f"a frame of {length} bytes is not in {MIN_FRAME_BYTES}..{max_frame_bytes},", at)
    return length


class FrameSplitter:
    """Cuts a stream of bytes into packets.

    Holds at most one unfinished frame. After a FrameError it raises again at every `feed`: nobody knows where
    the next frame would begin.
    """

    __slots__ = ("_broken", "_held", "_max", "_wanted")

    def __init__(self, max_frame_bytes: int = DEFAULT_MAX_FRAME_BYTES) -> None:
        self._max = max_frame_bytes
        self._held = bytearray()
        self._wanted = 0  # bytes to hold before it is worth looking again
        self._broken: FrameError | None = None

    @property
    def pending_bytes(self) -> int:
        """How much of an unfinished frame is held."""
        return len(self._held)

    def feed(self, data: bytes) -> list[bytes]:
        """The packets that are complete now, oldest first, without their length bytes.

        Packets that were complete before a wrong length are lost with it: the connection has to be closed.
        """
        if self._broken is not None:
            raise FrameError(self._broken.problem, self._broken.position)
        held = self._held
        if held:
            held += data
            if len(held) < self._wanted:
                return []
            data = bytes(held)
            held.clear()
        packets: list[bytes] = []
        at, end = 0, len(data)
        while end - at >= 4:
            try:
                stop = at + checked_length(data, at, self._max)
            except FrameError as error:
                self._broken = error
                raise
            if stop > end:
                self._wanted = stop - at
                break
            packets.append(data[at + 4 : stop])
            at = stop
        else:
            self._wanted = 4
        if at < end:
            held += data[at:]
        return packets


def split_datagram(data: bytes, max_frame_bytes: int = DEFAULT_MAX_FRAME_BYTES) -> bytes:
    """The packet of a datagram, which is exactly one frame."""
    if len(data) < MIN_FRAME_BYTES or checked_length(data, 0, max_frame_bytes) != len(data):
        raise FrameError(f"a datagram of {len(data)} bytes is not one frame,", 0)
    return data[4:]
