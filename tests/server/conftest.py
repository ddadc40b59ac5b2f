"""Servers on real sockets for the tests of this wing, on both loops."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import pytest
import uvloop

from skerry.http.application import Application
from skerry.http.reply import Response
from skerry.http.request import Request
from skerry.server.server import HttpServer
from skerry.server.settings import ServerSettings

Start = Callable[..., Awaitable["Running"]]


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Every test of this wing runs on both loops."""
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@dataclass
class Running:
    """A server that runs, and how to talk to it byte by byte."""

    server: HttpServer
    port: int

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port, limit=2**24)

    async def until(self, condition: Callable[[], object]) -> None:
        """Return when the condition holds; fail after half a minute. For what another task or the kernel does."""
        async with asyncio.timeout(30):
            while not condition():  # noqa: ASYNC110  # there is no event for what is waited for here
                await asyncio.sleep(0.001)

    async def ask(self, *parts: bytes) -> bytes:
        """Send the parts, each in its own packet, and read until the server closes or is silent for long."""
        reader, writer = await self.connect()
        try:
            for part in parts:
                writer.write(part)
                await writer.drain()
                await asyncio.sleep(0)
            return await everything(reader)
        finally:
            writer.close()


async def everything(reader: asyncio.StreamReader, looks: int = 20) -> bytes:
    """All that comes until the end, or until nothing came for so many looks, a hundredth of a second each. Looks are
    counted, not seconds: the server is on this loop, and a machine that stood still is no silence of the server."""
    found, silent = b"", 0
    async with asyncio.timeout(30):
        while silent < looks:
            try:
                part = await asyncio.wait_for(reader.read(65536), 0.01)
            except TimeoutError:
                silent += 1
                continue
            except ConnectionResetError:
                return found + b"<reset>"
            if not part:
                return found + b"<end>"
            found, silent = found + part, 0
    return found


def small_application() -> Application:
    """A dict of values as livekv reads it, and routes of every kind."""
    app = Application()
    values = {"mykey": "myvalue", "a/b": "slash", "ä": "umlaut"}

    @app.get("/values/{key}")
    def get_value(key: str) -> Response:
        value = values.get(key)
        if value is None:
            return Response(b"", 404)
        return Response.json({"key": key, "value": value}, etag=7, headers={"Skerry-Position": "e:7"})

    @app.put("/values/{key}", max_body_bytes=1000)
    def put_value(request: Request, key: str) -> Response:
        values[key] = request.text()
        return Response.json({"key": key, "value": values[key], "message": "OK"})

    @app.get("/")
    def home() -> str:
        return "hello"

    @app.post("/")
    async def posted(request: Request) -> str:
        return f"{len(request.body)} bytes"

    @app.get("/plain")
    async def plain() -> str:
        return "plain"

    return app


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Start servers that end with the test: `await start(application, **settings)`."""
    running: list[HttpServer] = []

    async def starter(application: Application | None = None, **settings: object) -> Running:
        chosen = ServerSettings(**{"access_log": "off", **settings})  # type: ignore[arg-type]
        server = HttpServer(application or small_application(), chosen)
        sock = socket.create_server(("127.0.0.1", 0))
        await server.start([sock])
        running.append(server)
        return Running(server, sock.getsockname()[1])

    yield starter
    for server in running:
        await server.stop(0.2)
