"""The same values by Starlette on uvicorn (httptools, uvloop, no access log)."""

from __future__ import annotations

import sys
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

sys.path.insert(0, str(Path(__file__).parent))
from http_dict import POSITION, values  # beside this file, shared by the peers

memory = {key: (value, number) for number, (key, value) in enumerate(values().items())}


async def get_value(request: Request) -> Response:
    key = request.path_params["key"]
    found = memory.get(key)
    if found is None:
        return Response(status_code=404)
    value, offset = found
    return JSONResponse(
        {"key": key, "value": value}, headers={"ETag": f'"{offset}"', "Skerry-Position": POSITION}
    )


async def plain(request: Request) -> Response:
    return PlainTextResponse("hello")


app = Starlette(routes=[Route("/values/{key}", get_value), Route("/plain", plain)])

if __name__ == "__main__":
    uvicorn.run(
        app, port=int(sys.argv[1]), loop="uvloop", http="httptools", access_log=False, log_level="warning"
    )
