"""What a supervisor does about failures, in virtual time."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest

from skerry.clock import Backoff
from skerry.errors import DeadlineExceeded
from skerry.supervision import solvers
from skerry.supervision.failure import ChildEnded, Failure, IntensityExceeded, SupervisionError
from skerry.supervision.lanes import MOST_PENDING
from skerry.supervision.policy import Intensity, RestartBudget, Strategy
from skerry.supervision.solvers import Hands, Solver
from skerry.supervision.supervisor import Supervisor
from skerry.telemetry import Registry
from skerry.testing.clock import VirtualLoop, run_virtual

if sys.version_info >= (3, 12):

    async def test_eager_tasks_change_nothing() -> None:
        """A child that fails within `create_task` is restarted, and every failure is handled."""
        asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
        runs = 0
        worked = asyncio.Event()

        async def work() -> None:
            nonlocal runs
            runs += 1
            if runs < 5:
                raise ValueError(f"run {runs}")
            worked.set()
            await asyncio.Event().wait()

        supervisor = Supervisor("root", intensity=Intensity(100, 60.0))
        supervisor.spawn("eager", work)
        await supervisor.start()
        await worked.wait()
        await supervisor.settled()
        assert (runs, supervisor.pending) == (5, 0)
        await supervisor.stop()


class Part:
    """A child that writes down what is done with it, and may fail or hang when told to."""

    def __init__(self, name: str, journal: list[str]) -> None:
        self.name, self.journal = name, journal
        self.start_errors: list[Exception] = []
        self.hangs = self.never_starts = False

    async def start(self) -> None:
        self.journal.append(f"start {self.name}")
        if self.never_starts:
            await asyncio.Event().wait()
        if self.start_errors:
            raise self.start_errors.pop(0)

    async def stop(self) -> None:
        self.journal.append(f"stop {self.name}")
        if self.hangs:
            await asyncio.Event().wait()

    def resume(self) -> None:
        self.journal.append(f"resume {self.name}")


def virtual(test: Callable[[], Awaitable[None]]) -> Callable[[], None]:
    """Run an async test in virtual time."""

    def run() -> None:
        async def main() -> None:
            await test()

        run_virtual(main())

    run.__name__, run.__doc__ = getattr(test, "__name__", "test"), test.__doc__
    return run


def now() -> float:
    return asyncio.get_running_loop().time()


def made(name: str = "root", **settings: Any) -> Supervisor:
    """A supervisor on the virtual loop's clock."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    return Supervisor(name, clock=loop.clock, **settings)


async def with_parts(supervisor: Supervisor, *names: str) -> tuple[list[str], dict[str, Part]]:
    journal: list[str] = []
    parts = {name: Part(name, journal) for name in names}
    for part in parts.values():
        supervisor.add(part)
    await supervisor.start()
    journal.clear()
    return journal, parts


@virtual
async def test_a_chain_runs_in_order_and_is_awaited() -> None:
    """Solvers, sync and async, one after another; the nearest rule; the listeners hear of it."""
    supervisor, order = made(), list[str]()

    def first(failure: Failure, hands: Hands) -> None:
        order.append("first")

    async def second(failure: Failure, hands: Hands) -> None:
        await asyncio.sleep(1.0)
        order.append(f"second {failure.message} {failure.count}")

    supervisor.events.on("failure", lambda failure: order.append("told"))
    supervisor.events.on("solved", lambda failure: order.append("solved"))
    supervisor.rule(Exception, solvers.do_nothing)
    supervisor.rule(OSError, first, second)
    await supervisor.start()
    supervisor.report("part", ConnectionError("x"))
    await supervisor.settled()
    assert order == ["told", "first", "second x 1", "solved"]
    await supervisor.stop()


@virtual
async def test_failures_at_once_are_all_handled_in_order() -> None:
    """K-16: two, or a group of many, none lost; one component's in order, another's not behind them."""
    supervisor, handled = made(), list[tuple[str, str, float]]()

    async def slow(failure: Failure, hands: Hands) -> None:
        await asyncio.sleep(1.0)
        handled.append((failure.component, failure.message, now()))

    supervisor.rule(Exception, slow)
    await supervisor.start()
    supervisor.report(
        "a", ExceptionGroup("g", [ValueError("1"), ExceptionGroup("h", [OSError("2"), KeyError(3)])])
    )
    supervisor.report("b", ValueError("4"))
    assert supervisor.pending == 4
    await supervisor.settled()
    assert handled == [("a", "1", 1.0), ("b", "4", 1.0), ("a", "2", 2.0), ("a", "3", 3.0)]
    assert supervisor.pending == 0
    await supervisor.stop()


