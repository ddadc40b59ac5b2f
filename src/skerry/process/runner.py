"""`skerry up`: starts the children, keeps them alive, replaces them one by one, ends them in order.

A child process is supervised like a task in a process: its end is a `Failure` with its traceback, handed to a
`Supervisor` (`runner.supervisor`, which takes rules like any other) that restarts it within its budget. Emits on
`events`: `started` (name), `ready` (name), `ended` (name, failure), `replaced` (name), `recycled` (name, why),
`all_ready`, `rolling`, `rolled` (whether it went through), `stopping`, `said` (a line of the runner itself).
What operators wish for (replace all, stop, restart or add some) is done one after the other.
Not here: what the children are (topology.py), how wishes and questions get here (control.py), the terminal (cli).
"""

from __future__ import annotations

import asyncio
import signal
import textwrap
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from skerry.emitter import EventEmitter
from skerry.process.asking import Asking
from skerry.process.child import Child, Spec
from skerry.process.gathering import Gathering
from skerry.process.hanging import HangWatch
from skerry.process.metrics import gauge
from skerry.process.output import Output
from skerry.process.restarts import RestartSettings, budget_of
from skerry.process.slot import Slot
from skerry.process.words import AnyWord, Failed, Gather, Gathered, Now, Numbers, Told
from skerry.supervision.failure import Failure
from skerry.supervision.solvers import restart
from skerry.supervision.supervisor import Supervisor

if TYPE_CHECKING:
    from skerry.http.health import Purpose

