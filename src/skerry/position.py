"""Where in a journal's history something stands.

A position is `epoch:offset`. Offsets are gapless and grow in commit order; positions compare only within
one epoch, which is chosen when a journal is made and again when a back-up is restored.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Position:
    """A place in the journal: `offset` events (>= 0) of `epoch` lie at or before it."""

    epoch: str
    offset: int

    def __str__(self) -> str:
        return f"{self.epoch}:{self.offset}"

    @classmethod
    def parse(cls, text: str) -> Position:
        """Read `E:N`. Raises ValueError for anything else."""
        epoch, separator, digits = text.rpartition(":")
        if not separator or not (0 < len(epoch) <= 64) or not digits.isascii() or not digits.isdigit():
            raise ValueError(f"not a position (EPOCH:NUMBER): {text[:80]!r}")
        if not epoch.isascii() or not epoch.isalnum() or len(digits) > 18:
            raise ValueError(f"not a position (EPOCH:NUMBER): {text[:80]!r}")
        return cls(epoch, int(digits))

    def reached_by(self, other: Position) -> bool:
        """Whether a reader at `other` has seen this position. Positions of different epochs never match."""
        return self.epoch == other.epoch and other.offset >= self.offset
