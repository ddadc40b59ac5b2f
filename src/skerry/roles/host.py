"""The host role: existing WSGI and ASGI applications in a process of their own. It needs no journal, no broker and no
consumer; its own pages lie under `/-/skerry/`."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable
from functools import partial

from skerry.clock import SystemClock
from skerry.http.application import Application
from skerry.http.auth import Tokens
from skerry.http.health import OWN_PAGES, Finding, Health, install_metrics
from skerry.http.hosts import hosts_of
from skerry.kernel.settings import listed
from skerry.loop.handover import HandoverReceiver
from skerry.loop.passing import Passed
from skerry.roles.exhaustion import Exhaustion
from skerry.roles.hosts import hosted_answers, hosted_metrics, open_hosts
from skerry.roles.kind import RoleContext, RoleKind
from skerry.roles.limits import server_settings
from skerry.server.moving import Moves
from skerry.server.server import HttpServer
from skerry.server.websocket import WebSockets, WebSocketSettings
from skerry.telemetry import Metric

logger = logging.getLogger("skerry.host")
LAST_REQUESTS = 2.0
"""Seconds that idle connections which cannot move to another process (TLS) have for one more request."""
LEAVING_SECONDS = 4.0


class HostRole:
    """Serves what an application mounts and hosts, and nothing else of it. `sockets`: listening sockets to accept on;
    `join`: makes a link to the balancer, when it hands connections in instead."""

    name = "host"

    group = "server"

    def __init__(self, context: RoleContext) -> None:
        self._context, self._settings = context, context.settings
        self._process = context.name
        self.sockets: list[socket.socket] = []
        self.join: Callable[[], socket.socket] | None = None
        self.drain = context.settings.drain
        self._handover: HandoverReceiver | None = None
        supervised = context.all_metrics is not None
        self._exhaustion = Exhaustion(context.runtime.end, supervised=supervised)
        self._compose()

    def _compose(self) -> None:
        """Make what is served and the server, for one life: neither starts twice."""
        context, settings = self._context, self._settings
        self.application = application = self._served(context)
        runtime = context.runtime
        open_hosts(application, settings, self._exhaustion)
        health = Health()
        health.add("runtime", lambda: Finding(not runtime.reasons, "; ".join(runtime.reasons)))
        health.install(application, f"{OWN_PAGES}/health")
        install_metrics(application, self.collect, f"{OWN_PAGES}/metrics", everybody=context.all_metrics)
        names = listed(settings.hosts)
        tokens = Tokens.parse(settings.tokens, SystemClock(), setting="tokens")
        application.compile(tokens=tokens, hosts=hosts_of(names, "") if names else None)
        websockets = WebSockets(settings.of(WebSocketSettings))
        self.moves = self._moves(context)
        self.http = HttpServer(application, server_settings(settings), websocket=websockets, moves=self.moves)

    def _served(self, context: RoleContext) -> Application:
        return context.declaration.http.mounted()

    def _moves(self, context: RoleContext) -> Moves | None:
        """Where goes what is not for this process; None: all is."""
        return None

    @property
    def addresses(self) -> list[str]:
        """Where it listens, as URLs."""
        return self.http.addresses

    def gauges(self) -> dict[str, float | str]:
        """For `skerry ps`."""
        requests = self.http.answered + hosted_answers(self.application)
        return {"connections": self.http.connections, "requests": requests, **self._exhaustion.gauges()}

    def collect(self) -> list[Metric]:
        """The numbers of its connections, and of what it hosts."""
        return [*hosted_metrics(self.application), *self.http.collect()]

    async def start(self) -> None:
        if self.http.status != "new":
            self._compose()
        await self.http.start([sock.dup() for sock in self.sockets])
        if self.join is not None:
            self._handover = HandoverReceiver(
                self.join, self._process, self.http.attach, lambda: self.http.connections,
                self.group,
                take_kept=partial(self.http.attach, kept=True), take_passed=self.http.attach,
            )  # fmt: skip
            if self.moves is not None:
                self.moves.handover = self._handover
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
                for sock, passed in await self.http.release_idle():
                    there = self.hand_on(passed)
                    if not (
                        self._handover.give_back(sock)
                        if there is None
                        else self._handover.pass_on(sock, *there)
                    ):
                        sock.close()
        await self.http.stop(self.drain, idle_seconds=LAST_REQUESTS if replaced else 0.0)
        if self._handover is not None:
            await self._handover.stop()

    def hand_on(self, passed: Passed | None) -> tuple[str, Passed] | None:
        """Where a connection goes when this process ends, and with what; None: to another one of its kind."""
        return None if passed is None else (self.group, passed)


HOST = RoleKind("host", HostRole, listens="bind")
