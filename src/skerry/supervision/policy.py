"""Which rule holds, who is restarted with whom, and how often. Pure: it is told the time, it starts nothing.

The supervisor does what is decided here.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from skerry.clock import Backoff
from skerry.supervision.failure import Failure

S = TypeVar("S")


class Strategy(enum.Enum):
    """Which children are restarted when one is (Erlang/OTP's names)."""

    ONE_FOR_ONE = "one_for_one"
    """Only the child that failed."""
    ONE_FOR_ALL = "one_for_all"
    """All children."""
    REST_FOR_ONE = "rest_for_one"
    """The child that failed and those that were added after it."""


def affected(strategy: Strategy, children: Sequence[str], failed: str) -> tuple[str, ...]:
    """The children to restart, in the order of starting (they are stopped in the reverse one)."""
    match strategy:
        case Strategy.ONE_FOR_ONE:
            return (failed,)
        case Strategy.ONE_FOR_ALL:
            return tuple(children)
        case Strategy.REST_FOR_ONE:
            return tuple(children[children.index(failed) :])


@dataclass(frozen=True, slots=True)
class Intensity:
    """At most `restarts` within `seconds`; the next one escalates."""

    restarts: int = 20
    seconds: float = 10.0

    def __post_init__(self) -> None:
        if self.restarts < 0 or self.seconds <= 0:
            raise ValueError(f"an intensity is 0 or more restarts in some seconds, not {self}")


@dataclass(frozen=True, slots=True)
class Restart:
    """Verdict: start it again after `delay_seconds`."""

    delay_seconds: float


@dataclass(frozen=True, slots=True)
class Escalate:
    """Verdict: no more; tell the parent why."""

    reason: str


@dataclass(slots=True)
class RestartBudget:
    """Decides whether a failed child may be started again, and after which pause.

    The first restart after the child was `ready`, or after a calm span, is at once; the next ones back off. With
    the default back-off (at most 0.4 s) a child that always fails reaches the default intensity within its ten
    seconds; a longer ceiling makes a supervisor that is patient for ever.
    """

    intensity: Intensity = field(default_factory=Intensity)
    backoff: Backoff = field(default_factory=lambda: Backoff(first=0.05, ceiling=0.4))
    _times: deque[float] = field(default_factory=deque)
    _failing: bool = False

    def decide(self, now: float) -> Restart | Escalate:
        """The verdict on a failure at `now` (monotonic seconds); a granted restart is counted."""
        span = self.intensity.seconds
        while self._times and now - self._times[0] > span:
            self._times.popleft()
        if len(self._times) >= self.intensity.restarts:
            return Escalate(f"restarted {len(self._times)} times in {span:g} s, which is all it may be")
        if not self._times:
            self.ready()
        self._times.append(now)
        if not self._failing:
            self._failing = True
            return Restart(0.0)
        return Restart(self.backoff.next())

    def ready(self) -> None:
        """The child works: its next failure is restarted at once. The count of restarts stays."""
        self._failing = False
        self.backoff.reset()

    def forget(self) -> None:
        """Start over, as when the supervisor itself was restarted."""
        self._times.clear()
        self.ready()


@dataclass(frozen=True, slots=True)
class Rule(Generic[S]):
    """For failures with `kind` or a class below it: this chain of solvers."""

    kind: type[BaseException]
    solvers: tuple[S, ...]


def choose(rules: Sequence[Rule[S]], failure: Failure) -> Rule[S] | None:
    """The rule whose class is nearest to the failure's own; of several for one class the first registered."""
    best: tuple[int, Rule[S]] | None = None
    for rule in rules:
        distance = failure.distance(rule.kind)
        if distance is not None and (best is None or distance < best[0]):
            best = distance, rule
    return None if best is None else best[1]
