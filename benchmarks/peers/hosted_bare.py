"""What the servers of benchmarks/hosting.py serve: callables of no framework."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

PIECE = b"x" * 65_536


def wsgi(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    name = environ["PATH_INFO"]
    if name == "/up":
        size = 0
        while data := environ["wsgi.input"].read(65_536):
            size += len(data)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [str(size).encode()]
    if name == "/down":
        start_response("200 OK", [("Content-Type", "application/octet-stream")])
        return (PIECE for _ in range(3_200))
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "5")])
    return [b"hello"]


async def asgi(scope: dict[str, Any], receive: Callable[..., Any], send: Callable[..., Any]) -> None:
    if scope["type"] == "lifespan":
        raise RuntimeError("none")
    fields = [(b"content-type", b"application/json"), (b"content-length", b"12")]
    await send({"type": "http.response.start", "status": 200, "headers": fields})
    await send({"type": "http.response.body", "body": b'{"number":1}'})
