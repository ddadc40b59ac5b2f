"""The host role: existing WSGI and ASGI applications in a process of their own. It needs no journal, no broker and no
consumer; its own pages lie under `/-/skerry/`."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Sequence
from functools import partial

from skerry.hosting.wsgi import Wsgi
from skerry.http.application import Application
from skerry.http.health import READY, Finding, Health, install_metrics
from skerry.http.hosts import hosts_of
from skerry.kernel.settings import Settings, listed
from skerry.loop.handover import HandoverReceiver
from skerry.roles.limits import server_settings
from skerry.server.server import HttpServer
from skerry.server.websocket import WebSockets, WebSocketSettings
from skerry.telemetry import Metric

logger = logging.getLogger("skerry.host")
OWN_PAGES = "/-/skerry"
LAST_REQUESTS = 2.0
"""Seconds that idle connections which cannot move to another process (TLS) have for one more request."""
LEAVING_SECONDS = 4.0


class HostRole:
    """Serves what is mounted in `application`. `sockets`: listening sockets to accept on; `join`: makes a link to the
    balancer, when it hands connections in instead. `reasons` says why this process should not get work."""

    name = "host"

    def __init__(self, application: Application, settings: Settings, *, name: str = "host") -> None:
        self.application, self.settings, self.process = application, settings, name
        self.sockets: Sequence[socket.socket] = ()
        self.join: Callable[[], socket.socket] | None = None
        self.reasons: Callable[[], tuple[str, ...]] = tuple
        self.drain = settings.drain
        self._handover: HandoverReceiver | None = None
        health = Health()
        health.add("process", self._process)
        health.install(application, f"{OWN_PAGES}/health")
        install_metrics(application, self.metrics, f"{OWN_PAGES}/metrics")
        names = listed(settings.hosts)
        application.compile(hosts=hosts_of(names, "") if names else None)
        websockets = WebSockets(settings.of(WebSocketSettings))
        self.http = HttpServer(application, server_settings(settings), websocket=websockets)

    def metrics(self) -> list[Metric]:
        """The numbers of this process."""
        hosted = [mount.app for mount in self.application.mounts if isinstance(mount.app, Wsgi)]
        return [*(metric for each in hosted for metric in each.collect()), *self.http.collect()]

    def _process(self) -> Finding:
        reasons = self.reasons()
        return Finding(False, "; ".join(reasons)) if reasons else READY

    async def start(self) -> None:
        await self.http.start([sock.dup() for sock in self.sockets])
        if self.join is not None:
            self._handover = HandoverReceiver(
                self.join, self.process, self.http.attach, lambda: self.http.connections, "server",
                take_kept=partial(self.http.attach, kept=True),
            )  # fmt: skip
            self._handover.start()
            await self._handover.joined.wait()

    @property
    def joined(self) -> bool:
        """Whether connections come in: always where no balancer hands them over."""
        return self._handover is None or self._handover.joined.is_set()

    async def hold(self) -> None:
        """Take no new connections."""
        if self._handover is not None:
            await self._handover.drain(1.0)
        await self.http.hold()

    async def resume(self) -> None:
        await self.http.resume()
        if self._handover is not None:
            self._handover.start()

    async def stop(self) -> None:
        """Answer what is under way, then stop the applications."""
        replaced = False
        if self._handover is not None:
            await self._handover.drain(LEAVING_SECONDS)
            if self._handover.joined.is_set():
                replaced = True
                for sock in await self.http.release_idle():
                    if not self._handover.give_back(sock):
                        sock.close()
        await self.http.stop(self.drain, idle_seconds=LAST_REQUESTS if replaced else 0.0)
        if self._handover is not None:
            await self._handover.stop()
