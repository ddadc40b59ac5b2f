"""The servers that are compared: ours and uvicorn, each as a process of its own.

`python -m compliance.subjects NAME [TARGET]` serves on a free port, which it prints. `lane`, `asgi` and `uvicorn`
answer any request by what they understood of it, as JSON: method, target and body; with TARGET (`module:name`) that
ASGI application is served instead. What they log is left out.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from skerry.http.application import Application, ApplicationSettings
from skerry.http.reply import Response
from skerry.http.request import Request

NAMES = ("lane", "asgi", "uvicorn")
ROOT = Path(__file__).parent.parent


async def understood(scope: Any, receive: Any, send: Any) -> None:
    """Say what was asked."""
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body += message.get("body", b"")
        more = message.get("more_body", False)
    target = scope["raw_path"] + (b"?" + scope["query_string"] if scope["query_string"] else b"")
    said = json.dumps([scope["method"], target.decode("latin-1"), body.decode("latin-1")]).encode()
    fields = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(said))]
    await send({"type": "http.response.start", "status": 200, "headers": fields})
    await send({"type": "http.response.body", "body": said})


def ours(name: str, target: str | None) -> Any:
    """Our application: the lane's, or one with the ASGI application mounted."""
    app = Application(ApplicationSettings(openapi=None, docs=None))
    if name == "lane":

        def say(request: Request) -> list[str]:
            return [request.method, request.target.decode("latin-1"), request.body.decode("latin-1")]

        def say_below(request: Request, rest: str) -> list[str]:
            return say(request)

        @app.get("/tagged", rights=None)
        def tagged() -> Response:
            return Response("tagged", etag="abc")

        @app.get("/cookies", rights=None)
        def cookies(request: Request) -> dict[str, str]:
            return request.cookies()

        methods = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD")
        app.route("/", methods, rights=None)(say)
        app.route("/{rest:path}", methods, rights=None)(say_below)
    else:
        app.mount("/", understood if target is None else loaded(target), rights=None)
    return app


def loaded(target: str) -> Any:
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)


async def serve(name: str, target: str | None, sock: socket.socket) -> None:
    if name == "uvicorn":
        import uvicorn

        app = understood if target is None else loaded(target)
        config = uvicorn.Config(app, log_level="critical", access_log=False)
        await uvicorn.Server(config).serve([sock])
        return
    from skerry.http.trusted import Trusted
    from skerry.server.server import HttpServer
    from skerry.server.settings import ServerSettings

    server = HttpServer(ours(name, target), ServerSettings(trusted=Trusted(["127.0.0.1"]), access_log="off"))
    await server.start([sock])
    await asyncio.Event().wait()


@contextlib.contextmanager
def running(
    name: str,
    target: str | None = None,
    *,
    port: int = 0,
    python: str = sys.executable,
    directory: Path = ROOT,
) -> Iterator[int]:
    """One of them, until the block ends; its port. Raises RuntimeError when it does not start."""
    command = [python, "-m", "compliance.subjects", name, *([target] if target else [])]
    environ = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{directory}", "PORT": str(port)}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=directory, env=environ,
                               text=True)  # fmt: skip
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise RuntimeError(f"{name} does not start")
        port = int(line)
        until_it_answers(port)
        yield port
    finally:
        process.kill()
        process.wait()


def until_it_answers(port: int, seconds: float = 60.0) -> None:
    """Return when it answers a request. Raises OSError when it does not in that time."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            sock = socket.create_connection(("127.0.0.1", port), seconds)
            break
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
    with sock:
        sock.settimeout(60)
        sock.sendall(b"GET / HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n\r\n")
        while sock.recv(65_536):
            pass


def main() -> None:
    name, *rest = sys.argv[1:]
    sock = socket.create_server(("127.0.0.1", int(os.environ.get("PORT", "0"))))
    print(sock.getsockname()[1], flush=True)
    asyncio.run(serve(name, rest[0] if rest else None, sock))


if __name__ == "__main__":
    main()
