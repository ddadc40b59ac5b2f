"""An HTTP adapter of a Tars service in one process: a WSGI or ASGI application within the limits of the file.

Accepts from the parent's socket, one connection at a time, so that each process gets its share. Skerry's own pages lie
under `/-/skerry/`, as in every process. Not here: how an application is called (`skerry.hosting`), how HTTP is read
(`skerry.server`).
"""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from skerry.clock import SystemClock
from skerry.hosting.call import Call
from skerry.hosting.detection import kind_of
from skerry.hosting.release import Release
from skerry.hosting.settings import HostSettings
from skerry.hosting.wsgi import Wsgi
from skerry.http.application import Application, ApplicationSettings
from skerry.http.auth import Tokens
from skerry.http.health import OWN_PAGES, Finding, Health, install_metrics
from skerry.http.hosts import hosts_of
from skerry.kernel.importing import load_application
from skerry.kernel.logs import keep_logs
from skerry.kernel.settings import Settings, listed
from skerry.roles.accepting import Acceptor
from skerry.roles.limits import server_settings
from skerry.server.server import HttpServer
from skerry.server.settings import ServerSettings
from skerry.tars.adapter import Counters
from skerry.tars.listener import ListenerState
from skerry.tars.platform.adapters import access_of, share, tls_of
from skerry.tars.platform.configuration import AdapterConfiguration
from skerry.tars.platform.services import Services
from skerry.tars.web.counting import Counted
from skerry.tars.web.timely import LATE, Timely
from skerry.telemetry import Metric

log = logging.getLogger("skerry.tars.service")

BACKLOG = 1024
BROKEN_OFF = 499
"""What counts as the status of an answer that could not be sent to its end."""
IDLE_SECONDS = 1.0
"""How long a connection may bring one more request when its process ends: the client may have sent it already."""