@virtual
async def test_a_rule_for_a_group_gets_it_whole() -> None:
    """Who wants exception groups registers their class."""
    supervisor, kinds = made(), list[str]()
    supervisor.rule(ExceptionGroup, lambda failure, hands: kinds.append(failure.kind))
    await supervisor.start()
    supervisor.report("a", ExceptionGroup("g", [ValueError("1")]))
    await supervisor.settled()
    assert kinds == ["builtins:ExceptionGroup"]
    await supervisor.stop()


@virtual
async def test_what_is_reported_before_the_start_waits() -> None:
    """Failures from the time of building are handled once the supervisor runs, and those left at stop at the next."""
    supervisor, handled = made(), list[str]()
    supervisor.rule(Exception, lambda failure, hands: handled.append(failure.message))
    supervisor.report("a", ValueError("early"))
    await supervisor.start()
    await supervisor.settled()
    assert handled == ["early"]
    await supervisor.stop()
    supervisor.report("a", ValueError("late"))
    await supervisor.start()
    await supervisor.settled()
    assert handled == ["early", "late"]
    await supervisor.stop()


@virtual
async def test_a_storm_is_bounded_and_counted() -> None:
    """Beyond the limit equal failures are counted with one that waits; another component's is still kept."""
    supervisor, counts = made(), dict[str, int]()

    def note(failure: Failure, hands: Hands) -> None:
        counts[failure.component] = failure.count

    supervisor.rule(Exception, note)
    error = ValueError("same")
    for _ in range(MOST_PENDING + 500):
        supervisor.accept(
            Failure("storm", ("builtins:ValueError", "builtins:Exception"), "same", "", 0.0, error=error)
        )
    supervisor.report("other", KeyError("x"))
    assert supervisor.pending == MOST_PENDING + 1
    await supervisor.start()
    await supervisor.settled()
    assert counts == {"storm": MOST_PENDING + 500, "other": 1}
    await supervisor.stop()


# Children.


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        (Strategy.ONE_FOR_ONE, ["stop b", "start b"]),
        (Strategy.ONE_FOR_ALL, ["stop c", "stop b", "stop a", "start a", "start b", "start c"]),
        (Strategy.REST_FOR_ONE, ["stop c", "stop b", "start b", "start c"]),
    ],
)
def test_strategies_stop_in_reverse_and_start_in_order(strategy: Strategy, expected: list[str]) -> None:
    """K-20: by default a failed child is restarted, with those whom the strategy adds."""

    async def main() -> None:
        supervisor, told = made(strategy=strategy), list[str]()
        supervisor.events.on("restarted", lambda failure: told.append(failure.component))
        journal, _ = await with_parts(supervisor, "a", "b", "c")
        supervisor.report("b", ValueError("x"))
        await supervisor.settled()
        assert (journal, told) == (expected, ["b"])
        await supervisor.stop()
        assert journal[-3:] == ["stop c", "stop b", "stop a"]

    run_virtual(main())


@virtual
async def test_two_children_that_die_together_are_restarted_once_each() -> None:
    """K-16: one_for_all with two failures at once restarts all once: the second failure was dealt with by that."""
    supervisor = made(strategy=Strategy.ONE_FOR_ALL)
    journal, _ = await with_parts(supervisor, "a", "b")
    supervisor.report("a", ValueError("x"))
    supervisor.report("b", ValueError("y"))
    await supervisor.settled()
    assert journal == ["stop b", "stop a", "start a", "start b"]
    alone = made()
    journal, _ = await with_parts(alone, "a", "b")
    alone.report("a", ValueError("x"))
    alone.report("b", ValueError("y"))
    await alone.settled()
    assert sorted(journal) == ["start a", "start b", "stop a", "stop b"]
    await supervisor.stop()
    await alone.stop()


