"""Time for tests: a clock that only moves when it is told to, and an asyncio loop that never waits.

`VirtualClock` is a `skerry.clock.Clock`. Hand it to whatever takes a clock, then move it:

    clock = VirtualClock()
    task = asyncio.create_task(clock.sleep(60))
    await clock.advance(60)              # task is done; no time has passed

`virtual_loop()` is an asyncio loop whose `time()` is such a clock (`loop.clock`): when nothing is ready, time
jumps to the next timer, so `asyncio.sleep(3600)`, `asyncio.timeout` and `Loop.add_timer` take no time and
always happen in the same order. `run_virtual(main())` runs a coroutine on one.

Not for real sockets or threads: with virtual time a timeout does not wait for bytes that are on their way.
"""

from __future__ import annotations

import asyncio
import heapq
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

_MOST_TURNS = 100_000


class VirtualClock:
    """A `Clock` that a test moves. `start` is the monotonic reading, `epoch` the wall clock's at that moment."""

    def __init__(self, start: float = 0.0, epoch: float = 1_700_000_000.0) -> None:
        self._time = start
        self._offset = epoch - start
        self._order = 0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []

    def monotonic(self) -> float:
        """Seconds; moves only by `advance` and `jump`."""
        return self._time

    def now(self) -> float:
        """Seconds since 1970 by this clock."""
        return self._time + self._offset

    @property
    def sleeping(self) -> int:
        """How many sleepers wait, to assert on before moving."""
        return sum(not future.done() for _, _, future in self._sleepers)

    async def sleep(self, seconds: float) -> None:
        """Return once the clock has moved by `seconds`; at once, after one turn of the loop, for 0 or less."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._order += 1
        heapq.heappush(self._sleepers, (self._time + seconds, self._order, future))
        try:
            await future
        finally:
            if future.cancelled():
                self._sleepers = [one for one in self._sleepers if one[2] is not future]
                heapq.heapify(self._sleepers)

    async def advance(self, seconds: float) -> None:
        """Move by `seconds`, stopping at every sleeper's due time on the way.

        Sleepers wake in the order of their due times, then of their calls. After each one the loop runs until
        nothing is ready, so one that sleeps again within the span is woken again. ValueError below zero.
        """
        if seconds < 0:
            raise ValueError(f"time does not go back: {seconds}")
        await settle()
        until = self._time + seconds
        while self._sleepers and self._sleepers[0][0] <= until:
            due, _, future = heapq.heappop(self._sleepers)
            self._time = max(self._time, due)
            if not future.done():
                future.set_result(None)
                await settle()
        self._time = until
        await settle()

    def jump(self, seconds: float) -> None:
        """Move at once without letting anybody run; sleepers that are due wake when the loop next runs."""
        if seconds < 0:
            raise ValueError(f"time does not go back: {seconds}")
        self._time += seconds
        while self._sleepers and self._sleepers[0][0] <= self._time:
            _, _, future = heapq.heappop(self._sleepers)
            if not future.done():
                future.set_result(None)

    def set_wall(self, epoch: float) -> None:
        """Let the wall clock jump, as an administrator may; monotonic time does not notice."""
        self._offset = epoch - self._time


async def settle() -> None:
    """Let everything that is ready run, until nothing is. Timers and sockets are not waited for.

    On loops that do not show what is ready (uvloop) fifty turns are given. RuntimeError when it never ends.
    """
    ready = getattr(asyncio.get_running_loop(), "_ready", None)
    for turn in range(_MOST_TURNS):
        await asyncio.sleep(0)
        if (not ready) if ready is not None else turn >= 50:
            return
    raise RuntimeError(f"something keeps the loop busy: not settled after {_MOST_TURNS} turns")


class VirtualLoop(asyncio.SelectorEventLoop):
    """An asyncio loop in virtual time; see the module's text. `clock` may be read and moved by the test."""

    def __init__(self) -> None:
        self.clock: VirtualClock = _LoopClock()
        super().__init__(_JumpingSelector(self.clock))

    def time(self) -> float:
        return self.clock.monotonic()


def virtual_loop() -> VirtualLoop:
    """A new loop in virtual time, for `asyncio.Runner(loop_factory=virtual_loop)`."""
    return VirtualLoop()


def run_virtual(main: Coroutine[Any, Any, T]) -> T:
    """Run `main` to its end in virtual time."""
    with asyncio.Runner(loop_factory=virtual_loop) as runner:
        return runner.run(main)


class _LoopClock(VirtualClock):
    """The clock of a virtual loop: its sleepers are timers of the loop, so the loop moves to them by itself."""

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class _JumpingSelector(selectors.DefaultSelector):
    """Instead of waiting for a timer, moves the clock to it."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__()
        self._clock = clock

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            return super().select(None)  # nothing is due ever: only a thread or a descriptor can go on
        ready = super().select(0)
        if not ready and timeout > 0:
            self._clock.jump(timeout)
        return ready
