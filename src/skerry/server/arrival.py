"""A connection that a trusted proxy passes on begins with what the proxy says of it (`loop/proxy_head`): read from the
socket itself, since TLS and HTTP only begin behind it.

Nothing that stands behind the head is taken: the protocol of the socket finds it as if there was none.
"""

from __future__ import annotations

import asyncio
import socket

from skerry.http.trusted import Trusted
from skerry.loop.proxy_head import LONGEST, HeadReader, ProxyReport


def comes_from(sock: socket.socket, trusted: Trusted | None) -> bool:
    """Whether the other end of a socket is a trusted proxy, and may begin with a head."""
    if trusted is None:
        return False
    try:
        peer = sock.getpeername()
    except OSError:  # it has left
        return False
    return trusted.includes(peer[0] if isinstance(peer, tuple) else None)


async def arrive(sock: socket.socket, seconds: float) -> tuple[ProxyReport | None, bytes]:
    """Wait for the first bytes of a non-blocking socket and take the head, when it begins with one.

    Returns what it says, and bytes of what follows that had to be taken (of a head they are never more than the
    beginning of the same letters). Raises OSError when nothing came in that time or the other end has left, ValueError
    for a malformed head.
    """
    reader = HeadReader()
    async with asyncio.timeout(seconds):
        while not reader.done:
            try:
                seen = sock.recv(LONGEST, socket.MSG_PEEK)
            except (BlockingIOError, InterruptedError):
                await _readable(sock)
                continue
            if not seen:
                reader.finish()
                break
            taken = reader.look(seen)
            if taken:
                sock.recv(taken)
    return reader.told, reader.rest


async def _readable(sock: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()

    def wake() -> None:
        if not ready.done():
            ready.set_result(None)

    loop.add_reader(sock, wake)
    try:
        await ready
    finally:
        loop.remove_reader(sock)
