"""`skerry up`: starts the children, keeps them alive, ends them in order.

A child process is supervised like a task in a process: its end is a `Failure` with its traceback, handed to a
`Supervisor` (`runner.supervisor`, which takes rules like any other) that restarts it within its budget. Emits on
`events`: `started` (name), `ready` (name), `ended` (name, failure), `replaced` (name), `recycled` (name, why),
`all_ready`, `rolling`, `rolled` (whether it went through), `stopping`, `said` (a line of the runner itself).
Not here: how they are replaced (rollout.py), what the children are (topology.py), how wishes and questions get here
(control.py), the terminal (cli).
"""

from __future__ import annotations

import asyncio
import signal
import textwrap
import time
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from skerry.emitter import EventEmitter
from skerry.process.asking import Asking, Gathering
from skerry.process.child import Child, Spec
from skerry.process.control_messages import (
    AnyMessage,
    AskReply,
    Failed,
    Gather,
    GatherReply,
    MetricsReply,
    StateChanged,
    Watched,
)
from skerry.process.forkserver import ForkServer
from skerry.process.hanging import HangWatch
from skerry.process.looking import Looker
from skerry.process.metrics import gauge
from skerry.process.output import Output
from skerry.process.reaping import adopt_orphans, reap_orphans
from skerry.process.restarts import RestartSettings, budget_of
from skerry.process.rollout import LAST_SECONDS, Rollout
from skerry.process.slot import Slot, Slots
from skerry.supervision.failure import Failure
from skerry.supervision.solvers import restart
from skerry.supervision.supervisor import Supervisor

if TYPE_CHECKING:
    from skerry.http.health import Purpose

WRONG_SETTINGS = 2
"""The exit code of a child that nothing but a change of its settings, or of the application, will help."""
HURRIED_SECONDS = 4.0
"""What the last stage has when everything is to end at once: a moment, but for a machine with much else to do."""
DUMP_SECONDS = 2.0
"""How long a hung child may take to write its stacks before it is killed."""


@dataclass(frozen=True, slots=True)
class RunnerSettings:
    """`grace_seconds`: from the wish to end until nothing is left. `replaced_seconds`: how long one that was replaced
    may take for what it has under way; nobody is in a hurry then. `hang_seconds`: a loop that is silent for so long
    is ended (0: never). `ready_seconds`: how long a replacement may take until it is ready, and any child until it says
    something. `waits_for_change`: a child with wrong settings is left until the next `roll`; else it ends everything.
    """

    restarts: RestartSettings = field(default_factory=RestartSettings)
    grace_seconds: float = 4.5
    replaced_seconds: float = 30.0
    hang_seconds: float = 10.0
    ready_seconds: float = 60.0
    waits_for_change: bool = False


