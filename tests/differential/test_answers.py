"""Answers as ASGI applications give them, whole, streamed, wrong or failing: the same bytes here as under uvicorn."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.background import BackgroundTask, BackgroundTasks
from starlette.requests import Request
from starlette.responses import (
    FileResponse,
    HTMLResponse,
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)  # fmt: skip
from twoservers import Log, Make, Talk, agree  # type: ignore[import-not-found]

from skerry.http.application import Application

Messages = list[dict[str, Any]]


def start(status: int = 200, *headers: tuple[bytes, bytes], **more: Any) -> dict[str, Any]:
    return {"type": "http.response.start", "status": status, "headers": list(headers), **more}


def body(data: bytes = b"", more: bool = False) -> dict[str, Any]:
    return {"type": "http.response.body", "body": data, "more_body": more}


def says(*messages: dict[str, Any]) -> Make:
    """An application that sends these, and notes what became of each."""

    def make(log: Log) -> Any:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] != "http":
                return
            for message in messages:
                try:
                    await send(dict(message))
                except Exception as error:
                    log.add(message["type"], type(error).__name__, str(error))
                    raise

        return app

    return make


def requests(*heads: bytes) -> Callable[[Talk], Awaitable[None]]:
    async def talk(client: Talk) -> None:
        for head in heads:
            each = await client.connect()
            await each.ask(head)
            await each.afterwards()
            await each.leave()

    return talk


LENGTH = (b"content-length", b"5")
EVERY_METHOD = requests(b"GET /", b"HEAD /", b"POST /", b"OPTIONS /", b"GET /\r\nConnection: close")

ANSWERS: dict[str, Messages] = {
    "length": [start(200, LENGTH), body(b"hello")],
    "no length": [start(), body(b"hello")],
    "nothing": [start(), body()],
    "length of nothing": [start(200, (b"content-length", b"0")), body()],
    "chunks": [start(), body(b"he", True), body(b"", True), body(b"llo", True), body()],
    "chunks with a length": [start(200, LENGTH), body(b"he", True), body(b"", True), body(b"llo")],
    "a length and an empty end": [start(200, LENGTH), body(b"hello", True), body()],
    "own chunked": [start(200, (b"transfer-encoding", b"chunked")), body(b"hello")],
    "close": [start(200, LENGTH, (b"connection", b"close")), body(b"hello")],
    "close among others": [start(200, (b"Connection", b"foo, Close")), body(b"hello")],
    "keep-alive": [start(200, LENGTH, (b"connection", b"keep-alive")), body(b"hello")],
    "no body key": [start(), {"type": "http.response.body"}],
    "no headers key": [{"type": "http.response.start", "status": 200}, body(b"hello")],
    "too long": [start(200, LENGTH), body(b"hello world")],
    "too long in parts": [start(200, LENGTH), body(b"hel", True), body(b"low")],
    "too short": [start(200, LENGTH), body(b"he")],
    "no body": [start(200, LENGTH)],
    "no end": [start(), body(b"hello", True)],
    "no end with a length": [start(200, LENGTH), body(b"hello", True)],
    "no answer": [],
    "body first": [body(b"hello")],
    "two starts": [start(), start()],
    "a start after the end": [start(200, LENGTH), body(b"hello"), start()],
    "a body after the end": [start(200, LENGTH), body(b"hello"), body(b"more")],
    "another type": [{"type": "http.response.other"}],
    "another type later": [start(), {"type": "http.response.other"}],
    "no length of 204": [start(204), body()],
    "no length of 304": [start(304, (b"etag", b'"7"')), body()],
    "205": [start(205, (b"content-length", b"0")), body()],
    "404": [start(404, LENGTH), body(b"hello")],
    "500": [start(500, LENGTH), body(b"hello")],
    "299": [start(299, LENGTH), body(b"hello")],
    "many of a name": [start(200, (b"set-cookie", b"a=b"), (b"set-cookie", b"c=d"), (b"x-a", b"")), body(b"hello")],
    "capitals": [start(200, (b"Content-Length", b"5"), (b"X-Name", b"Value")), body(b"hello")],
    "latin-1": [start(200, LENGTH, (b"x-name", "ä".encode("latin-1"))), body(b"hello")],
    "utf-8": [start(200, LENGTH, (b"x-name", "ä€".encode())), body(b"hello")],
    "a large body": [start(), body(b"x" * 3_000_000)],
    "a large body in parts": [start(), *[body(b"y" * 100_000, True)] * 20, body()],
    "tuples": [{"type": "http.response.start", "status": 200, "headers": ((b"content-length", b"5"),)}, body(b"hello")],
    "a bytearray": [start(200, LENGTH), {"type": "http.response.body", "body": bytearray(b"hello")}],
    "a memoryview": [start(), {"type": "http.response.body", "body": memoryview(b"hello")}],
}  # fmt: skip


@pytest.mark.parametrize("name", ANSWERS)
async def test_what_an_application_sends(name: str) -> None:
    """Right or wrong, each sequence of messages gives the same bytes, the same errors, and keeps or closes alike."""
    await agree(says(*ANSWERS[name]), EVERY_METHOD)


@pytest.mark.parametrize(
    "name", ["length", "length of nothing", "chunks with a length", "too short", "close"]
)
async def test_what_http_1_0_gets(name: str) -> None:
    """An old client gets an answer that ends with its length, or with the connection."""

    async def talk(client: Talk) -> None:
        for fields in (b"", b"Connection: keep-alive\r\n"):
            each = await client.connect()
            await each.say(b"GET / HTTP/1.0\r\n%b\r\n" % fields)
            await each.ended()

    await agree(says(*ANSWERS[name]), talk)


RAISING: dict[str, Messages] = {
    "after the start": [start()],
    "after the start with a length": [start(200, LENGTH)],
    "within the body": [start(), body(b"hello", True)],
    "within a body with a length": [start(200, LENGTH), body(b"he", True)],
    "after the end": [start(200, LENGTH), body(b"hello")],
}


@pytest.mark.parametrize("name", RAISING)
@pytest.mark.parametrize(
    "error", [ValueError("secret"), KeyError("secret"), asyncio.CancelledError(), SystemError()]
)
async def test_an_application_that_raises(name: str, error: BaseException) -> None:
    """Within the answer or after it: what came until then, then the end; and the next client is served."""

    def make(log: Log) -> Any:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] != "http":
                return
            for message in RAISING[name]:
                await send(dict(message))
            raise error

        return app

    await agree(make, requests(b"GET /", b"HEAD /", b"GET /"))


def responses(request: Request, log: Log, tmp: Path) -> Response:
    """Starlette's kinds of answers."""

    async def parts(number: int = 3, fails: bool = False) -> AsyncIterator[str]:
        try:
            for each in range(number):
                yield f"part {each}"
                await asyncio.sleep(0)
            if fails:
                raise ValueError("within")
        finally:
            log.add("generator closed")

    def sync_parts() -> Iterator[bytes]:
        yield b"one"
        yield b"two"

    async def later(text: str) -> None:
        log.add("later", text)
        await asyncio.sleep(0)
        log.add("later done", text)

    async def fails() -> None:
        log.add("fails")
        raise ValueError("in the background")

    match request.url.path[1:]:
        case "text":
            return PlainTextResponse("text", headers={"X-A": "b"})
        case "html":
            return HTMLResponse("<p>ä")
        case "json":
            return JSONResponse({"a": ["ä", None]}, status_code=201)
        case "redirect":
            return RedirectResponse("/ä?x=y z")
        case "stream":
            return StreamingResponse(parts())
        case "empty stream":
            return StreamingResponse(parts(0))
        case "sync stream":
            return StreamingResponse(sync_parts(), media_type="text/plain", headers={"content-length": "6"})
        case "failing stream":
            return StreamingResponse(parts(fails=True))
        case "file":
            return FileResponse(tmp / "file.txt", filename="ä.txt", stat_result=(tmp / "file.txt").stat())
        case "cookies":
            answer = PlainTextResponse("cookies")
            answer.set_cookie("a", "b", httponly=True)
            answer.set_cookie("c", "d", max_age=7, path="/c")
            return answer
        case "background":
            tasks = BackgroundTasks()
            tasks.add_task(later, "one")
            tasks.add_task(later, "two")
            return PlainTextResponse("now", background=tasks)
        case "failing background":
            return PlainTextResponse("now", background=BackgroundTask(fails))
        case "background of a stream":
            return StreamingResponse(parts(), background=BackgroundTask(later, "stream"))
        case "304":
            return Response(status_code=304, headers={"etag": '"7"'})
    return PlainTextResponse("else", 404)


