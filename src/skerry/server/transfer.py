"""A file on its way to a client, behind what the transport was given: by sendfile(2), else read and written.

The system sends while nothing of ours waits in the transport's buffer, over a descriptor of its own. TLS, and a file
that sendfile refuses, are read piece by piece; a transport that is full then says when it takes more (`resume`).
"""

from __future__ import annotations

import asyncio
import os
from typing import Any, Protocol

from skerry.server.peer import is_tls

PIECE_BYTES = 1_048_576
"""What is sent in one turn of the loop, at most."""
READ_BYTES = 131_072
LOOK_SECONDS = 0.005
"""How often it is looked whether the transport's buffer is empty; a client that takes nothing is cut by `sweep`."""


class Done(Protocol):
    def __call__(self, *, whole: bool) -> None: ...


class Transfer:
    """So many bytes of an open file, and what is written behind them. `done(whole=...)` is called once, unless it is
    closed before. `left`: bytes that have not gone out yet."""

    __slots__ = (
        "_after",
        "_descriptor",
        "_done",
        "_loop",
        "_offset",
        "_reads",
        "_seen",
        "_socket",
        "_transport",
        "left",
    )

    def __init__(self, descriptor: int, offset: int, count: int, after: bytes, done: Done) -> None:
        self._descriptor, self._offset, self.left = descriptor, offset, count
        self._after, self._done = after, done
        self._seen = (0.0, -1)  # what was left when somebody last looked
        self._socket = -1
        self._reads = not hasattr(os, "sendfile")
        self._transport: Any = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        """Begin, in the next turn of the loop."""
        self._transport, self._loop = transport, loop
        sock = transport.get_extra_info("socket")
        if is_tls(transport) or sock is None:
            self._reads = True
        if not self._reads:
            self._socket = os.dup(sock.fileno())
        loop.call_soon(self._step)

    def resume(self) -> None:
        """The transport takes more."""
        if self._reads and self._loop is not None:
            self._loop.call_soon(self._step)

    def idle_seconds(self, now: float) -> float:
        """How long nothing has gone out, as far as those know who ask once in a while."""
        since, left = self._seen
        if left != self.left:
            self._seen = (now, self.left)
            return 0.0
        return now - since

    def close(self) -> None:
        """Release everything. May be called again."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)
        sock, self._socket = self._socket, -1
        if sock >= 0 and self._loop is not None:
            self._loop.remove_writer(sock)
            os.close(sock)

    def _step(self) -> None:
        if self._descriptor < 0 or self._transport.is_closing():
            return
        try:
            again = self._read() if self._reads else self._send()
        except OSError:
            self._finish(whole=False)
            return
        if not self.left:
            self._finish(whole=True)
        elif again:
            assert self._loop is not None
            self._loop.call_soon(self._step)

    def _send(self) -> bool:
        """One piece by the system. Whether it may go on at once; raises OSError."""
        assert self._loop is not None
        if not self.left:
            return False
        if self._transport.get_write_buffer_size():
            self._loop.call_later(LOOK_SECONDS, self._step)
            return False
        try:
            sent = os.sendfile(self._socket, self._descriptor, self._offset, min(self.left, PIECE_BYTES))
        except BlockingIOError:
            self._loop.add_writer(self._socket, self._writable)
            return False
        except (BrokenPipeError, ConnectionError):
            raise
        except OSError:
            self._reads = True  # a file system that cannot do it
            return True
        if not sent:
            raise OSError("the file became shorter while it was sent")
        self._offset += sent
        self.left -= sent
        return True

    def _writable(self) -> None:
        assert self._loop is not None
        self._loop.remove_writer(self._socket)
        self._step()

    def _read(self) -> bool:
        """One piece by ourselves. Whether the transport takes more; raises OSError."""
        if not self.left:
            return False
        _, high = self._transport.get_write_buffer_limits()
        if self._transport.get_write_buffer_size() > high:
            return False
        data = os.pread(self._descriptor, min(self.left, READ_BYTES), self._offset)
        if not data:
            raise OSError("the file became shorter while it was sent")
        self._offset += len(data)
        self.left -= len(data)
        self._transport.write(data)
        return bool(self._transport.get_write_buffer_size() <= high)

    def _finish(self, *, whole: bool) -> None:
        if whole and self._after:
            self._transport.write(self._after)
        self.close()
        self._done(whole=whole)
