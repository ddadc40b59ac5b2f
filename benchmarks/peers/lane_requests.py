"""`lane_requests.py KIND REQUESTS`: GETs of a value of livekv, answered in this process against a transport that does
nothing. For `benchmarks.instructions`, which counts what they cost and names the KINDs."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
from dataclasses import replace
from typing import Any

from livekv import app
from livekv.messages import PutValue
from skerry import Settings
from skerry.http.auth import COOKIE
from skerry.testing import running

TOKEN = "abcdefghijklmnop"


class Nowhere(asyncio.Transport):
    """Takes everything."""

    def write(self, data: Any) -> None:
        pass

    def is_closing(self) -> bool:
        return False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("127.0.0.1", 50000) if name in ("peername", "sockname") else default


def count_from_here() -> None:
    subprocess.run(["callgrind_control", "-i", "on", str(os.getpid())], capture_output=True, check=False)


async def main(kind: str, requests: int) -> None:
    settings = Settings(journal="memory:", transport="memory:", warm_start=False)
    field = ""
    if kind in ("token", "cookie"):
        settings = replace(settings, tokens=f"read:ci={TOKEN}")
    elif kind == "trusted":
        settings = replace(settings, trusted="127.0.0.1")
        field = "X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: https\r\n"
    elif kind == "log":
        settings = replace(settings, access_log=True)
        logging.getLogger("skerry.access").setLevel(logging.CRITICAL)
    async with running(app, settings=settings) as world:
        await world.commands.send(PutValue("mykey", "v" * 64))
        http = world.server.http
        routes = world.kernel.application.table.routes
        [route] = [each for each in routes if each.path == "/values/{key}" and "GET" in each.methods]
        route.keep = kind == "kept"
        if kind == "cookie":
            guard: Any = world.kernel.application.guard
            field = f"Cookie: {COOKIE}={guard.tokens.session(TOKEN)}\r\n"
        elif kind == "token":
            field = f"Authorization: Bearer {TOKEN}\r\n"
        data = f"GET /values/mykey HTTP/1.1\r\nHost: localhost:8999\r\nAccept: */*\r\n{field}\r\n".encode()
        connection = http.connection()
        connection.connection_made(Nowhere())
        for _ in range(3):
            connection.data_received(data)  # the header block is known then, and the answer kept
        before = sum(route.counts.values())
        count_from_here()
        for _ in range(requests):
            connection.data_received(data)
        connection.connection_lost(None)
        assert sum(route.counts.values()) - before == requests == route.counts[200] - before


asyncio.run(main(sys.argv[1], int(sys.argv[2])))
