"""How bytes become requests: trailers, garbage behind the last request, any cut of a pipeline."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from skerry.http.application import Application
from skerry.http.request import Request

Start = Callable[..., Awaitable[Any]]


def sizes() -> Application:
    app = Application()

    @app.put("/lane")
    def lane(body: bytes) -> int:
        return len(body)

    @app.put("/asgi")
    async def asgi(request: Request) -> int:
        await asyncio.sleep(0)
        return len(request.body)

    return app


@pytest.mark.parametrize("path", [b"/lane", b"/asgi"])
async def test_trailers_after_a_large_body(start: Start, path: bytes) -> None:
    """The size of a body does not count against the head's limit when trailers come; trailers are left out."""
    running = await start(sizes())
    head = b"PUT %b HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n" % path
    body = b"%x\r\n%b\r\n0\r\nX-Trailer: yes\r\n\r\n" % (100_000, b"x" * 100_000)
    assert (await running.ask(head + body)).endswith(b"\r\n\r\n100000<end>")


@pytest.mark.parametrize("path", [b"/lane", b"/asgi"])
async def test_what_comes_after_the_last_request_is_ignored(start: Start, path: bytes) -> None:
    """After `Connection: close` nothing more is read, and the last request is answered all the same."""
    running = await start(sizes())
    last = b"PUT %b HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc" % path
    for garbage in (
        b"",
        b"\r\n",
        b"garbage\r\n\r\n",
        b"PUT /lane HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\na",
    ):
        found = await running.ask(last + garbage)
        assert found.count(b"HTTP/1.1 ") == 1, garbage
        assert found.endswith(b"\r\n\r\n3<end>"), garbage


async def test_a_pipeline_in_any_pieces(start: Start) -> None:
    """Requests of both sides with bodies of all sizes, cut anywhere, are answered in order and in full."""
    running = await start(sizes())
    rng = random.Random(20_26)
    for _ in range(5):
        wanted, text = [], b""
        for _ in range(40):
            size, path = rng.choice((0, 1, 100, 70_000)), rng.choice((b"/lane", b"/asgi"))
            wanted.append(size)
            if rng.random() < 0.5:
                text += b"PUT %b HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (
                    path,
                    size,
                    b"x" * size,
                )
            else:
                text += b"PUT %b HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" % path
                text += (b"%x\r\n%b\r\n" % (size, b"x" * size) if size else b"") + b"0\r\n\r\n"
        reader, writer = await running.connect()
        while text:
            cut = rng.choice((1, 10, 1000, 65_536, 200_000))
            writer.write(text[:cut])
            text = text[cut:]
            if rng.random() < 0.3:
                await writer.drain()
                await asyncio.sleep(0)
        for size in wanted:
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)
            assert head.startswith(b"HTTP/1.1 200 "), head
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0])
            assert int(await reader.readexactly(length)) == size
        writer.close()
