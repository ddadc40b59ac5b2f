"""Tells connections that nobody can serve them: a short 503, then a close that the client can still read.

A socket closed while bytes of the request wait unread is reset, and the client may lose the answer with it; so the
sending side is closed first and the rest is read away for a moment, for a bounded number of connections.
"""

from __future__ import annotations

import asyncio
import socket

_BODY = (
    b'{"type":"about:blank","title":"Service Unavailable","status":503,'
    b'"detail":"no server is ready, try again"}\n'
)
BUSY = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/problem+json\r\nRetry-After: 1\r\n"
    b"Connection: close\r\nContent-Length: " + str(len(_BODY)).encode() + b"\r\n\r\n" + _BODY
)


class Refusals:
    """Connections that were told 503 and are about to close. At most `limit` linger; more are closed at once."""

    def __init__(self, linger_seconds: float = 0.5, limit: int = 1024) -> None:
        self._linger_seconds, self._limit = linger_seconds, limit
        self._lingering: dict[socket.socket, asyncio.TimerHandle] = {}
        self._empty = asyncio.Event()

    def refuse(self, connection: socket.socket) -> None:
        """Send the answer, without waiting, and close soon. The socket is ours from now on."""
        loop = asyncio.get_running_loop()
        try:
            connection.setblocking(False)
            connection.send(BUSY)
            connection.shutdown(socket.SHUT_WR)
        except OSError:
            connection.close()
            return
        if len(self._lingering) >= self._limit:
            connection.close()
            return
        self._lingering[connection] = loop.call_later(self._linger_seconds, self._close, connection)
        loop.add_reader(connection, self._read_away, connection)

    async def finish(self, seconds: float) -> None:
        """Wait for the last of them within `seconds`, then close what is left."""
        self._empty.clear()
        if self._lingering:
            try:
                async with asyncio.timeout(seconds):
                    await self._empty.wait()
            except TimeoutError:
                pass
        for connection in list(self._lingering):
            self._close(connection)

    def _read_away(self, connection: socket.socket) -> None:
        try:
            if connection.recv(65536):
                return
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            pass
        self._close(connection)

    def _close(self, connection: socket.socket) -> None:
        timer = self._lingering.pop(connection, None)
        if timer is not None:
            timer.cancel()
            asyncio.get_running_loop().remove_reader(connection)
            connection.close()
            if not self._lingering:
                self._empty.set()
