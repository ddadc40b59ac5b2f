"""Clients that leave: applications are told at once in every phase, and nothing stays behind."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from skerry.exchange import ClientDisconnected
from skerry.http.application import Application
from skerry.server.settings import ServerSettings
from skerry.server.state import Applications

Start = Callable[..., Awaitable[Any]]
OK = {"type": "http.response.start", "status": 200, "headers": []}


async def test_an_end_before_the_answer_is_told(start: Start) -> None:
    """More clients than may be pending ask and close: each application hears of it, and the next client is served."""
    told = 0

    async def waits(scope: Any, receive: Any, send: Any) -> None:
        nonlocal told
        if scope["type"] == "lifespan":
            return
        if scope["path"] == "/m/now":
            await send(OK)
            await send({"type": "http.response.body", "body": b"now"})
            return
        while (await receive())["type"] != "http.disconnect":
            pass
        told += 1

    app = Application()
    app.mount("/m", waits)
    running = await start(app, max_pending=5)
    for _ in range(12):
        _, writer = await running.connect()
        writer.write(b"GET /m/wait HTTP/1.1\r\nHost: x\r\n\r\n" * 2)  # a second one waits unread behind it
        writer.write_eof()
        writer.close()
        await running.until(lambda: not running.server.connections)
    assert told >= 12
    await running.until(lambda: not running.server.state.tasks)
    assert b"now" in await running.ask(b"GET /m/now HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")


async def test_what_is_on_its_way_still_goes_out(start: Start) -> None:
    """A client that half-closed reads the answer that its application gives after it was told."""

    async def late(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            return
        assert (await receive())["type"] == "http.request"
        assert (await receive())["type"] == "http.disconnect"
        await send(OK)
        await send({"type": "http.response.body", "body": b"late"})

    app = Application()
    app.mount("/m", late)
    running = await start(app)
    reader, writer = await running.connect()
    writer.write(b"POST /m HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi")
    writer.write_eof()
    assert b"late" in await asyncio.wait_for(reader.read(), 30)
    writer.close()


async def test_a_stream_without_a_reader_does_not_keep_the_loop(start: Start) -> None:
    """`send` raises an OSError, also for an application that never waits."""
    ended = asyncio.Event()

    async def endless(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            return
        await send(OK)
        try:
            while True:
                await send({"type": "http.response.body", "body": b"x" * 65_536, "more_body": True})
        except ClientDisconnected:
            ended.set()

    app = Application()
    app.mount("/m", endless)
    running = await start(app)
    reader, writer = await running.connect()
    writer.write(b"GET /m HTTP/1.1\r\nHost: x\r\n\r\n")
    await reader.readexactly(200_000)
    writer.close()
    await asyncio.wait_for(ended.wait(), 30)
    await running.until(lambda: not running.server.state.tasks)


async def test_an_answer_is_a_stream_from_the_first_byte_of_its_body(start: Start) -> None:
    """One that has sent its head, and an empty part, is still pending."""
    more = asyncio.Event()

    async def mounted(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            return
        await send(OK)
        await send({"type": "http.response.body", "body": b"", "more_body": True})
        await more.wait()
        await send({"type": "http.response.body", "body": b"first", "more_body": True})
        while (await receive())["type"] != "http.disconnect":
            pass

    app = Application()
    app.mount("/", mounted)
    running = await start(app)
    reader, writer = await running.connect()
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    await reader.readuntil(b"\r\n\r\n")

    def streams() -> float:
        found = {
            metric.name: metric.samples[0].value for metric in running.server.collect() if metric.samples
        }
        return float(found["skerry_http_streams"])

    assert streams() == 0
    more.set()
    await reader.readuntil(b"first")
    assert streams() == 1
    writer.close()


async def test_streams_and_websockets_are_not_pending(start: Start) -> None:
    """However many are open, a request of the same application is answered; and each has its number."""

    async def app_of_all(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            return
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.accept"})
            await receive()
        elif scope["path"] == "/m/stream":
            await send(OK)
            await send({"type": "http.response.body", "body": b"first", "more_body": True})
            while (await receive())["type"] != "http.disconnect":
                pass
        else:
            await send(OK)
            await send({"type": "http.response.body", "body": b"now"})

    app = Application()
    app.mount("/m", app_of_all)
    running = await start(app, max_pending=2)
    writers = []
    for number in range(6):
        reader, writer = await running.connect()
        if number % 2:
            writer.write(b"GET /m/stream HTTP/1.1\r\nHost: x\r\n\r\n")
            await reader.readuntil(b"first")
        else:
            writer.write(
                b"GET /m/ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
            )
            await reader.readuntil(b"\r\n\r\n")
        writers.append(writer)
    assert b"now" in await running.ask(b"GET /m HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    found = {metric.name: metric.samples[0].value for metric in running.server.collect() if metric.samples}
    assert (found["skerry_http_websockets"], found["skerry_http_streams"], found["skerry_http_pending"]) == (
        3,
        3,
        0,
    )
    for writer in writers:
        writer.close()


async def test_frames_before_the_answer_to_the_handshake_wait(start: Start) -> None:
    """A ping in the handshake's packet is answered behind the 101, and not at all behind a refusal."""

    async def echo(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            return
        if scope["path"] == "/m/no":
            await receive()
            await send({"type": "websocket.close"})
            return
        await receive()
        await asyncio.sleep(0)
        await send({"type": "websocket.accept"})
        await receive()

    app = Application()
    app.mount("/m", echo)
    running = await start(app)
    for path, status, end in ((b"/m", b"101", b"\x8a\x00"), (b"/m/no", b"403", b"<end>")):
        shake = (
            b"GET %b HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        ) % path
        found = await running.ask(shake + b"\x89\x80mask")
        assert found.startswith(b"HTTP/1.1 " + status), found
        assert found.partition(b"\r\n\r\n")[2] == end


async def test_the_abandoned_have_a_limit_and_streams_an_end() -> None:
    """Beyond the limit the oldest is cancelled; a stream when its time is over; other work may go on."""
    now = 0.0
    kept = Applications(ServerSettings(max_abandoned=2, gone_seconds=30), lambda: now)
    tasks = [asyncio.ensure_future(asyncio.Event().wait()) for _ in range(4)]
    for task in tasks:
        kept.run(task)  # type: ignore[arg-type]  # what it gives does not matter
    assert len(kept.pending) == 4
    kept.stream(tasks[3])  # type: ignore[arg-type]
    for task in tasks[:3]:
        kept.abandon(task)  # type: ignore[arg-type]
    await asyncio.wait([tasks[0]])
    assert [task.done() for task in tasks] == [True, False, False, False]
    kept.abandon(tasks[3])  # type: ignore[arg-type]
    await asyncio.wait([tasks[1]])
    kept.sweep(29.9)
    kept.sweep(30.0)
    await asyncio.wait([tasks[3]])
    assert (tasks[2].done(), kept.cancelled, len(kept.pending)) == (False, 3, 0)
    tasks[2].cancel()
    with pytest.raises(asyncio.CancelledError):
        await tasks[2]