class WebAdapter:
    """`target`: an application, or where it is. `shared`: the parent's socket. `workers`: how many processes share what
    the file allows. `on_exhausted` is called when too many threads of a WSGI application are stuck. `wsgi` is its host,
    None for an ASGI application."""

    def __init__(
        self,
        adapter: AdapterConfiguration,
        target: Any,
        settings: Settings,
        shared: socket.socket,
        workers: int,
        services: Services,
        on_exhausted: Callable[[], None] = lambda: None,
    ) -> None:
        self.adapter, self._shared, self._access = adapter, shared, access_of(adapter)
        self._counters = Counters()
        self._most = share(adapter.max_connections, workers)
        self.wsgi: CountedWsgi | None = None
        hosted = self._hosted(target, settings, share(adapter.threads, workers), services, on_exhausted)
        application = self._around(hosted, settings, services)
        self.http = HttpServer(application, _limits(adapter, settings, self._most), tls=_tls(adapter))
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
        if self.wsgi is not None:
            self.wsgi.drain_seconds = seconds
        await self.http.stop(seconds, idle_seconds=min(IDLE_SECONDS, seconds / 2))

    @property
    def state(self) -> ListenerState:
        """As an adapter of servants tells it. `running` and `queued` are those of a WSGI application's threads."""
        counters, pool = self._counters, self.wsgi.pool if self.wsgi is not None else None
        connections = self.http.connections if self.http.status != "new" else 0
        counters.connections = connections
        if pool is not None:
            counters.overloads = pool.refused
        return ListenerState(
            self.adapter.servant,
            self.adapter.endpoint,
            connections,
            pool.busy if pool is not None else 0,
            pool.waiting.qsize() if pool is not None else 0,
            counters,
            self._most,
        )

    @property
    def answered(self) -> int:
        """Requests so far."""
        return self._counters.requests

    def collect(self) -> Iterator[Metric]:
        """The numbers of the application and of its connections."""
        if self.wsgi is not None:
            yield from self.wsgi.collect()
        yield from self.http.collect()

    def _take(self, connection: socket.socket) -> None:
        try:
            host = connection.getpeername()[0]
        except OSError:  # it has left already
            connection.close()
            return
        if not self._access.allows(host):
            self._counters.refused_connections += 1
            log.warning("refused %s at %s: it is not allowed", host, self.adapter.servant)
            connection.close()
            return
        if self.http.connections >= self._most:
            self._counters.refused_connections += 1
        self.http.attach(connection)  # answers 503 to what is too many

    def _count(self, route: str, status: int, seconds: float) -> None:
        counters = self._counters
        counters.requests += 1
        if status == LATE:
            counters.queue_timeouts += 1
        if status < 400:
            counters.succeeded += 1
        else:
            counters.failed += 1

    def _hosted(
        self,
        target: Any,
        settings: Settings,
        threads: int,
        services: Services,
        on_exhausted: Callable[[], None],
    ) -> Any:
        """The application, with as many threads, as long a queue, and as much patience, as the file says. Raises
        SettingsError."""
        adapter = self.adapter
        name = target if isinstance(target, str) else adapter.servant
        found = load_application(target) if isinstance(target, str) else target
        services.on_application(found)
        keep_logs()  # the application may have configured logging
        services.capture_logs()
        limits = replace(settings.of(HostSettings), threads=str(threads), queue=adapter.queue_capacity)

        def routed(route: str, status: int, seconds: float) -> None:
            self._count(route, status, seconds)
            if services.statistics is not None:
                services.statistics.routed(route, status, seconds)

        if (limits.kind if limits.kind != "auto" else kind_of(found, name)) == "asgi":
            return Counted(Timely(found, limits.timeout), routed)
        self.wsgi = CountedWsgi(
            routed, found, limits, name=name, release=Release.of_what_is_loaded(), on_exhausted=on_exhausted
        )
        self.wsgi.logs, self.wsgi.late = settings.access_log, LATE
        self.wsgi.queue_seconds = adapter.queue_timeout_seconds
        return self.wsgi

    def _around(self, hosted: Any, settings: Settings, services: Services) -> Application:
        """The application at `/`, and Skerry's own pages."""
        name = self.adapter.servant
        around = Application(ApplicationSettings(name, openapi=None, docs=None))
        around.mount("/", hosted, name=name, rights=None, hosted=True)
        health = Health()
        health.add("platform", lambda: platform_finding(services.problems))
        health.install(around, f"{OWN_PAGES}/health")
        install_metrics(around, self.collect, f"{OWN_PAGES}/metrics")
        names = listed(settings.hosts)
        tokens = Tokens.parse(settings.tokens, SystemClock(), setting="tokens")
        around.compile(tokens=tokens, hosts=hosts_of(names, "") if names else None)
        return around


class CountedWsgi(Wsgi):
    """Tells `routed(route, status, seconds)` of each answer."""

    def __init__(self, routed: Callable[[str, int, float], None], *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._routed = routed

    def answered(self, call: Call, status: int) -> None:
        super().answered(call, status)
        route = f"{call.head.method} {call.route or '/'}"
        self._routed(route, status or BROKEN_OFF, time.monotonic() - call.received)


def platform_finding(problems: tuple[str, ...]) -> Finding:
    """What of the platform does not work is no reason to send a process no requests: it has what it knew."""
    return Finding(not problems, "; ".join(problems), traffic=True, writes=True)


def _limits(adapter: AdapterConfiguration, settings: Settings, connections: int) -> ServerSettings:
    limits = server_settings(settings)
    idle = adapter.endpoint.timeout_milliseconds / 1000
    return replace(
        limits,
        max_connections=connections,
        keep_alive_seconds=idle or limits.keep_alive_seconds,
        max_pending=adapter.queue_capacity,
    )


def _tls(adapter: AdapterConfiguration) -> Any:
    context = tls_of(adapter)
    if context is not None:
        context.set_alpn_protocols(["http/1.1"])
    return context
