"""`Runtime`: starts roles, supervises them, and has a failed state that is real and always ends.

    runtime = Runtime("livekv", [server, consumer])
    code = runtime.run()                      # or, within a running loop: code = await runtime.serve()

Two levels of supervisors. `runtime.supervisor` has the roles as children and takes what `report` is told: one
failing listener, timer or task is logged, a failing role restarted, work goes on. What it cannot mend is escalated
to `runtime.guard`, and that is the failed state: the loop's normal interests are held (ticks, timers, streams,
signals), every role is told to `hold()`, and the guard's rules run in the failure set. By default all roles are
started again. When the last failure is mended the roles `resume()` and the held interests go on. Work in progress
and asyncio tasks may end meanwhile; `reasons` tells readiness why the runtime is not ready.

It never hangs: a hold, a solver and a start have deadlines, the whole recovery has one (`recovery_seconds`), the
guard's budget bounds how often it is tried, and when the loop itself does not turn any more, a thread ends the
process with the stacks on standard error. A runtime that cannot recover ends with a message and exit code 70.

States and events: see `lifecycle`; `events.on("before_fail", f)` and so on. `f` of `fail` gets the `Failure`.
Not here: what a role does, how processes are supervised (`skerry.process` uses the same supervisors).
"""

from __future__ import annotations

import asyncio
import faulthandler
import logging
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from skerry.clock import Clock, SystemClock
from skerry.emitter import EventEmitter
from skerry.errors import LifecycleError
from skerry.kernel.lifecycle import State, Verb, after, events, possible
from skerry.kernel.role import Role
from skerry.loop.loop import Loop
from skerry.supervision.children import end_at_once
from skerry.supervision.failure import Failure
from skerry.supervision.policy import Intensity
from skerry.supervision.supervisor import Supervisor
from skerry.telemetry import Registry

logger = logging.getLogger("skerry.runtime")

SOFTWARE = 70
"""Exit code of a runtime that could not recover (EX_SOFTWARE of sysexits.h)."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How long each thing may take, in seconds, before it counts as hung."""

    hold_seconds: float = 5.0
    """One role's `hold` or `resume`."""
    role_seconds: float = 30.0
    """One role's start or stop."""
    solver_seconds: float = 60.0
    recovery_seconds: float = 90.0
    """From entering the failed state until it is left."""
    stop_seconds: float = 60.0
    """All of the end, drain included."""
    grace_seconds: float = 5.0
    """How long after a deadline a thread ends the process, when the loop does not turn."""


@dataclass(frozen=True, slots=True)
class Exit:
    """Why a runtime ended, and with which exit code."""

    code: int
    message: str


class RootSupervisor(Supervisor):
    """The supervisor above the roles': it gives failures to `failing` instead of handling them; `mend` applies its
    rules to one."""

    def __init__(self, failing: Callable[[Failure], None], name: str, **settings: Any) -> None:
        super().__init__(name, **settings)
        self._failing = failing

    def accept(self, failure: Failure) -> None:
        self._failing(failure)

    async def mend(self, failure: Failure) -> None:
        """Do what the rules say; returns when that is done, failures that come of it included."""
        super().accept(failure)
        await self.settled()


