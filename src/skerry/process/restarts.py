"""The restart budget of a process: the one of all supervision, with two things that only processes know.

A process that was never ready gets fewer tries, since its configuration is more likely wrong than its luck; and one
that lived for a moment only keeps its growing pauses, though it was ready. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from skerry.clock import Backoff
from skerry.supervision.policy import Escalate, Intensity, Restart, RestartBudget


@dataclass(frozen=True, slots=True)
class RestartSettings:
    """`intensity` for each process that had been ready: one that the pauses between restarts can reach; `first_tries`
    in all for one that never was. A process that
    lived for `young_seconds` and was ready is restarted without a pause; else the pauses grow between the others."""

    intensity: Intensity = field(default_factory=lambda: Intensity(10, 60.0))
    first_tries: int = 5
    young_seconds: float = 1.0
    first_pause: float = 0.1
    longest_pause: float = 5.0


@dataclass(slots=True)
class ProcessBudget(RestartBudget):
    """See the module. Made by `budget_of`."""

    first_tries: int = 5
    young_seconds: float = 1.0
    ever_ready: bool = False
    tries: int = 0

    def decide(self, now: float) -> Restart | Escalate:
        """The verdict on an end at `now`; `lived` was told before."""
        if not self.ever_ready:
            self.tries += 1
            if self.tries >= self.first_tries:
                return Escalate(f"it was never ready in {self.tries} tries")
        return RestartBudget.decide(self, now)  # a slotted dataclass has no zero-argument super()

    def lived(self, seconds: float, was_ready: bool) -> None:
        """How the life that has just ended was."""
        if was_ready and seconds >= self.young_seconds:
            self.ready()


def budget_of(settings: RestartSettings) -> ProcessBudget:
    return ProcessBudget(
        settings.intensity,
        Backoff(first=settings.first_pause, ceiling=settings.longest_pause),
        first_tries=settings.first_tries,
        young_seconds=settings.young_seconds,
    )
