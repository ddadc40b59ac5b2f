"""`Supervisor`: takes failures, chooses solvers by rule, and restarts children within their budgets.

    supervisor = Supervisor("app", strategy=Strategy.ONE_FOR_ONE)
    supervisor.rule(ConnectionError, log, retry(attempts=5))      # the nearest class wins
    supervisor.spawn("feed", read_feed)                           # a task, restarted when it fails
    supervisor.add(server)                                        # anything with name, start and stop
    await supervisor.start()
    emitter.on_error = lambda error, event: supervisor.report("emitter", error)

Promises: no failure is lost; failures of one component are handled in their order, those of different components
do not wait for each other; a solver has a deadline; a solver that fails, `escalate` and an exceeded intensity go
to the parent (`add` a supervisor to another one) or, at the root, to `last_resort`. Without a rule of its own a
failure is logged and, when it is a child's, the child is restarted. An exception group is handled as its parts,
unless there is a rule for its own class.

The same at both scales: children are tasks of a process or processes of a machine; `accept` takes a failure
that came from another process. `events` tells `failure`, `restarted`, `escalated` and `solved`, each with the
`Failure`. Not here: noticing that a child died (the child reports), the failed state (`skerry.kernel.runtime`).
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from typing import Any

from skerry.clock import Clock, SystemClock
from skerry.emitter import EventEmitter
from skerry.errors import DeadlineExceeded
from skerry.supervision.children import Child, TaskChild
from skerry.supervision.failure import Failure, IntensityExceeded, SupervisionError, leaves
from skerry.supervision.lanes import MOST_PENDING, Lanes
from skerry.supervision.policy import Escalate, Intensity, RestartBudget, Rule, Strategy, affected
from skerry.supervision.roster import Roster, Supervised
from skerry.supervision.rules import Rules, SolverPlugin
from skerry.supervision.solvers import Solver
from skerry.telemetry import Registry

logger = logging.getLogger("skerry.supervision")


class Supervisor:
    """See the module's text. Also a `Child`, so that supervisors form a tree."""

    def __init__(
        self,
        name: str = "supervisor",
        *,
        strategy: Strategy = Strategy.ONE_FOR_ONE,
        budget: Callable[[], RestartBudget] = RestartBudget,
        intensity: Intensity | None = None,
        clock: Clock | None = None,
        solver_timeout_seconds: float = 30.0,
        child_timeout_seconds: float = 10.0,
        last_resort: Callable[[Failure], object] | None = None,
        registry: Registry | None = None,
    ) -> None:
        self.name, self.strategy = name, strategy
        self.clock: Clock = clock or SystemClock()
        self.parent: Supervisor | None = None
        self.last_resort = last_resort
        self.resume_hook: Callable[[Failure], Awaitable[object] | object] | None = None
        self.events = EventEmitter()
        self._new_budget: Callable[[], RestartBudget] = budget
        if intensity is not None:
            self._new_budget = lambda: RestartBudget(intensity)
        self._solver_timeout = solver_timeout_seconds
        self._rules = Rules()
        self._roster = Roster(name, child_timeout_seconds)
        self._lanes = Lanes(name, self._solve)
        self._changing = asyncio.Lock()
        self._running = False
        self._counts: dict[tuple[str, str], int] = {}
        self._handed_up: set[int] = set()
        numbers = Registry() if registry is None else registry
        self._failures = numbers.counters("skerry_failures_total", "Failures reported.", "supervisor", "kind")
        numbers.counter(
            "skerry_failures_dropped_total",
            "Failures that were only logged, because too many waited.",
            read=lambda: self._lanes.dropped,
            supervisor=name,
        )
        self._restarts = numbers.counter("skerry_restarts_total", "Children restarted.", supervisor=name)
        self._escalations = numbers.counter(
            "skerry_escalations_total", "Failures handed up.", supervisor=name
        )

    # Rules.

    def rule(self, kind: type[BaseException], *solvers: Solver) -> Rule[Solver]:
        """For exceptions of `kind` and below: this chain, one after another."""
        return self._rules.add(kind, solvers)

    def remove_rule(self, rule: Rule[Solver]) -> None:
        """Forget a rule that `rule` gave."""
        self._rules.remove(rule)

    def plug(self, plugin: SolverPlugin) -> None:
        """Add a plugin's rules; all of them or, when one is wrong, none (SupervisionError)."""
        self._rules.plug(plugin)

    def unplug(self, plugin: SolverPlugin) -> None:
        """Take a plugin's rules out again."""
        self._rules.unplug(plugin)

    # Children.

    @property
    def child_timeout_seconds(self) -> float:
        """How long a child may take to start, and to stop."""
        return self._roster.timeout_seconds

    @child_timeout_seconds.setter
    def child_timeout_seconds(self, seconds: float) -> None:
        self._roster.timeout_seconds = seconds

    def add(
        self, child: Child, make: Callable[[], Child] | None = None, intensity: Intensity | None = None
    ) -> None:
        """Supervise a child. `make` gives a new one of the same name, for `recreate`; `intensity`: how often it may be
        restarted, where that is not as often as the others. It starts with `start`."""
        if child.name in self._roster:
            raise SupervisionError(f"there is a child {child.name!r} already")
        if isinstance(child, Supervisor):
            at: Supervisor | None = self
            while at is not None:
                if at is child:
                    raise SupervisionError(f"{child.name} cannot be below itself")
                at = at.parent
            child.parent = self
        budget = self._new_budget() if intensity is None else RestartBudget(intensity)
        self._roster.add(Supervised(child, make, budget))

    def spawn(
        self,
        name: str,
        work: Callable[[], Coroutine[Any, Any, object]],
        *,
        ends: bool = False,
        temporary: bool = False,
    ) -> TaskChild:
        """Supervise a coroutine function as a task; it begins with `start`, or now when that has happened.

        Returning is a failure unless it `ends`: then it is kept and may be started again. A `temporary` one ends
        too, and is forgotten when it has returned, so that its name is free.
        """
        forget = self._roster.forget if temporary else None
        child = TaskChild(name, work, self.report, ends=ends or temporary, finished=forget)
        self.add(child)
        if self._running:
            child.start()
        return child

    @property
    def children(self) -> tuple[str, ...]:
        """Names, in the order of starting."""
        return self._roster.names

    def has(self, child: str) -> bool:
        """Whether there is a child of that name."""
        return child in self._roster

    def generation(self, child: str) -> int:
        """How often it has been started."""
        return self._roster.get(child).generation

    def ready(self, child: str) -> None:
        """The child works: its next failure is restarted at once."""
        self._roster.get(child).budget.ready()

    async def start(self, child: str | None = None) -> None:
        """Start all children in their order, or one. When one of all cannot start, or this is cancelled, it
        and those before it are stopped, to undo a partial start."""
        if child is not None:
            await self._roster.start(self._roster.get(child))
            return
        self._running = True
        begun: list[Supervised] = []
        try:
            for one in self._roster:
                one.budget.forget()
                begun.append(one)
                await self._roster.start(one)
        except BaseException:
            self._running = False
            for one in reversed(begun):
                await self._roster.stop(one)
            raise
        self._lanes.work_on_all()

    async def stop(self) -> None:
        """Stop all children in reverse order; failures that wait are kept for the next start."""
        was_running, self._running = self._running, False
        await self._lanes.pause()
        if was_running:
            for one in reversed(list(self._roster)):
                await self._roster.stop(one)

    async def stop_child(self, child: str) -> None:
        """Stop one child; it stays known."""
        await self._roster.stop(self._roster.get(child))

    async def destroy(self, child: str) -> None:
        """Stop one child and forget it."""
        await self._roster.stop(self._roster.get(child))
        self._roster.forget(child)

    # Failures.

    def report(
        self,
        component: str,
        error: BaseException,
        operation: Callable[[], Awaitable[object] | object] | None = None,
    ) -> None:
        """Report that `component` failed. Returns at once; a task of the supervisor handles the failure."""
        for leaf in leaves(error, self._rules.take_whole):
            self.accept(Failure.of(component, leaf, at=self.clock.now(), operation=operation))

    def accept(self, failure: Failure) -> None:
        """Take a failure as a value, as one from another process."""
        key = failure.component, failure.kind
        self._counts[key] = count = self._counts.pop(key, 0) + 1
        if len(self._counts) > MOST_PENDING:
            del self._counts[next(iter(self._counts))]
        child = self._roster.find(failure.component)
        failure = replace(
            failure, count=max(count, failure.count), generation=0 if child is None else child.generation
        )
        self._failures.labels(self.name, failure.kind).inc()
        self._tell("failure", failure)
        self._lanes.put(failure)
        if self._running:
            self._lanes.work_on(failure.component)

    async def settled(self) -> None:
        """Return when no failure waits or is being handled."""
        await self._lanes.settled()

    @property
    def pending(self) -> int:
        """How many failures wait or are being handled."""
        return self._lanes.pending

    @property
    def dropped(self) -> int:
        """How many failures were only logged, because too many waited."""
        return self._lanes.dropped

    async def _solve(self, failure: Failure) -> None:
        for solver in self._rules.chain(failure):
            try:
                async with asyncio.timeout(self._solver_timeout) as scope:
                    result = solver(failure, self)
                    if inspect.isawaitable(result):
                        await result
            except Exception as caught:
                error: Exception = caught
                if isinstance(caught, TimeoutError) and scope.expired():
                    error = DeadlineExceeded(f"solver {_called(solver)}", self._solver_timeout)
                if failure.error is not None and error is not failure.error and error.__context__ is None:
                    error.__context__ = failure.error
                self.escalate(Failure.of(failure.component, error, at=self.clock.now(), cause=failure))
                return
        if id(failure) in self._handed_up:
            self._handed_up.discard(id(failure))
        else:
            self._tell("solved", failure)

    # What solvers do (see solvers.Hands).

    def escalate(self, failure: Failure) -> None:
        """To the parent, as a failure of this supervisor; at the root to `last_resort`, else into the log."""
        self._escalations.inc()
        if self._lanes.is_first(failure):
            self._handed_up.add(id(failure))
        up = replace(failure, component=self.name, count=1, cause=failure)
        self._tell("escalated", failure)
        if self.parent is not None:
            self.parent.accept(up)
        elif self.last_resort is not None:
            self.last_resort(up)
        else:
            logger.critical("%s gives up: %s\n%s", self.name, failure, failure.traceback)

    async def restart(self, failure: Failure) -> None:
        """Restart the failed child and those that the strategy adds; raises IntensityExceeded."""
        await self._again(failure, fresh=False)

    async def recreate(self, failure: Failure) -> None:
        """Restart with a new object of the failed child."""
        if self._roster.get(failure.component).make is None:
            raise SupervisionError(f"{failure.component} was added without a way to make it anew")
        await self._again(failure, fresh=True)

    async def resume(self, failure: Failure) -> None:
        """The child's own `resume`, where it has one, then the runtime's."""
        one = self._roster.find(failure.component)
        own: Callable[[], object] | None = None if one is None else getattr(one.child, "resume", None)
        results = [] if own is None else [own()]
        if self.resume_hook is not None:
            results.append(self.resume_hook(failure))
        for result in results:
            if inspect.isawaitable(result):
                await result

    async def _again(self, failure: Failure, *, fresh: bool) -> None:
        one = self._roster.get(failure.component)
        if failure.generation < one.generation:
            return  # restarted since, with another child
        # Alone, a child that starts slowly does not keep another from being restarted.
        changing = one.lock if self.strategy is Strategy.ONE_FOR_ONE else self._changing
        verdict = one.budget.decide(self.clock.monotonic())
        if isinstance(verdict, Escalate):
            async with changing:
                await self._roster.stop(one)
            raise IntensityExceeded(failure.component, verdict.reason) from failure.error
        if verdict.delay_seconds > 0:
            await self.clock.sleep(verdict.delay_seconds)
        async with changing:
            if failure.generation < one.generation or one is not self._roster.find(failure.component):
                return
            names = affected(self.strategy, self.children, failure.component)
            for name in reversed(names):
                await self._roster.stop(self._roster.get(name))
            if fresh and one.make is not None:
                one.child = one.make()
            for name in names:
                try:
                    await self._roster.start(self._roster.get(name))
                except Exception as error:
                    self.report(name, error)
                    return
        self._restarts.inc()
        self._tell("restarted", failure)

    def _tell(self, event: str, failure: Failure) -> None:
        """Tell listeners; one that fails must not keep a failure from being handled."""
        try:
            self.events.emit(event, failure)
        except Exception:
            logger.exception("a listener of %s, event %s, failed", self.name, event)


def _called(solver: Solver) -> str:
    return getattr(solver, "__qualname__", None) or repr(solver)
