"""The feed over a journal: exactly what followed a position, or None; and nothing a renderer does can stop memory."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import msgspec
import pytest

from skerry.backends.memory.journal import MemoryJournal
from skerry.clock import Deadline, SystemClock
from skerry.errors import Disconnected
from skerry.http.feed import FeedEvent
from skerry.journal.hints import Hint
from skerry.journal.journal import NewEvent, NewOutcome, Record, Status, Writes
from skerry.journal.projector import Projector
from skerry.kernel.feed import JournalFeed
from skerry.messages.message import Event, MessageTypes
from skerry.messages.serializer import Serializer
from skerry.position import Position
from skerry.testing.journal_samples import MemoryStandby


class Named(Event):
    key: str
    text: str = ""


class Old(Event):
    """An event that the running version does not know any more."""

    key: str


class World:
    """A journal, a projector without projections, hints told by hand, and a feed."""

    def __init__(self, journal: MemoryJournal, **limits: Any) -> None:
        self.journal = journal
        self.listeners: list[Any] = []
        types = MessageTypes()
        types.add(Named)
        self.serializer = Serializer(types)
        self.renderers: dict[type[Event], Any] = {}
        self.projector = Projector(journal, self, [], self.serializer)
        self.failures: list[tuple[str, Exception]] = []
        self.projector.events.on("failure", lambda name, record, error: self.failures.append((name, error)))
        self.feed = JournalFeed(self.projector, journal, self.serializer, self.renderers, **limits)
        self.heard: list[FeedEvent] = []
        self.count = 0

    def subscribe(self, listener: Any) -> Any:
        self.listeners.append(listener)
        return lambda: self.listeners.remove(listener)

    async def write(self, *events: Named | Old, tell: bool = True) -> None:
        """One commit, and the hint of it."""
        writes = Writes()
        for event in events:
            self.count += 1
            id, data = f"{self.count:032x}", msgspec.json.encode(event)
            writes.events.append(NewEvent(id, event.key, event.message_name, 1, data, 5.0, False))
            writes.outcomes.append(NewOutcome(id, Status.APPLIED, len(writes.events), 1))
        async with self.journal.batch([o.command_id for o in writes.outcomes], []) as (batch, _):
            base = await batch.commit(writes)
        if tell:
            records = [
                Record(base + n, e.command_id, e.key, e.name, e.version, e.at, e.more, msgspec.Raw(e.data))
                for n, e in enumerate(writes.events, 1)
            ]
            hint = Hint((await self.journal.head()).position.epoch, base + 1, base + len(records), records)
            for listener in list(self.listeners):
                listener(hint)

    def at(self, offset: int, epoch: str = "") -> Position:
        return Position(epoch or self.projector.position.epoch, offset)

    def since(self, offset: int, epoch: str = "") -> list[int] | None:
        found = self.feed.since(self.at(offset, epoch))
        return None if found is None else offsets(found)

    async def backlog(self, offset: int, epoch: str = "") -> list[int] | None:
        found = await self.feed.backlog(self.at(offset, epoch))
        return None if found is None else offsets(found)


def offsets(events: Any) -> list[int]:
    return [event.position.offset for event in events]


def payloads(events: Sequence[FeedEvent]) -> list[dict[str, Any]]:
    return [json.loads(event.payload) for event in events]


async def make(**limits: Any) -> AsyncIterator[World]:
    async with MemoryJournal() as journal:
        await journal.prepare([])
        world = World(journal, **limits)
        await world.projector.start()
        try:
            yield world
        finally:
            await world.projector.stop()


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async for made in make(keep=3, keep_bytes=10_000, backlog_limit=5):
        yield made


async def test_events_are_told_in_order_as_json(world: World) -> None:
    """Type, name, the fields, position and time; rendered once for all listeners."""
    world.feed.subscribe(world.heard.extend)
    second: list[FeedEvent] = []
    world.feed.subscribe(second.extend)
    await world.write(Named("a", "1"), Named("b", "2"))
    assert payloads(world.heard) == [
        {
            "type": "domain_event",
            "event": "named",
            "key": "a",
            "text": "1",
            "position": str(world.at(1)),
            "at": 5.0,
        },
        {
            "type": "domain_event",
            "event": "named",
            "key": "b",
            "text": "2",
            "position": str(world.at(2)),
            "at": 5.0,
        },
    ]
    assert [event.key for event in world.heard] == ["a", "b"]
    assert all(one is other for one, other in zip(world.heard, second, strict=True))


async def test_a_listener_that_ended_hears_nothing(world: World) -> None:
    """Ending twice is ending once."""
    end = world.feed.subscribe(world.heard.extend)
    end()
    end()
    await world.write(Named("a"))
    assert world.heard == []


async def test_the_application_says_how_an_event_looks(world: World) -> None:
    """By its declared renderer, which also gets the record."""

    def rendered(event: Named, record: Record) -> Mapping[str, Any]:
        return {"size": len(event.text), "offset": record.offset}

    world.renderers[Named] = rendered
    await world.write(Named("a", "xyz"))
    [event] = world.feed.since(world.at(0)) or []
    assert json.loads(event.payload) | {"at": 0} == {
        "type": "domain_event", "event": "named", "size": 3, "offset": 1, "position": str(world.at(1)), "at": 0,
    }  # fmt: skip


@pytest.mark.parametrize("fault", ["raises", "not json", "no mapping"])
async def test_a_renderer_that_fails_stops_nothing(world: World, fault: str) -> None:
    """Memory goes on, listeners are told that something happened at that position, and the failure is reported."""

    def broken(event: Named, record: Record) -> Any:
        if event.key != "bad":
            return {"key": event.key}
        if fault == "raises":
            raise RuntimeError(fault)
        return {"x": object()} if fault == "not json" else 3

    world.renderers[Named] = broken
    world.feed.subscribe(world.heard.extend)
    await world.write(Named("a"), Named("bad"), Named("b"))
    assert world.projector.position.offset == 3
    told = payloads(world.heard)
    assert [each.get("key") for each in told] == ["a", None, "b"]
    assert told[1]["position"] == str(world.at(2))
    assert [name for name, _ in world.failures] == ["feed"]
    await world.write(Named("c"))
    assert world.projector.position.offset == 4


async def test_a_listener_that_fails_does_not_keep_others_from_hearing(world: World) -> None:
    """Nor memory from going on."""

    def broken(events: Sequence[FeedEvent]) -> None:
        raise RuntimeError("listener")

    world.feed.subscribe(broken)
    world.feed.subscribe(world.heard.extend)
    await world.write(Named("a"))
    await world.write(Named("b"))
    assert offsets(world.heard) == [1, 2]
    assert [name for name, _ in world.failures] == ["feed", "feed"]


async def test_an_event_that_nobody_knows_any_more_is_still_told(world: World) -> None:
    """Its name, key, position and time: a listener's position goes on without a gap. Not its fields: whether they
    may be shown is not known any more."""
    await world.write(Old("a"))
    [event] = world.feed.since(world.at(0)) or []
    assert json.loads(event.payload) == {
        "type": "domain_event", "event": "old", "key": "a", "position": str(world.at(1)), "at": 5.0,
    }  # fmt: skip


async def test_the_ring_answers_exactly_or_not_at_all(world: World) -> None:
    """What followed a position, nothing at the end; None for what was forgotten, lies ahead or is of another epoch."""
    assert world.since(0) == []
    for n in range(1, 6):
        await world.write(Named(str(n)))
    assert world.since(5) == []
    assert world.since(3) == [4, 5]
    assert world.since(2) == [3, 4, 5]
    assert world.since(1) is None, "the ring keeps three"
    assert world.since(6) is None
    assert world.since(4, "other") is None


async def test_the_ring_is_bounded_by_bytes() -> None:
    """A few large events push small ones out; one that is too large alone is kept until the next."""
    async for world in make(keep=100, keep_bytes=1000):
        await world.write(Named("a", "x" * 400))
        await world.write(Named("b", "x" * 400))
        assert world.since(0) == [1, 2]
        await world.write(Named("c", "x" * 5000))
        assert world.since(2) == [3]
        assert world.since(1) is None
        await world.write(Named("d"))
        assert world.since(3) == [4]
        assert world.since(2) is None


async def test_what_the_ring_forgot_stands_in_the_journal(world: World) -> None:
    """Up to memory's own position and within a limit; None beyond it, for another epoch, and for what was trimmed."""
    for n in range(1, 8):
        await world.write(Named(str(n)))
    assert await world.backlog(2) == [3, 4, 5, 6, 7]
    assert await world.backlog(7) == []
    assert await world.backlog(1) is None, "more than five"
    assert await world.backlog(3, "other") is None
    await world.journal.trim(world.at(4))
    assert await world.backlog(3) is None
    assert await world.backlog(4) == [5, 6, 7]


