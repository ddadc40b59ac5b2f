"""Futures that are done when memory has reached a position. No deadline, no task, no journal: the projector tells where
memory is."""

from __future__ import annotations

import asyncio
import heapq
import itertools

from skerry.journal.place import Place
from skerry.position import Position

Elsewhere = list[tuple[Position, asyncio.Future[bool]]]


class Waiters:
    """Futures for offsets of the present epoch, the lowest first, and for positions of epochs that memory does not know
    yet. Each is done with True when memory is there, with False when it never will be."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._waiting: list[tuple[int, int, asyncio.Future[bool]]] = []
        self._elsewhere: Elsewhere = []
        self._numbers = itertools.count()

    def add(self, offset: int) -> asyncio.Future[bool]:
        """A future for an offset of the present epoch."""
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._join(offset, future)
        return future

    def add_unknown(self, position: Position) -> asyncio.Future[bool]:
        """A future for a position that the history as known here does not have. Done at once when its epoch is known;
        otherwise `settle` decides, once the journal's epochs were read."""
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        if position.epoch in self._place.epochs:
            future.set_result(False)
        else:
            self._elsewhere.append((position, future))
        return future

    def take_unknown(self) -> Elsewhere:
        """Take out the positions of unknown epochs: the journal is asked about its epochs now."""
        asked, self._elsewhere = self._elsewhere, []
        return asked

    def keep_unknown(self, asked: Elsewhere) -> None:
        """The journal did not answer: they wait on, except those that were given up."""
        self._elsewhere += [each for each in asked if not each[1].done()]

    def settle(self, asked: Elsewhere) -> None:
        """The journal's epochs are known as of after these were taken out."""
        for position, future in asked:
            here = self._place.carry(position)
            if here is not None:
                self._join(here.offset, future)
            elif not future.done():
                future.set_result(False)

    def reached(self) -> None:
        """Memory has come further."""
        offset, waiting = self._place.offset, self._waiting
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
        """Memory is not fed any more: every future is cancelled."""
        waiting, self._waiting = self._waiting, []
        for future in [each[2] for each in waiting] + [each[1] for each in self.take_unknown()]:
            future.cancel()

    def _join(self, offset: int, future: asyncio.Future[bool]) -> None:
        if self._place.offset < offset:
            heapq.heappush(self._waiting, (offset, next(self._numbers), future))
        elif not future.done():
            future.set_result(True)
