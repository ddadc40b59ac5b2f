"""Bodies of requests and what `receive` says, before the answer, beside it and after it: as under uvicorn."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.requests import Request as StarletteRequest
from twoservers import BARE, Log, Talk, agree  # type: ignore[import-not-found]

from skerry.http.application import Application
from skerry.http.request import Request

OK = {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]}
END = {"type": "http.response.body", "body": b"ok"}

BODIES: dict[str, tuple[bytes, ...]] = {
    "none": (b"\r\n",),
    "length of nothing": (b"Content-Length: 0\r\n\r\n",),
    "length": (b"Content-Length: 5\r\n\r\nhello",),
    "length in parts": (b"Content-Length: 5\r\n\r\n", b"he", b"llo"),
    "chunks": (b"Transfer-Encoding: chunked\r\n\r\n", b"3\r\nhel\r\n", b"2\r\nlo\r\n0\r\n\r\n"),
    "chunks in bytes": (
        b"Transfer-Encoding: chunked\r\n\r\n",
        *[bytes((each,)) for each in b"3;a=b\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n"],
    ),
    "no chunks": (b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",),
    "large": (b"Content-Length: 900000\r\n\r\n" + b"x" * 900_000,),
    "large chunks": (
        b"Transfer-Encoding: chunked\r\n\r\n" + b"10000\r\n%b\r\n" % (b"y" * 65536) * 12 + b"0\r\n\r\n",
    ),
}


def whole_body(log: Log) -> Any:
    """Reads everything, notes only what does not depend on how it came in."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        parts, more = [], True
        while more:
            message = await receive()
            more = message.get("more_body", False)
            parts.append(message.get("body", message["type"].encode()))
        data = b"".join(parts)
        log.add(scope["method"], len(data), data[:20], sorted(scope["headers"]))
        await send(OK)
        await send(END)
        log.add((await receive())["type"])
        log.add((await receive())["type"])

    return app


@pytest.mark.parametrize("method", [b"POST", b"GET", b"DELETE", b"HEAD"])
@pytest.mark.parametrize("name", BODIES)
async def test_an_application_reads_a_body(name: str, method: bytes) -> None:
    """However it is framed and cut, with any method; after the answer `receive` says that it is over."""

    async def talk(client: Talk) -> None:
        await client.say(method + b" / HTTP/1.1\r\nHost: h\r\n" + BODIES[name][0], *BODIES[name][1:])
        await client.answer(method)
        await client.ask(b"POST /next\r\nContent-Length: 3", b"abc")
        await client.afterwards()

    await agree(whole_body, talk)


@pytest.mark.parametrize("view", ["lane", "asgi", "typed", "starlette", "stream"])
@pytest.mark.parametrize("name", BODIES)
async def test_a_view_reads_a_body(name: str, view: str) -> None:
    """Views of every kind get the same body from both servers."""

    def make(log: Log) -> Application:
        app = Application(BARE)

        def told(data: bytes) -> dict[str, Any]:
            return {"size": len(data), "begins": data[:10].decode()}

        @app.post("/lane")
        def lane(request: Request) -> dict[str, Any]:
            return told(request.body)

        @app.post("/asgi")
        async def asgi(request: Request) -> dict[str, Any]:
            return told(request.body)

        @app.post("/typed")
        def typed(body: bytes) -> dict[str, Any]:
            return told(body)

        @app.post("/starlette")
        async def starlette(request: StarletteRequest) -> dict[str, Any]:
            return told(await request.body())

        @app.post("/stream")
        async def stream(request: StarletteRequest) -> dict[str, Any]:
            return told(b"".join([part async for part in request.stream()]))

        return app

    async def talk(client: Talk) -> None:
        await client.say(
            f"POST /{view} HTTP/1.1\r\nHost: h\r\n".encode() + BODIES[name][0], *BODIES[name][1:]
        )
        await client.answer()
        await client.afterwards()

    await agree(make, talk)


async def test_both_directions_at_once() -> None:
    """An answer that echoes each part while more of the body comes."""

    def make(log: Log) -> Any:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] != "http":
                return

            await send({"type": "http.response.start", "status": 200, "headers": []})
            more = True
            while more:
                message = await receive()
                more = message["more_body"]
                if message["body"]:
                    log.add(message["body"])
                await send({"type": "http.response.body", "body": message["body"], "more_body": more})

        return app

    async def talk(client: Talk) -> None:
        await client.say(b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n")
        parser = await client.head()
        await client.some(parser, b"ab")
        for part in (b"cd", b"ef"):
            await client.say(b"2\r\n" + part + b"\r\n")
            await client.some(parser, part)
        await client.say(b"0\r\n\r\n")
        await client.body(parser)
        await client.afterwards()

    await agree(make, talk)


@pytest.mark.parametrize("reads", [True, False])
async def test_expect_100_continue(reads: bool) -> None:
    """A client that waits is told to go on when the application reads, and gets the answer at once when it does not."""

    def make(log: Log) -> Any:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] != "http":
                return
            log.add(dict(scope["headers"]).get(b"expect"))
            if reads:
                log.add((await receive())["body"])
            await send({**OK, "status": 200 if reads else 413})
            await send(END)

        return app

    async def talk(client: Talk) -> None:
        await client.say(b"POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
        if reads:
            client.notes.append(await client.reader.readuntil(b"\r\n\r\n"))
            await client.say(b"hello")
        await client.answer()
        if reads:
            await client.afterwards()

    await agree(make, talk)


async def test_what_receive_says_beside_the_answer() -> None:
    """After the body `receive` waits until the answer is complete, then says that it is over; so does every further
    call."""

    def make(log: Log) -> Any:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] != "http":
                return
            message = await receive()
            log.add(message["type"], message["body"], message["more_body"])
            waiting = asyncio.ensure_future(receive())
            await asyncio.sleep(0)
            log.add("done before", waiting.done())
            await send(OK)
            await asyncio.sleep(0)
            log.add("done within", waiting.done())
            await send(END)
            log.add((await waiting)["type"])
            log.add((await receive())["type"])
            log.add(await StarletteRequest(scope, receive).is_disconnected())

        return app

    async def talk(client: Talk) -> None:
        await client.ask(b"GET /")
        await client.log.until(True)
        await client.afterwards()

    await agree(make, talk)


@pytest.mark.parametrize(
    "broken",
    [
        b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\nhello",
        b"POST / HTTP/1.1\r\nHost: h\r\nX Y: z\r\n\r\n",
        b"GARBAGE\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\nX: a\r\n b\r\n\r\n",
    ],
)
async def test_what_is_no_request_ends_the_connection(broken: bytes) -> None:
    """The text of the 400 is each server's own; that it closes, and what the application sees, is the same."""

    async def talk(client: Talk) -> None:
        await client.ask(b"GET /first")
        await client.say(broken)
        answer = await client.reader.read(-1)
        client.notes.append(answer.split(b" ")[1] if answer else b"")

    def make(log: Log) -> Any:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] != "http":
                return
            log.add(scope["path"])
            await send(OK)
            await send(END)

        return app

    await agree(make, talk)
