"""Answers of an ASGI application: the scope, `receive` and `send` over an exchange (ASGI HTTP 2.4).

Not here: how an answer is framed and when it is a request's turn (the exchange), nor what a websocket is told
(`conversation`).
"""

from __future__ import annotations

import asyncio
import logging
import os
import stat
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol
from urllib.parse import unquote

from starlette.types import ASGIApp

from skerry.exchange import ClientDisconnected, Exchange, LongExchange
from skerry.http.headers import Headers
from skerry.http.identity import IDENTITY
from skerry.http.path import encode_path
from skerry.http.reply import Response
from skerry.http.request import Peer, Request
from skerry.http.routes import Found, Missing, Mount, Told
from skerry.http.scope import HOST, foreign_headers, request_of
from skerry.server.access import access, log_access

logger = logging.getLogger("skerry.server")
PATHSEND = "http.response.pathsend"
"""A file of the answer is named, not read by the application (ASGI, Extensions, "Path Send")."""
ASGI = {"version": "3.0", "spec_version": "2.4"}


class RequestInfo:
    """What the protocol found out already, handed to the application in the scope as `skerry`."""

    __slots__ = ("found", "headers", "peer", "target")

    def __init__(self, found: Found | Mount | Missing, request: Request) -> None:
        self.found = found
        self.headers: Headers = request.headers
        self.target: bytes | None = request.target
        self.peer: Peer = request.peer


def scope_of(
    request: Request, peer: Peer, version: str, found: Found | Mount | Missing, state: dict[str, Any]
) -> dict[str, Any]:
    """The ASGI scope of a request (ASGI HTTP 2.4) of `peer`, for our own application."""
    scope = _scope(request, peer, version)
    scope["headers"] = list(request.headers.raw)  # an application may change its own
    scope["state"] = state.copy()
    scope["skerry"] = RequestInfo(found, request)
    return scope


def scope_within(
    request: Request, peer: Peer, version: str, mount: Mount, state: dict[str, Any]
) -> dict[str, Any]:
    """The same for one that is mounted, and that is told nothing of ours."""
    scope = _scope(request, peer, version)
    headers = request.headers
    fields = headers.foreign
    if fields is None:
        fields = headers.foreign = foreign_headers(headers.raw)
    scope["headers"] = fields.copy()
    scope["root_path"] += mount.root_path
    scope["state"] = {**state, **mount.state}
    return scope


def _scope(request: Request, peer: Peer, version: str) -> dict[str, Any]:
    raw_path, _, query = request.target.partition(b"?")
    path = raw_path.decode("ascii")
    if "%" in path:
        path = unquote(path)
    root = peer.root_path
    if root and path != "*":
        path, raw_path = root + path, encode_path(root) + raw_path
    scope: dict[str, Any] = {
        "type": "http",
        "asgi": ASGI,
        "http_version": version,
        "server": peer.server,
        "client": peer.client,
        "scheme": peer.scheme,
        "root_path": root,
        "method": request.method,
        "path": path,
        "raw_path": raw_path,
        "query_string": query,
        "extensions": {PATHSEND: {}},
    }
    if peer.host is not None:
        scope[HOST] = peer.host
    return scope


class Ledger(Protocol):
    """Counts the applications that run."""

    def run(self, task: asyncio.Task[None]) -> None:
        """It runs, and its answer has not begun."""
        ...

    def stream(self, task: asyncio.Task[None]) -> None:
        """The body of its answer has begun and goes on: long-lived from now on."""
        ...

    def abandon(self, task: asyncio.Task[None]) -> None:
        """Its client has gone."""
        ...


Failure = Callable[[Exception, Request], ASGIApp]


