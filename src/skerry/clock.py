"""Time as a value that is handed in.

Nothing that decides reads the wall clock by itself: it is given a `Clock`. `SystemClock` is real,
`skerry.testing.clock.VirtualClock` is advanced by a test. `Deadline` and `Backoff` are pure.
"""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass, field
from typing import Protocol


class Clock(Protocol):
    """A source of time."""

    def monotonic(self) -> float:
        """Seconds that never go back; only differences mean something."""
        ...

    def now(self) -> float:
        """Seconds since 1970 (UTC), for people and records; may jump."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return after `seconds` by this clock."""
        ...


class SystemClock:
    """The machine's clocks."""

    monotonic = staticmethod(time.monotonic)
    now = staticmethod(time.time)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


@dataclass(frozen=True, slots=True)
class Deadline:
    """A moment on a clock's monotonic scale."""

    at: float

    @classmethod
    def after(cls, seconds: float, clock: Clock) -> Deadline:
        return cls(clock.monotonic() + seconds)

    def remaining(self, clock: Clock) -> float:
        """Seconds left, never below zero."""
        return max(0.0, self.at - clock.monotonic())

    def passed(self, clock: Clock) -> bool:
        return clock.monotonic() >= self.at


@dataclass(slots=True)
class Backoff:
    """Growing pauses with jitter: each is between half and all of `first * factor**n`, at most `ceiling`.

    `next()` gives the seconds to wait, `reset()` starts over after a success. Pure but for its `rng`.
    """

    first: float = 0.1
    ceiling: float = 10.0
    factor: float = 2.0
    rng: random.Random = field(default_factory=random.Random)
    attempts: int = 0

    def next(self) -> float:
        # The exponent is bounded so that a week of failures does not overflow a float.
        whole = min(self.ceiling, self.first * self.factor ** min(self.attempts, 64))
        self.attempts += 1
        return whole * (0.5 + 0.5 * self.rng.random())

    def reset(self) -> None:
        self.attempts = 0