@virtual
async def test_restarts_back_off_and_do_not_delay_other_children() -> None:
    """While one child waits out its pause, another is restarted at once."""
    supervisor = made(budget=lambda: RestartBudget(Intensity(9, 1000.0), Backoff(first=8.0, ceiling=8.0)))
    journal, _ = await with_parts(supervisor, "a", "b")
    supervisor.report("a", ValueError("1"))
    await supervisor.settled()
    assert now() == 0.0
    supervisor.report("a", ValueError("2"))
    await asyncio.sleep(1.0)
    assert journal == ["stop a", "start a"]
    supervisor.report("b", ValueError("3"))
    await asyncio.sleep(0.0)
    await asyncio.sleep(0.0)
    await asyncio.sleep(1.0)
    assert journal[2:] == ["stop b", "start b"]
    await supervisor.settled()
    assert journal[4:] == ["stop a", "start a"]
    assert 4.0 <= now() <= 8.0
    supervisor.ready("a")
    began = now()
    supervisor.report("a", ValueError("4"))
    await supervisor.settled()
    assert now() == began
    await supervisor.stop()


@virtual
async def test_a_child_that_cannot_start_again_is_tried_until_the_intensity_then_escalated() -> None:
    """Failing starts count; at the root the last resort gets the failure that everything began with."""
    resorts: list[Failure] = []
    supervisor = made(intensity=Intensity(3, 60.0), last_resort=resorts.append)
    journal, parts = await with_parts(supervisor, "a")
    parts["a"].start_errors = [OSError(str(n)) for n in range(9)]
    supervisor.report("a", ValueError("began"))
    await supervisor.settled()
    assert journal == ["stop a", "start a"] * 3 + ["stop a"]
    (last,) = resorts
    assert (last.component, last.distance(IntensityExceeded)) == ("root", 0)
    assert isinstance(last.origin.error, OSError)
    assert "restarted 3 times in 60 s" in last.message
    await supervisor.stop()


@virtual
async def test_levels_escalate_and_the_parent_restarts_the_subtree() -> None:
    """Three levels: what the leaf's supervisor cannot do, its parent does; its own budget starts over."""
    root, middle = made("root"), made("middle", intensity=Intensity(1, 60.0))
    root.add(middle)
    journal, told = list[str](), list[str]()
    root.events.on("failure", lambda failure: told.append(str(failure)))
    middle.add(Part("a", journal))
    middle.add(Part("b", journal))
    await root.start()
    journal.clear()
    middle.report("a", ValueError("1"))
    await middle.settled()
    middle.report("a", ValueError("2"))
    await middle.settled()
    await root.settled()
    assert journal == ["stop a", "start a", "stop a", "stop b", "stop a", "start a", "start b"]
    assert told == ["middle: IntensityExceeded: a: restarted 1 times in 60 s, which is all it may be"]
    middle.report("a", ValueError("3"))
    await middle.settled()
    assert journal[-2:] == ["stop a", "start a"]
    await root.stop()
    with pytest.raises(SupervisionError, match="below itself"):
        middle.add(root)


@virtual
async def test_without_parent_or_last_resort_it_is_logged() -> None:
    """The log is the last listener: nothing is silent."""
    supervisor, records = made(), list[logging.LogRecord]()

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record)

    handler = Keep()
    logger = logging.getLogger("skerry.supervision")
    logger.addHandler(handler)
    supervisor.rule(ValueError, solvers.escalate)
    supervisor.rule(KeyError, solvers.log)
    await supervisor.start()
    supervisor.report("a", ValueError("up"))
    supervisor.report("b", KeyError("down"))
    await supervisor.settled()
    logger.removeHandler(handler)
    assert [record.levelno for record in records] == [logging.CRITICAL, logging.ERROR]
    assert "gives up" in records[0].getMessage()
    await supervisor.stop()


# Solvers that fail.


def raising(failure: Failure, hands: Hands) -> None:
    raise RuntimeError("solver")


async def raising_later(failure: Failure, hands: Hands) -> None:
    await asyncio.sleep(0.5)
    raise RuntimeError("solver")


async def hanging(failure: Failure, hands: Hands) -> None:
    await asyncio.Event().wait()


