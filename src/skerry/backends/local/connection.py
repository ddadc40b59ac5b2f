"""One `local:` socket in this process, either end: frames in, frames out, bounded.

Frames of one loop tick leave as one write. A full outgoing buffer is said (`room`), and past the hard limit the
connection is closed: the other end does not read, and what it missed it repairs after a reconnect. Not here: what
frames mean (hub.py, peer.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

from skerry.backends.local.frames import AnyFrame, FrameError, Splitter, encode

SOFT_LIMIT_BYTES = 4 * 1024 * 1024
"""Above this, what may be lost (hints, announcements) is not queued any more."""

HARD_LIMIT_BYTES = 256 * 1024 * 1024
"""Above this the connection is closed."""


class Connection(asyncio.Protocol):
    """`on_frame(frame)` gets each frame in order; `on_lost(reason)` is called once."""

    def __init__(
        self,
        on_frame: Callable[[AnyFrame], None],
        on_lost: Callable[[str], None],
        hard_limit_bytes: int = HARD_LIMIT_BYTES,
    ) -> None:
        self._on_frame, self._on_lost = on_frame, on_lost
        self._hard_limit_bytes = hard_limit_bytes
        self._splitter = Splitter()
        self._transport: asyncio.Transport | None = None
        self._outgoing: list[bytes] = []
        self._outgoing_bytes = 0
        self._why = ""
        self.closed = False

    # --- what the owner of the connection does

    def write(self, data: bytes) -> None:
        """Queue an encoded frame for this tick's write. Nothing happens on a closed connection."""
        if self.closed:
            return
        if not self._outgoing:
            asyncio.get_running_loop().call_soon(self._flush)
        self._outgoing.append(data)
        self._outgoing_bytes += len(data)
        if self.buffered_bytes > self._hard_limit_bytes:
            self.close("it does not read what it is sent")

    def send(self, frame: AnyFrame) -> None:
        self.write(encode(frame))

    @property
    def buffered_bytes(self) -> int:
        """What waits to be read by the other end, as far as this process holds it."""
        in_transport = self._transport.get_write_buffer_size() if self._transport is not None else 0
        return self._outgoing_bytes + in_transport

    @property
    def room(self) -> bool:
        """Whether what may be lost should still be queued."""
        return self.buffered_bytes < SOFT_LIMIT_BYTES

    def pause(self) -> None:
        """Take no more from the other end for now."""
        if self._transport is not None and not self.closed:
            self._transport.pause_reading()

    def resume(self) -> None:
        if self._transport is not None and not self.closed:
            self._transport.resume_reading()

    def close(self, why: str, *, flush: bool = False) -> None:
        """End it; `on_lost(why)` follows. With `flush` what is queued is still written."""
        if self.closed:
            return
        if flush:
            self._flush()
        self._why = why
        self.closed = True
        self._outgoing.clear()
        self._outgoing_bytes = 0
        if self._transport is not None:
            if flush:
                self._transport.close()
            else:
                self._transport.abort()

    def _flush(self) -> None:
        if self._transport is None or not self._outgoing or self.closed:
            return
        data = self._outgoing[0] if len(self._outgoing) == 1 else b"".join(self._outgoing)
        self._outgoing.clear()
        self._outgoing_bytes = 0
        self._transport.write(data)

    # --- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if self.closed:
            self._transport.abort()
        else:
            self._flush()

    def data_received(self, data: bytes) -> None:
        try:
            for frame in self._splitter.feed(data):
                if self.closed:
                    return
                self._on_frame(frame)
        except FrameError as error:
            self.close(str(error))

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        self._outgoing.clear()
        self._outgoing_bytes = 0
        self._on_lost(self._why or (str(exc) if exc else "the other end closed"))
