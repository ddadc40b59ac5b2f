"""`lane_requests.py KIND REQUESTS`: GETs of a value from memory, answered in this process against a transport that does
nothing. For `benchmarks.instructions`, which counts what they cost. KIND: `open`, `token`, `cookie`, `log`."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from skerry.clock import SystemClock
from skerry.http.application import Application, ApplicationSettings
from skerry.http.auth import COOKIE, Tokens
from skerry.http.reply import Response
from skerry.http.request import Request
from skerry.kernel.writes import HttpReads
from skerry.position import Position
from skerry.server.server import HttpServer
from skerry.server.settings import ServerSettings


class Still:
    """As much of a projector as a read of a row asks for."""

    position = Position("epoch", 7)
    stopped: Mapping[str, str] = MappingProxyType({})

    def epoch_of(self, offset: int) -> str:
        return "epoch"


class Nowhere(asyncio.Transport):
    """Takes everything."""

    def write(self, data: Any) -> None:
        pass

    def is_closing(self) -> bool:
        return False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default


async def main(kind: str, requests: int) -> None:
    tokens = Tokens.parse("read:ci=abcdefghijklmnop" if kind != "open" else "", SystemClock())
    reads: Any = HttpReads(Still(), guarded=bool(tokens))  # type: ignore[arg-type]
    app = Application(ApplicationSettings(openapi=None, docs=None))
    entries = {"mykey": b'{"key":"mykey","value":"myvalue"}'}

    @app.get("/values/{key}")
    def get_value(request: Request, key: str) -> Response:
        if request.headers.get("skerry-position") is not None:
            raise ValueError
        return reads.row(entries[key], 5)

    app.compile(tokens=tokens)
    server = HttpServer(app, ServerSettings(access_log="off"))
    await server.start([])
    field = ""
    if kind == "cookie":
        field = f"Cookie: {COOKIE}={tokens.session('abcdefghijklmnop')}\r\n"
    elif kind != "open":
        field = "Authorization: Bearer abcdefghijklmnop\r\n"
    data = f"GET /values/mykey HTTP/1.1\r\nHost: localhost:8999\r\nAccept: */*\r\n{field}\r\n".encode()
    connection = server.connection()
    connection.connection_made(Nowhere())
    for _ in range(requests):
        connection.data_received(data)
    assert sum(app.table.routes[0].counts.values()) == requests
    assert app.table.routes[0].counts == {200: requests}


asyncio.run(main(sys.argv[1], int(sys.argv[2])))