@pytest.mark.parametrize(
    ("solver", "kind", "after"),
    [(raising, RuntimeError, 0.0), (raising_later, RuntimeError, 0.5), (hanging, DeadlineExceeded, 7.0)],
)
def test_a_solver_that_fails_or_hangs_ends_the_chain_and_goes_to_the_parent(
    solver: Solver, kind: type[Exception], after: float
) -> None:
    """Raise, raise later, hang: the rest of the chain does not run, the parent gets both errors, the next failure
    is handled."""

    async def main() -> None:
        parent, supervisor = made("parent"), made("child", solver_timeout_seconds=7.0)
        taken, rest = list[Failure](), list[str]()
        parent.rule(Exception, lambda failure, hands: taken.append(failure))
        parent.add(supervisor)
        supervisor.rule(ValueError, solver, lambda failure, hands: rest.append("rest"))
        supervisor.rule(KeyError, lambda failure, hands: rest.append("next"))
        await parent.start()
        supervisor.report("a", ValueError("x"))
        supervisor.report("a", KeyError("y"))
        await supervisor.settled()
        assert now() == after
        await parent.settled()
        assert rest == ["next"]
        assert (taken[0].component, taken[0].distance(kind)) == ("child", 0)
        assert taken[0].origin.message == "x"
        assert "ValueError: x" in taken[0].traceback
        await parent.stop()

    run_virtual(main())


@virtual
async def test_a_last_resort_that_fails_stops_nothing() -> None:
    """Even then the next failure is handled."""

    def resort(failure: Failure) -> None:
        raise OSError("resort")

    supervisor, handled = made(last_resort=resort), list[str]()
    supervisor.events.on("failure", lambda failure: 1 / 0)
    supervisor.rule(ValueError, solvers.escalate)
    supervisor.rule(KeyError, lambda failure, hands: handled.append("next"))
    await supervisor.start()
    supervisor.report("a", ValueError("x"))
    supervisor.report("a", KeyError("y"))
    await supervisor.settled()
    assert handled == ["next"]
    await supervisor.stop()


@virtual
async def test_a_child_that_hangs_while_stopping_is_left_behind() -> None:
    """A deadline for each child: the others are stopped, the restart goes on."""
    supervisor = made(strategy=Strategy.ONE_FOR_ALL, child_timeout_seconds=3.0)
    journal, parts = await with_parts(supervisor, "a", "b")
    parts["b"].hangs = True
    supervisor.report("a", ValueError("x"))
    await supervisor.settled()
    assert journal == ["stop b", "stop a", "start a", "start b"]
    assert now() == 3.0
    await supervisor.stop()


@virtual
async def test_a_start_that_fails_undoes_itself() -> None:
    """When one child cannot start at all, it is stopped, as are those before it, and the error is the caller's."""
    supervisor, journal = made(child_timeout_seconds=2.0), list[str]()
    supervisor.add(Part("a", journal))
    bad = Part("b", journal)
    bad.start_errors = [OSError("port taken")]
    supervisor.add(bad)
    with pytest.raises(OSError, match="port taken"):
        await supervisor.start()
    assert journal == ["start a", "start b", "stop b", "stop a"]


@virtual
async def test_a_start_that_is_broken_off_is_undone() -> None:
    """Cancelled, or beyond its time: the child is stopped, as it may have begun something."""
    for cancelled, error in ((True, asyncio.CancelledError), (False, DeadlineExceeded)):
        supervisor, journal = made(child_timeout_seconds=2.0), list[str]()
        slow = Part("slow", journal)
        slow.never_starts = True
        supervisor.add(slow)
        starting = asyncio.create_task(supervisor.start())
        await asyncio.sleep(1.0)
        if cancelled:
            starting.cancel()
        with pytest.raises(error):
            await starting
        assert journal == ["start slow", "stop slow"]


# Tasks as children.


@virtual
async def test_tasks_are_restarted_however_they_end() -> None:
    """An exception, a return, a foreign cancellation: each is a failure of its own kind; one that may end does."""
    supervisor, starts, kinds = made(), list[float](), list[str]()
    supervisor.events.on("failure", lambda failure: kinds.append(failure.kind.rpartition(":")[2]))

    async def flaky() -> None:
        starts.append(now())
        match len(starts):
            case 1:
                raise ValueError("x")
            case 2:
                return
            case 3:
                raise asyncio.CancelledError
            case _:
                await asyncio.Event().wait()

    async def once() -> None:
        await asyncio.sleep(0.1)

    await supervisor.start()
    child = supervisor.spawn("flaky", flaky)
    finished = supervisor.spawn("once", once, ends=True)
    await asyncio.sleep(60.0)
    assert kinds == ["ValueError", "ChildEnded", "ChildEnded"]
    assert len(starts) == 4
    assert child.running
    assert not finished.running
    await supervisor.stop()
    assert not child.running
    assert kinds[1] == ChildEnded.__name__


