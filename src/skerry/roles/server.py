"""The server role: answers requests from this process's memory, and sends commands."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial

from skerry.bridge.site import Site
from skerry.http.application import Application, ApplicationSettings
from skerry.http.auth import Tokens
from skerry.http.hosts import hosts_of
from skerry.http.hub import Hub
from skerry.journal.projector import Phase
from skerry.kernel.kernel import Kernel
from skerry.kernel.routes import ProcessInfo, declare_login, declare_routes
from skerry.kernel.settings import address, listed
from skerry.kernel.writes import HttpReads
from skerry.loop.handover import HandoverReceiver
from skerry.position import Position
from skerry.roles.exhaustion import Exhaustion
from skerry.roles.hosts import (
    HOSTS,
    are_apart,
    hosted_answers,
    hosted_metrics,
    leave_apart,
    open_hosts,
)
from skerry.roles.kind import RoleContext, RoleKind
from skerry.roles.limits import server_settings
from skerry.server.moving import Moves
from skerry.server.server import HttpServer
from skerry.server.websocket import WebSockets, WebSocketSettings
from skerry.telemetry import Metric

logger = logging.getLogger("skerry.server")
LAST_REQUESTS = 2.0
"""Seconds that idle connections which cannot move to another process (TLS) have for one more request."""
LEAVING_SECONDS = 4.0
"""How long a server that ends waits for the balancer to let it go: without it idle connections have nowhere to go.
A balancer that has ended is noticed at once."""
COPY_SECONDS = 1.0
"""How long a server with a copy of its memory tries to bring it up to date before it serves it as it is."""


PATIENT_SECONDS = 0.4
"""The pause between two attempts to load memory from which on it is said why: at a first start a consumer is making the
journal meanwhile."""
WAITING_SECONDS = 1.0
"""How long a read may still wait for its position when the process ends."""


def site_of(kernel: Kernel) -> Site:
    """A process's App for the code that runs beside it: `skerry.hosting.emit`, `send` and `ask` find it. To be called
    in the loop."""
    strict = os.environ.get("SKERRY_HOST_STRICT", "").lower() in ("1", "true", "yes", "on")
    journal = getattr(kernel.reader, "dialect", "") or kernel.settings.journal.partition(":")[0]
    return Site(
        kernel.namespace, journal, kernel.commands, kernel.queries, kernel.projector,
        kernel.transport, kernel.declaration.foreign, strict=strict,
    )  # fmt: skip


async def follow(kernel: Kernel) -> None:
    """Have this process's memory loaded and kept up to date: until then nobody is answered from it."""
    await kernel.start_reading(wait=False)
    copied = kernel.projector.phase is not Phase.LOADING
    try:
        async with asyncio.timeout(COPY_SECONDS if copied else None):
            await kernel.projector.live()
    except TimeoutError:
        logger.warning("the journal is away: serving the copy at %s", kernel.projector.position)


