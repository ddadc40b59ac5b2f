"""Where a memory stands in a journal's history: its offset, the event that stands there, and the epochs by which it
came there.

A journal may lose its last events (a standby that lacked them was promoted) and give their offsets out again. So an
offset alone does not name an event: memory goes on in another epoch if what it has applied is part of that history
too. Pure: it is told what the journal answered. Not here: what positions of earlier epochs mean (epochs.py), when the
journal is asked and what is done about a loss (projector.py).
"""

from __future__ import annotations

from dataclasses import dataclass

from skerry.journal.epochs import Epochs
from skerry.journal.hints import Hint
from skerry.journal.journal import Head
from skerry.position import Position

MAX_OFFSET = 1 << 62


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the journal's ends say about a memory. `goes_on`: it is part of that history. Otherwise `is_lagging`: this
    standby has not come as far as memory; or everything has to be loaded anew, because `lost` events that memory has
    applied are not there any more (0: nobody knows how many; None: none was lost, the next ones are trimmed)."""

    goes_on: bool = False
    is_lagging: bool = False
    lost: int | None = None


class Place:
    """One memory's place. `last_id`: the command of the event at `offset`, "" when it is not known."""

    __slots__ = ("_position", "common", "epoch", "epochs", "last_id", "offset")

    def __init__(self) -> None:
        self.epoch, self.offset, self.last_id = "", 0, ""
        self.epochs = Epochs()
        self.common = 0
        """Above it offsets are named by the present epoch."""
        self._position = Position("", 0)

    @property
    def position(self) -> Position:
        """The offset in the present epoch; the same object until it changes."""
        known = self._position
        if known.offset != self.offset or known.epoch != self.epoch:
            known = self._position = Position(self.epoch, self.offset)
        return known

    def carry(self, position: Position) -> Position | None:
        """The same place in the present epoch; None when the journal's history, as known here, does not have it."""
        return position if position.epoch == self.epoch else self.epochs.carry(position)

    def epoch_of(self, offset: int) -> str:
        """The epoch in which an offset was given out: with it, the offset names the same event for good."""
        return self.epoch if offset > self.common else self.epochs.named(offset).epoch

    def contradicts(self, hint: Hint) -> bool:
        """Whether the writer of a hint says that another event stands at this offset. Normally the epoch tells; not
        where a database hides what it knows of its history."""
        return hint.first == self.offset + 1 and "" != hint.before != self.last_id != ""

    def arrive(self, offset: int, epochs: Epochs, last_id: str = "") -> None:
        """Memory was filled as of `offset` in the last of these epochs."""
        self.offset, self.last_id = offset, last_id
        self._know(epochs)

    def judge(self, head: Head, before: int, last_id: str) -> Verdict:
        """Compare with the journal's ends, which are of the present epoch and were asked for when memory was at
        `before`: hints may have overtaken the answer, which then only proves what was here before."""
        end = head.position.offset
        if end < before:
            return Verdict(is_lagging=True) if head.is_standby else Verdict(lost=before - end)
        if head.floor > self.offset:
            return Verdict()
        if "" != head.command_id != last_id != "":
            return Verdict(lost=0)
        if before == self.offset:
            self.last_id = head.command_id or last_id
        return Verdict(goes_on=True)

    def move(self, epochs: Epochs) -> Verdict:
        """Go on in the last of these epochs, unless memory has what that history has not."""
        here = self.position
        if epochs.agree(self.epochs, here) < here.offset:
            number = epochs.lost(self.epochs, here)
            return Verdict(lost=number or None)  # 0: an operator wants everything to be loaded anew
        self._know(epochs)
        return Verdict(goes_on=True)

    def _know(self, epochs: Epochs) -> None:
        self.epochs, self.epoch = epochs, epochs.present
        self.common = list(epochs)[-1][2]
