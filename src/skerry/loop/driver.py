"""Lets an asyncio loop wait for an interest set, and calls what is due.

One driver lives from a start to a stop of a `Loop`. It adopts a set, arms one alarm for the earliest timer, adds
readers, writers and signal handlers, and runs the queues of ticks, an iteration at a time.

Not here: registering (registrations.py); moving, stopping (loop.py); due times (timers.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import Context

from skerry.clock import Clock
from skerry.errors import LifecycleError
from skerry.loop import models
from skerry.loop.interests import KINDS, TICKS, InterestSet, Kind, Phase
from skerry.loop.tasks import Tasks
from skerry.loop.timers import Timer


class Driver:
    """`report(error, callback)` hears of what fails; `settled()` is called after each batch of callbacks and
    whenever an interest ends, to stop the loop where that was asked for. `single`: wait for nothing, for one `tick`."""

    def __init__(
        self,
        running: asyncio.AbstractEventLoop,
        clock: Clock,
        tasks: Tasks,
        report: Callable[[Exception, object], object],
        settled: Callable[[], object],
        *,
        single: bool = False,
    ) -> None:
        self.running, self.busy = running, 0
        self.interests = InterestSet()
        self._clock, self._tasks, self._report, self._settled = clock, tasks, report, settled
        self._single = single
        self._moves = 0  # raised by whatever takes interests away, so that a running batch ends
        self._soon: asyncio.Handle | None = None
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_due: float | None = None
        self._always_ready: set[tuple[Kind, int]] = set()

    def adopt(self, interests: InterestSet) -> None:
        """Wait for everything in the set from now on."""
        if interests.changed is not None:
            raise LifecycleError("adopt the interests", "another loop has them", ("export_to",))
        self.interests = interests
        interests.changed = self._watched_changed
        interests.queued = self.schedule
        interests.timers.run(self._clock.monotonic())
        interests.timers.changed = self._rearm
        for kind in KINDS:
            for key in list(interests.watched[kind]):
                try:
                    self._watched_changed(kind, key)
                except (OSError, ValueError) as error:  # closed while nobody looked
                    for one in list(interests.watched[kind].get(key, ())):
                        one.cancel()
                        self._report(error, one.callback)
        self._rearm()
        if self._has_work():
            self.schedule()

    def release(self) -> InterestSet:
        """Make the set a plain value again, timers with what remains, and give it back."""
        interests, self.interests = self.interests, InterestSet()
        self._moves += 1
        interests.timers.changed = interests.changed = interests.queued = None
        interests.timers.hold(self._clock.monotonic())
        for kind in KINDS if not self.running.is_closed() else ():
            for key in interests.watched[kind]:
                self._ignore(kind, key)
        for handle in (self._soon, self._alarm):
            if handle is not None:
                handle.cancel()
        self._soon = self._alarm = self._alarm_due = None
        return interests

    def schedule(self) -> None:
        """Have one iteration soon, unless one is on its way."""
        if self._soon is None and not self._single:
            self._soon = self.running.call_soon(self.iterate)

    def iterate(self) -> None:
        """One iteration of the queues. A batch ends early when its interests are taken away meanwhile."""
        if self._soon is not None:
            self._soon.cancel()
            self._soon = None
        with self._batch() as moves:
            for phase in TICKS:
                self._drain(self.interests, phase, moves)
            for kind, key in list(self._always_ready):
                if self._moves == moves:
                    self._ready(kind, key)

    def ring(self) -> None:
        """Call the timers that are due; those added meanwhile wait, however short they are."""
        self._alarm_due = None
        timers = self.interests.timers
        now, mark = self._clock.monotonic(), timers.mark()
        with self._batch() as moves:
            while self._moves == moves and (timer := timers.pop_due(now, mark)) is not None:
                if timer.periodic and self._tasks.has(timer):
                    timer.missed += 1
                    continue
                self._call(timer.callback, timer.context, timer=timer)
                if timer.periodic and timer.active and timers.running:
                    timers.done(timer, self._clock.monotonic())

    def run_phase(self, interests: InterestSet, phase: Phase) -> None:
        """Run what waits in the start or stop queue now."""
        self.busy += 1
        try:
            self._drain(interests, phase, self._moves)
        finally:
            self.busy -= 1

    def after_batch(self) -> None:
        """Arm for what comes next, and let the loop decide whether it goes on."""
        if self.busy:
            return
        self._rearm()
        if self._has_work():
            self.schedule()
        self._settled()

    @contextmanager
    def _batch(self) -> Iterator[int]:
        self.busy += 1
        try:
            yield self._moves
        finally:
            self.busy -= 1
            self.after_batch()

    def _drain(self, interests: InterestSet, phase: Phase, moves: int) -> None:
        entries = interests.queues[phase]
        for _ in range(len(entries)):
            if self._moves != moves or not entries:
                return
            callback, context = entries.popleft()
            self._call(callback, context)

    def _ready(self, kind: Kind, key: int) -> None:
        """A descriptor is ready or a signal has arrived."""
        with self._batch() as moves:
            for one in list(self.interests.watched[kind].get(key, ())):
                if one.active and self._moves == moves:
                    self._call(one.callback, one.context, args=(one.resource,))

    def _call(
        self,
        callback: Callable[..., object],
        context: Context,
        *,
        args: tuple[object, ...] = (),
        timer: Timer | None = None,
    ) -> None:
        try:
            result = context.run(callback, *args)
        except Exception as error:
            self._report(error, callback)
            return
        if not asyncio.iscoroutine(result):
            return
        if self.running.is_closed():
            result.close()
            self._report(RuntimeError("a coroutine function cannot run when the loop has ended"), callback)
        else:
            self._tasks.begin(self.running, result, callback, context, timer)

    def _has_work(self) -> bool:
        return bool(self._always_ready) or any(self.interests.queues[phase] for phase in TICKS)

    def _rearm(self) -> None:
        """Set the alarm for the earliest timer."""
        if self.busy or self._single:
            return  # a batch sets it at its end
        due = self.interests.timers.next_due()
        if due == self._alarm_due:
            return
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm, self._alarm_due = None, due
        if due is not None:
            self._alarm = self.running.call_later(max(0.0, due - self._clock.monotonic()), self.ring)

    def _watched_changed(self, kind: Kind, key: int) -> None:
        if not self.interests.watched[kind].get(key):
            self._ignore(kind, key)
            self._settled()
        elif kind == "signal":
            self.running.add_signal_handler(key, self._ready, kind, key)
        else:
            models.check_descriptor(self.running, key)
            add = self.running.add_reader if kind == "read" else self.running.add_writer
            try:
                add(key, self._ready, kind, key)
            except PermissionError:  # a file on disk: always ready, and not known to epoll
                self._always_ready.add((kind, key))
                self.schedule()

    def _ignore(self, kind: Kind, key: int) -> None:
        if (kind, key) in self._always_ready:
            self._always_ready.discard((kind, key))
        elif kind == "signal":
            self.running.remove_signal_handler(key)
        elif kind == "read":
            self.running.remove_reader(key)
        else:
            self.running.remove_writer(key)
