"""One request on its way through the ASGI application: scope, flow control, uvicorn's request-response cycle.

The cycle (framing of the answer, `receive`, `send`) is uvicorn's. Ours is what feeds it: a flow that reads on only
while nothing waits in the pipeline, HTTP/1.0 without chunks, and the access log.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import Callable
from typing import Any, Protocol
from urllib.parse import unquote

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from skerry.http.headers import Headers
from skerry.http.request import Peer, Request
from skerry.http.routes import Found, Missing, Mount

logger = logging.getLogger("skerry.server")
access = logging.getLogger("skerry.access")

HIGH_WATER = 65_536
ASGI = {"version": "3.0", "spec_version": "2.3"}


class Reading(Protocol):
    """Whose reading a flow governs: the connection."""

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


class Flow:
    """Back-pressure in both directions, in the shape that uvicorn's cycle expects."""

    __slots__ = ("_reading", "_writable", "write_paused")

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._writable: asyncio.Event | None = None
        self.write_paused = False

    def pause_reading(self) -> None:
        self._reading.pause_reading()

    def resume_reading(self) -> None:
        self._reading.resume_reading()

    def pause_writing(self) -> None:
        self.write_paused = True

    def resume_writing(self) -> None:
        self.write_paused = False
        if self._writable is not None:
            self._writable.set()
            self._writable = None

    async def drain(self) -> None:
        """Return when the transport takes more."""
        if self.write_paused:
            if self._writable is None:
                self._writable = asyncio.Event()
            await self._writable.wait()


class Known:
    """What the protocol found out already, handed to the application in the scope as `skerry`."""

    __slots__ = ("found", "headers", "path", "peer", "target")

    def __init__(self, path: str, found: Found | Mount | Missing, request: Request) -> None:
        self.path, self.found = path, found
        self.headers: Headers = request.headers
        self.target: bytes | None = request.target
        self.peer: Peer = request.peer


def scope_of(
    request: Request, version: str, found: Found | Mount | Missing, state: dict[str, Any], kind: str = "http"
) -> dict[str, Any]:
    """The ASGI scope of a request (ASGI HTTP 2.3)."""
    raw_path, _, query = request.target.partition(b"?")
    path = raw_path.decode("ascii")
    if "%" in path:
        path = unquote(path)
    peer = request.peer
    return {
        "type": kind,
        "asgi": ASGI,
        "http_version": version,
        "server": peer.server,
        "client": peer.client,
        "scheme": peer.scheme,
        "root_path": "",
        "headers": list(request.headers.raw),  # an application may change its own
        "state": state.copy(),
        "method": request.method,
        "path": path,
        "raw_path": raw_path,
        "query_string": query,
        "skerry": Known(path, found, request),
    }


def cycle_of(
    scope: dict[str, Any],
    transport: asyncio.Transport,
    flow: Flow,
    default_headers: list[tuple[bytes, bytes]],
    on_response: Callable[[], None],
    *,
    expects: bool,
    keep_alive: bool,
    logged: bool,
) -> RequestResponseCycle:
    """uvicorn's cycle for this request."""
    old = scope["http_version"] == "1.0"
    kind = NotedCycle if old or (logged and access.isEnabledFor(logging.INFO)) else PlainCycle
    return kind(
        scope=scope,  # type: ignore[arg-type]
        transport=transport,
        flow=flow,  # type: ignore[arg-type]  # same shape, other reading rules
        logger=logger,
        access_logger=access,
        access_log=False,
        default_headers=default_headers,
        message_event=asyncio.Event(),
        expect_100_continue=expects,
        keep_alive=keep_alive and not old,
        on_response=on_response,
    )


class PlainCycle(RequestResponseCycle):
    """uvicorn's, as it is."""


class NotedCycle(RequestResponseCycle):
    """A cycle that writes the access log, and that ends a body of unknown length by closing for HTTP/1.0."""

    _until_close = False
    _status = 0
    _began = 0.0

    async def run_asgi(self, app: Any) -> None:
        self._began = time.monotonic()
        try:
            await super().run_asgi(app)
        finally:
            if access.isEnabledFor(logging.INFO):
                log_access(self.scope, self._status, time.monotonic() - self._began)

    async def send(self, message: Any) -> None:
        if not self.response_started:
            self._status = message.get("status", 0)
            if self.scope["http_version"] == "1.0":
                names = {bytes(name).lower() for name, _ in message.get("headers", ())}
                if b"content-length" not in names:
                    self._until_close = True
                    self.chunked_encoding = False
                    self.expected_content_length = sys.maxsize
        elif self._until_close and not message.get("more_body", False):
            self.expected_content_length = len(message.get("body", b""))
        await super().send(message)


def log_access(scope: Any, status: int, seconds: float) -> None:
    """One line for one answer; the fields are in `extra` for JSON logs."""
    path = scope["raw_path"].decode("ascii")
    client = scope.get("client")
    given = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
    access.info(
        "%s %s %d %.1f ms",
        scope["method"],
        path,
        status,
        seconds * 1000,
        extra={
            "method": scope["method"],
            "path": path,
            "status": status,
            "seconds": seconds,
            "client": client[0] if client else None,
            "request_id": given.decode("latin-1") or None,
        },
    )
