"""When something is due. Pure: it is told the time, it starts nothing; the loop waits and calls.

A timer counts only while its `Timers` run: `hold` keeps what remains, `run` goes on from there, so a timer that is
moved or held neither fires early nor catches up in a burst. Due times are never rounded down: a timer is not early.

Not here: clocks (the loop has one), the waiting itself.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterator
from contextvars import Context, copy_context

Callback = Callable[[], object]


class Timer:
    """A callback that is due `interval` seconds after it was added, once or every time again."""

    __slots__ = (
        "_active",
        "_key",
        "_order",
        "_owner",
        "callback",
        "context",
        "interval",
        "missed",
        "periodic",
    )

    def __init__(self, interval: float, callback: Callback, *, periodic: bool = False) -> None:
        if not math.isfinite(interval) or interval < 0 or (periodic and interval == 0):
            raise ValueError(
                f"a timer's interval is a finite number of seconds, {'> 0' if periodic else '>= 0'}"
            )
        self.interval, self.callback, self.periodic = interval, callback, periodic
        self.context: Context = copy_context()
        self.missed = 0
        """How many points of its grid a periodic timer has skipped because the loop was busy."""
        self._active = False
        self._owner: Timers | None = None
        self._key, self._order = 0.0, 0

    @property
    def active(self) -> bool:
        """Whether it will still be called. A one-shot timer is not active in its own callback."""
        return self._active

    def cancel(self) -> None:
        """Never call it again. Within its own callback too; twice is once."""
        if self._owner is not None:
            self._owner.remove(self)

    def __repr__(self) -> str:
        kind = "every" if self.periodic else "after"
        return f"<Timer {kind} {self.interval:g} s, {'active' if self._active else 'ended'}>"


class Timers:
    """The active timers of an interest set, ordered by due time, then by when they were added.

    While running, keys are moments on the loop's monotonic clock; while held, seconds that remain.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Timer]] = []
        self._order = 0
        self._count = 0
        self.running = False
        self.changed: Callable[[], None] | None = None
        """Called when the earliest due time may have changed: the loop arms its alarm anew."""

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Timer]:
        """The active timers, earliest first."""
        return (timer for key, order, timer in sorted(self._heap) if self._is_current(key, order, timer))

    def add(self, timer: Timer, now: float) -> Timer:
        """Take a timer; its interval begins at `now`. While held, `now` does not matter."""
        timer._active, timer._owner = True, self
        self._count += 1
        self._push(timer, (now if self.running else 0.0) + timer.interval)
        self._tell()
        return timer

    def remove(self, timer: Timer) -> None:
        """Forget a timer at once; its place in the heap is cleaned up when half of it is such places."""
        if timer._owner is not self:
            return
        timer._active, timer._owner = False, None
        self._count -= 1
        if len(self._heap) > 64 and self._count * 2 < len(self._heap):
            self._heap = [one for one in self._heap if self._is_current(*one)]
            heapq.heapify(self._heap)
        self._tell()

    def remaining(self, timer: Timer, now: float) -> float:
        """Seconds until `timer` is due, below zero when it is late."""
        return timer._key - now if self.running else timer._key

    def next_due(self) -> float | None:
        """The key of the earliest timer, None without any."""
        self._trim()
        return self._heap[0][0] if self._heap else None

    def mark(self) -> int:
        """A mark between what was added so far and what is added later, for `pop_due`."""
        return self._order

    def pop_due(self, now: float, mark: int) -> Timer | None:
        """The next timer that is due at `now` and was added before `mark`; taken out, or armed for its next point.

        A periodic timer keeps its grid: next is the first point after `now`, those in between are missed.
        """
        self._trim()
        if not self._heap or self._heap[0][0] > now or self._heap[0][1] >= mark:
            return None
        due, _, timer = heapq.heappop(self._heap)
        if timer.periodic:
            self._push(timer, self._next_point(timer, due, now))
        else:
            timer._active, timer._owner = False, None
            self._count -= 1
        return timer

    def done(self, timer: Timer, now: float) -> None:
        """A periodic timer's callback has returned at `now`: points that passed meanwhile are missed, not late."""
        if timer._owner is self and self.running and timer.periodic and timer._key <= now:
            due = timer._key
            self._push(timer, self._next_point(timer, due - timer.interval, now))
            self._tell()

    def hold(self, now: float) -> None:
        """Stop counting; each timer keeps what remains (0 when it is late)."""
        if self.running:
            self._rekey(lambda key: max(0.0, key - now), running=False)

    def run(self, now: float) -> None:
        """Count from `now` on."""
        if not self.running:
            self._rekey(lambda key: key + now, running=True)

    def move_to(self, other: Timers) -> None:
        """Give all timers to `other`, after its own, with what remains. Both must be held."""
        if self.running or other.running:
            raise RuntimeError("timers are moved while held")
        for timer in list(self):
            timer._owner = other
            other._count += 1
            other._push(timer, timer._key)
        self._heap, self._count = [], 0

    def clear(self) -> None:
        """End every timer."""
        for timer in self:
            timer._active, timer._owner = False, None
        self._heap, self._count = [], 0
        self._tell()

    def _push(self, timer: Timer, key: float) -> None:
        timer._key, timer._order = key, self._order
        heapq.heappush(self._heap, (key, self._order, timer))
        self._order += 1

    def _rekey(self, shift: Callable[[float], float], *, running: bool) -> None:
        timers = list(self)
        self._heap, self.running = [], running
        for timer in timers:
            self._push(timer, shift(timer._key))

    def _is_current(self, key: float, order: int, timer: Timer) -> bool:
        return timer._owner is self and timer._order == order and timer._key == key

    def _trim(self) -> None:
        while self._heap and not self._is_current(*self._heap[0]):
            heapq.heappop(self._heap)

    def _tell(self) -> None:
        if self.changed is not None:
            self.changed()

    @staticmethod
    def _next_point(timer: Timer, due: float, now: float) -> float:
        following = due + timer.interval
        if following > now:
            return following
        points = math.floor((now - due) / timer.interval)
        # The division may round either way: the next point is the first one after now, no earlier and no later.
        while due + (points + 1) * timer.interval <= now:
            points += 1
        while points > 0 and due + points * timer.interval > now:
            points -= 1
        timer.missed += points
        return due + (points + 1) * timer.interval