class Runtime:
    """See the module's text."""

    def __init__(
        self,
        name: str,
        roles: Sequence[Role] = (),
        *,
        loop: Loop | None = None,
        clock: Clock | None = None,
        limits: Limits | None = None,
        recoveries: Intensity | None = None,
        registry: Registry | None = None,
        hard_exit: Callable[[int], object] = os._exit,
    ) -> None:
        self.name = name
        self.clock: Clock = SystemClock() if clock is None else clock
        self.limits = Limits() if limits is None else limits
        self.loop = Loop(clock=self.clock) if loop is None else loop
        self.loop.on_error = lambda error, callback: self.report(f"callback {called(callback)}", error)
        self.events = EventEmitter()
        self.events.on_error = lambda error, event: self.report(f"event {event}", error)
        self.state = State.CREATED
        self.exit: Exit | None = None
        """Set once the runtime is to end; the first reason stays."""
        self.failure: Failure | None = None
        """What the failed state is about."""
        self.supervisor = Supervisor(
            f"{name} roles",
            clock=self.clock,
            child_timeout_seconds=self.limits.role_seconds,
            registry=registry,
        )
        self.guard = RootSupervisor(
            self._failing,
            name,
            clock=self.clock,
            intensity=Intensity(3, 60.0) if recoveries is None else recoveries,
            solver_timeout_seconds=self.limits.solver_seconds,
            child_timeout_seconds=self.limits.role_seconds * 2,
            last_resort=self._give_up,
            registry=registry,
        )
        self.guard.add(self.supervisor)
        self._held = HeldRoles(name, self.supervisor, self.limits.hold_seconds)
        self._exception_handler = LoopExceptionHandler(name, self.report)
        self._roles: dict[str, Role] = {}
        for role in roles:
            self.add(role)
        self._hard_exit = hard_exit
        self._adopted = self._leaving = False
        self._changing = asyncio.Lock()
        self._waiting: deque[Failure] = deque()
        self._episode: asyncio.Task[None] | None = None
        self._ended = asyncio.Event()

    def add(
        self, role: Role, make: Callable[[], Role] | None = None, intensity: Intensity | None = None
    ) -> None:
        """Add a role; before `start`. `make`, `intensity`: see `Supervisor.add`."""
        self.supervisor.add(role, make, intensity)
        self._roles[role.name] = role
        self.guard.child_timeout_seconds = self.limits.role_seconds * len(self._roles) * 2

    def report(self, component: str, error: BaseException) -> None:
        """Report a failure: the supervisor's rules decide what happens. From the loop's thread; returns at
        once."""
        self.supervisor.report(component, error)

    def watch(self, component: str, emitter: EventEmitter) -> None:
        """Have the errors of an emitter's listeners reported as failures of `component`."""
        emitter.on_error = lambda error, event: self.report(component, error)

    @property
    def ready(self) -> bool:
        """Whether this process should get work."""
        return not self.reasons

    @property
    def reasons(self) -> tuple[str, ...]:
        """The reasons why it should not; empty when it should."""
        if self.exit is not None:
            return (f"ending: {self.exit.message}",)
        if self.state is State.FAILED:
            return (f"failed: {self.failure}",)
        return () if self.state is State.STARTED else (self.state.value,)

    # Transitions. Each is an error (LifecycleError) where it is not possible.

    async def start(self) -> None:
        """Start the loop's interests and the roles, in order. When one cannot start, those before it are stopped
        again, the state stays, and its error is raised."""
        async with self._changing:
            after(self.state, Verb.START)
            self.events.emit("before_start")
            self._adopted = not self.loop.running
            if self._adopted:
                self.loop.start()
            self._exception_handler.install()
            try:
                await self.guard.start()
            except BaseException:
                self._exception_handler.restore()
                self._waiting.clear()
                if self._adopted:
                    self.loop.stop()
                raise
            self._enter(Verb.START)
            self._begin_episode()

    async def stop(self) -> None:
        """Stop the roles in reverse order and release the loop's interests; from the failed state too."""
        async with self._changing:
            after(self.state, Verb.STOP)
            self.events.emit("before_stop")
            await self._let_go()
            self._enter(Verb.STOP)

    async def destroy(self) -> None:
        """Stop what runs and erase all interests. Only `create` is possible afterwards."""
        async with self._changing:
            after(self.state, Verb.DESTROY)
            self.events.emit("before_destroy")
            if self.state in (State.STARTED, State.FAILED):
                await self._let_go()
            self.loop.erase(everything=True)
            self._enter(Verb.DESTROY)

    def create(self) -> None:
        """Begin again after `destroy`."""
        after(self.state, Verb.CREATE)
        self.events.emit("before_create")
        self.exit = self.failure = None
        self._ended.clear()
        self._enter(Verb.CREATE)

    def fail(self, component: str, error: BaseException) -> None:
        """Enter the failed state for `error`; several at once are handled one after another."""
        if self.state not in (State.STARTED, State.FAILED):
            raise LifecycleError("fail", self.state.value, tuple(possible(self.state)))
        self._failing(Failure.of(component, error, at=self.clock.now()))

    def _enter(self, verb: Verb, *told: object) -> None:
        self.state = after(self.state, verb)
        _, now, done = events(verb)
        self.events.emit(now, *told)
        self.events.emit(done, *told)

    async def _let_go(self) -> None:
        self._leaving = True
        self._waiting.clear()
        try:
            episode, self._episode = self._episode, None
            if episode is not None and episode is not asyncio.current_task():
                episode.cancel()
                await asyncio.wait((episode,))
            await self.guard.stop()
            if self._adopted:
                await self.loop.drain()
                self.loop.stop()
            if self.loop.held:
                self.loop.resume()
            self._exception_handler.restore()
        finally:
            self._leaving = False

    # The failed state.

    def _failing(self, failure: Failure) -> None:
        """A failure that the roles' supervisor could not mend, or an explicit one."""
        if self.exit is not None or self._leaving or self.state is State.DESTROYED:
            state = "stopping" if self._leaving else self.state.value
            logger.error("%s, while %s: %s\n%s", self.name, state, failure, failure.traceback)
            return
        self._waiting.append(failure)
        self._begin_episode()

    def _begin_episode(self) -> None:
        if self._waiting and self._episode is None and self.state is State.STARTED and self.exit is None:
            self._episode = asyncio.get_running_loop().create_task(
                self._recover(), name=f"{self.name} recovery"
            )
            self._episode.add_done_callback(self._recovered)

    async def _recover(self) -> None:
        """One stay in the failed state, from the first failure to the last one that came meanwhile."""
        self.failure = self._waiting[0]
        with self._watchdog(self.limits.recovery_seconds, "did not leave the failed state"):
            self.events.emit("before_fail", self.failure)
            self.loop.hold()
            self._enter(Verb.FAIL, self.failure)
            logger.error("%s has failed, its work is held: %s", self.name, self.failure)
            try:
                async with asyncio.timeout(self.limits.recovery_seconds):
                    await self._held.hold(self._roles.values())
                    with self.loop.failure_scope():
                        while self._waiting and self.exit is None:
                            await self.guard.mend(self._waiting.popleft())
                    if self.exit is None:
                        await self._resume()
            except TimeoutError:
                self.end(
                    SOFTWARE,
                    f"could not recover within {self.limits.recovery_seconds:g} s from {self.failure}",
                )

    async def _resume(self) -> None:
        self.events.emit("before_resume")
        await self._held.resume()
        self.loop.resume()
        self.failure = None
        self._enter(Verb.RESUME)
        logger.warning("%s has recovered", self.name)

    def _recovered(self, episode: asyncio.Task[None]) -> None:
        if self._episode is episode:
            self._episode = None
        if not episode.cancelled() and (error := episode.exception()) is not None:
            self.end(SOFTWARE, f"recovery failed: {error!r}")
            logger.critical("the recovery of %s failed", self.name, exc_info=error)
        else:
            self._begin_episode()

    def _give_up(self, failure: Failure) -> None:
        logger.critical("%s cannot be mended: %s\n%s", self.name, failure, failure.origin.traceback)
        self.end(SOFTWARE, f"cannot recover: {failure.message} (began with {failure.origin})")

    # The whole life.

    def end(self, code: int = 0, message: str = "asked to stop") -> None:
        """Let `serve` stop everything and return `code`. The first call counts."""
        if self.exit is None:
            self.exit = Exit(code, message)
            logger.log(logging.INFO if code == 0 else logging.CRITICAL, "%s ends: %s", self.name, message)
            self._ended.set()

    async def serve(self, *, signals: Iterable[int] = ()) -> int:
        """Start, run until `end`, stop within `stop_seconds`; the exit code. Raises what keeps a role from starting.

        Each of `signals` ends it with code 0; the second one at once, with 128 + its number. Cancelled, it stops
        everything too.
        """
        if self.state is State.DESTROYED:
            self.create()
        running = asyncio.get_running_loop()
        caught = tuple(signals)
        for number in caught:
            running.add_signal_handler(number, self._signalled, number)
        try:
            await self.start()
            try:
                await self._ended.wait()
            finally:
                await self._destroy_in_time()
        finally:
            for number in caught:
                running.remove_signal_handler(number)
        return SOFTWARE if self.exit is None else self.exit.code

    async def _destroy_in_time(self) -> None:
        with self._watchdog(self.limits.stop_seconds, "did not stop"):
            try:
                async with asyncio.timeout(self.limits.stop_seconds):
                    await self.destroy()
            except TimeoutError:
                logger.critical("%s: stopping took longer than %g s", self.name, self.limits.stop_seconds)

    def run(self) -> int:
        """`serve` on an asyncio loop of the Loop's model, ended by SIGINT and SIGTERM. A failure is printed
        to stderr."""
        code = self.loop.run(lambda: self.serve(signals=(signal.SIGINT, signal.SIGTERM)))
        if self.exit is not None and self.exit.code:
            print(f"{self.name}: {self.exit.message}", file=sys.stderr)
        return SOFTWARE if code is None else code

    def _signalled(self, number: int) -> None:
        if self.exit is not None:
            logger.info("%s ends at once: signal %s", self.name, signal.Signals(number).name)
            end_at_once(asyncio.get_running_loop())
            raise SystemExit(128 + number)
        self.end(0, f"signal {signal.Signals(number).name}")

    def _watchdog(self, seconds: float, what: str) -> Watchdog:
        end = partial(self._hard_exit, SOFTWARE)
        return Watchdog(seconds + self.limits.grace_seconds, f"{self.name} {what}", end)


