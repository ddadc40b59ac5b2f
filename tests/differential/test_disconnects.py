"""Clients that leave, before the answer, within it and after it: what the application is told, as under uvicorn."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from starlette.background import BackgroundTask
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, StreamingResponse
from twoservers import Log, Talk, agree  # type: ignore[import-not-found]

START = {"type": "http.response.start", "status": 200, "headers": []}
GET = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nhello"
ENDS = ["leave", "reset"]


def waits_for_the_end(log: Log) -> Any:
    """Reads messages until it is told that the client is gone."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        log.add("begins")
        while (message := await receive())["type"] != "http.disconnect":
            log.add(message["type"], message["body"], message["more_body"])
        log.add("http.disconnect")
        log.add((await receive())["type"])

    return app


@pytest.mark.parametrize("how", ENDS)
@pytest.mark.parametrize("request_bytes", [GET, POST], ids=["whole", "within the body"])
async def test_before_the_answer(request_bytes: bytes, how: str) -> None:
    """A client that leaves before the answer is told at once, whether its request was complete or not."""

    async def talk(client: Talk) -> None:
        await client.say(request_bytes)
        await client.log.until("begins")
        await getattr(client, how)()
        await client.log.until("http.disconnect")

    await agree(waits_for_the_end, talk)


@pytest.mark.parametrize("how", ENDS)
async def test_starlette_is_disconnected(how: str) -> None:
    """`request.is_disconnected()` becomes true."""

    def make(log: Log) -> Any:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] != "http":
                return
            request = Request(scope, receive)
            await request.body()
            log.add("begins", await request.is_disconnected())
            while not await request.is_disconnected():  # noqa: ASYNC110 - as applications do
                await asyncio.sleep(0.001)
            log.add("gone")

        return app

    async def talk(client: Talk) -> None:
        await client.say(GET)
        await client.log.until("begins", False)
        await getattr(client, how)()
        await client.log.until("gone")

    await agree(make, talk)


def streams(log: Log) -> Any:
    """Sends parts until it is told that nobody takes them, then notes how it ended."""

    async def parts() -> AsyncGenerator[bytes, None]:
        try:
            while True:
                yield b"x" * 1000
                await asyncio.sleep(0.001)
        finally:
            log.add("generator closed")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            log.add("begins")
            async with contextlib.aclosing(parts()) as each:
                with contextlib.suppress(ClientDisconnect):  # how Starlette tells it where the scope says 2.4
                    await StreamingResponse(each)(scope, receive, send)
            log.add("answered")

    return app


@pytest.mark.parametrize("how", ENDS)
async def test_within_a_stream(how: str) -> None:
    """An endless stream ends when its reader leaves."""

    async def talk(client: Talk) -> None:
        await client.say(GET)
        await client.some(await client.head(), b"x" * 1000)
        await getattr(client, how)()
        await client.log.until("answered")

    await agree(streams, talk)


@pytest.mark.parametrize("how", ENDS)
async def test_after_the_answer(how: str) -> None:
    """Background work goes on when the client has its answer and leaves."""
    gate: list[asyncio.Event] = []

    def make(log: Log) -> Any:
        gate[:] = [asyncio.Event()]

        async def work() -> None:
            log.add("work")
            await gate[0].wait()
            log.add("work done")

        async def app(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "http":
                await PlainTextResponse("now", background=BackgroundTask(work))(scope, receive, send)
                log.add((await receive())["type"])

        return app

    async def talk(client: Talk) -> None:
        await client.ask(b"GET /")
        await client.log.until("work")
        await getattr(client, how)()
        gate[0].set()
        await client.log.until("http.disconnect")

    await agree(make, talk)


@pytest.mark.parametrize("how", ENDS)
async def test_a_websocket_that_breaks_off(how: str) -> None:
    """A websocket whose connection breaks is told so, and nobody can send to it any more. (The code differs by choice:
    1006 here, 1005 there.)"""

    def make(log: Log) -> Any:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] != "websocket":
                return
            await receive()
            await send({"type": "websocket.accept"})
            log.add("accepted")
            message = await receive()
            log.add(message["type"])
            try:
                await send({"type": "websocket.send", "text": "late"})
            except Exception as error:
                log.add("cannot send", isinstance(error, OSError))
            log.add("over")

        return app

    async def talk(client: Talk) -> None:
        await client.say(
            b"GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        await client.reader.readuntil(b"\r\n\r\n")
        await client.log.until("accepted")
        await getattr(client, how)()
        await client.log.until("over")

    await agree(make, talk)


@pytest.mark.parametrize("size", [10, 3_000_000])
async def test_a_client_that_said_everything_gets_its_answer(size: int) -> None:
    """Half-closed with the whole answer read, small or large: the connection ends."""

    def make(log: Log) -> Any:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "http":
                await PlainTextResponse("x" * size)(scope, receive, send)
                log.add("answered")

        return app

    async def talk(client: Talk) -> None:
        await client.say(GET)
        await client.answer()
        client.finish()
        await client.ended()

    await agree(make, talk)
