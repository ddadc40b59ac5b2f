"""How many messages wait in the table, by partition, and whether one more may: counted once a second while this process
sends or something waits. So there may be more than the limit, by what all processes send within a second. Not here: the
table (table.py), what waits for its commit (outbox.py).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping

from skerry.clock import Clock
from skerry.errors import Overloaded, SkerryError, Unavailable

log = logging.getLogger("skerry.transport")
LOOK_SECONDS = 1.0
Count = Callable[[], Awaitable[Mapping[int, int]]]
"""Count what waits, by partition, each no further than the limit."""


class Depth:
    """What one process knows of it. `most`: messages that may wait in a partition."""

    def __init__(self, count: Count, most: int, clock: Clock) -> None:
        self._count, self._most, self._clock = count, most, clock
        self._counted: Mapping[int, int] = {}
        self._asked = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.refusal = ""
        """Why a message was refused last, until there is room again."""

    @property
    def waiting(self) -> int:
        """All messages that waited when they were counted last."""
        return sum(self._counted.values())

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run(), name="skerry: depth of the queue")

    async def stop(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait({task})

    def room(self, partition: int) -> Overloaded | None:
        """Why nothing more may wait there, if so. To be asked whenever something is sent."""
        self._asked.set()
        if self._counted.get(partition, 0) < self._most:
            return None
        self.refusal = (
            f"not taken: {self._most} messages of commands wait in partition {partition}, no more may"
        )
        return Overloaded(self.refusal)

    async def _run(self) -> None:
        while True:
            self._asked.clear()
            try:
                self._counted = await self._count()
            except Unavailable:
                pass  # as before; what is sent meanwhile is not taken anyway
            except SkerryError as error:
                log.warning("what waits in the queue cannot be counted, and has no limit: %s", error)
                return
            if all(there < self._most for there in self._counted.values()):
                self.refusal = ""
            if not any(self._counted.values()):
                await self._asked.wait()
            await self._clock.sleep(LOOK_SECONDS)
