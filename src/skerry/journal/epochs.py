"""Whose history an offset belongs to: what positions of earlier epochs mean in the present one.

An epoch ends when the database may have lost what it had committed (a promotion, a restore, a crash), at the offset up
to which the two histories are the same. A position up to there is as good as ever; one after it names an event that is
not here, whatever stands at its offset now. Pure; not here: who begins an epoch (the backends), or what a reader does
about it (projector.py).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from skerry.position import Position


@dataclass(frozen=True, slots=True)
class Epoch:
    """One epoch. `began`: where the journal stood then. `common`: up to and with this offset the epochs before it tell
    the same history, as far as is known; less than `began` when the operator did not know. `history`:
    what the database said about itself, "" for nothing. `lost`: so many events of the epoch before had been seen by
    somebody and are not here, as far as anybody has told. `at`: seconds since 1970."""

    number: int
    name: str
    began: int
    common: int
    reason: str = ""
    history: str = ""
    lost: int = 0
    at: float = 0.0


class Epochs:
    """All epochs that a journal knows, the oldest first. Empty for a reader that has not met its journal yet."""

    __slots__ = ("_ends", "_known", "_names", "_numbers", "_starts")

    def __init__(self, epochs: Iterable[tuple[str, int, int]] = ()) -> None:
        """`epochs`: (name, began, common) in order."""
        self._known = tuple(epochs)
        self._names = [name for name, _, _ in self._known]
        self._numbers = {name: number for number, name in enumerate(self._names)}
        self._ends: list[int | None] = []
        end: int | None = None
        for _, _, common in reversed(self._known):
            self._ends.append(end)
            end = common if end is None else min(common, end)
        self._ends.reverse()
        # What each has given out lies above: a later one that has less in common took the place of what was between.
        self._starts = [
            common if end is None else min(common, end)
            for (_, _, common), end in zip(self._known, self._ends, strict=True)
        ]

    @classmethod
    def of(cls, epochs: Iterable[Epoch]) -> Epochs:
        return cls((epoch.name, epoch.began, epoch.common) for epoch in epochs)

    def __iter__(self) -> Iterator[tuple[str, int, int]]:
        """(name, began, common), as it takes to make another one."""
        return iter(self._known)

    def __bool__(self) -> bool:
        return bool(self._names)

    def __contains__(self, name: str) -> bool:
        return name in self._numbers

    @property
    def present(self) -> str:
        """The name of the last one; "" when none is known."""
        return self._names[-1] if self._names else ""

    def common(self, position: Position) -> int | None:
        """Up to which offset a reader at `position` has seen the present history; None for an unknown epoch."""
        number = self._numbers.get(position.epoch)
        if number is None:
            return None
        end = self._ends[number]
        return position.offset if end is None else min(position.offset, end)

    def carry(self, position: Position) -> Position | None:
        """The same place in the present epoch; None when the present history does not have it."""
        if position.epoch == self.present:
            return position
        return Position(self.present, position.offset) if self.common(position) == position.offset else None

    def named(self, offset: int) -> Position:
        """The offset with the epoch in which it was given out: the one name that an event or a row's change keeps
        for good, whichever epochs follow."""
        number = bisect_left(self._starts, offset) - 1
        return Position(self._names[max(0, number)] if self._names else "", offset)

    def agree(self, other: Epochs, position: Position) -> int:
        """Up to which offset somebody at `position` of the history `other` has seen this one: further than `common`
        knows, when the last epochs of `other` were lost too."""
        found = self.common(position)
        if found is not None:
            return found
        offset, known = position.offset, other._numbers.get(position.epoch)
        while known is not None and known > 0:
            offset, known = min(offset, other._starts[known]), known - 1
            found = self.common(Position(other._names[known], offset))
            if found is not None:
                return found
        return 0

    def lost(self, other: Epochs, position: Position) -> int:
        """How many events somebody at `position` of the history `other` had seen that are not in this one. Where an
        epoch was begun without knowing what is common, only those above where it began."""
        agreed = self.agree(other, position)
        number = bisect_left(self._starts, agreed)
        there = min((began for _, began, _ in self._known[max(1, number) :]), default=agreed)
        return max(0, position.offset - max(agreed, there))