@virtual
async def test_a_temporary_child_leaves_when_it_has_returned() -> None:
    """Two thousand jobs leave no name behind; one that fails is restarted like any other child."""
    supervisor, runs = made(), list[str]()

    def job(name: str) -> Callable[[], Coroutine[Any, Any, None]]:
        async def run() -> None:
            runs.append(name)
            if runs.count(name) == 1 and name == "7":
                raise ValueError("once")

        return run

    await supervisor.start()
    for number in range(2000):
        supervisor.spawn(f"{number}", job(f"{number}"), temporary=True)
    await asyncio.sleep(60.0)
    assert supervisor.children == ()
    assert runs.count("7") == 2
    assert len(runs) == 2001
    await supervisor.stop()


@virtual
async def test_a_storm_of_many_components_is_bounded() -> None:
    """Failures of ever new components wait up to twice the limit; the others are logged, and counted as dropped."""
    supervisor = Supervisor("root")
    for number in range(3 * MOST_PENDING):
        supervisor.accept(Failure(f"c{number}", ("builtins:ValueError", "builtins:Exception"), "x", "", 0.0))
    assert supervisor.pending == 2 * MOST_PENDING
    assert supervisor.dropped == MOST_PENDING


@virtual
async def test_a_task_that_fails_while_it_is_stopped_is_reported() -> None:
    """Errors on the way out are news too, and do not lead to a restart loop."""
    supervisor, kinds = made(), list[str]()
    supervisor.events.on("failure", lambda failure: kinds.append(failure.kind))

    async def bad_end() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise OSError("on the way out")

    supervisor.spawn("bad", bad_end)
    await supervisor.start()
    await asyncio.sleep(0)
    await supervisor.stop()
    assert kinds == ["builtins:OSError"]


# The shipped solvers.


@pytest.mark.parametrize(
    ("solver", "expected"),
    [
        (solvers.restart, ["stop a", "start a"]),
        (solvers.start, ["start a"]),
        (solvers.stop, ["stop a"]),
        (solvers.destroy, ["stop a"]),
        (solvers.resume, ["resume a", "runtime"]),
        (solvers.do_nothing, []),
        (solvers.log, []),
        (solvers.mend, ["stop a", "start a"]),
    ],
)
def test_solvers_do_what_they_say(solver: Solver, expected: list[str]) -> None:
    """Each shipped solver, on one child."""

    async def main() -> None:
        supervisor = made()
        journal, _ = await with_parts(supervisor, "a")
        supervisor.resume_hook = lambda failure: journal.append("runtime")
        supervisor.rule(Exception, solver)
        supervisor.report("a", ValueError("x"))
        await supervisor.settled()
        assert journal == expected
        assert supervisor.has("a") == (solver is not solvers.destroy)
        await supervisor.stop()

    run_virtual(main())


@virtual
async def test_recreate_makes_a_new_one() -> None:
    """The new object takes the place; without a way to make one it is an error for the parent."""
    resorts = list[Failure]()
    supervisor, journal, count = made(last_resort=resorts.append), list[str](), 0

    class Numbered(Part):
        def __init__(self) -> None:
            nonlocal count
            count += 1
            super().__init__("a", journal)
            self.number = count

        async def start(self) -> None:
            journal.append(f"start {self.number}")

    supervisor.add(Numbered(), make=Numbered)
    supervisor.add(Part("b", journal))
    supervisor.rule(Exception, solvers.recreate)
    await supervisor.start()
    supervisor.report("a", ValueError("x"))
    await supervisor.settled()
    assert journal == ["start 1", "start b", "stop a", "start 2"]
    supervisor.report("b", ValueError("y"))
    await supervisor.settled()
    assert "without a way" in resorts[0].message
    await supervisor.stop()


