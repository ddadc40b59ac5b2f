"""How big a batch may be: decided from what the last ones took.

A batch forms by itself, from what waits while the last one was written; there is no timer. Its limit follows
the time the database took, so that a slow disk does not make everybody wait for one huge transaction.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from skerry.messages.envelope import Envelope


@dataclass(slots=True)
class BatchLimit:
    """`commands` is the number that the next batch may take, between `least` and `most`."""

    aim_seconds: float = 0.02
    least: int = 16
    most: int = 2000
    commands: int = 256

    def after(self, taken: int, seconds: float) -> None:
        """Learn from a batch of `taken` commands that took `seconds`."""
        if seconds > 2 * self.aim_seconds and taken >= self.commands // 2:
            self.commands = max(self.least, self.commands // 2)
        elif seconds < self.aim_seconds and taken >= self.commands:
            self.commands = min(self.most, self.commands * 2)


def halves(envelopes: list[Envelope]) -> Iterator[list[Envelope]]:
    """Two halves, in order: how a command that spoils its batch is found."""
    middle = len(envelopes) // 2
    yield envelopes[:middle]
    yield envelopes[middle:]
