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
    """One epoch. `began`: up to and with this offset the epochs before it tell the same history. `history`: what the
    database said about itself then, "" for nothing. `lost`: so many events of the epoch before had been seen by
    somebody and are not here, as far as anybody has told. `at`: seconds since 1970."""

    number: int
    name: str
    began: int
    reason: str = ""
    history: str = ""
    lost: int = 0
    at: float = 0.0


class Epochs:
    """All epochs that a journal knows, the oldest first. Empty for a reader that has not met its journal yet."""

    __slots__ = ("_began", "_ends", "_names", "_numbers")

    def __init__(self, epochs: Iterable[tuple[str, int]] = ()) -> None:
        """`epochs`: (name, began) in order."""
        known = list(epochs)
        self._names = [name for name, _ in known]
        self._numbers = {name: number for number, name in enumerate(self._names)}
        self._ends: list[int | None] = []
        end: int | None = None
        for _, began in reversed(known):
            self._ends.append(end)
            end = began if end is None else min(began, end)
        self._ends.reverse()
        # Where each begins for good: a later one that began further down took the place of what was between.
        self._began = [
            began if end is None else min(began, end)
            for (_, began), end in zip(known, self._ends, strict=True)
        ]

    @classmethod
    def of(cls, epochs: Iterable[Epoch]) -> Epochs:
        return cls((epoch.name, epoch.began) for epoch in epochs)

    def __iter__(self) -> Iterator[tuple[str, int]]:
        """(name, where it began), as it takes to make another one."""
        return iter(zip(self._names, self._began, strict=True))

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
        number = bisect_left(self._began, offset) - 1
        return Position(self._names[max(0, number)] if self._names else "", offset)

    def agree(self, other: Epochs, position: Position) -> int:
        """Up to which offset somebody at `position` of the history `other` has seen this one: further than `common`
        knows, when the last epochs of `other` were lost too."""
        found = self.common(position)
        if found is not None:
            return found
        offset, known = position.offset, other._numbers.get(position.epoch)
        while known is not None and known > 0:
            offset, known = min(offset, other._began[known]), known - 1
            found = self.common(Position(other._names[known], offset))
            if found is not None:
                return found
        return 0