async def test_a_backlog_ends_where_memory_stands(world: World) -> None:
    """What the journal has beyond memory's position comes by `subscribe`, not twice."""
    await world.write(Named("1"))
    await world.write(Named("2"), tell=False)
    assert await world.backlog(0) == [1]


async def test_a_backlog_while_the_journal_is_away_is_not_recoverable(world: World) -> None:
    """The client is told to load a snapshot instead of getting an error."""

    class Away:
        async def read(self, after: int, limit: int) -> Sequence[Record]:
            raise Disconnected("away")

    for n in range(1, 5):
        await world.write(Named(str(n)))
    feed = JournalFeed(world.projector, Away(), world.serializer, {})  # type: ignore[arg-type]
    assert await feed.backlog(world.at(1)) is None


async def test_a_reload_forgets_the_ring(world: World) -> None:
    """A new epoch: nothing of the old one is handed out as if it led up to the new one."""
    await world.write(Named("1"))
    reloaded = asyncio.Event()
    world.projector.events.on("caught_up", lambda position: reloaded.set())
    await world.journal.new_epoch()
    await world.write(Named("2"))
    async with asyncio.timeout(30):
        await reloaded.wait()
    assert world.since(1, "old") is None
    assert world.since(0) is None
    await world.write(Named("3"))
    assert world.since(2) == [3]