KINDS = [
    "text", "html", "json", "redirect", "stream", "empty%20stream", "sync%20stream", "failing%20stream", "file",
    "cookies", "background", "failing%20background", "background%20of%20a%20stream", "304",
]  # fmt: skip


@pytest.mark.parametrize("where", ["view", "mount"])
@pytest.mark.parametrize("kind", KINDS)
async def test_starlette_answers(kind: str, where: str, tmp_path: Path) -> None:
    """Streams, files, redirects, cookies, background work: from a view of ours and from a mounted application."""
    (tmp_path / "file.txt").write_text("0123456789" * 10)

    def make(log: Log) -> Any:
        if where == "mount":

            async def app(scope: Any, receive: Any, send: Any) -> None:
                if scope["type"] == "http":
                    await responses(Request(scope), log, tmp_path)(scope, receive, send)

            return app
        application = Application()

        @application.route("/{kind}", ("GET", "HEAD", "POST"))
        async def view(request: Request, kind: str) -> Response:
            return responses(request, log, tmp_path)

        return application

    async def talk(client: Talk) -> None:
        heads = [f"{method} /{kind}" for method in ("GET", "HEAD", "POST")]
        heads += [f"GET /{kind}\r\nRange: bytes={wanted}" for wanted in ("2-5", "900-", "-3")]
        await requests(*[head.encode() for head in heads])(client)

    await agree(make, talk)