@virtual
async def test_retry_backs_off_and_gives_up() -> None:
    """The operation is done again with growing pauses; success ends it; the last error goes up."""
    resorts, times = list[Failure](), list[float]()
    supervisor = made(last_resort=resorts.append, solver_timeout_seconds=1000.0)
    supervisor.rule(OSError, solvers.retry(4, backoff=lambda: Backoff(first=1.0, ceiling=100.0)))
    await supervisor.start()

    async def third_time() -> None:
        times.append(now())
        if len(times) < 3:
            raise OSError("again")

    supervisor.report("a", OSError("x"), third_time)
    await supervisor.settled()
    assert len(times) == 3
    pauses = [b - a for a, b in zip([0.0, *times], times, strict=False)]
    assert all(whole / 2 <= pause <= whole for pause, whole in zip(pauses, [1.0, 2.0, 4.0], strict=True))
    assert resorts == []
    supervisor.report("a", OSError("x"), lambda: dict[str, int]()["never"])
    await supervisor.settled()
    assert resorts[0].kind == "builtins:KeyError"
    journal = list[str]()
    part = Part("part", journal)
    supervisor.add(part)
    part.start_errors = [OSError("1"), OSError("2")]
    supervisor.report("part", OSError("died"))
    await supervisor.settled()
    assert journal == ["start part"] * 3
    await supervisor.stop()
    with pytest.raises(ValueError, match="one attempt"):
        solvers.retry(0)


# Rules and plugins.


@virtual
async def test_plugins_add_and_take_back_their_rules() -> None:
    """All of a plugin's rules or none; the application's own rules stay what they are."""
    supervisor, handled = made(), list[str]()

    class Plugin:
        def rules(self) -> list[tuple[type[BaseException], tuple[Solver, ...]]]:
            return [(OSError, (lambda failure, hands: handled.append("plugin"),))]

    class Broken:
        def rules(self) -> list[tuple[type[BaseException], tuple[Solver, ...]]]:
            return [(OSError, (solvers.log,)), (ValueError, ())]

    plugin = Plugin()
    own = supervisor.rule(Exception, lambda failure, hands: handled.append("own"))
    supervisor.plug(plugin)
    with pytest.raises(SupervisionError, match="already"):
        supervisor.plug(plugin)
    with pytest.raises(SupervisionError, match="needs solvers"):
        supervisor.plug(Broken())
    await supervisor.start()
    for _ in range(2):
        supervisor.report("a", OSError("x"))
        await supervisor.settled()
        supervisor.unplug(plugin)
    assert handled == ["plugin", "own"]
    supervisor.remove_rule(own)
    assert not supervisor._rules
    await supervisor.stop()


def test_wrong_rules_and_children_are_refused_at_once() -> None:
    """Clear errors when declared, not when something fails at night."""
    supervisor = Supervisor()
    with pytest.raises(SupervisionError, match="class of exceptions"):
        supervisor.rule(int, solvers.log)  # type: ignore[arg-type]
    with pytest.raises(SupervisionError, match="needs solvers"):
        supervisor.rule(ValueError)
    supervisor.add(Part("a", []))
    with pytest.raises(SupervisionError, match="already"):
        supervisor.add(Part("a", []))
    with pytest.raises(SupervisionError, match=r"no child 'b'; its children: a"):
        supervisor.ready("b")
    with pytest.raises(SupervisionError, match=r"no child 'b'; its children: none"):
        Supervisor().ready("b")


@virtual
async def test_a_failure_of_another_process_is_handled_by_the_same_rules() -> None:
    """K-21, K-22: a child process's failure, with its traceback, matches by class name and restarts that child."""
    supervisor, traces = made(), list[str]()
    supervisor.rule(ConnectionError, lambda failure, hands: traces.append(failure.traceback), solvers.restart)
    journal, _ = await with_parts(supervisor, "worker")
    try:
        raise ConnectionResetError("far away")
    except ConnectionResetError as error:
        wire = Failure.of("worker", error, at=1.0).to_wire()
    supervisor.accept(Failure.from_wire(wire))
    await supervisor.settled()
    assert journal == ["stop worker", "start worker"]
    assert "ConnectionResetError: far away" in traces[0]
    await supervisor.stop()


@virtual
async def test_it_is_counted() -> None:
    """K-25: failures by kind, restarts and escalations are metrics."""
    registry = Registry()
    supervisor = made(registry=registry)
    supervisor.rule(KeyError, solvers.escalate)
    await with_parts(supervisor, "a")
    supervisor.report("a", ValueError("x"))
    supervisor.report("b", KeyError("y"))
    await supervisor.settled()
    numbers = {(s.name, dict(s.labels).get("kind")): s.value for m in registry.collect() for s in m.samples}
    assert numbers == {
        ("skerry_failures_total", "builtins:ValueError"): 1.0,
        ("skerry_failures_total", "builtins:KeyError"): 1.0,
        ("skerry_restarts_total", None): 1.0,
        ("skerry_escalations_total", None): 1.0,
        ("skerry_failures_dropped_total", None): 0.0,
    }
    await supervisor.stop()
