"""An HTTP adapter of a Tars service in one process: a WSGI or ASGI application within the limits of the file.

Accepts from the parent's socket, one connection at a time, so that each process gets its share. Not here: how an
application is called (`skerry.hosting`), how HTTP is read (`skerry.server`).
"""

from __future__ import annotations

import logging
import socket
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from skerry.hosting.call import Call
from skerry.hosting.detection import kind_of
from skerry.hosting.settings import HostSettings
from skerry.hosting.wsgi import Wsgi
from skerry.http.application import Application, ApplicationSettings
from skerry.kernel.importing import load_application
from skerry.kernel.logs import keep_logs
from skerry.kernel.settings import Settings
from skerry.roles.accepting import Acceptor
from skerry.roles.limits import server_settings
from skerry.server.server import HttpServer
from skerry.server.settings import ServerSettings
from skerry.tars.platform.adapters import access_of, share
from skerry.tars.platform.configuration import AdapterConfiguration
from skerry.tars.platform.domain import ConfigurationError
from skerry.tars.platform.services import Services
from skerry.tars.web.counting import Counted

log = logging.getLogger("skerry.tars.service")

BACKLOG = 1024
BROKEN_OFF = 499
"""What counts as the status of an answer that could not be sent to its end."""
IDLE_SECONDS = 1.0
"""How long a connection may bring one more request when its process ends: the client may have sent it already."""


class WebAdapter:
    """`target`: an application, or where it is. `shared`: the parent's socket. `workers`: how many processes share what
    the file allows."""

    def __init__(
        self,
        adapter: AdapterConfiguration,
        target: Any,
        settings: Settings,
        shared: socket.socket,
        workers: int,
        services: Services,
    ) -> None:
        self.adapter, self._shared, self._access = adapter, shared, access_of(adapter)
        self.refused = 0
        self._most = share(adapter.max_connections, workers)
        application = _hosted(adapter, target, settings, share(adapter.threads, workers), services)
        self.http = HttpServer(application, _limits(adapter, settings, self._most))
        self._acceptor = Acceptor(shared, self._take)

    async def start(self) -> None:
        """Start the application, then listen. Raises what a refusing application raises."""
        await self.http.start()
        self._shared.setblocking(False)
        self._shared.listen(BACKLOG)
        self._acceptor.start()
        log.info("%s listens on %s (%s)", self.adapter.servant, self.adapter.endpoint, self.adapter.protocol)

    async def stop(self, seconds: float) -> None:
        """Accept nothing more, answer what is under way, end the application."""
        self._acceptor.stop()
        self._shared.close()
        await self.http.stop(seconds, idle_seconds=min(IDLE_SECONDS, seconds / 2))

    def status(self) -> str:
        """For `tars.viewstatus`."""
        return (
            f"{self.adapter.servant} at {self.adapter.endpoint} ({self.adapter.protocol}): "
            f"{self.http.connections} connections, {self.refused} refused connections"
        )

    def _take(self, connection: socket.socket) -> None:
        host = connection.getpeername()[0] if connection.fileno() >= 0 else ""
        if not self._access.allows(host) or self.http.connections >= self._most:
            self.refused += 1
            log.warning("refused %s at %s: too many connections, or not allowed", host, self.adapter.servant)
            connection.close()
            return
        self.http.attach(connection)


class _CountedWsgi(Wsgi):
    """Its answers are in the platform's call statistics, by route."""

    def __init__(self, services: Services, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._statistics = services.statistics

    def answered(self, call: Call, status: int) -> None:
        super().answered(call, status)
        if self._statistics is not None:
            route = f"{call.head.method} {call.route or '/'}"
            self._statistics.routed(route, status or BROKEN_OFF, time.monotonic() - call.began)


def _hosted(
    adapter: AdapterConfiguration, target: Any, settings: Settings, threads: int, services: Services
) -> Application:
    """The application at `/`, with as many threads, and as long a queue, as the file says. Raises SettingsError."""
    name = target if isinstance(target, str) else adapter.servant
    found = load_application(target) if isinstance(target, str) else target
    services.on_application(found)
    keep_logs()  # the application may have configured logging
    services.capture_logs()
    limits = replace(settings.of(HostSettings), threads=str(threads), queue=adapter.queue_capacity)
    app: Any = found
    if (limits.kind if limits.kind != "auto" else kind_of(found, name)) == "wsgi":
        app = _CountedWsgi(services, found, limits, name=name)
        app.logs = settings.access_log
    elif services.statistics is not None:
        app = Counted(found, services.statistics.routed)
    around = Application(ApplicationSettings(name, openapi=None, docs=None))
    around.mount("/", app, name=name, rights=None)
    return around


def _limits(adapter: AdapterConfiguration, settings: Settings, connections: int) -> ServerSettings:
    limits = server_settings(settings)
    idle = adapter.endpoint.timeout_milliseconds / 1000
    limits = replace(
        limits,
        max_connections=connections,
        keep_alive_seconds=idle or limits.keep_alive_seconds,
        max_pending=adapter.queue_capacity,
    )
    if adapter.endpoint.protocol != "ssl":
        return limits
    where = f"/tars/application/server/{adapter.name}"
    if not adapter.tls.cert or not adapter.tls.key:
        raise ConfigurationError(where, "an ssl endpoint needs the keys cert and key, here or in <server>")
    if adapter.tls.verify_client:
        raise ConfigurationError(where, "certificates of clients are not asked for by HTTP adapters")
    return replace(limits, tls_cert=Path(adapter.tls.cert), tls_key=Path(adapter.tls.key))
