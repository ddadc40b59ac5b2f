"""A WSGI or ASGI application at an HTTP adapter of a Tars service, within the limits of the file.

Skerry's own pages lie under `/-/skerry/`, as in every process. Not here: how an application is called
(`skerry.hosting`), a Skerry App (tars_app.py).
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from skerry.clock import SystemClock
from skerry.hosting.detection import kind_of
from skerry.hosting.release import Release, tell_routes
from skerry.hosting.settings import HostSettings
from skerry.hosting.wsgi import Wsgi
from skerry.http.application import Application, ApplicationSettings
from skerry.http.auth import Tokens
from skerry.http.health import OWN_PAGES, Finding, Health, install_metrics
from skerry.http.hosts import hosts_of
from skerry.kernel.settings import Settings, listed
from skerry.roles.tars_http import IDLE_SECONDS, HttpAdapter
from skerry.server.server import HttpServer
from skerry.tars.listener import ListenerState
from skerry.tars.platform.adapters import share
from skerry.tars.platform.configuration import AdapterConfiguration
from skerry.tars.platform.services import Services
from skerry.tars.web.counting import Counted
from skerry.tars.web.timely import LATE, Timely
from skerry.telemetry import Metric

BROKEN_OFF = 499
"""What counts as the status of an answer that could not be sent to its end."""


class WebAdapter:
    """`application`: what is served. `shared`: the parent's socket. `workers`: how many processes share what the file
    allows. `on_exhausted` is called when too many threads of a WSGI application are stuck. `wsgi` is its host, None for
    an ASGI application."""

    def __init__(
        self,
        adapter: AdapterConfiguration,
        application: Any,
        settings: Settings,
        shared: socket.socket,
        workers: int,
        services: Services,
        on_exhausted: Callable[[], None] = lambda: None,
    ) -> None:
        self.adapter, self._way = adapter, HttpAdapter(adapter, settings, shared, workers)
        self._services = services
        self.wsgi: Wsgi | None = None
        hosted = self._hosted(application, settings, share(adapter.threads, workers), on_exhausted)
        self.http = HttpServer(self._around(hosted, settings), self._way.limits, tls=self._way.tls)

    async def start(self) -> None:
        """Start the application, then listen. Raises what a refusing application raises."""
        await self.http.start()
        self._way.open(self.http)

    def hold(self) -> None:
        self._way.hold()

    def resume(self) -> None:
        self._way.resume()

    async def stop(self, seconds: float) -> None:
        """Accept nothing more, answer what is under way, end the application."""
        self._way.close()
        if self.wsgi is not None:
            self.wsgi.drain_seconds = seconds
        await self.http.stop(seconds, idle_seconds=min(IDLE_SECONDS, seconds / 2))

    @property
    def state(self) -> ListenerState:
        """As an adapter of servants tells it. `running` and `queued` are those of a WSGI application's threads."""
        counters, pool = self._way.counters, self.wsgi.pool if self.wsgi is not None else None
        counters.connections = self._way.connections
        if pool is not None:
            counters.overloads = pool.refused
        return ListenerState(
            self.adapter.servant,
            self.adapter.endpoint,
            counters.connections,
            pool.busy if pool is not None else 0,
            pool.waiting.qsize() if pool is not None else 0,
            counters,
            self._way.most_connections,
        )

    def collect(self) -> Iterator[Metric]:
        """The numbers of the application and of its connections."""
        if self.wsgi is not None:
            yield from self.wsgi.collect()
        yield from self.http.collect()

    def _answered(self, route: str, status: int, seconds: float) -> None:
        status, counters = status or BROKEN_OFF, self._way.counters
        counters.requests += 1
        if status == LATE:
            counters.queue_timeouts += 1
        if status < 400:
            counters.succeeded += 1
        else:
            counters.failed += 1
        if self._services.statistics is not None:
            self._services.statistics.routed(route, status, seconds)

    def _hosted(
        self, application: Any, settings: Settings, threads: int, on_exhausted: Callable[[], None]
    ) -> Any:
        """The application, with as many threads, as long a queue, and as much patience, as the file says. Raises
        SettingsError."""
        adapter = self.adapter
        limits = replace(settings.of(HostSettings), threads=str(threads), queue=adapter.queue_capacity)
        kind = limits.kind if limits.kind != "auto" else kind_of(application, adapter.servant)
        if kind == "asgi":
            tell_routes()
            return Counted(Timely(application, limits.timeout), self._answered)
        wsgi = self.wsgi = Wsgi(
            application,
            limits,
            name=adapter.servant,
            release=Release.of_what_is_loaded(),
            on_exhausted=on_exhausted,
        )
        wsgi.logs, wsgi.late, wsgi.on_answer = settings.access_log, LATE, self._answered
        wsgi.queue_seconds = adapter.queue_timeout_seconds
        return wsgi

    def _around(self, hosted: Any, settings: Settings) -> Application:
        """The application at `/`, and Skerry's own pages."""
        name = self.adapter.servant
        around = Application(ApplicationSettings(name, openapi=None, docs=None))
        around.mount("/", hosted, name=name, rights=None, hosted=True)
        health = Health()
        health.add("platform", lambda: platform_finding(self._services.problems))
        health.install(around, f"{OWN_PAGES}/health")
        install_metrics(around, self.collect, f"{OWN_PAGES}/metrics")
        names = listed(settings.hosts)
        tokens = Tokens.parse(settings.tokens, SystemClock(), setting="tokens")
        around.compile(tokens=tokens, hosts=hosts_of(names, "") if names else None)
        return around


def platform_finding(problems: tuple[str, ...]) -> Finding:
    """What of the platform does not work is no reason to send a process no requests: it has what it knew."""
    return Finding(not problems, "; ".join(problems), traffic=True, writes=True)
