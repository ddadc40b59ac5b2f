"""Middleware of every kind around views of every kind: what comes out, and what went in, as under uvicorn."""

from __future__ import annotations

import gzip
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.httpsredirect import HTTPSRedirectMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request as StarletteRequest
from starlette.responses import JSONResponse, PlainTextResponse, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from twoservers import BARE, Log, Talk, agree  # type: ignore[import-not-found]
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from skerry.hosting.host import Host
from skerry.http.application import Application
from skerry.http.problems import Problem
from skerry.http.reply import Response
from skerry.http.request import Request

Add = Callable[[Application, Log], None]


def views(log: Log) -> Application:
    """Views of every kind, that note that they were called."""
    app = Application(BARE)

    @app.route("/lane", ("GET", "POST"))
    def lane(request: Request) -> Response:
        log.add("lane", request.method, request.body.decode(), request.scheme, request.client is not None)
        return Response("lane " * 200, headers={"X-View": "lane"}, etag="7")

    @app.route("/asgi", ("GET", "POST"))
    async def asgi(request: Request) -> dict[str, Any]:
        log.add("asgi", request.body.decode(), request.headers.get("x-added"))
        return {"asgi": "x" * 1000}

    @app.delete("/asgi")
    async def delete() -> None:
        log.add("deleted")

    @app.route("/stream", ("GET", "POST"))
    async def stream(request: StarletteRequest) -> StreamingResponse:
        log.add("stream", (await request.body()).decode(), sorted(request.state._state.items()))

        async def parts() -> AsyncIterator[bytes]:
            try:
                for number in range(4):
                    yield b"%d" % number * 300
            finally:
                log.add("stream ended")

        async def work() -> None:
            log.items.insert(0, "background")  # work behind an answer is in no order with the next request

        return StreamingResponse(parts(), background=BackgroundTask(work))

    @app.get("/raises")
    async def raises() -> None:
        raise KeyError("secret")

    @app.get("/problem")
    def problem() -> None:
        raise Problem(418, "teapot")

    async def inner(request: StarletteRequest) -> JSONResponse:
        log.add("mount", request.scope["root_path"], request.url.path, sorted(request.state._state.items()))
        return JSONResponse({"mount": request.url.path, "for": str(request.url_for("inner", name="x").path)})

    app.mount("/sub", Starlette(routes=[Route("/{name}", inner, name="inner")]))
    return app


REQUESTS = [
    b"GET /lane", b"HEAD /lane", b'GET /lane\r\nIf-None-Match: "7"', b"POST /lane\r\nContent-Length: 4", b"GET /asgi",
    b"HEAD /asgi", b"GET /asgi\r\nAccept-Encoding: gzip", b"GET /stream", b"HEAD /stream", b"GET /problem",
    b"GET /sub/x",
    b"POST /asgi\r\nContent-Length: 4\r\nX-Http-Method-Override: DELETE", b"POST /stream\r\nContent-Length: 4",
    b"GET /nowhere", b"PUT /lane", b"OPTIONS /lane", b"GET /lane\r\nOrigin: http://a.test", b"GET /short",
    b"OPTIONS /asgi\r\nOrigin: http://a.test\r\nAccess-Control-Request-Method: POST",
    b"GET /asgi\r\nX-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: https", b"GET /raises\r\nConnection: close",
]  # fmt: skip


async def everything(client: Talk) -> None:
    for head in REQUESTS:
        each = await client.connect()
        await each.ask(head, b"body" if b"Content-Length" in head else b"")
        if b"/raises" not in head:  # the connection after a 500 differs by choice
            await each.afterwards()
        else:
            client.notes[-2:] = [client.notes[-2][1]]  # and so does its text
        await each.leave()


class Notes:
    """A pure ASGI middleware that notes every message in both directions."""

    def __init__(self, app: Any, log: Log) -> None:
        self.app, self.log = app, log

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def noting_receive() -> Any:
            message = await receive()
            if scope["type"] == "http" and message["type"] == "http.request" and message["body"]:
                self.log.add("in", message["body"])
            return message

        async def noting_send(message: Any) -> None:
            self.log.add("out", message["type"], message.get("status"), len(message.get("body", b"")))
            await send(message)

        await self.app(scope, noting_receive, noting_send)


