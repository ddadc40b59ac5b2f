"""The applied events as listeners want them: rendered, filtered by none, from a bounded memory.

Stands between the projector (records) and `http` (JSON payloads). Nothing is rendered while nobody listens.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import msgspec

from skerry.clock import Deadline
from skerry.errors import JournalError, MessageError, NewerVersion, Unavailable, UnknownMessage
from skerry.http.feed import FeedEvent
from skerry.journal.correcting import CORRECTIONS, RESERVED
from skerry.journal.epochs import Epochs
from skerry.journal.journal import JournalReader, Record
from skerry.journal.projector import Projector
from skerry.journal.row_events import RowDeleted, RowPut, listened_key, render_row
from skerry.messages.message import Event
from skerry.messages.serializer import Serializer
from skerry.position import Position

Renderer = Callable[[Any, Record], Mapping[str, Any]]
Lost = Callable[[Iterable[str], Record, Exception], None]
"""Told of an event that listeners are shown without its content: by whom, which, why."""

NEWER = "the next event is of a newer release: come again"
"""Why a listener is sent away (at most 123 bytes, RFC 6455 section 5.5.1)."""

_encode = msgspec.json.Encoder().encode


def render(event: Event, record: Record) -> Mapping[str, Any]:
    """How an event looks to listeners unless the application says otherwise: its fields."""
    if isinstance(event, RowPut | RowDeleted):
        return render_row(event, record)
    return {name: getattr(event, name) for name in event.__struct_fields__}


def _size(record: Record) -> int:
    return memoryview(record.data).nbytes


class _Kept:
    """A record that listeners may want again, and how it looks, once somebody asked."""

    __slots__ = ("event", "record")

    def __init__(self, record: Record) -> None:
        self.record = record
        self.event: FeedEvent | None = None


class JournalFeed:
    """A `skerry.http.feed.Feed` over a projector. Keeps the last `keep` records, at most `keep_bytes` of data;
    beyond that `backlog` reads the journal, at most `backlog_limit` events. `hidden`: names of events that no listener
    is told of. `renderers`: how events look; their services are known when the feed is in use."""

    def __init__(
        self,
        projector: Projector,
        reader: JournalReader,
        serializer: Serializer,
        renderers: Mapping[type[Event], Renderer],
        keep: int = 10_000,
        keep_bytes: int = 32 * 1024 * 1024,
        backlog_limit: int = 20_000,
        lost: Lost = lambda consumers, record, error: None,
        hidden: Collection[str] = (),
    ) -> None:
        self._projector, self._reader, self._serializer = projector, reader, serializer
        self.renderers, self._lost, self._hidden = renderers, lost, frozenset(hidden)
        self._keep, self._keep_bytes, self._backlog_limit = keep, keep_bytes, backlog_limit
        self._ring: deque[_Kept] = deque()
        self._ring_bytes = 0
        self._told: set[str] = set()
        self._listeners: list[Callable[[Sequence[FeedEvent]], None]] = []
        projector.listen(self._applied)
        projector.events.on("reloaded", self._reloaded)

    def position(self) -> Position:
        return self._projector.position

    def carry(self, position: Position) -> Position | None:
        return self._projector.carry(position)

    async def wait(self, position: Position, deadline: Deadline) -> bool:
        return await self._projector.wait(position, deadline)

    def since(self, position: Position) -> Iterator[FeedEvent] | None:
        here, carried = self._projector.position, self._projector.carry(position)
        if carried is None or carried.offset > here.offset:
            return None
        if carried.offset == here.offset:
            return iter(())
        if not self._ring or self._ring[0].record.offset > carried.offset + 1:
            return None
        skip = carried.offset + 1 - self._ring[0].record.offset
        kept = islice(self._ring, skip, None)
        return map(self._rendered, [each for each in kept if self._is_shown(each.record)])

    async def is_in_journal(self, position: Position) -> bool:
        head, epochs = await self._reader.head(), Epochs.of(await self._reader.epochs())
        if head.is_standby:  # which may itself be behind
            return True
        return epochs.common(position) == position.offset <= head.position.offset

    async def backlog(self, position: Position) -> list[FeedEvent] | None:
        here, carried = self._projector.position, self._projector.carry(position)
        if carried is None or here.offset - carried.offset > self._backlog_limit:
            return None
        events: list[FeedEvent] = []
        after = carried.offset
        while after < here.offset:
            try:
                records = await self._reader.read(after, 1000)
            except (JournalError, Unavailable, OSError, TimeoutError):
                return None  # trimmed, or away: a snapshot from memory is what remains
            if not records:
                return None
            events += [self._event(r) for r in records if r.offset <= here.offset and self._is_shown(r)]
            after = records[-1].offset
        return events

    def subscribe(self, listener: Callable[[Sequence[FeedEvent]], None]) -> Callable[[], None]:
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener) if listener in self._listeners else None

    def _is_shown(self, record: Record) -> bool:
        """Corrections are for operators (`skerry journal tail`): they hold rows, names and reasons."""
        return not record.name.startswith(RESERVED) and record.name not in self._hidden

    def _applied(self, records: Sequence[Record], epoch: str) -> None:
        if any(record.name in CORRECTIONS for record in records):
            self._reloaded(self._projector.position)  # what is kept may be what was corrected
        ring, kept = self._ring, [_Kept(record) for record in records]
        ring.extend(kept)
        self._ring_bytes += sum(map(_size, records))
        while len(ring) > self._keep or (self._ring_bytes > self._keep_bytes and len(ring) > 1):
            self._ring_bytes -= _size(ring.popleft().record)
        if self._listeners:
            events = [self._rendered(each) for each in kept if self._is_shown(each.record)]
            for listener in list(self._listeners) if events else ():
                try:
                    listener(events)
                except Exception as error:  # the others hear it all the same
                    self._failed(records[-1], error)

    def _reloaded(self, position: Position) -> None:
        """Memory jumped: what the ring holds no longer leads up to it."""
        self._ring.clear()
        self._ring_bytes = 0

    def _rendered(self, kept: _Kept) -> FeedEvent:
        """Rendered once, however many listeners resume from before it."""
        if kept.event is None:
            kept.event = self._event(kept.record)
        return kept.event

    def _event(self, record: Record) -> FeedEvent:
        position = Position(self._projector.epoch_of(record.offset), record.offset)
        head = {"type": "domain_event", "event": record.name}
        tail = {"position": str(position), "at": record.at}
        try:
            event: Any = self._serializer.decode(record.name, record.version, record.data)
            how: Renderer = self.renderers.get(type(event), render)
            payload = _encode({**head, **how(event, record), **tail})
        except NewerVersion as error:
            # A process of the release that wrote it can tell it whole: this one sends its listeners there.
            self._lost([f"live stream of {record.name}"], record, error)
            return FeedEvent(position, record.key, b"", record.at, withheld=NEWER)
        except MessageError as error:
            # Not known here (any more): what may be shown of it is not known either, but for its key.
            if not isinstance(error, UnknownMessage):
                self._lost([f"live stream of {record.name}"], record, error)
            payload = _encode({**head, **({"key": record.key} if record.key else {}), **tail})
        except Exception as error:  # the application's function: memory must not stop for it
            self._lost([f"renderer of {record.name}"], record, error)
            if record.name not in self._told:  # once with its stack; then it is counted
                self._told.add(record.name)
                self._failed(record, error)
            payload = _encode({**head, **tail})
        return FeedEvent(position, listened_key(record), payload, record.at)

    def _failed(self, record: Record, error: Exception) -> None:
        self._projector.events.emit("failure", "feed", record, error)