async def test_pipelined_answers_come_in_order() -> None:
    """Several requests in one packet, streams and whole answers, a HEAD among them."""

    def make(log: Log) -> Any:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] != "http":
                return
            log.add("begins", scope["path"])
            await asyncio.sleep(0)
            await send(start(200, (b"x-path", scope["path"].encode())))
            for _ in range(3):
                await send(body(scope["path"].encode(), True))
                await asyncio.sleep(0)
            await send(body())
            log.add("ends", scope["path"])

        return app

    async def talk(client: Talk) -> None:
        heads = [b"%b /%d HTTP/1.1\r\nHost: h\r\n\r\n" % (b"HEAD" if n == 3 else b"GET", n) for n in range(6)]
        await client.say(b"".join(heads))
        for number in range(6):
            await client.answer(b"HEAD" if number == 3 else b"GET")
        await client.afterwards()

    await agree(make, talk)


async def test_background_work_holds_up_the_next_request_alike() -> None:
    """The next request on the connection is answered while the work of the one before it goes on."""
    gate: list[asyncio.Event] = []

    def make(log: Log) -> Any:
        gate[:] = [asyncio.Event()]

        async def work() -> None:
            log.add("work")
            await gate[0].wait()
            log.add("work done")

        async def app(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "http":
                task = BackgroundTask(work) if scope["path"] == "/work" else None
                await PlainTextResponse(scope["path"], background=task)(scope, receive, send)

        return app

    async def talk(client: Talk) -> None:
        await client.ask(b"GET /work")
        await client.log.until("work")
        await client.ask(b"GET /next")
        gate[0].set()
        await client.log.until("work done")

    await agree(make, talk)