class Runner:
    """`stages`: the children in the order in which they end; each stage waits for the one before it. `name`: under
    which it logs. `fork_server`: a process that imports the application once and forks the children, if they are not
    to be executed; then this process has to be the runner alone (it waits for orphans)."""

    def __init__(
        self,
        stages: Sequence[Sequence[Spec]],
        output: Output,
        settings: RunnerSettings | None = None,
        name: str = "up",
        fork_server: Spec | None = None,
    ) -> None:
        self._name = name
        self.settings = settings or RunnerSettings()
        self.events = EventEmitter()
        self.slots = Slots([[self._slot(spec) for spec in stage] for stage in stages])
        self.rollout = Rollout(self, self.slots)
        self.started_at = time.time()
        output.align(slot.name for slot in self.slots)
        self._output = output
        self._forks: ForkServer | None = None
        if fork_server is not None and adopt_orphans():
            self._forks = ForkServer(fork_server, self.settings.ready_seconds, self._on_line, self.say)
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = asyncio.Event()
        self._code = 0
        self._hurried = False
        self._wrong = ""
        self._hanging = HangWatch(
            self.slots.children, self._on_hung, self.settings.hang_seconds, self.settings.ready_seconds
        )
        self._looker = Looker(self.slots.children)
        self._was_all_ready = False
        self._gathering = Gathering(self.metrics)
        self.asking = Asking()
        self.supervisor = Supervisor(
            name,
            budget=lambda: self._newest.budget,
            last_resort=self._give_up,
            solver_timeout_seconds=self.settings.grace_seconds + self.settings.restarts.longest_pause + 10.0,
            child_timeout_seconds=self.settings.grace_seconds + 5.0,
        )
        self.supervisor.rule(BaseException, restart)
        for slot in self.slots:
            self._supervise(slot)

    def _slot(self, spec: Spec) -> Slot:
        return Slot(spec, budget_of(self.settings.restarts), self._spawn, self.settings.grace_seconds)

    def _supervise(self, slot: Slot) -> None:
        self._newest = slot
        self.supervisor.add(slot)

    # --- life

    async def run(self) -> int:
        """Start everything, keep it running until `stop`, end it. Returns the exit code."""
        self._hanging.start()
        try:
            await self.supervisor.start()
            await self._stopping.wait()
        finally:
            self._stopping.set()
            await self._end_all()
        return self._code

    def stop(self, code: int = 0) -> None:
        """End everything, in order, within the grace."""
        if not self._stopping.is_set():
            self._code = code
            self._stopping.set()
            self.slots.note_change()
            self.events.emit("stopping")

    def kill(self, code: int) -> None:
        """End everything at once. The last stage, whose sockets others meet at, removes them first, unless this is said
        once more."""
        self.stop()
        self._code = code
        last = set() if self._hurried else {slot.name for slot in self.slots.stages[-1]}
        self._hurried = True
        for child in self.slots.children():
            if child.spec.name in last:
                child.ask_to_stop(HURRIED_SECONDS)
                asyncio.get_running_loop().call_later(HURRIED_SECONDS, child.kill)
            else:
                child.kill()

    def signal_all(self, number: int) -> None:
        """Send a signal to every child and to what it has started."""
        for child in self._children():
            child.signal_group(number)

    def look(self) -> None:
        """A child may have ended (SIGCHLD), or somebody else's, which came here."""
        for child in self._children():
            child.look()
        if (
            self._forks is not None and not self._forks.asking
        ):  # else one whose number is not known yet may be there
            reap_orphans({child.pid for child in self._children()})

    @property
    def fork_server(self) -> Child | None:
        """The process from which the others are forked, if there is one."""
        return None if self._forks is None else self._forks.child

    def _children(self) -> list[Child]:
        return [*self.slots.children(), *([] if self._forks is None else self._forks.children)]

    async def _end_all(self) -> None:
        deadline = time.monotonic() + self.settings.grace_seconds
        for task in list(self._tasks):
            task.cancel()
        left = len(self.slots.stages)
        for stage in self.slots.stages:
            # A stage may use what is left but for a little that each later one needs.
            left -= 1
            seconds = max(0.1, deadline - time.monotonic() - LAST_SECONDS * left)
            names = {slot.name for slot in stage}
            ending = [child for child in self.slots.children() if child.spec.name in names]
            await asyncio.gather(*(self.end_child(child, seconds) for child in ending))
        self._hanging.stop()
        self._looker.stop()
        if self._forks is not None:
            self._forks.close()
        await self.supervisor.stop()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=1.0)

    async def end_child(self, child: Child, seconds: float) -> None:
        if not await child.end(seconds):
            self.say(f"{child.spec.name} did not end within {seconds:.1f} s and was killed", "warning")
        await child.leave_nothing()

    # --- starting and restarting

    async def _spawn(self, slot: Slot) -> None:
        if self._stopping.is_set() or slot.is_stopped or slot.child is not None or slot.successor is not None:
            return  # nobody is wanted there, or a replacement has taken the place, or is about to
        child = slot.child = self.make(slot)
        if self._forks is None:
            await self._begin(slot, child)
        else:  # it may have to wait for an import, and nobody waits for it
            self.own(self._begin_beside(slot, child))

    async def _begin(self, slot: Slot, child: Child) -> None:
        try:
            await child.start()
        except BaseException:
            if slot.child is child:
                slot.child = None
            raise
        self.events.emit("started", slot.name)
        self.slots.note_change()

    async def _begin_beside(self, slot: Slot, child: Child) -> None:
        try:
            await self._begin(slot, child)
        except OSError as error:
            if child.exit_code is None and not self._stopping.is_set():
                self.supervisor.report(slot.name, error)
        self.look()

    async def renew(self) -> None:
        """Have what is started from now on made from the application as it is now."""
        if self._forks is not None:
            await self._forks.renew()

    def make(self, slot: Slot) -> Child:
        output = self._output
        return Child(
            slot.spec,
            self._on_message,
            self._on_line,
            lambda child: self.on_end(slot, child),
            lambda: output.crowded,
            self._forks,
        )

    def on_end(self, slot: Slot, child: Child) -> None:
        self._gathering.forget(child)
        self.asking.forget(child)
        self.slots.note_change()
        if slot.child is not child:  # it was replaced, or never took its place
            self.slots.extra.discard(child)
            if slot.predecessor is child:
                slot.predecessor = None
            return
        slot.child = None
        if self._stopping.is_set() or child.asked_to_stop:
            return
        slot.last_failure = failure = child.failure()
        if self.rollout.recall(slot, child):
            self.events.emit("ended", slot.name, failure)
            return
        slot.budget.lived(child.lived_seconds, child.was_ready)
        self.events.emit("ended", slot.name, failure)
        if child.exit_code == WRONG_SETTINGS and not slot.budget.ever_ready and slot.successor is None:
            self._on_wrong_settings(child)
            return
        self.say(f"{slot.name} {child.why()}", "error")
        if slot.successor is None:  # else the one that was to replace it is on its way
            self.supervisor.accept(failure)

    def _on_wrong_settings(self, child: Child) -> None:
        """Trying again cannot help; and what is wrong for one is so for all, and is said once."""
        wrong = child.fatal.message if child.fatal is not None else f"{child.spec.name} {child.why()}"
        if wrong != self._wrong:
            self._wrong = wrong
            self.say(wrong, "error")
        if not self.settings.waits_for_change:
            self.stop(WRONG_SETTINGS)

    def _give_up(self, failure: Failure) -> None:
        """A budget is used up, or a rule of the application escalates: end everything."""
        at: Failure | None = failure
        failing = set[str]()
        while at is not None:
            failing.add(at.component)
            at = at.cause
        for slot in self.slots:
            slot.given_up = slot.given_up or slot.child is None
            slot.is_crash_looping = slot.given_up and slot.name in failing and slot.budget.ever_ready
        self.say(f"giving up: {failure.message}", "error")
        if failure.cause is not None:
            self.say(textwrap.indent(failure.origin.traceback, "  "), "error")
        self.stop(1)

    def lost(self, failure: Failure) -> None:
        """The end of a child is for the supervisor."""
        self.supervisor.accept(failure)

    async def open_slot(self, spec: Spec) -> Slot:
        """Another place, with nothing in it."""
        slot = self._slot(spec)
        slot.is_stopped = True
        self._supervise(slot)
        await self.supervisor.start(slot.name)  # nothing yet, as it is stopped
        return slot

    def align(self, slot: Slot) -> None:
        """Make room for its name in the output."""
        self._output.align([slot.name])

    def equip(self, environment: Mapping[str, str]) -> None:
        """What every child that is started from now on is given."""
        if self._forks is not None:
            self._forks.equip(environment)
        for slot in self.slots:
            slot.spec = replace(slot.spec, environment=environment)

    @property
    def is_stopping(self) -> bool:
        """Whether everything is to end."""
        return self._stopping.is_set()

    def own(self, work: Coroutine[object, object, object]) -> None:
        """Run something beside the children until the end (a roll, a watcher of files)."""
        task: asyncio.Task[None] = asyncio.create_task(self._guarded(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _guarded(self, work: Coroutine[object, object, object]) -> None:
        try:
            await work
        except Exception as error:
            self.say(f"the runner itself failed: {type(error).__name__}: {error}", "error")
            self.stop(1)

    # --- what children say

    def _on_message(self, child: Child, message: AnyMessage) -> None:
        match message:
            case StateChanged(state):
                if state == "ready":
                    self._on_ready(child)
                self._look_whether_all_ready()
                self.slots.note_change()
            case Watched():
                self._looker.begin()
            case Failed(_, fatal) if child.last_failure is not None:
                if not fatal:
                    self.say(str(child.last_failure), "error")
                for slot in self.slots:
                    if slot.child is child:
                        slot.last_failure = child.last_failure
            case Gather(number):
                self._gathering.begin(
                    lambda text: child.say(GatherReply(number, text)), self._speaking(), child
                )
            case MetricsReply(number, text):
                self._gathering.take(child, number, text)
            case AskReply(number, text):
                self.asking.take(child, number, text)
            case _:
                pass

    def _on_ready(self, child: Child) -> None:
        for slot in self.slots:
            if slot.child is child:
                slot.budget.ever_ready = True
        self.events.emit("ready", child.spec.name)

    def _look_whether_all_ready(self) -> None:
        if not self._was_all_ready and all(
            slot.ready or slot.is_stopped or self.slots.is_covered(slot) for slot in self.slots
        ):
            self._was_all_ready = True
            self.events.emit("all_ready")

    def _on_line(self, child: Child, text: str, is_record: bool) -> None:
        self._output.line(child.spec.name, text, is_record=is_record)

    def say(self, text: str, level: str = "info") -> None:
        """A line of the runner itself, or several."""
        for each in text.splitlines():
            self._output.line(self._name, each, level=level)
            self.events.emit("said", each)

    # --- hung loops

    def _on_hung(self, child: Child, seconds: float) -> None:
        self.say(
            f"{child.spec.name} has been silent for {seconds:g} s: dumping its stacks and ending it", "error"
        )
        self.own(self._end_hung(child))

    async def _end_hung(self, child: Child) -> None:
        """Have it dump its stacks, and end it when they were written."""
        before = seen = child.said
        child.signal(signal.SIGUSR1)
        deadline = time.monotonic() + (0.5 if child.spec.hang_seconds else DUMP_SECONDS)
        while time.monotonic() < deadline and (child.said == before or child.said != seen):
            seen = child.said
            await asyncio.wait({child.ended}, timeout=0.2)
        child.kill()

    # --- numbers

    def _speaking(self) -> list[Child]:
        return [each for each in self.slots.children() if each.state in ("ready", "not ready")]

    async def all_metrics(self) -> str:
        """The numbers of all processes, as Prometheus text."""
        told: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._gathering.begin(lambda text: None if told.done() else told.set_result(text), self._speaking())
        return await told

    def report(self, purpose: Purpose) -> tuple[bool, dict[str, Any]]:
        """Whether all processes together are ready for that, and what was found of each."""
        from skerry.http.health import Purpose  # not before somebody asks: a runner starts sooner
        from skerry.process.readiness import report_of

        trouble = "ending" if self._stopping.is_set() else self.rollout.halfway
        if self._stopping.is_set() and purpose is not Purpose.EVERYTHING:
            return False, report_of(list(self.slots), self.slots.is_covered, purpose, trouble)[1] | {
                "status": "not ready"
            }
        return report_of(list(self.slots), self.slots.is_covered, purpose, trouble)

    def metrics(self) -> str:
        """What the runner itself knows, as Prometheus text."""
        slots = self.slots
        return (
            gauge(
                "skerry_process_restarts_total",
                "Restarts of a process by its runner.",
                [(slot.name, slot.restarts) for slot in slots],
                "counter",
            )
            + gauge(
                "skerry_process_recycled_total",
                "Replacements of a process that had used up what it may.",
                [(slot.name, slot.recycled) for slot in slots],
                "counter",
            )
            + gauge(
                "skerry_process_ready",
                "Whether a process is ready.",
                [(slot.name, float(slot.ready)) for slot in slots],
            )
            + gauge(
                "skerry_crash_looping",
                "Whether a process has been restarted so often that everything ends.",
                [(slot.name, float(slot.is_crash_looping)) for slot in slots],
            )
        )