class Watchdog:
    """Ends the process when a `with` block takes too long, by a thread: for a loop that does not turn any more
    (whatever does turn has deadlines of its own). After `seconds`: `message` and all stacks on standard error, then
    `end()`."""

    def __init__(self, seconds: float, message: str, end: Callable[[], object]) -> None:
        self._message, self._end_process = message, end
        self._timer = threading.Timer(seconds, self._end)
        self._timer.daemon = True

    def _end(self) -> None:
        print(f"{self._message}; ending the process, it was at:", file=sys.stderr, flush=True)
        faulthandler.dump_traceback(file=sys.__stderr__ or 2)
        self._end_process()

    def __enter__(self) -> None:
        self._timer.start()

    def __exit__(self, *_exc: object) -> None:
        self._timer.cancel()


class HeldRoles:
    """Roles that take nothing new while the process is being mended: told to hold and to resume, each within `seconds`;
    one that fails or hangs at that does not keep the others. `owner` is named in the log; `supervisor` knows which of
    them were started anew."""

    def __init__(self, owner: str, supervisor: Supervisor, seconds: float) -> None:
        self._owner, self._supervisor, self._seconds = owner, supervisor, seconds
        self._held: list[tuple[Role, int]] = []

    async def hold(self, roles: Iterable[Role]) -> None:
        """Tell every role that is still supervised to take nothing new, the last one first."""
        self._held = []
        for role in reversed(list(roles)):
            if self._supervisor.has(role.name):
                self._held.append((role, self._supervisor.generation(role.name)))
                await self._bounded(role.hold(), f"{role.name} hold")

    async def resume(self) -> None:
        """Tell those that were held to go on, the first one first; not one that was started anew or destroyed since."""
        for role, generation in reversed(self._held):
            if self._supervisor.has(role.name) and self._supervisor.generation(role.name) == generation:
                await self._bounded(role.resume(), f"{role.name} resume")

    async def _bounded(self, work: Awaitable[object], what: str) -> None:
        try:
            async with asyncio.timeout(self._seconds):
                await work
        except Exception as error:
            logger.error("%s: %s failed or took too long", self._owner, what, exc_info=error)


class LoopExceptionHandler:
    """The exception handler of the running asyncio loop between `install` and `restore`. Exceptions go to
    `report(component, error)`; other messages are logged under `owner`."""

    def __init__(self, owner: str, report: Callable[[str, BaseException], object]) -> None:
        self._owner, self._report = owner, report
        self._before: Callable[[asyncio.AbstractEventLoop, dict[str, Any]], object] | None = None

    def install(self) -> None:
        """Stand in for the handler that is there."""
        running = asyncio.get_running_loop()
        self._before = running.get_exception_handler()
        running.set_exception_handler(self._told)

    def restore(self) -> None:
        """Put the handler back that was there."""
        asyncio.get_running_loop().set_exception_handler(self._before)

    def _told(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        source = context.get("task") or context.get("future") or context.get("handle") or "asyncio"
        if isinstance(error, Exception):
            self._report(called(source), error)
        else:
            logger.error("%s: %s", self._owner, context.get("message"))


def called(source: object) -> str:
    """The name of a task or callback in messages."""
    if isinstance(source, asyncio.Task):
        return source.get_name()
    if isinstance(source, partial):
        return called(source.func)
    return getattr(source, "__qualname__", None) or repr(source)[:80]
