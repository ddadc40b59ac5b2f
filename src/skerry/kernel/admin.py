"""The admin address: health, readiness and numbers of a process, for orchestrators and monitors (`SKERRY_ADMIN_BIND`).

`GET /health/live`, `/health/ready` (`?for=traffic`, `?for=writes`), `/metrics` only read. `POST /orders` takes what
`skerry reload|stop|restart|scale` order, where somebody carries orders out: with SKERRY_ADMIN_TOKEN, as JSON, and not
from a page. Not here: what makes a process ready (http/health.py), what an order is (`skerry.process.orders`).
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST

from skerry.clock import SystemClock
from skerry.http.application import Application, ApplicationSettings
from skerry.http.auth import Tokens
from skerry.http.health import Report, install_health
from skerry.http.hosts import hosts_of
from skerry.http.problems import Problem
from skerry.http.reply import Response
from skerry.http.request import Request
from skerry.kernel.settings import Settings, address, listed
from skerry.loop.sockets import bind_tcp
from skerry.server.server import HttpServer
from skerry.server.settings import ServerSettings

MOST_CONNECTIONS = 128
BODY_BYTES = 4096
CLOSING_SECONDS = 0.5
"""What a request to this address may still take when its process ends."""

Order = Callable[[bytes], Awaitable[tuple[int, str]]]
"""Carries an order out: its JSON -> an exit code (0 done, 1 failed, 2 not possible), and what to say. Raises ValueError
for text that is not an order."""


class AdminServer:
    """One address of one process. `report(purpose)` tells whether it is ready, `metrics()` gives the numbers as
    Prometheus text, `order` is None where nothing can be ordered."""

    def __init__(
        self,
        settings: Settings,
        report: Report,
        metrics: Callable[[], Awaitable[str]],
        order: Order | None = None,
    ) -> None:
        self._settings, self._report, self._metrics, self._order = settings, report, metrics, order
        self._server: HttpServer | None = None

    @property
    def url(self) -> str:
        """Where it listens; empty before `start`."""
        return self._server.addresses[0] if self._server is not None and self._server.addresses else ""

    async def start(self, listener: socket.socket | None = None) -> None:
        """Serve at `listener`, else at the address of the settings. Raises SettingsError when that cannot be taken."""
        if listener is None:
            listener = bind_tcp(*address(self._settings.admin_bind, "admin_bind"), setting="admin_bind")
        application = self._application()
        clock, token = SystemClock(), self._settings.admin_token
        host = address(self._settings.admin_bind, "admin_bind")[0]
        application.compile(
            tokens=Tokens([("write", "admin", token)], clock) if token else None,
            hosts=hosts_of(listed(self._settings.hosts), host),
        )
        limits = ServerSettings(
            max_connections=MOST_CONNECTIONS, access_log="off", drain_seconds=CLOSING_SECONDS
        )
        self._server = HttpServer(application, limits)
        await self._server.start([listener])

    async def stop(self) -> None:
        if self._server is not None:
            await self._server.stop(CLOSING_SECONDS)

    def _application(self) -> Application:
        application = Application(
            ApplicationSettings("Skerry", openapi=None, docs=None, max_body_bytes=BODY_BYTES)
        )
        install_health(application, self._report)
        metrics, order = self._metrics, self._order

        @application.get("/metrics", rights="read")
        async def numbers() -> Response:
            return Response(
                await metrics(), media_type=CONTENT_TYPE_LATEST, headers={"Cache-Control": "no-store"}
            )

        if order is not None:

            @application.post("/orders", rights="write")
            async def orders(request: Request) -> Any:
                self._check(request)
                try:
                    code, text = await order(request.body)
                except ValueError as error:
                    raise Problem(400, str(error)) from error
                return Response.json({"code": code, "message": text}, {0: 200, 1: 409}.get(code, 422))

        return application

    def _check(self, request: Request) -> None:
        """Raises Problem for what a page might have sent, or for anybody where no token is set."""
        if not self._settings.admin_token:
            raise Problem(403, "this address only reads: set SKERRY_ADMIN_TOKEN to order something here")
        if request.headers.get("origin") is not None:
            raise Problem(403, "orders are not taken from pages")
        if (request.headers.get("content-type") or "").partition(";")[
            0
        ].strip().lower() != "application/json":
            raise Problem(415, "an order is JSON: Content-Type: application/json")