class Header:
    """Adds a field to request and answer."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        scope["headers"].append((b"x-added", b"by middleware"))

        async def adding(message: Any) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], (b"x-out", b"added")]}
            await send(message)

        await self.app(scope, receive, adding)


class Override:
    """POST becomes what the client asks for."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        wanted = dict(scope["headers"]).get(b"x-http-method-override")
        await self.app(dict(scope, method=wanted.decode()) if wanted else scope, receive, send)


class Unpacking:
    """Doubles the body, in and out, and takes lengths away."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def doubled() -> Any:
            message = await receive()
            return {**message, "body": message.get("body", b"") * 2}

        async def doubling(message: Any) -> None:
            if message["type"] == "http.response.start":
                fields = [field for field in message["headers"] if field[0] != b"content-length"]
                message = {**message, "headers": fields}
            elif message["type"] == "http.response.body":
                message = {**message, "body": message.get("body", b"") * 2}
            await send(message)

        headers = [field for field in scope["headers"] if field[0] != b"content-length"]
        await self.app(dict(scope, headers=headers), doubled, doubling)


class Swallowing:
    """Answers by itself, before or instead of the view; raises on demand."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/short":
            await PlainTextResponse("short", 202)(scope, receive, send)
            return
        if scope["path"] == "/raises":
            raise LookupError("secret")
        await self.app(scope, receive, send)
        if scope["path"] == "/sub/x":
            raise LookupError("after the answer")


async def passes(request: StarletteRequest, proceed: Any) -> Any:
    request.state.user = "somebody"
    answer = await proceed(request)
    answer.headers["X-Dispatched"] = request.method
    return answer


async def reads(request: StarletteRequest, proceed: Any) -> Any:
    data = await request.body()
    answer = await proceed(request)
    answer.headers["X-Read"] = str(len(data))
    return answer


async def replaces(request: StarletteRequest, proceed: Any) -> Any:
    answer = await proceed(request)
    data = b"".join([part async for part in answer.body_iterator])
    return PlainTextResponse(f"{answer.status_code} {len(data)}", status_code=203)


async def refuses(request: StarletteRequest, proceed: Any) -> Any:
    return JSONResponse({"refused": request.url.path}, 403)


async def catches(request: StarletteRequest, proceed: Any) -> Any:
    try:
        return await proceed(request)
    except Exception as error:
        return PlainTextResponse(type(error).__name__, 500)


def asgi(factory: Any, **options: Any) -> Add:
    return lambda app, log: app.middleware(factory, **options)


def dispatched(function: Any) -> Add:
    return lambda app, log: app.middleware(BaseHTTPMiddleware, dispatch=function)


def noted(app: Application, log: Log) -> None:
    app.middleware(Notes, log=log)


def stacked(app: Application, log: Log) -> None:
    app.middleware(Header)
    app.middleware(BaseHTTPMiddleware, dispatch=passes)
    app.middleware(Notes, log=log)
    app.middleware(GZipMiddleware, minimum_size=100)


KINDS: dict[str, Add] = {
    "none": lambda app, log: None,
    "notes": noted,
    "header": asgi(Header),
    "override": asgi(Override),
    "unpacking": asgi(Unpacking),
    "swallowing": asgi(Swallowing),
    "dispatch passes": dispatched(passes),
    "dispatch reads": dispatched(reads),
    "dispatch replaces": dispatched(replaces),
    "dispatch refuses": dispatched(refuses),
    "dispatch catches": dispatched(catches),
    "gzip": asgi(GZipMiddleware, minimum_size=100),
    "cors": asgi(CORSMiddleware, allow_origins=["http://a.test"], allow_methods=["POST"]),
    "cors for all": asgi(
        CORSMiddleware, allow_origins=["*"], allow_credentials=True, expose_headers=["X-View"]
    ),
    "trusted host": asgi(TrustedHostMiddleware, allowed_hosts=["other.test"]),
    "https redirect": asgi(HTTPSRedirectMiddleware),
    "proxy headers": asgi(ProxyHeadersMiddleware, trusted_hosts="127.0.0.1"),
    "stacked": stacked,
}


