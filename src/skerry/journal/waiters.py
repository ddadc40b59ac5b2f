"""Who waits until memory has reached an offset. All offsets are of one epoch; no deadline, no task."""

from __future__ import annotations

import asyncio
import heapq
import itertools


class Waiters:
    """Futures, the one with the lowest offset first."""

    def __init__(self) -> None:
        self._waiting: list[tuple[int, int, asyncio.Future[bool]]] = []
        self._numbers = itertools.count()

    def add(self, offset: int, here: int) -> asyncio.Future[bool]:
        """A future that is done with True when memory, which is at `here`, has reached `offset`; with False when it
        never will."""
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        if here >= offset:
            future.set_result(True)
        else:
            heapq.heappush(self._waiting, (offset, next(self._numbers), future))
        return future

    def reached(self, offset: int) -> None:
        """Memory is at `offset` now."""
        waiting = self._waiting
        while waiting and waiting[0][0] <= offset:
            future = heapq.heappop(waiting)[2]
            if not future.done():
                future.set_result(True)

    def release(self) -> None:
        """The epoch ended: what they wait for is never reached."""
        waiting, self._waiting = self._waiting, []
        for _, _, future in waiting:
            if not future.done():
                future.set_result(False)

    def cancel(self) -> None:
        """Nobody goes on; whoever waits is cancelled."""
        waiting, self._waiting = self._waiting, []
        for _, _, future in waiting:
            future.cancel()
