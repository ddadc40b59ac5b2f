"""Runs roles in this process until a signal, or the runner that started it, ends them."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from skerry.clock import SystemClock
from skerry.errors import SettingsError
from skerry.http.auth import Tokens
from skerry.http.health import Health, Purpose, exposition
from skerry.journal.reactor import ReactorRun
from skerry.kernel.admin import AdminServer
from skerry.kernel.checks import findings, process_checks
from skerry.kernel.declaration import Declaration
from skerry.kernel.kernel import Kernel, has_copy
from skerry.kernel.numbers import measure_reading
from skerry.kernel.rehearsal import rehearse
from skerry.kernel.role import Role
from skerry.kernel.routes import Surroundings
from skerry.kernel.runtime import Limits, Runtime
from skerry.kernel.settings import CLOSING_SECONDS, REPLACED_SECONDS, Settings, address
from skerry.kernel.supervised import employ
from skerry.loop.door import Door
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
LOOK_SECONDS = 0.5
MISSED_LOOKS = 2
"""How often a server may be found without a balancer before it is said."""
LISTENS = {"server": "bind", "gateway": "gateway_bind"}
"""Roles that listen, and the setting that says where."""
JOIN = "SKERRY_JOIN_FD"
LISTENER = "SKERRY_LISTEN_FD"


class Control(Protocol):
    """The line to whoever supervises this process (`skerry.process.worker.Worker`)."""

    gauges: Callable[[], dict[str, float | str]]
    metrics: Callable[[], str]
    findings: Callable[[], dict[str, list[str]]]
    on_yield: Callable[[], None]
    on_recall: Callable[[], None]

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
        """While it serves."""
        self._composed: _Composed | None = None
        self._opening: asyncio.Task[object] | None = None
        self._is_started = False
        self._stop_asked = False
        self._yielding = False
        self._recalled = asyncio.Event()
        self._health: Health | None = None
        self._is_standby = False
        self._admin = AdminServer(settings, self._report, self._numbers)
        """Of a process without a runner; a runner has one for all."""

    async def run(self) -> int:
        """Open what is needed and serve. A signal while something is waited for (the journal's owner, a broker) ends
        it at once. Having made room for a successor it stands by, for the case that the successor does not work."""
        self._opening = asyncio.current_task()
        control = self.control
        try:
            while True:
                for number in self._signals():
                    asyncio.get_running_loop().add_signal_handler(number, self._stop, 0.0)
                code = await self._open()
                if control is None or not self._yielding or self._stop_asked:
                    return code
                control.state("standby")
                await self._recalled.wait()
                self._yielding = False
                logger.info("%s works again", self.name)
        except asyncio.CancelledError:
            if not self._stop_asked:
                raise
            return 0
        except Exception as error:
            if control is not None:
                control.failure(Failure.of(self.name, error, at=SystemClock.now()), fatal=True)
            raise
        finally:
            await self._admin.stop()
            if control is not None:
                await control.close()

    async def _open(self) -> int:
        settings, control = self.settings, self.control
        together = {"consumer", "server"} <= set(self.roles)
        namespace = settings.namespace or self.declaration.namespace
        chosen = plan(settings, namespace, one_process=together, tables=list(self.declaration.tables))
        if self._composed is None:
            self._check()
            if control is None and settings.admin_bind:
                await self._admin.start()
            if control is not None:
                control.on_yield, control.on_recall = self._yield, self._recall
                await control.start(self._stop)
        async with open_parts(
            self.declaration,
            settings,
            chosen,
            decides="consumer" in self.roles,
            name=self.name,
            on_standby=self._on_standby,
            wait=not has_copy(settings, namespace, self.name),
            made=self._compose,
        ):
            return await self._serve()

    def _on_standby(self) -> None:
        self._is_standby = True
        if self.control is not None:
            self.control.state("standby")

    def _compose(self, parts: Parts) -> None:
        """Make everything that needs nothing opened, and check the rest: a process that says that it stands by for
        another one must not fail for a mistake of its code when it gets what it waits for."""
        kernel = Kernel(
            self.declaration, self.settings, parts.transport, parts.reader, parts.writer, name=self.name
        )
        measure_reading(kernel)
        roles = self._make(kernel, parts)
        longest = max(REPLACED_SECONDS, self.settings.drain)
        limits = Limits(
            role_seconds=max(longest + 20.0, self.settings.start_timeout), stop_seconds=2 * longest + 30.0
        )
        runtime = Runtime(self.name, clock=kernel.clock, registry=kernel.registry, limits=limits)
        kernel.services.add(runtime.loop)
        kernel.services.add(runtime.supervisor)
        employ(self.declaration.supervised, runtime, self.roles, kernel.services.resolve, roles)
        rehearse(kernel, decides="consumer" in self.roles)
        self._composed = _Composed(kernel, runtime, roles)

    def _check(self) -> None:
        """Find out what is wrong before anything is opened or waited for. Raises SettingsError."""
        Tokens.parse(self.settings.tokens, SystemClock(), setting="tokens")
        if JOIN in os.environ or LISTENER in os.environ:
            return
        for role, setting in LISTENS.items():
            if role in self.roles:
                exposed = self.settings.exposed(setting)
                if exposed is not None and not self.declaration.http.authenticates:
                    logger.warning(exposed)
                bind_tcp(*address(getattr(self.settings, setting), setting), setting=setting).close()

    async def _serve(self) -> int:
        assert self._composed is not None
        kernel, runtime, roles = self._composed.kernel, self._composed.runtime, self._composed.roles
        runtime.watch("projector", kernel.projector.events)
        runtime.watch("events", kernel.events)
        for role in roles:
            if isinstance(role, ConsumerRole):
                role.supervisor.parent = runtime.supervisor
            elif isinstance(role, ServerRole):
                everybody = self.control.all_metrics if self.control is not None else None
                role.around = Surroundings(lambda: runtime.reasons, all_metrics=everybody)
                self._let_in(role)
        self._health = _health(kernel, runtime, roles)
        if self.control is not None:
            self._tell(self.control, runtime, kernel, roles)
        if self._stop_asked:
            return 0
        runtime.events.on("after_start", lambda: self._started(roles))
        self.runtime = runtime
        try:
            return await runtime.serve(signals=self._signals())
        finally:
            self.runtime, self._health, self._is_started = None, None, False

    def _started(self, roles: list[Role]) -> None:
        self._is_started = True
        gc.collect()
        gc.freeze()  # what was loaded stays: a collection over a million objects would take a tenth of a second
        if self.runtime is not None:
            self.runtime.loop.watch_blocking(BLOCKED_SECONDS)  # from here on it is somebody's fault
        for role in roles:
            if isinstance(role, ServerRole):
                for where in role.http.addresses:
                    logger.info("listening on %s", where)
        if self.control is not None:
            self._tell_ready(self.control, roles)
            self._watch_joined(self.control, [role for role in roles if isinstance(role, ServerRole)])

    def _tell_ready(self, control: Control, roles: Sequence[Role]) -> None:
        stopped = [told for role in roles if isinstance(role, ServerRole) for told in _stopped(role.kernel)]
        if stopped:  # it serves what it can; a replacement of processes goes no further
            control.state("not ready", stopped)
        else:
            control.ready()

    def _watch_joined(self, control: Control, roles: list[ServerRole], missed: int = 0) -> None:
        """Tell the runner while no connection comes in. A balancer that is started anew is away for a moment."""
        if not roles or not self._is_started:
            return
        if all(role.joined for role in roles):
            if missed > MISSED_LOOKS:
                self._tell_ready(control, roles)
            missed = 0
        else:
            missed += 1
            if missed == MISSED_LOOKS + 1:
                control.state("not ready", ["it has not joined the balancer"])
        asyncio.get_running_loop().call_later(LOOK_SECONDS, self._watch_joined, control, roles, missed)

    def _report(self, purpose: Purpose) -> tuple[bool, dict[str, Any]]:
        """How ready this process is, also before it has anything."""
        if self._health is not None:
            return self._health.report(purpose)
        waiting = "standing by for the process that owns the journal" if self._is_standby else "starting"
        doing = "ending" if self._stop_asked else waiting
        return False, {"status": "not ready", "checks": {"runtime": {"ready": False, "reason": doing}}}

    async def _numbers(self) -> str:
        if self._composed is None:
            return ""
        roles = self._composed.roles if self._is_started else []
        return exposition(_metrics(self._composed.kernel, roles)).decode()

    def _findings(self, roles: list[Role]) -> dict[str, list[str]]:
        found = {} if self._health is None else findings(self._health)
        if not all(role.joined for role in roles if isinstance(role, ServerRole)):
            found["traffic"] = [*found.get("traffic", ()), "it has not joined the balancer"]
        return found

    def _tell(self, control: Control, runtime: Runtime, kernel: Kernel, roles: list[Role]) -> None:
        """Let the runner know how this process is."""
        control.gauges = lambda: _gauges(kernel, roles)
        control.findings = lambda: self._findings(roles)
        control.metrics = lambda: exposition(_metrics(kernel, roles)).decode()
        runtime.supervisor.events.on("failure", control.failure)
        runtime.events.on("fail", lambda failure: control.state("not ready", list(runtime.reasons)))
        runtime.events.on("after_resume", control.ready)
        kernel.projector.events.on(
            "revived",
            lambda name, at: None if kernel.projector.stopped or not runtime.ready else control.ready(),
        )

    def _signals(self) -> tuple[int, ...]:
        """The runner hears a Ctrl-C itself and ends its children in order."""
        return (signal.SIGTERM,) if self.control is not None else (signal.SIGINT, signal.SIGTERM)

    def _stop(self, seconds: float) -> None:
        self._stop_asked = True
        if seconds and self._composed is not None:
            for role in self._composed.roles:
                if isinstance(role, ServerRole | ConsumerRole):
                    role.drain = max(0.1, seconds - CLOSING_SECONDS)
        if self.runtime is not None and self._is_started:
            self.runtime.end(0, "the runner said so")
        elif self._opening is not None:
            self._opening.cancel()

    def _yield(self) -> None:
        """A successor waits for what this process owns."""
        if self.runtime is not None and not self._yielding:
            self._yielding = True
            self._recalled.clear()
            self.runtime.end(0, "a successor takes over")

    def _recall(self) -> None:
        """The successor came to nothing."""
        self._recalled.set()

    def _make(self, kernel: Kernel, parts: Parts) -> list[Role]:
        made: list[Role] = []
        if "consumer" in self.roles:
            made.append(ConsumerRole(kernel, shared=parts.shared))
        if "server" in self.roles and "gateway" in self.roles:
            raise SettingsError(
                "role", "a server serves the stream too: run gateways in processes of their own"
            )
        if "server" in self.roles:
            made.append(ServerRole(kernel))
        if "gateway" in self.roles:
            made.append(GatewayRole(kernel))
        return made

    def _let_in(self, role: ServerRole) -> None:
        """Give it its way in: what the balancer hands over, a socket that the runner left, or one of its own."""
        door = os.environ.pop(JOIN, "")
        inherited = os.environ.pop(LISTENER, "")
        if door:
            role.join = Door.inherited(int(door)).knock
        elif inherited:
            role.sockets = [adopt_listener(int(inherited))]
        else:
            setting = LISTENS[role.name]
            role.sockets = [bind_tcp(*address(getattr(self.settings, setting), setting), setting=setting)]


@dataclass(frozen=True, slots=True)
class _Composed:
    """What a process is made of, before anything of it is opened."""

    kernel: Kernel
    runtime: Runtime
    roles: list[Role]


def _health(kernel: Kernel, runtime: Runtime, roles: list[Role]) -> Health:
    deciding = next((role for role in roles if isinstance(role, ConsumerRole)), None)
    return process_checks(
        kernel,
        lambda: runtime.reasons,
        reads=any(isinstance(role, ServerRole) for role in roles),
        troubles=None if deciding is None else lambda: deciding.troubles,
    )


def _reactor(run: ReactorRun) -> str:
    return f"{run.reactor.name}: {run.behind} behind, {len(run.parked)} keys parked"


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
            found["decided"] = role.decided
            if held := sum(consumer.waiting for consumer in role.consumers.values()):
                found["held"] = held
            if reactors := [_reactor(run) for run in kernel.reactors if run.at_work]:
                found["reactors"] = "\n".join(reactors)
            for consumer in role.consumers.values():
                found["position"] = str(consumer.position)
    return found
