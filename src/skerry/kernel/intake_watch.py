"""Is what the application's own transactions leave being moved, and do the triggers of mirrors leave what they should:
asked once a second (triggers once a minute), told by readiness and a metric.

A full intake loses nothing and stops no writer: events come late. Not here: who moves them (`skerry.bus.intake`).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from skerry.clock import Clock
from skerry.errors import JournalError, SettingsError, Unavailable
from skerry.journal.intake import HasIntake, Waiting
from skerry.journal.mirror import Mirrored, ReadsMirrors

logger = logging.getLogger("skerry.intake")
LOOK_SECONDS = 1.0
MIRROR_LOOKS = 60
"""At every so many looks the triggers are looked at too."""


class IntakeWatch:
    """`waiting`: as of the last look; `unready`: what the mirrors lack. `run` is a task of the process."""

    def __init__(self, reader: HasIntake, mirrors: Sequence[Mirrored], clock: Clock) -> None:
        self._reader, self._mirrors, self._clock = reader, mirrors, clock
        self._looks = 0
        self.waiting = Waiting()
        self.unready = ""

    @property
    def trouble(self) -> str:
        return "; ".join(filter(None, (self.waiting.trouble, self.unready)))

    async def run(self) -> None:
        """Look, for ever."""
        while True:
            await self.look()
            await self._clock.sleep(LOOK_SECONDS)

    async def look(self) -> None:
        """What cannot be asked is left as it was: others tell that the database is away."""
        before = self.trouble
        try:
            self.waiting = await self._reader.intake.waiting()
            if self._mirrors and isinstance(self._reader, ReadsMirrors):
                if self.unready or self._looks % MIRROR_LOOKS == 0:
                    self.unready = await self._lacking(self._reader)
                self._looks += 1
        except (Unavailable, OSError, TimeoutError):
            return
        if self.trouble and not before:
            logger.error("the intake: %s", self.trouble)
        elif before and not self.trouble:
            logger.info("the intake works again")

    async def _lacking(self, reader: ReadsMirrors) -> str:
        try:
            found = await reader.unready(self._mirrors)
        except SettingsError as error:
            return str(error)
        except JournalError as error:
            return f"mirrors cannot be checked: {error}"
        if not found:
            return ""
        more = f" and {len(found) - 1} more" if len(found) > 1 else ""
        return f"{found[0][0]} is missing or different{more}: skerry infra create TARGET makes it"
