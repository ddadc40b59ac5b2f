"""Runs roles in this process until a signal, or the runner that started it, ends them."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Protocol

from skerry.clock import SystemClock
from skerry.http.auth import Tokens
from skerry.http.health import Purpose, exposition
from skerry.kernel.checks import findings
from skerry.kernel.declaration import Declaration
from skerry.kernel.kernel import has_copy
from skerry.kernel.notifier import Notifier
from skerry.kernel.role import Draining, Listening
from skerry.kernel.runtime import Runtime
from skerry.kernel.settings import CLOSING_SECONDS, Settings, address
from skerry.loop.blocked import Outside
from skerry.loop.door import Door
from skerry.loop.models import default, factory
from skerry.loop.pacing import call_in_step
from skerry.loop.sockets import adopt_listener, bind_tcp
from skerry.roles.composition import Composition, compose, named, sealed
from skerry.roles.kind import RoleKind, role_kinds
from skerry.roles.wiring import Parts, open_parts, plan
from skerry.supervision.failure import Failure

if TYPE_CHECKING:
    from skerry.kernel.admin import AdminServer

logger = logging.getLogger("skerry")
BLOCKED_SECONDS = 0.25
"""A turn of the loop that takes longer is reported with its stack: blocking code in a view, a handler, a listener."""
LOOK_SECONDS = 1.0
MISSED_LOOKS = 1
"""How often a server may be found without a balancer before it is said."""
JOIN = "SKERRY_JOIN_FD"
LISTENER = "SKERRY_LISTEN_FD"


class Control(Protocol):
    """The line to the runner of this process (`skerry.process.worker.Worker`)."""

    gauges: Callable[[], dict[str, float | str]]
    metrics: Callable[[], str]
    findings: Callable[[], dict[str, list[str]]]
    on_yield: Callable[[], None]
    on_recall: Callable[[], None]

    @property
    def looked(self) -> Outside | None: ...

    async def start(self, stop: Callable[[float], None]) -> None: ...
    def ready(self) -> None: ...
    def state(self, name: str, reasons: list[str] | None = None) -> None: ...
    def failure(self, failure: Failure, *, fatal: bool = False) -> None: ...
    async def all_metrics(self, seconds: float = 2.0) -> str: ...
    async def close(self) -> None: ...


def run_roles(
    declaration: Declaration,
    settings: Settings,
    roles: tuple[str | RoleKind, ...],
    control: Control | None = None,
    *,
    at_end: Callable[[], Awaitable[object]] | None = None,
) -> int:
    """Run until SIGINT, SIGTERM or the runner ends it; a second signal ends at once. Returns the exit code. `at_end` is
    awaited when the roles have ended for good, or could not start. Raises SettingsError."""
    with asyncio.Runner(loop_factory=factory(settings.loop_model or default())) as runner:
        return runner.run(_Process(declaration, settings, roles, control, at_end).run())


class _Process:
    """One run of some roles."""

    def __init__(
        self,
        declaration: Declaration,
        settings: Settings,
        roles: tuple[str | RoleKind, ...],
        control: Control | None,
        at_end: Callable[[], Awaitable[object]] | None = None,
    ) -> None:
        self._at_end = at_end
        self.declaration = sealed(declaration, settings)
        self.settings, self.roles, self.control = settings, roles, control
        self.name = settings.process or named(roles)
        self.runtime: Runtime | None = None
        """While it serves."""
        self._composed: Composition | None = None
        self._opening: asyncio.Task[object] | None = None
        self._is_started = False
        self._stop_asked = False
        self._yielding = False
        self._recalled = asyncio.Event()
        self._kinds = role_kinds(roles)
        self._serving = False
        self._is_standby = False
        self._notifier = Notifier()
        self._admin: AdminServer | None = None
        """Of a process without a runner; a runner has one for all."""

    async def run(self) -> int:
        """Open what is needed and serve. A signal while something is waited for (the journal's owner, a broker) ends
        it at once. Having made room for a successor it stands by, for the case that the successor does not work."""
        self._opening = asyncio.current_task()
        self._notifier.status("starting")
        self._notifier.start_watchdog()
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
            if self._admin is not None:
                await self._admin.stop()
            self._notifier.close()
            if self._at_end is not None:
                await self._at_end()
            if control is not None:
                await control.close()

    async def _open(self) -> int:
        settings, control = self.settings, self.control
        uses = {kind.journal for kind in self._kinds}
        namespace = settings.namespace or self.declaration.namespace
        chosen = None
        if uses != {""}:
            tables = list(self.declaration.tables)
            together = {"decides", "reads"} <= uses
            chosen = plan(settings, namespace, one_process=together, tables=tables)
        if self._composed is None:
            self._check()
            if control is None and settings.admin_bind:
                from skerry.kernel.admin import AdminServer  # processes of a runner start sooner without it

                self._admin = AdminServer(settings, self._report, self._numbers)
                await self._admin.start()
            if control is not None:
                control.on_yield, control.on_recall = self._yield, self._recall
                await control.start(self._stop)
        if chosen is None:
            self._compose(None)
            return await self._serve()
        async with open_parts(
            self.declaration,
            settings,
            chosen,
            decides="decides" in uses,
            name=self.name,
            on_standby=self._on_standby,
            wait=not has_copy(settings, namespace, self.name),
            made=self._compose,
        ):
            return await self._serve()

    def _on_standby(self) -> None:
        self._is_standby = True
        self._notifier.ready("standing by for the process that owns the journal")
        if self.control is not None:
            self.control.state("standby")

    def _compose(self, parts: Parts | None) -> None:
        everybody = self.control.all_metrics if self.control is not None else None
        self._composed = compose(
            self.declaration, self.settings, self.roles, parts, name=self.name, all_metrics=everybody
        )

    def _check(self) -> None:
        """Find out what is wrong before anything is opened or waited for. Raises SettingsError."""
        Tokens.parse(self.settings.tokens, SystemClock(), setting="tokens")
        if JOIN in os.environ or LISTENER in os.environ:
            return
        for setting in filter(None, (kind.listens for kind in self._kinds)):
            exposed = self.settings.exposed(setting)
            if (
                exposed is not None
                and any(kind.journal for kind in self._kinds)
                and not self.declaration.http.authenticates
            ):
                logger.warning(exposed)
            bind_tcp(*address(getattr(self.settings, setting), setting), setting=setting).close()

    async def _serve(self) -> int:
        assert self._composed is not None
        composed, runtime = self._composed, self._composed.runtime
        for kind, role in composed.listening:
            self._let_in(kind.listens, role)
        self._serving = True
        if self.control is not None:
            self._tell(self.control, composed)
        if self._stop_asked:
            return 0
        runtime.events.on("after_start", lambda: self._started(composed))
        runtime.events.on("before_destroy", lambda: self._notifier.stopping("ending"))
        self.runtime = runtime
        try:
            return await runtime.serve(signals=self._signals())
        finally:
            self.runtime, self._serving, self._is_started = None, False, False

    def _started(self, composed: Composition) -> None:
        self._is_started = True
        gc.collect()
        gc.freeze()  # what was loaded stays: a collection over a million objects would take a tenth of a second
        loop = composed.runtime.loop
        looked = self.control.looked if self.control is not None else None
        loop.watch_blocking(BLOCKED_SECONDS, outside=looked)  # from here on it is somebody's fault
        composed.registry.counter(
            "skerry_loop_blocked_total",
            "Turns of the loop that took longer than 0.25 s; the log has their stacks.",
            read=lambda: loop.blocked_turns,
        )
        for _, role in composed.listening:
            for where in role.addresses:
                logger.info("listening on %s", where)
        if self.control is None and (kernel := composed.kernel) is not None and composed.listening:
            journal = _without_secrets(kernel.settings.journal_url(kernel.namespace))
            logger.info("memory is that of the journal %s, at %s", journal, kernel.projector.position)
        if self.control is None and not composed.listening:
            logger.info("%s is ready", self.name)
        self._notifier.ready(f"{self.name} works")
        if self.control is not None:
            self._tell_ready(self.control, composed)
            self._watch_joined(self.control, composed)

    def _tell_ready(self, control: Control, composed: Composition) -> None:
        reads = any(kind.journal == "reads" for kind in composed.kinds)
        if reads and composed.stopped:  # it serves what it can; a replacement of processes goes no further
            control.state("not ready", composed.stopped)
        else:
            control.ready()

    def _watch_joined(self, control: Control, composed: Composition, missed: int = 0) -> None:
        """Tell the runner while no connection comes in. A balancer that is started anew is away for a moment."""
        if not composed.listening or not self._is_started:
            return
        if _has_joined(composed):
            if missed > MISSED_LOOKS:
                self._tell_ready(control, composed)
            missed = 0
        else:
            missed += 1
            if missed == MISSED_LOOKS + 1:
                control.state("not ready", ["it has not joined the balancer"])
        call_in_step(asyncio.get_running_loop(), LOOK_SECONDS, self._watch_joined, control, composed, missed)

    def _report(self, purpose: Purpose) -> tuple[bool, dict[str, Any]]:
        """How ready this process is, also before it has anything."""
        if self._composed is not None and self._serving:
            return self._composed.health.report(purpose)
        waiting = "standing by for the process that owns the journal" if self._is_standby else "starting"
        doing = "ending" if self._stop_asked else waiting
        return False, {"status": "not ready", "checks": {"runtime": {"ready": False, "reason": doing}}}

    async def _numbers(self) -> str:
        composed = self._composed
        if composed is None:
            return ""
        return exposition(composed.metrics() if self._is_started else composed.registry.collect()).decode()

    def _findings(self, composed: Composition) -> dict[str, list[str]]:
        found = findings(composed.health) if self._serving else {}
        if not _has_joined(composed):
            found["traffic"] = [*found.get("traffic", ()), "it has not joined the balancer"]
        return found

    def _tell(self, control: Control, composed: Composition) -> None:
        """Let the runner know how this process is."""
        runtime, kernel = composed.runtime, composed.kernel
        control.gauges = composed.gauges
        control.findings = lambda: self._findings(composed)
        control.metrics = lambda: exposition(composed.metrics()).decode()
        runtime.supervisor.events.on("failure", control.failure)
        runtime.events.on("fail", lambda failure: control.state("not ready", list(runtime.reasons)))
        runtime.events.on("after_resume", control.ready)
        if kernel is not None:
            kernel.projector.events.on(
                "revived",
                lambda name, at: None if composed.stopped or not runtime.ready else control.ready(),
            )

    def _signals(self) -> tuple[int, ...]:
        """The runner hears a Ctrl-C itself and ends its children in order."""
        return (signal.SIGTERM,) if self.control is not None else (signal.SIGINT, signal.SIGTERM)

    def _stop(self, seconds: float) -> None:
        self._stop_asked = True
        if seconds and self._composed is not None:
            for role in self._composed.roles:
                if isinstance(role, Draining):
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
        """The successor failed."""
        self._recalled.set()

    def _let_in(self, setting: str, role: Listening) -> None:
        """Give it its way in: what the balancer hands over, a socket that the runner left, or one of its own."""
        door = os.environ.pop(JOIN, "")
        inherited = os.environ.pop(LISTENER, "")
        if door:
            role.join = Door.inherited(int(door)).knock
        elif inherited:
            role.sockets = [adopt_listener(int(inherited))]
        else:
            role.sockets = [bind_tcp(*address(getattr(self.settings, setting), setting), setting=setting)]


def _has_joined(composed: Composition) -> bool:
    return all(role.joined for _, role in composed.listening)


def _without_secrets(url: str) -> str:
    """A journal's URL for the log: without login and parameters."""
    scheme, _, rest = url.partition(":")
    place = rest.partition("?")[0]
    return f"{scheme}:{'//' if '@' in place else ''}{place.rpartition('@')[2]}"