@pytest.mark.parametrize("prefix", ["", "/lane"])
@pytest.mark.parametrize("kind", KINDS)
async def test_a_middleware(kind: str, prefix: str) -> None:
    """Around everything and around a prefix: answers, fields, and what views and middleware saw."""

    def make(log: Log) -> Application:
        app = views(log)
        KINDS[kind](app, log)
        if prefix:
            app._covering = [replace(each, prefix=prefix) for each in app._covering]
        return app

    await agree(make, everything)


async def test_a_lifespan_and_its_state() -> None:
    """A mounted application starts before requests, its state is in their scopes, and it stops."""

    def make(log: Log) -> Any:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "lifespan":
                log.add((await receive())["type"])
                scope["state"]["made"] = [1]
                await send({"type": "lifespan.startup.complete"})
                log.add((await receive())["type"])
                await send({"type": "lifespan.shutdown.complete"})
                return
            scope["state"]["made"].append(2)
            scope["state"]["own"] = True
            await PlainTextResponse(str(scope["state"]))(scope, receive, send)

        return app

    async def talk(client: Talk) -> None:
        await client.ask(b"GET /")
        await client.ask(b"GET /")

    await agree(make, talk)


async def test_files(tmp_path: Path) -> None:
    """Files: whole, in ranges, not modified, compressed by a middleware, missing, traversal."""
    (tmp_path / "a.txt").write_text("0123456789" * 100)
    (tmp_path / "ä b.txt").write_text("umlaut")
    (tmp_path / "a.gz").write_bytes(gzip.compress(b"x", mtime=0))

    def make(log: Log) -> Application:
        app = Application(BARE)
        app.static("/files", tmp_path)
        app.mount("/nested", Starlette(routes=[Mount("/deep", StaticFiles(directory=tmp_path))]))
        app.middleware(GZipMiddleware, prefix="/nested", minimum_size=100)
        return app

    async def talk(client: Talk) -> None:
        for base in (b"/files", b"/nested/deep"):
            for path in (
                b"/a.txt",
                b"/%C3%A4%20b.txt",
                b"/a.gz",
                b"/no",
                b"/../a.txt",
                b"/..%2fa.txt",
                b"/",
                b"",
            ):
                await client.ask(b"GET " + base + path)
                await client.ask(b"HEAD " + base + path)
            await client.ask(b"GET %b/a.txt\r\nRange: bytes=5-9" % base)
            await client.ask(b"GET %b/a.txt\r\nAccept-Encoding: gzip" % base)
            await client.ask(b"GET %b/a.txt\r\nIf-Modified-Since: Fri, 01 Jan 2100 00:00:00 GMT" % base)
            await client.ask(b"DELETE %b/a.txt" % base)

    await agree(make, talk)


@pytest.mark.parametrize("around", [False, True])
async def test_middleware_of_a_hosted_application(tmp_path: Path, around: bool) -> None:
    """It sees files as it does under other servers: GZipMiddleware compresses them, added or put around."""
    (tmp_path / "a.txt").write_text("0123456789" * 100)

    def make(log: Log) -> Application:
        hosted: Any = Starlette(routes=[Mount("/files", StaticFiles(directory=tmp_path))])
        if around:
            hosted = GZipMiddleware(hosted, minimum_size=100)
        else:
            hosted.add_middleware(GZipMiddleware, minimum_size=100)
        host = Host("hosted", lambda: hosted)
        host.load()
        app = Application(BARE)
        app.mount("/", host, hosted=True)
        return app

    async def talk(client: Talk) -> None:
        await client.ask(b"GET /files/a.txt\r\nAccept-Encoding: gzip")
        await client.ask(b"GET /files/a.txt")

    await agree(make, talk)
