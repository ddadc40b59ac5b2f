"""Hints: what a transport says has been committed, and those that came before their turn.

A hint may be lost, doubled, late or swapped with another; the journal is the truth, and what is thrown away here is
read there. Not here: what is done about a gap (projector.py).
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from skerry.journal.journal import Record
from skerry.position import Position


class Hint(msgspec.Struct, frozen=True, array_like=True):
    """Events `first`..`last` of `epoch` were committed. Without records: fetch them (or just a tip, when
    first = last + 1). `records`, when there, are exactly those offsets. `before`: whose event stands before the first,
    "" when that is not known."""

    epoch: str
    first: int
    last: int
    records: list[Record] | None = None
    before: str = ""

    @property
    def position(self) -> Position:
        return Position(self.epoch, self.last)


def tip(position: Position, command_id: str = "") -> Hint:
    """The journal's end, said without events. `command_id`: whose event that is, if it is known."""
    return Hint(position.epoch, position.offset + 1, position.offset, None, command_id)


class Hints(Protocol):
    """Where hints come from: a transport."""

    def subscribe(self, listener: Callable[[Any], None]) -> Callable[[], None]: ...


class EarlyHints:
    """Hints that wait for what lies before them. `most`: records kept together. `waiting`: a heap by first offset;
    only to be asked whether it is empty, as every hint does."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._records = 0
        self._numbers = itertools.count()
        self.waiting: list[tuple[int, int, Hint]] = []

    @property
    def highest(self) -> int:
        """The last offset that any of them brings; 0 when there is none."""
        return max((hint.last for _, _, hint in self.waiting), default=0)

    def keep(self, hint: Hint) -> None:
        """Keep it, when it brings records and there is room; else the journal has them."""
        size = len(hint.records or ())
        if size and self._records + size <= self._most:
            heapq.heappush(self.waiting, (hint.first, next(self._numbers), hint))
            self._records += size

    def take(self, upto: int) -> Hint | None:
        """Take out the next one, if it begins at `upto` or before."""
        if not self.waiting or self.waiting[0][0] > upto:
            return None
        hint = heapq.heappop(self.waiting)[2]
        self._records -= len(hint.records or ())
        return hint

    def forget_others(self, epoch: str) -> None:
        """Drop those of another epoch."""
        self.waiting = [entry for entry in self.waiting if entry[2].epoch == epoch]
        heapq.heapify(self.waiting)
        self._records = sum(len(hint.records or ()) for _, _, hint in self.waiting)
