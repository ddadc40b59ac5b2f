"""`hosted_requests.py KIND REQUESTS`: GETs of a hosted application, answered in this process against a transport that
does nothing. For `benchmarks.instructions`, which counts what they cost. KIND: `api` (FastAPI), `bare` and `flask` in
our host; `api-uvicorn`; `api-alone` and `flask-alone`, the application without any server."""

from __future__ import annotations

import asyncio
import io
import os
import sys
from typing import Any

import uvloop
from asgi_requests import Nowhere, count_from_here

GET = b"GET / HTTP/1.1\r\nHost: localhost:8999\r\n\r\n"  # as wrk sends it


def application(kind: str) -> Any:
    """What is served; only its own framework is imported."""
    if kind == "bare":

        def bare(environ: dict[str, Any], start_response: Any) -> list[bytes]:
            start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "5")])
            return [b"hello"]

        return bare
    if kind == "flask":
        from flask import Flask

        shop = Flask("hosted")
        shop.get("/")(lambda: "hello")
        return shop
    from fastapi import FastAPI

    api = FastAPI()

    @api.get("/")
    async def number() -> dict[str, int]:
        return {"number": 1}

    return api


async def hosted(found: Any) -> asyncio.Protocol:
    from skerry.hosting.host import Host
    from skerry.hosting.settings import HostSettings
    from skerry.http.application import Application
    from skerry.server.server import HttpServer
    from skerry.server.settings import ServerSettings

    around = Application()
    host = Host("hosted", lambda: found)
    around.mount("/", host, rights=None, hosted=True)
    host.open(HostSettings(threads="2"))
    server = HttpServer(around, ServerSettings(access_log="off"))
    await server.start([])
    return server.connection()


async def on_uvicorn(found: Any) -> asyncio.Protocol:
    import uvicorn
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

    config = uvicorn.Config(found, access_log=False, log_level="warning", lifespan="off")
    config.load()
    server = uvicorn.Server(config)
    await server.on_tick(0)  # makes the Date line
    return HttpToolsProtocol(config=config, server_state=server.server_state, app_state={})


class Woken(Nowhere):
    """Wakes who waits for an answer: a thread of the host may need a while for it."""

    def __init__(self) -> None:
        super().__init__()
        self.came = asyncio.Event()

    def write(self, data: Any) -> None:
        super().write(data)
        self.came.set()


class Alone:
    """In the place of a server: what an application cannot do without."""

    def __init__(self, found: Any, *, is_asgi: bool) -> None:
        self._found, self._is_asgi = found, is_asgi
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: Nowhere) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if self._is_asgi:
            scope = {
                "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1",
                "server": ("127.0.0.1", 8999), "client": ("127.0.0.1", 50000), "scheme": "http", "root_path": "",
                "headers": [(b"host", b"localhost:8999")], "state": {}, "method": "GET", "path": "/",
                "raw_path": b"/", "query_string": b"",
            }  # fmt: skip
            self._task = asyncio.get_running_loop().create_task(self._found(scope, self._receive, self._send))
            return
        environ = {
            "REQUEST_METHOD": "GET", "SCRIPT_NAME": "", "PATH_INFO": "/", "QUERY_STRING": "",
            "REMOTE_ADDR": "127.0.0.1", "SERVER_NAME": "localhost", "SERVER_PORT": "8999",
            "SERVER_PROTOCOL": "HTTP/1.1", "HTTP_HOST": "localhost:8999", "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http", "wsgi.input": io.BytesIO(b""),
            "wsgi.errors": sys.stderr, "wsgi.multithread": True, "wsgi.multiprocess": False, "wsgi.run_once": False,
        }  # fmt: skip
        result = self._found(environ, lambda status, headers, exc_info=None: None)
        b"".join(result)
        result.close()
        self._transport.write(b"HTTP/1.1 200")

    async def _receive(self) -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def _send(self, message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self._transport.write(b"HTTP/1.1 200")


async def main(kind: str, requests: int) -> None:
    name, _, where = kind.partition("-")
    found = application(name)
    connection: Any
    if where == "alone":
        connection = Alone(found, is_asgi=name == "api")
    else:
        connection = await (on_uvicorn(found) if where else hosted(found))
    transport = Woken()
    connection.connection_made(transport)
    for number in range(1, requests + 4):
        if number == 4:  # what is made once is made
            count_from_here()
        transport.came.clear()
        connection.data_received(GET)
        while transport.answers < number:
            await transport.came.wait()
            transport.came.clear()
        await asyncio.sleep(0)  # what follows an answer belongs to it
    if not requests:
        count_from_here()
    os._exit(0)


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], int(sys.argv[2])))
