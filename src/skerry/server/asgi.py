"""The ASGI half of a connection: scope, flow control, uvicorn's request-response cycle, and when one runs.

The cycle (framing of the answer, `receive`, `send`) is uvicorn's. Ours is what feeds it: a flow that reads on only
while nothing waits in the pipeline, HTTP/1.0 without chunks, and the access log.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from skerry.http.headers import Headers
from skerry.http.problems import Problem
from skerry.http.request import Peer, Request
from skerry.http.routes import Found, Missing, Mount
from skerry.server.access import access, log_access
from skerry.server.state import State
from skerry.server.turns import Turn

if TYPE_CHECKING:
    from skerry.server.protocol import Connection
    from skerry.server.reading import Reading

logger = logging.getLogger("skerry.server")

HIGH_WATER = 65_536
ASGI = {"version": "3.0", "spec_version": "2.3"}


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


class Exit:
    """The transport as a cycle has it: it writes, and how the connection ends is left to the connection. uvicorn's
    cycle would close at once, and a client that still sends its body would meet a reset instead of its answer."""

    __slots__ = ("_connection", "is_closing", "write")

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.is_closing, self.write = connection.transport.is_closing, connection.transport.write

    def close(self) -> None:
        """Nothing is answered after this."""
        self._connection.order.turns.clear()
        self._connection.close()


def cycle_of(
    scope: dict[str, Any],
    transport: Exit,
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
        transport=transport,  # type: ignore[arg-type]  # what a cycle uses of one
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


class AsgiSide:
    """The requests of one connection that go through the application, one at a time."""

    __slots__ = ("_connection", "_exit", "_state")

    def __init__(self, connection: Connection, state: State) -> None:
        self._connection, self._state = connection, state
        self._exit: Exit | None = None  # made with the first request: before it there may be no transport

    def begin(
        self, request: Request, found: Found | Mount | Missing, *, expects: bool
    ) -> RequestResponseCycle:
        """Start a request, or let it wait for its turn; its body follows into the cycle. Raises Problem 503 when too
        many are under way."""
        connection, state = self._connection, self._state
        if len(state.tasks) >= state.settings.max_pending:
            raise Problem(503, "too many requests are under way", headers={"Retry-After": "1"})
        keep = connection.intake.keep
        if self._exit is None:
            self._exit = Exit(connection)
        cycle = cycle_of(
            scope_of(request, connection.intake.version, found, state.app_state),
            self._exit,
            connection.flow,
            state.default_headers,
            self._completed,
            expects=expects,
            keep_alive=bool(keep),
            logged=state.log_asgi,
        )
        if connection.order.free and not connection.flow.write_paused:
            self.start(cycle)
        else:
            connection.order.turns.append(Turn(request, found, keep, cycle=cycle))
        return cycle

    def start(self, cycle: RequestResponseCycle) -> None:
        """Run the application for a request whose turn it is."""
        self._connection.order.run(cycle)
        state = self._state
        task = state.loop.create_task(cycle.run_asgi(state.application.asgi))  # type: ignore[arg-type]  # typed by Starlette
        state.tasks.add(task)
        task.add_done_callback(state.tasks.discard)

    def _completed(self) -> None:
        """The answer of the cycle that ran is complete."""
        connection, order = self._connection, self._connection.order
        cycle, order.running = order.running, None
        self._state.total_requests += 1
        if connection.transport.is_closing():
            return
        if connection.intake.cycle is cycle:
            connection.close()  # answered before the body was read: its rest is not worth reading
            return
        order.advance()


def disconnect(cycle: RequestResponseCycle) -> None:
    """Tell the application that its client is gone."""
    cycle.disconnected = True
    cycle.message_event.set()
