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
        self.join(offset, here, future)
        return future

    def join(self, offset: int, here: int, future: asyncio.Future[bool]) -> None:
        """The same for a future that somebody has already."""
        if here < offset:
            heapq.heappush(self._waiting, (offset, next(self._numbers), future))
        elif not future.done():
            future.set_result(True)

    def reached(self, offset: int) -> None:
        """Memory is at `offset` now."""
        waiting = self._waiting
        while waiting and waiting[0][0] <= offset:
            future = heapq.heappop(waiting)[2]
            if not future.done():
                future.set_result(True)

    def release(self, beyond: int = -1) -> None:
        """The epoch ended at `beyond`: what lies behind is never reached."""
        released = [entry for entry in self._waiting if entry[0] > beyond]
        self._waiting = [entry for entry in self._waiting if entry[0] <= beyond]
        heapq.heapify(self._waiting)
        for _, _, future in released:
            if not future.done():
                future.set_result(False)

    def cancel(self) -> None:
        """Nobody goes on; whoever waits is cancelled."""
        waiting, self._waiting = self._waiting, []
        for _, _, future in waiting:
            future.cancel()
