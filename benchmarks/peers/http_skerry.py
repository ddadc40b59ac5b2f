"""The values from a lane route with everything that the contract asks of it, written as livekv writes its view, and a
plain ASGI route."""

from __future__ import annotations

import asyncio
import gc
import socket
import sys
from pathlib import Path

import msgspec
import uvloop

from skerry.http.application import Application
from skerry.http.prefer import Prefer
from skerry.http.reply import Fields, Response
from skerry.http.request import Request
from skerry.server.server import HttpServer
from skerry.server.settings import ServerSettings

sys.path.insert(0, str(Path(__file__).parent))
from http_dict import POSITION, values  # beside this file, shared by the peers

app = Application()
memory = {key: (value, number) for number, (key, value) in enumerate(values().items())}
# One per position: an application makes it anew when an event is applied.
fields = Fields({"Content-Type": "application/json", "Skerry-Position": POSITION})
encode = msgspec.json.Encoder().encode


class Pair(msgspec.Struct, frozen=True, gc=False):
    """A key and its value, as the answer shows them."""

    key: str
    value: str


@app.get("/values/{key}")
def get_value(key: str, request: Request) -> Response:
    found = memory.get(key)
    if found is None:
        return Response(b"", 404)
    if request.headers.get("skerry-position") is not None:
        Prefer.of(request.headers)  # an application would wait here for that position
    value, offset = found
    return Response.ready(encode(Pair(key, value)), fields.lines, str(offset))


@app.get("/plain")
async def plain() -> str:
    return "hello"


async def main() -> None:
    server = HttpServer(app, ServerSettings())
    await server.start([socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=2048)])
    gc.collect()
    gc.freeze()
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main())
