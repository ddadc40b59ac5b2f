"""A server that ends lets go of idle connections, and another one serves them on without the client noticing."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

from skerry.http.application import Application
from skerry.http.reply import Response

GET = b"GET /who HTTP/1.1\r\nHost: x\r\n\r\n"
Start = Callable[..., Awaitable[Any]]


def named(name: str) -> Application:
    app = Application()

    @app.get("/who")
    def who() -> Response:
        return Response(name.encode())

    @app.put("/later")
    def later() -> asyncio.Future[Response]:
        return asyncio.get_running_loop().create_future()

    return app


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes = GET) -> bytes:
    if request:
        writer.write(request)
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)
    length = next(
        int(f.split(b":")[1]) for f in head.split(b"\r\n") if f.lower().startswith(b"content-length")
    )
    return await reader.readexactly(length)


async def test_an_idle_connection_goes_to_another_server(start: Start) -> None:
    """The next request on a released connection is answered by whoever attached it, also when it was sent before."""
    first, second = await start(named("first")), await start(named("second"))
    reader, writer = await first.connect()
    assert await answer(reader, writer) == b"first"
    [(sock, _)] = await first.server.release_idle()
    await first.until(lambda: first.server.connections == 0)
    writer.write(GET)
    second.server.attach(sock)
    assert await answer(reader, writer, b"") == b"second"
    assert await answer(reader, writer) == b"second"
    writer.close()


async def test_a_released_connection_stays_as_long_as_one_that_was_served_here(start: Start) -> None:
    """Who has just connected says something soon or is gone; who was served elsewhere before may be idle for longer."""
    first, second = await start(named("first")), await start(named("second"), head_seconds=0.2)
    kept, new = await first.connect(), await first.connect()
    assert (await answer(*kept), await answer(*new)) == (b"first", b"first")
    for sock, _ in await first.server.release_idle():
        is_kept = sock.getpeername() == kept[1].get_extra_info("sockname")
        second.server.attach(sock, kept=is_kept)
    assert await asyncio.wait_for(new[0].read(), 30) == b""
    assert await answer(*kept) == b"second"
    for _, writer in (kept, new):
        writer.close()


async def test_a_request_that_begun_stays(start: Start) -> None:
    """Half a request was read, or one is under way: that connection is not released."""
    running = await start(named("first"))
    half, busy = await running.connect(), await running.connect()
    half[1].write(GET[:10])
    busy[1].write(b"PUT /later HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
    await running.until(lambda: running.server.connections == 2)
    idle = await running.connect()
    assert await answer(*idle) == b"first"
    released = await running.server.release_idle()
    assert [sock.getpeername() for sock, _ in released] == [idle[1].get_extra_info("sockname")]
    released[0][0].close()
    half[1].write(GET[10:])
    assert await answer(half[0], half[1], b"") == b"first"
    for _, writer in (half, busy, idle):
        writer.close()


async def test_an_idle_connection_may_ask_once_more(start: Start) -> None:
    """A drain with time for the idle answers one more request on each, with `Connection: close`, and ends early when
    all are gone."""
    running = await start(named("first"))
    reader, writer = await running.connect()
    assert await answer(reader, writer) == b"first"
    draining = asyncio.create_task(running.server.drain(120, idle_seconds=100))
    await running.until(lambda: running.server.state.draining)
    writer.write(GET)
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)
    assert head.startswith(b"HTTP/1.1 200")
    assert b"connection: close" in head.lower()
    assert await asyncio.wait_for(reader.read(), 30) == b"first"
    assert await asyncio.wait_for(draining, 30)
    writer.close()


async def test_an_idle_connection_that_says_nothing_is_closed(start: Start) -> None:
    """When the time for the idle is over, long before the drain's own."""
    running = await start(named("first"))
    reader, writer = await running.connect()
    assert await answer(reader, writer) == b"first"
    draining = asyncio.create_task(running.server.drain(120, idle_seconds=0.2))
    assert await asyncio.wait_for(reader.read(), 30) == b""
    assert await asyncio.wait_for(draining, 30)
    writer.close()


async def test_who_is_cut_is_told_so(start: Start) -> None:
    """When the time to drain is over: a request whose answer has not begun gets a 503 that says what may be done, one
    whose answer has begun is cut."""
    application, begun = Application(), asyncio.Event()

    @application.get("/never")
    async def never() -> Response:
        begun.set()
        await asyncio.Event().wait()
        raise AssertionError

    async def half(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"9")]})
            await send({"type": "http.response.body", "body": b"half", "more_body": True})
            await asyncio.Event().wait()

    application.mount("/half", half)
    running = await start(application)
    waiting, writer = await running.connect()
    writer.write(b"GET /never HTTP/1.1\r\nHost: x\r\n\r\n")
    await asyncio.wait_for(begun.wait(), 30)
    cut, other = await running.connect()
    other.write(b"GET /half HTTP/1.1\r\nHost: x\r\n\r\n")
    await asyncio.wait_for(cut.readuntil(b"half"), 30)
    await asyncio.wait_for(running.server.stop(0.01), 60)
    told = await asyncio.wait_for(waiting.read(), 30)
    head, _, body = told.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503 ")
    assert b"Retry-After: 1" in head
    assert f"Content-Length: {len(body)}".encode() in head
    assert b"Idempotency-Key" in body
    with contextlib.suppress(ConnectionError):
        assert await asyncio.wait_for(cut.read(), 30) == b""
    writer.close()
    other.close()


async def test_an_answer_that_promised_more_keeps_its_word(start: Start) -> None:
    """A drain that begins while an answer is under way does not close behind it: its head said that more may come. The
    next request is answered, with `Connection: close`."""
    go_on = asyncio.Event()

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"first", "more_body": True})
        await go_on.wait()
        await send({"type": "http.response.body", "body": b"rest"})

    app = named("me")
    app.mount("/slow", slow)
    running = await start(app)
    reader, writer = await running.connect()
    writer.write(b"GET /slow/ HTTP/1.1\r\nHost: x\r\n\r\n")
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)
    assert b"connection: close" not in head.lower()
    draining = asyncio.create_task(running.server.drain(120, idle_seconds=100))
    await running.until(lambda: running.server.state.draining)
    go_on.set()
    assert b"rest" in await asyncio.wait_for(reader.readuntil(b"0\r\n\r\n"), 30)
    writer.write(GET)
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)
    assert b"connection: close" in head.lower()
    assert await asyncio.wait_for(reader.read(), 30) == b"me"
    assert await asyncio.wait_for(draining, 30)
    writer.close()
