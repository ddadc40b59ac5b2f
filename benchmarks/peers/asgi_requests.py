"""`asgi_requests.py KIND REQUESTS`: GETs of a plain ASGI route, answered in this process against a transport that does
nothing. For `benchmarks.instructions`, which counts what they cost. KIND: `asgi`, or `starlette` on uvicorn."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from typing import Any

import uvloop

GET = b"GET /plain HTTP/1.1\r\nHost: localhost:8999\r\n\r\n"  # as wrk sends it


class Nowhere(asyncio.Transport):
    """Takes everything, and counts the answers."""

    answers = 0

    def write(self, data: Any) -> None:
        self.answers += data.startswith(b"HTTP/1.1 200")

    def is_closing(self) -> bool:
        return False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("127.0.0.1", 50000) if name in ("peername", "sockname") else default


async def ours() -> asyncio.Protocol:
    from skerry.http.application import Application
    from skerry.server.server import HttpServer
    from skerry.server.settings import ServerSettings

    app = Application()

    @app.get("/plain")
    async def plain() -> str:
        return "hello"

    server = HttpServer(app, ServerSettings())
    await server.start([])
    return server.connection()


async def theirs() -> asyncio.Protocol:
    import uvicorn
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import PlainTextResponse, Response
    from starlette.routing import Route
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

    async def plain(request: Request) -> Response:
        return PlainTextResponse("hello")

    config = uvicorn.Config(
        Starlette(routes=[Route("/plain", plain)]), access_log=False, log_level="warning", lifespan="off"
    )
    config.load()
    server = uvicorn.Server(config)
    await server.on_tick(0)  # makes the Date line
    return HttpToolsProtocol(config=config, server_state=server.server_state, app_state={})


def count_from_here() -> None:
    subprocess.run(["callgrind_control", "-i", "on", str(os.getpid())], capture_output=True, check=False)


async def main(kind: str, requests: int) -> None:
    connection: Any = await (ours() if kind == "asgi" else theirs())
    transport = Nowhere()
    connection.connection_made(transport)
    for number in range(1, requests + 4):
        if number == 4:  # what is made once is made
            count_from_here()
        connection.data_received(GET)
        while transport.answers < number:  # noqa: ASYNC110 - as many turns of the loop as it takes
            await asyncio.sleep(0)
    if not requests:
        count_from_here()
    os._exit(0)


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], int(sys.argv[2])))
