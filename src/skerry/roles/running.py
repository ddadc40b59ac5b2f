"""Runs roles in this process until a signal, or the runner that started it, ends them."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from skerry.clock import SystemClock
from skerry.errors import SettingsError
from skerry.http.auth import Tokens
from skerry.http.health import exposition
from skerry.kernel.declaration import Declaration
from skerry.kernel.kernel import Kernel, has_copy
from skerry.kernel.numbers import measure_reading
from skerry.kernel.role import Role
from skerry.kernel.routes import Surroundings
from skerry.kernel.runtime import Runtime
from skerry.kernel.settings import Settings, address
from skerry.loop.models import default, factory
from skerry.loop.sockets import adopt_listener, bind_tcp
from skerry.roles.consumer import ConsumerRole
from skerry.roles.parts import Parts, open_parts, plan
from skerry.roles.server import GatewayRole, ServerRole
from skerry.supervision.failure import Failure
from skerry.telemetry import Metric

logger = logging.getLogger("skerry")
BLOCKED_SECONDS = 0.25
"""A turn of the loop that takes longer is reported with its stack: blocking code in a view, a handler, a listener."""
LISTENS = {"server": "bind", "gateway": "gateway_bind"}
"""Roles that listen, and the setting that says where."""
HANDOVER = "SKERRY_HANDOVER"
LISTENER = "SKERRY_LISTEN_FD"


class Control(Protocol):
    """The line to whoever supervises this process (`skerry.process.worker.Worker`)."""

    gauges: Callable[[], dict[str, float | str]]
    metrics: Callable[[], str]

    async def start(self, stop: Callable[[float], None]) -> None: ...
    def ready(self) -> None: ...
    def state(self, name: str, reasons: list[str] | None = None) -> None: ...
    def failure(self, failure: Failure, *, fatal: bool = False) -> None: ...
    async def all_metrics(self, seconds: float = 2.0) -> str: ...
    async def close(self) -> None: ...


def run_roles(
    declaration: Declaration, settings: Settings, roles: tuple[str, ...], control: Control | None = None
) -> int:
    """Run until SIGINT, SIGTERM or the runner ends it; a second signal ends at once. Returns the exit code.
    Raises SettingsError."""
    with asyncio.Runner(loop_factory=factory(settings.loop_model or default())) as runner:
        return runner.run(_Process(declaration, settings, roles, control).run())


class _Process:
    """One run of some roles."""

    def __init__(
        self, declaration: Declaration, settings: Settings, roles: tuple[str, ...], control: Control | None
    ) -> None:
        self.declaration, self.settings, self.roles, self.control = declaration, settings, roles, control
        self.name = settings.process or "-".join(roles)
        self.runtime: Runtime | None = None
        self._opening: asyncio.Task[object] | None = None
        self._stop_asked = False

    async def run(self) -> int:
        """Open what is needed and serve. A signal while something is waited for (the journal's owner, a broker) ends
        it at once."""
        self._opening = asyncio.current_task()
        for number in self._signals():
            asyncio.get_running_loop().add_signal_handler(number, self._stop, 0.0)
        try:
            return await self._open()
        except asyncio.CancelledError:
            if not self._stop_asked:
                raise
            return 0

    async def _open(self) -> int:
        settings, control = self.settings, self.control
        together = {"consumer", "server"} <= set(self.roles)
        namespace = settings.namespace or self.declaration.namespace
        chosen = plan(settings, namespace, one_process=together, tables=list(self.declaration.tables))
        self._check()
        if control is not None:
            await control.start(self._stop)
        try:
            async with open_parts(
                self.declaration,
                settings,
                chosen,
                decides="consumer" in self.roles,
                name=self.name,
                on_standby=(lambda: control.state("standby")) if control else None,
                wait=not has_copy(settings, namespace, self.name),
            ) as parts:
                return await self._serve(parts)
        except Exception as error:
            if control is not None:
                control.failure(Failure.of(self.name, error, at=SystemClock.now()), fatal=True)
            raise
        finally:
            if control is not None:
                await control.close()

    def _check(self) -> None:
        """Find out what is wrong before anything is opened or waited for. Raises SettingsError."""
        Tokens.parse(self.settings.tokens, SystemClock(), setting="tokens")
        if HANDOVER in os.environ or LISTENER in os.environ:
            return
        for role, setting in LISTENS.items():
            if role in self.roles:
                bind_tcp(*address(getattr(self.settings, setting), setting), setting=setting).close()

    async def _serve(self, parts: Parts) -> int:
        kernel = Kernel(
            self.declaration, self.settings, parts.transport, parts.reader, parts.writer, name=self.name
        )
        measure_reading(kernel)
        roles = self._make(kernel, parts)
        self.runtime = runtime = Runtime(self.name, roles, clock=kernel.clock, registry=kernel.registry)
        kernel.services.add(runtime.loop)
        kernel.services.add(runtime.supervisor)
        runtime.watch("projector", kernel.projector.events)
        runtime.watch("events", kernel.events)
        runtime.loop.watch_blocking(BLOCKED_SECONDS)
        for role in roles:
            if isinstance(role, ConsumerRole):
                role.supervisor.parent = runtime.supervisor
            elif isinstance(role, ServerRole):
                everybody = self.control.all_metrics if self.control is not None else None
                role.around = Surroundings(lambda: runtime.reasons, all_metrics=everybody)
        if self.control is not None:
            self._tell(self.control, runtime, kernel, roles)
        if self._stop_asked:
            return 0
        runtime.events.on("after_start", lambda: self._started(roles))
        return await runtime.serve(signals=self._signals())

    def _started(self, roles: list[Role]) -> None:
        gc.collect()
        gc.freeze()  # what was loaded stays: a collection over a million objects would take a tenth of a second
        for role in roles:
            if isinstance(role, ServerRole):
                for where in role.http.addresses:
                    logger.info("listening on %s", where)
        if self.control is not None:
            stopped = [
                told for role in roles if isinstance(role, ServerRole) for told in _stopped(role.kernel)
            ]
            if stopped:  # it serves what it can; a replacement of processes goes no further
                self.control.state("not ready", stopped)
            else:
                self.control.ready()

    def _tell(self, control: Control, runtime: Runtime, kernel: Kernel, roles: list[Role]) -> None:
        """Let the runner know how this process is."""
        control.gauges = lambda: _gauges(kernel, roles)
        control.metrics = lambda: exposition(_metrics(kernel, roles)).decode()
        runtime.supervisor.events.on("failure", control.failure)
        runtime.events.on("fail", lambda failure: control.state("not ready", list(runtime.reasons)))
        runtime.events.on("after_resume", control.ready)

    def _signals(self) -> tuple[int, ...]:
        """The runner hears a Ctrl-C itself and ends its children in order."""
        return (signal.SIGTERM,) if self.control is not None else (signal.SIGINT, signal.SIGTERM)

    def _stop(self, seconds: float) -> None:
        self._stop_asked = True
        if self.runtime is not None:
            self.runtime.end(0, "the runner said so")
        elif self._opening is not None:
            self._opening.cancel()

    def _make(self, kernel: Kernel, parts: Parts) -> list[Role]:
        made: list[Role] = []
        if "consumer" in self.roles:
            made.append(ConsumerRole(kernel, shared=parts.shared))
        if "server" in self.roles and "gateway" in self.roles:
            raise SettingsError(
                "role", "a server serves the stream too: run gateways in processes of their own"
            )
        if "server" in self.roles:
            made.append(self._serving(ServerRole, kernel, self.settings.bind, "bind"))
        if "gateway" in self.roles:
            made.append(self._serving(GatewayRole, kernel, self.settings.gateway_bind, "gateway_bind"))
        return made

    def _serving(self, kind: type[ServerRole], kernel: Kernel, bind: str, setting: str) -> ServerRole:
        """The role with its way in: the balancer's door, a socket that the runner left, or one of its own."""
        handover = os.environ.pop(HANDOVER, "")
        if handover:
            return kind(kernel, handover=Path(handover))
        inherited = os.environ.pop(LISTENER, "")
        if inherited:
            return kind(kernel, [adopt_listener(int(inherited))])
        return kind(kernel, [bind_tcp(*address(bind, setting), setting=setting)])


def _stopped(kernel: Kernel) -> list[str]:
    return [f"{name} stopped at {why}" for name, why in kernel.projector.stopped.items()]


def _metrics(kernel: Kernel, roles: list[Role]) -> list[Metric]:
    """The numbers of this process."""
    servers = [role for role in roles if isinstance(role, ServerRole)]
    return [*kernel.registry.collect(), *(metric for role in servers for metric in role.http.collect())]


def _gauges(kernel: Kernel, roles: list[Role]) -> dict[str, float | str]:
    """What `skerry ps` shows of this process."""
    found: dict[str, float | str] = {}
    for role in roles:
        if isinstance(role, ServerRole):
            found["lag"] = kernel.projector.behind
            if kernel.projector.stopped:
                found["stopped"] = "\n".join(_stopped(kernel))
            found["position"] = str(kernel.projector.position)
            found["connections"] = role.http.connections
        elif isinstance(role, ConsumerRole):
            for consumer in role.consumers.values():
                found["position"] = str(consumer.position)
    return found
