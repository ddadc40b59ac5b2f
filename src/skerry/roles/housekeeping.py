"""What a consumer does beside commands: snapshots of stored projections, and forgetting what is old.

On a shared journal one consumer does it at a time, by a lease.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

from skerry.errors import JournalError, Unavailable
from skerry.journal.journal import JournalWriter, StoredProjection
from skerry.journal.projection import Projection
from skerry.journal.projector import Phase, Projector, ProjectorSettings
from skerry.kernel.kernel import Kernel
from skerry.options import option
from skerry.position import Position

logger = logging.getLogger("skerry.housekeeping")


@dataclass(frozen=True, slots=True)
class HousekeepingSettings:
    """How long a consumer keeps old events, outcomes and bodies."""

    every_seconds: float = option(60.0, "between two rounds", least=0.1, most=86_400.0)
    keep_events: int = option(1_000_000, "of the last events that are never trimmed", least=0, most=1 << 62)


class Housekeeping:
    """Rounds, until cancelled. Follows the journal with the stored projections only, when there are any."""

    def __init__(
        self,
        kernel: Kernel,
        writer: JournalWriter,
        shared: bool,
        owner: str,
        settings: HousekeepingSettings | None = None,
    ) -> None:
        self._kernel, self._writer, self._shared, self._owner = kernel, writer, shared, owner
        self._settings = settings or kernel.settings.of(HousekeepingSettings)
        self._stored: list[Projection] = [kind() for kind in kernel.declaration.projections if kind.stored]

    async def run(self) -> None:
        """Work until cancelled; a last snapshot is written then."""
        projector: Projector | None = None
        try:
            if self._stored:
                kernel = self._kernel
                projector = Projector(
                    self._writer, kernel.transport, self._stored, kernel.serializer,
                    settings=kernel.settings.of(ProjectorSettings), clock=kernel.clock,
                )  # fmt: skip
                await projector.start()
                await self._begin(projector)
            while True:
                await self._kernel.clock.sleep(self._settings.every_seconds)
                await self._round(projector)
        finally:
            if projector is not None:
                await asyncio.shield(self._last(projector))

    async def _last(self, projector: Projector) -> None:
        try:
            await self._save(projector)
        except (Unavailable, OSError, TimeoutError, JournalError) as error:
            logger.warning("the last snapshot of stored projections could not be kept: %s", error)
        finally:
            await projector.stop()

    async def _begin(self, projector: Projector) -> None:
        """Store what was never stored at once: until then it holds no events, and an operator may trim them away."""
        try:
            kept = {reader.name for reader in await self._writer.readers() if reader.kind == "projection"}
            if any(type(each).__name__ not in kept for each in self._stored):
                await self._save(projector)
        except (Unavailable, OSError, TimeoutError, JournalError) as error:
            logger.warning("stored projections are kept from the next round on: %s", error)

    async def _round(self, projector: Projector | None) -> None:
        try:
            if self._shared:
                lease = await self._writer.acquire(
                    "housekeeping", self._owner, 2 * self._settings.every_seconds
                )
                if lease is None:
                    return
            if projector is not None:
                await self._save(projector)
            await self._trim()
        except (Unavailable, OSError, TimeoutError, JournalError) as error:
            logger.warning("housekeeping waits for its next round: %s", error)

    async def _save(self, projector: Projector) -> None:
        """Store each projection's state as of the position that memory has."""
        position = projector.position
        if not position.epoch or projector.phase is Phase.LOADING:
            return  # what is half loaded is the state of no position
        states = [(type(p).__name__, p.version, p.state()) for p in self._stored]
        for name, version, state in states:
            if name not in projector.stopped:
                await self._writer.save_projection(StoredProjection(name, version, position, state))

    async def _trim(self) -> None:
        head = await self._writer.head()
        before = max(head.floor, head.position.offset - self._settings.keep_events)
        floor = await self._writer.trim(Position(head.position.epoch, before))  # old outcomes go in any case
        if floor > head.floor:
            logger.info("events up to %d were trimmed", floor)
