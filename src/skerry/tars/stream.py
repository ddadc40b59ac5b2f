"""A byte stream of Tars frames, for both ends: splits what comes in, gathers what goes out.

Everything sent within one turn of the loop leaves in one write, because a system call costs more than
encoding a small packet. It knows frames, not their meaning; `protocol` (server) and `connection` (client)
do. Flow control: `writable` says whether the peer keeps up; a producer has to look.
"""

from __future__ import annotations

import asyncio
from typing import cast

from skerry.tars.wire.packet import FrameSplitter

HIGH_WATER_BYTES = 256 * 1024


class FrameStream(asyncio.Protocol):
    """Splitting and gathering. A subclass feeds `self.feed` in `data_received` and calls `send`."""

    transport: asyncio.Transport

    def __init__(self, loop: asyncio.AbstractEventLoop, max_frame_bytes: int) -> None:
        self.loop = loop
        self.feed = FrameSplitter(max_frame_bytes).feed
        self.writable = True
        self.closed = False
        self.last_heard = loop.time()
        self._out: list[bytes] = []
        self._flush_due = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(high=HIGH_WATER_BYTES)

    def send(self, frame: bytes) -> None:
        """Queue a frame for the write at the end of this turn; dropped when the connection is gone."""
        self._out.append(frame)
        if not self._flush_due:
            self._flush_due = True
            self.loop.call_soon(self.flush)

    def flush(self) -> None:
        """Write what was gathered."""
        self._flush_due = False
        self._write()

    def _write(self) -> None:
        out = self._out
        if out:
            if not self.closed:
                self.transport.write(out[0] if len(out) == 1 else b"".join(out))
            out.clear()

    def pause_writing(self) -> None:
        self.writable = False

    def resume_writing(self) -> None:
        self.writable = True

    def close(self) -> None:
        """Write what is gathered, then close; the peer sees an orderly end."""
        if not self.closed:
            self._write()
            self.closed = True
            self.transport.close()

    def abort(self) -> None:
        """Cut the connection; what is gathered is lost."""
        if not self.closed:
            self.closed = True
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        self._out.clear()
