"""The feed that production has, over a projector whose memory is moved by hand: what hub and channels are tested on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, cast

import msgspec

from skerry.errors import Unavailable
from skerry.http.feed import FeedEvent
from skerry.journal.epochs import Epoch, Epochs
from skerry.journal.journal import Head, JournalReader, Record
from skerry.journal.projector import Projector
from skerry.kernel.feed import JournalFeed
from skerry.messages.message import MessageTypes
from skerry.messages.serializer import Serializer
from skerry.position import Position

UNSEEN = "unseen"
Backlog = Callable[[Position], Awaitable[list[FeedEvent] | None]]


class Forgotten:
    """A journal that has nothing of what the feed has forgotten, and ends at `at`; None: it is away."""

    def __init__(self, at: Position | None) -> None:
        self.at = at

    async def head(self) -> Head:
        if self.at is None:
            raise Unavailable("the journal is away")
        return Head(self.at, 0)

    async def epochs(self) -> list[Epoch]:
        assert self.at is not None
        return [Epoch(1, self.at.epoch, 0, 0)]

    async def read(self, after: int, limit: int) -> list[Record]:
        return []


class AppliedFeed(JournalFeed):
    """Shows the events that it is given, as they are; offsets between them are of events that nobody is shown.
    `backlog`: in the place of the journal."""

    def __init__(
        self,
        position: Position,
        *,
        backlog: Backlog | None = None,
        max_events: int = 10_000,
        max_bytes: int = 16 << 20,
    ) -> None:
        reader, serializer, hints = (
            cast(JournalReader, journal := Forgotten(position)),
            Serializer(MessageTypes()),
            cast(Any, None),
        )
        self.journal = journal
        self.projector = Projector(reader, hints, [], serializer)
        self.reset(position)
        super().__init__(
            self.projector, reader, serializer, {}, keep=max_events, keep_bytes=max_bytes, hidden=[UNSEEN]
        )
        self._given_backlog = backlog
        self._withheld: dict[Position, str] = {}

    def append(self, events: Iterable[FeedEvent], position: Position | None = None) -> None:
        """Apply these events, and so many unseen ones that memory is at `position`."""
        if position is not None:
            events = [*events, FeedEvent(position, None, b"", 0.0)]
        records: list[Record] = []
        at = self.projector.position
        for event in events:
            if event.position.epoch != at.epoch:
                at = Position(event.position.epoch, event.position.offset - 1)
                self.reset(at)
            if event.withheld:
                self._withheld[event.position] = event.withheld
            is_shown = bool(event.payload or event.withheld)
            for offset in range(at.offset + 1, event.position.offset + 1):
                name = "shown" if offset == event.position.offset and is_shown else UNSEEN
                data = msgspec.Raw(event.payload)
                records.append(Record(offset, "", event.key or "", name, 1, event.at, False, data))
            at = event.position
        if records:
            self.projector._take(records)

    def reset(self, position: Position) -> None:
        """Memory is loaded anew, perhaps of another epoch."""
        self.projector._arrive(position, Epochs([(position.epoch, 0, 0)]))

    async def backlog(self, position: Position) -> list[FeedEvent] | None:
        return await (self._given_backlog or super().backlog)(position)

    def _event(self, record: Record) -> FeedEvent:
        position = Position(self.projector.position.epoch, record.offset)
        withheld = self._withheld.get(position, "")
        return FeedEvent(position, record.key or None, bytes(record.data), record.at, withheld)