class ServerRole:
    """Reads along, then serves. `sockets`: listening sockets to accept on. `join`: makes a link to the balancer, when
    it hands connections in instead; then the role works when it has joined."""

    name = "server"
    group = "server"
    listens = "bind"
    """The setting that says where."""

    def __init__(
        self,
        kernel: Kernel,
        sockets: Sequence[socket.socket] = (),
        *,
        join: Callable[[], socket.socket] | None = None,
        around: ProcessInfo | None = None,
        exhaustion: Exhaustion | None = None,
    ) -> None:
        self.kernel = kernel
        self.sockets = list(sockets)
        self.join = join
        self.drain = kernel.settings.drain
        """Seconds that requests under way may take when it stops."""
        self._handover: HandoverReceiver | None = None
        self.hub: Hub | None = None
        self._site: Site | None = None
        self._forget: Callable[[], None] = lambda: None
        self.around = around or ProcessInfo()
        self._exhaustion = exhaustion or Exhaustion()
        self._trouble = ""
        kernel.projector.events.on("retrying", self._note_away)
        kernel.projector.events.on("caught_up", self._note_back)
        self.http = self._server()

    def _server(self) -> HttpServer:
        settings, application = self.kernel.settings, self.kernel.application
        apart = any(mount.elsewhere for mount in application.mounts)
        return HttpServer(
            application,
            server_settings(settings),
            websocket=WebSockets(settings.of(WebSocketSettings)),
            moves=Moves(HOSTS) if apart else None,
        )

    async def start(self) -> None:
        """Load memory, then listen: nobody is answered from a memory that is not there."""
        kernel = self.kernel
        await follow(kernel)
        kernel.application = self._application()
        if self.join is not None and are_apart(kernel.settings):
            leave_apart(kernel.application, kernel.settings)
        open_hosts(kernel.application, kernel.settings, self._exhaustion)
        self.hub = declare_routes(kernel, replace(self.around, collect=self.collect))
        tokens = Tokens.parse(kernel.settings.tokens, kernel.clock, setting="tokens")
        if tokens:
            declare_login(kernel, tokens)
        kernel.application.compile(
            kernel.services.resolve,
            tokens,
            kernel.visibility.gate,
            readers=listed(kernel.settings.origins),
            hosts=hosts_of(
                listed(kernel.settings.hosts), self._address(), behind=bool(kernel.settings.trusted)
            ),
        )
        self._forget = kernel.keep_answers(kernel.application.lane.kept)
        self.hub.start()
        self.http = self._server()
        self._site = site_of(kernel)
        self._site.install()
        await self.http.start([sock.dup() for sock in self.sockets])
        if self.join is not None:
            self._handover = HandoverReceiver(
                self.join, kernel.name, self.http.attach, lambda: self.http.connections, self.group,
                take_kept=partial(self.http.attach, kept=True), take_passed=self.http.attach,
            )  # fmt: skip
            if self.http.moves is not None:
                self.http.moves.handover = self._handover
            self._handover.start()
            await self._handover.joined.wait()

    @property
    def addresses(self) -> list[str]:
        """Where it listens, as URLs."""
        return self.http.addresses

    def gauges(self) -> dict[str, float | str]:
        """For `skerry ps`."""
        projector = self.kernel.projector
        found: dict[str, float | str] = {"lag": projector.behind}
        if projector.stopped:
            found["stopped"] = "\n".join(
                f"{name} stopped at {why}" for name, why in projector.stopped.items()
            )
        requests = self.http.answered + hosted_answers(self.kernel.application)
        found |= {"connections": self.http.connections, "requests": requests}
        return {**found, **self._exhaustion.gauges(), "position": str(projector.position)}

    def collect(self) -> Iterable[Metric]:
        """The numbers of its connections and requests, and of what it hosts."""
        return [*self.http.collect(), *hosted_metrics(self.kernel.application)]

    @property
    def joined(self) -> bool:
        """Whether connections come in: always where no balancer hands them over."""
        return self._handover is None or self._handover.joined.is_set()

    def _note_away(self, error: Exception, pause: float) -> None:
        loading = self.kernel.projector.phase is Phase.LOADING
        if loading and pause < PATIENT_SECONDS:
            return
        said, self._trouble = self._trouble, str(error) or type(error).__name__
        if self._trouble != said:  # the same trouble is said once
            doing = "loaded yet" if loading else "compared with the journal"
            logger.warning("memory cannot be %s, trying on: %s", doing, self._trouble)

    def _note_back(self, position: Position) -> None:
        if self._trouble:
            self._trouble = ""
            logger.info("memory follows the journal again, at %s", position)

    def _application(self) -> Application:
        """What this role says over HTTP, beside health and the stream of events."""
        return self.kernel.declaration.http.copy()

    def _address(self) -> str:
        """The host of the address that it listens on."""
        return address(getattr(self.kernel.settings, self.listens))[0]

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
        """Send listeners elsewhere, answer what is under way, then stop reading along."""
        if self._handover is not None:
            await self._handover.drain(LEAVING_SECONDS)
        if self.hub is not None:
            await self.hub.drain()
        self.kernel.services.resolve(HttpReads).hurry(WAITING_SECONDS)
        await self.http.stop(self.drain, idle_seconds=await self._hand_on())
        try:
            async with asyncio.timeout(max(self.drain, 0.1)):
                await self.kernel.commands.drain()
        except TimeoutError:
            logger.warning("commands were still unconfirmed when the drain time ended")
        if self._site is not None:
            self._site.remove()
        self._forget()
        await self.kernel.stop_reading()
        if self._handover is not None:
            await self._handover.stop()

    async def _hand_on(self) -> float:
        """Idle connections go back to the balancer, and from there to another server: no client notices. Returns how
        long those that are left may bring one more request: with a balancer this process is replaced, and it is not
        the whole application that ends."""
        if self._handover is None or not self._handover.joined.is_set():
            return 0.0
        for sock, passed in await self.http.release_idle():
            if passed is None:
                taken = self._handover.give_back(sock)
            else:
                taken = self._handover.pass_on(sock, self.group, passed)
            if not taken:
                sock.close()
        return LAST_REQUESTS


class GatewayRole(ServerRole):
    """The stream of events on a port of its own, so that listeners and requests do not share a process."""

    name = "gateway"
    group = "gateway"
    listens = "gateway_bind"

    def _application(self) -> Application:
        declared = self.kernel.declaration.http
        settings = declared.settings
        return declared.surroundings(
            ApplicationSettings(settings.title, settings.version, openapi=None, docs=None)
        )


def _made(role: type[ServerRole]) -> Callable[[RoleContext], ServerRole]:
    def make(context: RoleContext) -> ServerRole:
        runtime, supervised = context.runtime, context.all_metrics is not None
        return role(
            context.kernel,
            around=ProcessInfo(lambda: runtime.reasons, all_metrics=context.all_metrics),
            exhaustion=Exhaustion(runtime.end, supervised=supervised),
        )

    return make


SERVER = RoleKind(
    "server",
    _made(ServerRole),
    journal="reads",
    listens=ServerRole.listens,
)
GATEWAY = RoleKind(
    "gateway",
    _made(GatewayRole),
    journal="reads",
    listens=GatewayRole.listens,
    apart={"server": "a server serves the stream too: run gateways in processes of their own"},
)
