"""Is what the application's own transactions left being moved: asked once a second, told by readiness and a metric.

A full intake loses nothing and stops no writer: events come late. Not here: who moves them (`skerry.bus.intake`).
"""

from __future__ import annotations

import logging

from skerry.clock import Clock
from skerry.errors import Unavailable
from skerry.journal.intake import Intake, Waiting
from skerry.telemetry import Registry

logger = logging.getLogger("skerry.intake")
LOOK_SECONDS = 1.0


class IntakeWatch:
    """`waiting`: as of the last look. `run` is a task of the process."""

    def __init__(self, intake: Intake, clock: Clock, registry: Registry) -> None:
        self._intake, self._clock = intake, clock
        self.waiting = Waiting()
        registry.gauge(
            "skerry_intake_waiting",
            "Events of the application's own transactions that are not in the journal yet, at most.",
            read=lambda: self.waiting.rows,
        )
        registry.gauge(
            "skerry_intake_waiting_seconds",
            "For how long the oldest of them has waited.",
            read=lambda: self.waiting.seconds,
        )

    @property
    def trouble(self) -> str:
        return self.waiting.trouble

    async def run(self) -> None:
        """Look, for ever."""
        while True:
            await self._clock.sleep(LOOK_SECONDS)
            await self.look()

    async def look(self) -> None:
        """What cannot be asked is left as it was: others tell that the database is away."""
        was_full = bool(self.trouble)
        try:
            self.waiting = await self._intake.waiting()
        except (Unavailable, OSError, TimeoutError):
            return
        if self.trouble and not was_full:
            logger.error("the intake is full: %s", self.trouble)
        elif was_full and not self.trouble:
            logger.info("the intake is moved again")