WRONG_SETTINGS = 2
"""The exit code of a child that nothing but a change of its settings, or of the application, will help."""
LAST_SECONDS = 1.0
"""What each later stage is left at least: a consumer that is killed leaves its socket behind."""
HURRIED_SECONDS = 4.0
"""What the last stage has when everything is to end at once: a moment, but for a machine with much else to do."""
TRIAL_SECONDS = 5.0
"""How long a successor that has decided nothing yet may be followed by its predecessor again."""
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
    which it logs."""

    def __init__(
        self,
        stages: Sequence[Sequence[Spec]],
        output: Output,
        settings: RunnerSettings | None = None,
        name: str = "up",
    ) -> None:
        self._name = name
        self.settings = settings or RunnerSettings()
        self.events = EventEmitter()
        self.stages = [[self._slot(spec) for spec in stage] for stage in stages]
        self._homes = {slot.spec.role: stage for stage in self.stages for slot in stage}
        self._removed: dict[str, Slot] = {}
        """Slots that were scaled away: the supervisor may still hear of a failure there."""
        self.started_at = time.time()
        output.align(slot.name for slot in self.slots)
        self._output = output
        self._extra: set[Child] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = asyncio.Event()
        self._code = 0
        self._hurried = False
        self._wrong = ""
        self.halfway = ""
        """Where the last replacement has stopped, in words, while that is so."""
        self._rolling = asyncio.Lock()
        self._asked = self._granted = 0
        self._went_through = False
        self._replaced: list[str] = []
        self._is_taken_back = False
        self._hanging = HangWatch(
            self.children, self._on_hung, self.settings.hang_seconds, self.settings.ready_seconds
        )
        self._was_all_ready = False
        self._gathering = Gathering(self.metrics)
        self.asking = Asking()
        self._changed = asyncio.Event()
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

    @property
    def slots(self) -> list[Slot]:
        return [slot for stage in self.stages for slot in stage]

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
            self._note_change()
            self.events.emit("stopping")

    def kill(self, code: int) -> None:
        """End everything at once. The last stage, whose sockets others meet at, removes them first, unless this is said
        once more."""
        self.stop()
        self._code = code
        last = set() if self._hurried else {slot.name for slot in self.stages[-1]}
        self._hurried = True
        for child in self.children():
            if child.spec.name in last:
                child.ask_to_stop(HURRIED_SECONDS)
                asyncio.get_running_loop().call_later(HURRIED_SECONDS, child.kill)
            else:
                child.kill()

    def signal_all(self, number: int) -> None:
        """Send a signal to every child and to what it has started."""
        for child in self.children():
            child.signal_group(number)

    def children(self) -> list[Child]:
        """Every process, those that are to replace others or were replaced included."""
        current = [slot.child for slot in self.slots if slot.child is not None]
        return [*current, *self._extra]

    def look(self) -> None:
        """A child may have ended (SIGCHLD, where there is no pidfd)."""
        for child in self.children():
            child.look()

    async def _end_all(self) -> None:
        deadline = time.monotonic() + self.settings.grace_seconds
        for task in list(self._tasks):
            task.cancel()
        left = len(self.stages)
        for stage in self.stages:
            # A stage may use what is left but for a little that each later one needs.
            left -= 1
            seconds = max(0.1, deadline - time.monotonic() - LAST_SECONDS * left)
            names = {slot.name for slot in stage}
            ending = [child for child in self.children() if child.spec.name in names]
            await asyncio.gather(*(self._end_child(child, seconds) for child in ending))
        self._hanging.stop()
        await self.supervisor.stop()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=1.0)

    async def _end_child(self, child: Child, seconds: float) -> None:
        if not await child.end(seconds):
            self.say(f"{child.spec.name} did not end within {seconds:.1f} s and was killed", "warning")
        await child.leave_nothing()

    # --- starting and restarting

    async def _spawn(self, slot: Slot) -> None:
        if self._stopping.is_set() or slot.is_stopped or slot.child is not None or slot.successor is not None:
            return  # nobody is wanted there, or a replacement has taken the place, or is about to
        child = slot.child = self._make(slot)
        try:
            await child.start()
        except OSError:
            slot.child = None
            raise
        self.events.emit("started", slot.name)
        self._note_change()

    def _make(self, slot: Slot) -> Child:
        output = self._output
        return Child(
            slot.spec,
            self._on_word,
            self._on_line,
            lambda child: self._on_end(slot, child),
            lambda: output.crowded,
        )

    def _on_end(self, slot: Slot, child: Child) -> None:
        self._gathering.forget(child)
        self.asking.forget(child)
        self._note_change()
        if slot.child is not child:  # it was replaced, or never took its place
            self._extra.discard(child)
            if slot.predecessor is child:
                slot.predecessor = None
            return
        slot.child = None
        if self._stopping.is_set() or child.asked_to_stop:
            return
        slot.last_failure = failure = child.failure()
        if self._recall(slot, child):
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

    def _on_word(self, child: Child, word: AnyWord) -> None:
        match word:
            case Now(state):
                if state == "ready":
                    self._on_ready(child)
                self._look_whether_all_ready()
                self._note_change()
            case Failed(_, fatal) if child.last_failure is not None:
                if not fatal:
                    self.say(str(child.last_failure), "error")
                for slot in self.slots:
                    if slot.child is child:
                        slot.last_failure = child.last_failure
            case Gather(number):
                self._gathering.begin(lambda text: child.say(Gathered(number, text)), self._speaking(), child)
            case Numbers(number, text):
                self._gathering.take(child, number, text)
            case Told(number, text):
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
            slot.ready or slot.is_stopped or self._is_covered(slot) for slot in self.slots
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

    def _note_change(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

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

    # --- replacing

    async def roll(self) -> bool:
        """Replace every child, one after the other, each when its successor works. False when a successor did not
        get ready: then the old ones that are left stay. What is wished for while it goes on is one more, together."""
        self._asked += 1
        wish = self._asked
        async with self._rolling:
            if wish > self._granted:  # else it was granted by one that has begun since
                self._granted = self._asked
                self.events.emit("rolling")
                self._went_through = await self._replace_all()
                self.events.emit("rolled", self._went_through)
            return self._went_through

    async def _replace_all(self) -> bool:
        self.halfway, self._replaced, self._is_taken_back = "", [], False
        for stage in reversed(self.stages):
            # Who stands by first: whoever of them takes over meanwhile runs the new code then.
            for slot in sorted(stage, key=lambda slot: slot.ready):
                if self._stopping.is_set():
                    return False
                went_through = await self._replace(slot)
                if went_through:
                    self._replaced.append(slot.name)
                if not went_through or self._is_taken_back:
                    self._on_halfway()
                    return False
        self.say("every process was replaced")
        return True

    def _on_halfway(self) -> None:
        """Say where it has stopped, and how to get out of there."""
        replaced = [slot.name for slot in self.slots if slot.name in self._replaced]
        left = [slot.name for slot in self.slots if slot.name not in replaced]
        if not replaced or not left or self._stopping.is_set():
            self.halfway = ""
            return
        self.halfway = (
            f"the replacement stopped halfway: {', '.join(replaced)} new, {', '.join(left)} as before; mend the "
            "application and send SIGHUP to finish it, or put the old files back and send SIGHUP to take it back"
        )
        self.say(self.halfway, "error")

    async def _replace(self, slot: Slot) -> bool:
        """One child. The supervision of the present one goes on meanwhile, except that it is not restarted."""
        if slot.predecessor is not None:  # of the replacement before
            await slot.predecessor.end(self.settings.grace_seconds)
        old = slot.child
        new = slot.successor = self._make(slot)
        self._extra.add(new)
        try:
            await new.start()
            state = await self._until(new, ("ready", "standby"), self.settings.ready_seconds)
            if state not in ("ready", "standby") or self._stopping.is_set():
                what = "does not start: it" if slot.is_stopped else "stays as it is: its successor"
                self.say(f"{slot.name} {what} {self._why_not(new)}", "error")
                await new.end(1.0)
                return False
            if state == "standby" and old is not None and old.state == "ready":
                return await self._take_over(slot, old, new)
            self._promote(slot, new)
            if old is not None and old.exit_code is None:
                await self._end_child(old, self.settings.replaced_seconds)
            return await self._works(slot, new) and new.exit_code is None
        except OSError as error:
            self._extra.discard(new)
            self.say(f"{slot.name} cannot be replaced: {error}", "error")
            return False
        finally:
            slot.successor = None
            if slot.child is None and not slot.is_stopped and not self._stopping.is_set():
                # The old one died meanwhile, and the new one never came up.
                self.supervisor.accept(slot.last_failure or new.failure())

    async def _take_over(self, slot: Slot, old: Child, new: Child) -> bool:
        """The new one waits for what the old one owns. The old one makes room but stays, and gets it back when the new
        one fails with it, until the new one has decided something."""
        old.make_room()
        if await self._until(old, ("standby",), self.settings.replaced_seconds) != "standby":
            await self._end_child(old, LAST_SECONDS)
        if old.exit_code is None:
            slot.predecessor = old
        self._promote(slot, new)
        if new.exit_code is not None:  # meanwhile
            self._on_end(slot, new)
            return False
        if await self._works(slot, new):
            self.own(self._let_go(old, new))
            return True
        if not self._stopping.is_set():
            new.kill()
            await asyncio.wait({new.ended}, timeout=LAST_SECONDS)
        return False

    async def _works(self, slot: Slot, new: Child) -> bool:
        """Whether it gets ready, or another one of its kind gets what it waits for."""
        seconds = self.settings.ready_seconds
        state = await self._until(new, ("ready",), seconds, lambda: self._is_covered(slot))
        return state in ("ready", "standby")

    async def _let_go(self, old: Child, new: Child) -> None:
        """End one that stands by for its successor, when that has decided something, or has worked for a while."""
        deadline = time.monotonic() + TRIAL_SECONDS
        while new.exit_code is None and not new.decided and time.monotonic() < deadline:
            await asyncio.wait({new.ended, old.ended}, timeout=0.1, return_when=asyncio.FIRST_COMPLETED)
        if new.exit_code is None:
            await old.end(self.settings.grace_seconds)

    def _recall(self, slot: Slot, child: Child) -> bool:
        """Give the place back to the one before, if it still stands by and `child` has decided nothing."""
        before, slot.predecessor = slot.predecessor, None
        if before is None or before.exit_code is not None or before.asked_to_stop or child.decided:
            return False
        self.say(
            f"{slot.name} {child.why()} before it had decided anything: the one before it works again",
            "error",
        )
        if slot.name in self._replaced:
            self._replaced.remove(slot.name)
            self._is_taken_back = True
            if not self._rolling.locked():
                self._on_halfway()
        self._extra.discard(before)
        slot.child = before
        before.recall()
        return True

    def _is_covered(self, slot: Slot) -> bool:
        """Whether it stands by for another child of its kind, which works."""
        return slot.state == "standby" and any(
            each.ready for each in self.slots if each.spec.role == slot.spec.role and each is not slot
        )

    def _promote(self, slot: Slot, new: Child) -> None:
        self._extra.discard(new)
        if slot.child is not None:
            self._extra.add(slot.child)
        slot.child = new
        slot.is_stopped = False
        if new.state == "ready":
            slot.budget.ever_ready = True
        self.events.emit("replaced", slot.name)

    def _why_not(self, child: Child) -> str:
        if child.exit_code is not None:
            return child.why()
        return f"was not ready within {self.settings.ready_seconds:g} s ({child.state})"

    async def _until(
        self,
        child: Child,
        states: tuple[str, ...],
        seconds: float,
        enough: Callable[[], bool] = lambda: False,
    ) -> str:
        """The child's state once it is one of these, or it ended, or that is enough, or the time is over."""
        try:
            async with asyncio.timeout(seconds):
                while not (child.state in states or child.exit_code is not None or enough()):
                    if self._stopping.is_set():
                        break
                    await self._changed.wait()
        except TimeoutError:
            pass
        return child.state if child.exit_code is None else "ended"

    # --- single ones

    def equip(self, environment: Mapping[str, str]) -> None:
        """What every child that is started from now on is given."""
        for slot in self.slots:
            slot.spec = replace(slot.spec, environment=environment)

    def find(self, name: str) -> Slot | None:
        return next((slot for slot in self.slots if slot.name == name), None)

    async def stop_one(self, slot: Slot) -> None:
        """End one child; it is not started again before `restart_one` or `roll`."""
        async with self._rolling:
            if slot not in self.slots:
                return
            await self._empty(slot)
            self.say(f"{slot.name} was stopped; a restart of it, or a replacement of all, starts it again")

    async def recycle(self, slot: Slot, child: Child, reason: str) -> bool:
        """Replace a child that has used up what it may, unless it is not there any more."""
        async with self._rolling:
            if self._stopping.is_set() or slot.child is not child or child.asked_to_stop:
                return True
            self.say(f"{slot.name} is replaced: {reason}")
            if not await self._replace(slot):
                return False
            slot.recycled += 1
            slot.recycled_for = reason
            self._count_as_new(slot)
            self.events.emit("recycled", slot.name, reason)
            return True

    async def restart_one(self, slot: Slot) -> bool:
        """Replace one child as a roll does, or start one that was stopped. False when the new one did not get ready:
        then it is as it was."""
        async with self._rolling:
            if not self.halfway and slot.name in self._replaced:
                self._replaced.remove(slot.name)  # what becomes of it is no part of that replacement
            if self._stopping.is_set() or slot not in self.slots or not await self._replace(slot):
                return False
            self.say(f"{slot.name} was restarted")
            self._count_as_new(slot)
            return True

    async def scale(self, role: str, specs: Sequence[Spec]) -> bool:
        """Have these children of that role and no others. New ones start one after the other, and the first that does
        not get ready is given up, with those that would follow; of those that are too many each finishes what it has
        under way."""
        async with self._rolling:
            if role not in self._homes:
                self._homes[role] = []
                self.stages.append(self._homes[role])
            home = self._homes[role]
            for spec in specs:
                if self._stopping.is_set():
                    return False
                if self.find(spec.name) is None and not await self._add(home, spec):
                    return False
            wanted = {spec.name for spec in specs}
            surplus = [slot for slot in home if slot.spec.role == role and slot.name not in wanted]
            await asyncio.gather(*(self._remove(home, slot) for slot in surplus))
            return True

    async def _add(self, home: list[Slot], spec: Spec) -> bool:
        """Whether it works. Until it does its end is no failure of anything that runs."""
        slot = self._removed.pop(spec.name, None)
        if slot is None:
            slot = self._slot(spec)
            slot.is_stopped = True
            self._supervise(slot)
            await self.supervisor.start(slot.name)  # nothing yet, as it is stopped
        slot.spec, slot.last_failure = spec, None
        home.append(slot)
        self._output.align([slot.name])
        if await self._replace(slot):
            self.say(f"{slot.name} was added")
            self._count_as_new(slot)
            return True
        await self._remove(home, slot)
        return False

    async def _remove(self, home: list[Slot], slot: Slot) -> None:
        was_there = slot.child is not None
        await self._empty(slot)
        home.remove(slot)
        self._removed[slot.name] = slot
        if was_there:
            self.say(f"{slot.name} was removed")

    async def _empty(self, slot: Slot) -> None:
        """End who is in it, and who stands by for that one."""
        slot.is_stopped = True
        for child in (slot.predecessor, slot.child):
            if child is not None:
                await self._end_child(child, self.settings.replaced_seconds)

    def _count_as_new(self, slot: Slot) -> None:
        """It runs the new code, if a replacement has stopped halfway."""
        if self.halfway:
            self._replaced.append(slot.name)
            self._on_halfway()

    # --- numbers

    def _speaking(self) -> list[Child]:
        return [each for each in self.children() if each.state in ("ready", "not ready")]

    async def all_metrics(self) -> str:
        """The numbers of all processes, as Prometheus text."""
        told: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._gathering.begin(lambda text: None if told.done() else told.set_result(text), self._speaking())
        return await told

    def report(self, purpose: Purpose) -> tuple[bool, dict[str, Any]]:
        """Whether all processes together are ready for that, and what was found of each."""
        from skerry.http.health import Purpose  # not before somebody asks: a runner starts sooner
        from skerry.process.readiness import report_of

        trouble = "ending" if self._stopping.is_set() else self.halfway
        if self._stopping.is_set() and purpose is not Purpose.EVERYTHING:
            return False, report_of(self.slots, self._is_covered, purpose, trouble)[1] | {
                "status": "not ready"
            }
        return report_of(self.slots, self._is_covered, purpose, trouble)

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
