"""Hints: what a transport says has been committed, and those that came before their turn.

A hint may be lost, doubled, late or swapped with another; the journal is the truth, and what is thrown away here is
read there. Not here: what is done about a gap (projector.py).
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from typing import Any, Protocol

from skerry.journal.journal import Record


class HintLike(Protocol):
    """What has to be known of a transport's hint."""

    @property
    def epoch(self) -> str: ...
    @property
    def first(self) -> int: ...
    @property
    def last(self) -> int: ...
    @property
    def records(self) -> list[Record] | None: ...
    @property
    def before(self) -> str: ...


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
        self.waiting: list[tuple[int, int, HintLike]] = []

    @property
    def highest(self) -> int:
        """The last offset that any of them brings; 0 when there is none."""
        return max((hint.last for _, _, hint in self.waiting), default=0)

    def keep(self, hint: HintLike) -> None:
        """Keep it, when it brings records and there is room; else the journal has them."""
        size = len(hint.records or ())
        if size and self._records + size <= self._most:
            heapq.heappush(self.waiting, (hint.first, next(self._numbers), hint))
            self._records += size

    def take(self, upto: int) -> HintLike | None:
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
