"""Connections that nobody can serve are told so."""

from __future__ import annotations

import asyncio
import socket

from skerry.roles.refusal import BUSY, Refusals


async def answer(client: socket.socket) -> bytes:
    client.setblocking(False)
    data = b""
    while more := await asyncio.wait_for(asyncio.get_running_loop().sock_recv(client, 4096), 60):
        data += more
    return data


async def test_the_whole_answer_arrives_although_the_request_was_not_read() -> None:
    """A close with unread bytes would be a reset; the rest is read away first."""
    listener = socket.create_server(("127.0.0.1", 0))
    client = socket.create_connection(listener.getsockname())
    client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" + b"x" * 100_000)
    served, _ = listener.accept()
    refusals = Refusals()
    refusals.refuse(served)
    assert await answer(client) == BUSY
    client.close()
    await refusals.finish(60.0)
    assert served.fileno() == -1
    listener.close()


async def test_the_end_does_not_wait_for_those_who_linger() -> None:
    """A client that keeps its side open is cut when the time is over."""
    ours, theirs = socket.socketpair()
    refusals = Refusals(linger_seconds=60.0)
    refusals.refuse(theirs)
    await asyncio.wait_for(refusals.finish(0.01), 30)
    assert theirs.fileno() == -1
    assert await answer(ours) == BUSY
    ours.close()


async def test_not_too_many_linger_and_a_gone_client_is_no_error() -> None:
    """Past the limit they are closed at once; who left before is closed quietly."""
    refusals = Refusals(limit=1)
    pairs = [socket.socketpair() for _ in range(2)]
    for _, theirs in pairs:
        refusals.refuse(theirs)
    assert [theirs.fileno() == -1 for _, theirs in pairs] == [False, True]
    ours, theirs = socket.socketpair()
    ours.close()
    refusals.refuse(theirs)
    assert theirs.fileno() == -1
    await refusals.finish(0.01)
    for each, _ in pairs:
        each.close()