async def test_waiting_for_a_position_is_the_projectors(world: World) -> None:
    """Reached, or not within its deadline."""
    clock = SystemClock()
    await world.write(Named("1"))
    assert await world.feed.wait(world.at(1), Deadline.after(1, clock))
    assert not await world.feed.wait(world.at(2), Deadline.after(0, clock))
    assert world.feed.position() == world.at(1)


async def test_what_followed_a_position_is_told_over_epochs(world: World) -> None:
    """From before and after the beginning of another epoch, each event by the name that it has had; nothing to somebody
    who has seen what was lost."""
    for n in range(1, 4):
        await world.write(Named(str(n)))
    old, standby = world.feed.position(), MemoryStandby(world.journal)
    lost = Position(old.epoch, 4)
    await world.write(Named("lost"), tell=False)
    await standby.promote()
    await world.write(Named("4"))
    await world.write(Named("5"))
    new = (await world.journal.head()).position
    assert await world.feed.wait(old, Deadline.after(5, SystemClock()))
    async with asyncio.timeout(10):
        while world.feed.position() != new:  # noqa: ASYNC110 - its poll is asked for by the hint
            await asyncio.sleep(0.01)
    events = world.feed.since(Position(old.epoch, 2))
    assert events is not None
    assert [str(event.position) for event in events] == [f"{old.epoch}:3", f"{new.epoch}:4", f"{new.epoch}:5"]
    backlog = await world.feed.backlog(Position(old.epoch, 1))
    assert backlog is not None
    assert [event.position.epoch for event in backlog] == [old.epoch, old.epoch, new.epoch, new.epoch]
    assert world.feed.since(lost) is None
    assert await world.feed.backlog(lost) is None
    assert not await world.feed.is_in_journal(lost)
    assert await world.feed.is_in_journal(old)


async def test_what_the_journal_has_beyond_memory(world: World) -> None:
    """So that somebody who has seen it is not told what is older."""
    await world.write(Named("1"))
    await world.write(Named("2"), tell=False)
    assert await world.feed.is_in_journal(world.at(2))
    assert not await world.feed.is_in_journal(world.at(3))
    assert not await world.feed.is_in_journal(world.at(1, "other"))