class AsgiAnswer:
    """One request answered by an ASGI application, in a task of its own. An `Answerer`. `failure`: gives the answer for
    what the application has raised before it began one, 500 where there is none; `told` hears how it went."""

    __slots__ = (
        "_application",
        "_began",
        "_exchange",
        "_failure",
        "_ledger",
        "_lent",
        "_read",
        "_scope",
        "_status",
        "_task",
        "_told",
        "_waiter",
    )

    def __init__(
        self,
        exchange: LongExchange,
        scope: dict[str, Any],
        application: ASGIApp,
        ledger: Ledger,
        *,
        loop: asyncio.AbstractEventLoop,
        began: float,
        logged: bool,
        failure: Failure | None = None,
        told: Told | None = None,
    ) -> None:
        self._exchange, self._scope, self._application, self._ledger = exchange, scope, application, ledger
        self._failure, self._told, self._began = failure, told, began
        self._read = False  # the whole body, by the application
        self._lent = False
        self._status = 0
        self._waiter: asyncio.Future[None] | None = None
        logs = logged and access.isEnabledFor(logging.INFO)
        run = self._run_and_log if logs else self._run
        self._task = loop.create_task(run())  # get_running_loop() would ask the system who we are
        ledger.run(self._task)

    # The connection's side

    def readable(self) -> None:
        self._wake()

    def writable(self) -> None:
        self._wake()

    def gone(self) -> None:
        self._ledger.abandon(self._task)
        self._wake()

    def stream(self) -> None:
        """The answer is one that goes on."""
        self._ledger.stream(self._task)

    @property
    def identity(self) -> Any:
        """Of its client, where the application has asked for it."""
        state = self._scope.get("state")  # a foreign one may have put something else there
        return state.get(IDENTITY) if isinstance(state, dict) else None

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None:
            self._waiter = None
            if not waiter.done():
                waiter.set_result(None)

    async def _change(self) -> None:
        """Return when the connection has told something. `receive` and `send` may wait at the same time."""
        if self._waiter is None:
            self._waiter = asyncio.get_running_loop().create_future()
        await asyncio.shield(self._waiter)

    # The application's side

    async def receive(self) -> dict[str, Any]:
        """The next part of the body; then, as soon as the client has gone or the answer is complete, that."""
        exchange = self._exchange
        while not self._read and not exchange.finished and not exchange.broken:
            data = exchange.take()
            complete = exchange.complete
            if data or complete:
                self._read = complete
                return {"type": "http.request", "body": data, "more_body": not complete}
            await self._change()
        while not (exchange.gone or exchange.finished or exchange.broken):
            await self._change()
        return {"type": "http.disconnect"}

    async def send(self, message: Mapping[str, Any]) -> None:
        """A part of the answer. Raises OSError (ClientDisconnected) when nothing reaches the client any more."""
        exchange = self._exchange
        self._failure = None  # it answers itself, well or badly
        while not exchange.room and not exchange.gone and not exchange.finished:
            await self._change()
        kind = message["type"]
        try:
            if not exchange.started:
                if kind != "http.response.start":
                    raise RuntimeError(f"Expected ASGI message 'http.response.start', but got '{kind}'.")
                exchange.start(message["status"], message.get("headers", ()))
                self._status = message["status"]
            elif exchange.finished:
                raise RuntimeError(
                    f"Unexpected ASGI message '{kind}' sent, after response already completed."
                )
            elif kind == PATHSEND:
                await self._send_file(exchange, message["path"])
            elif kind != "http.response.body":
                raise RuntimeError(f"Expected ASGI message 'http.response.body', but got '{kind}'.")
            elif message.get("more_body", False):
                exchange.write(message.get("body", b""))
            else:
                exchange.finish(message.get("body", b""))
                self._wake()
        except ClientDisconnected:
            # Who goes on all the same takes a turn of the loop for it.
            await asyncio.sleep(0)
            raise

    async def reply(self, response: Response) -> None:
        """A complete answer of our own in one: what `send` would be told by it in two messages."""
        exchange = self._exchange
        while not exchange.room and not exchange.gone and not exchange.finished:
            await self._change()
        try:
            exchange.reply(response.status, *response.whole())
            self._status = response.status
            self._wake()
        except ClientDisconnected:
            await asyncio.sleep(0)
            raise

    async def lend(self) -> LongExchange:
        """The exchange, with room, for an answer of our own that goes on when the application has returned. Nothing is
        sent or received here any more."""
        exchange = self._exchange
        while not exchange.room and not exchange.gone and not exchange.finished:
            await self._change()
        self._lent, self._status = True, 200
        return exchange

    async def _send_file(self, exchange: Exchange, path: str) -> None:
        """The whole rest of the answer; returns when it has gone out. Raises OSError for a file that is not there."""
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            os.close(descriptor)
            raise OSError(f"{path} is no regular file")
        exchange.finish_file(descriptor, 0, status.st_size)
        while not (exchange.finished or exchange.closed):
            await self._change()
        if not exchange.finished:
            raise ClientDisconnected("the client is gone")

    async def _run(self) -> None:
        exchange = self._exchange
        try:
            asked: Awaitable[object] = self._application(self._scope, self.receive, self.send)
            result = await asked
        except asyncio.CancelledError:
            exchange.abort()
            raise
        except Exception as error:
            if exchange.gone:
                logger.debug("%s, after the client had gone: %r", self._scope["path"], error)
                exchange.abort()
            elif self._failure is not None:
                self._application = self._failure(error, request_of(self._scope))
                self._failure = None
                await self._run()
            else:
                logger.error("Exception in ASGI application\n", exc_info=error)
                self._fail()
        else:
            if exchange.finished or self._lent:
                return
            if exchange.gone:
                exchange.abort()
            elif result is not None:
                logger.error("ASGI callable should return None, but returned '%s'.", result)
                exchange.abort()
            elif exchange.started:
                logger.error("ASGI callable returned without completing response.")
                exchange.abort()
            else:
                logger.error("ASGI callable returned without starting response.")
                self._fail()
        finally:
            told, self._told = self._told, None
            if told is not None:
                told(self._scope, self._status, time.monotonic() - self._began)

    def _fail(self) -> None:
        """Answer 500 where no answer has begun, else break it off."""
        exchange = self._exchange
        try:
            if exchange.started:
                exchange.abort()
                return
            fields = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"21")]
            exchange.start(500, [*fields, (b"connection", b"close")])
            exchange.finish(b"Internal Server Error")
            self._status = 500
        except ClientDisconnected:
            pass  # nobody to be told

    async def _run_and_log(self) -> None:
        asked = self._scope.copy()  # which may be changed on its way
        try:
            await self._run()
        finally:
            log_access(asked, self._status, time.monotonic() - self._began, self.identity)
