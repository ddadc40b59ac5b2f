"""The ring remembers exactly, or says that it does not; a feed wakes who waits."""

from __future__ import annotations

import asyncio

import pytest

from skerry.clock import Deadline, SystemClock
from skerry.http.feed import FeedEvent, LocalAnnouncer, Ring, RingFeed
from skerry.position import Position


def at(offset: int, epoch: str = "a") -> Position:
    return Position(epoch, offset)


def event(offset: int, key: str | None = "k", size: int = 2, epoch: str = "a") -> FeedEvent:
    return FeedEvent(at(offset, epoch), key, b"{" + b" " * (size - 2) + b"}", 0.0)


def offsets(ring: Ring | RingFeed, position: Position) -> list[int] | None:
    found = ring.since(position)
    return None if found is None else [e.position.offset for e in found]


def test_a_ring_hands_out_what_follows_a_position() -> None:
    """Everything after a position in order, nothing at the end, and None before its floor or beyond its end."""
    ring = Ring(at(10))
    ring.extend([event(11), event(12), event(15)])
    assert offsets(ring, at(10)) == [11, 12, 15]
    assert offsets(ring, at(12)) == [15]
    assert offsets(ring, at(13)) == [15], "a place between two events is as good as any"
    assert offsets(ring, at(15)) == []
    assert offsets(ring, at(9)) is None
    assert offsets(ring, at(16)) is None
    assert offsets(ring, at(12, "b")) is None


def test_a_ring_forgets_the_oldest_and_says_so() -> None:
    """Bounded by number and by bytes; what was forgotten is never handed out in part."""
    ring = Ring(at(0), max_events=3)
    for offset in range(1, 11):
        ring.extend([event(offset)])
        assert len(ring) <= 3
    assert offsets(ring, at(7)) == [8, 9, 10]
    assert offsets(ring, at(6)) is None
    heavy = Ring(at(0), max_bytes=100)
    heavy.extend([event(1, size=60), event(2, size=60)])
    assert offsets(heavy, at(1)) == [2]
    assert offsets(heavy, at(0)) is None
    assert heavy.bytes == 60


def test_a_ring_refuses_a_history_out_of_order() -> None:
    """A repeated offset would make a wrong history: it is an error, not data."""
    ring = Ring(at(0))
    ring.extend([event(1)])
    with pytest.raises(ValueError, match="must ascend"):
        ring.extend([event(1)])


def test_another_epoch_starts_anew() -> None:
    """Events of another epoch make the old history unreachable."""
    ring = Ring(at(0))
    ring.extend([event(1)])
    ring.extend([event(5, epoch="b")])
    assert offsets(ring, at(0)) is None
    assert offsets(ring, at(4, "b")) == [5]


def test_memory_may_be_further_than_the_last_event() -> None:
    """A journal entry that shows nothing still moves the position on."""
    feed = RingFeed(at(0))
    feed.append([event(1)], at(4))
    assert feed.position() == at(4)
    assert offsets(feed, at(4)) == []
    feed.append([], at(5))
    assert feed.position() == at(5)


async def test_wait_ends_when_memory_is_there() -> None:
    """True at once for the past, True on arrival, False on the deadline, False for another epoch or a reset."""
    feed = RingFeed(at(3))
    clock = SystemClock()
    soon, later = Deadline.after(0.01, clock), Deadline.after(30, clock)
    assert await feed.wait(at(3), later)
    assert not await feed.wait(at(3, "b"), later)
    assert not await feed.wait(at(9), soon)
    waiting = [asyncio.ensure_future(feed.wait(at(offset), later)) for offset in (6, 5, 9)]
    await asyncio.sleep(0)
    feed.append([event(4), event(5)])
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert [w.done() for w in waiting] == [False, True, False]
    feed.reset(at(1, "c"))
    assert await asyncio.gather(*waiting) == [False, True, False]


async def test_a_cancelled_wait_leaves_nothing_behind() -> None:
    """Waiters that went away do not pile up."""
    feed = RingFeed(at(0))
    task = asyncio.ensure_future(feed.wait(at(9), Deadline.after(30, SystemClock())))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not feed._waiters


async def test_backlog_reads_only_the_present_epoch() -> None:
    """Beyond the ring the handed-in reader answers; a position of another epoch is not even asked for."""
    asked: list[Position] = []

    async def read(position: Position) -> list[FeedEvent]:
        asked.append(position)
        return [event(1)]

    feed = RingFeed(at(5), backlog=read)
    assert await feed.backlog(at(0)) == [event(1)]
    assert await feed.backlog(at(0, "z")) is None
    assert asked == [at(0)]
    assert await RingFeed(at(5)).backlog(at(0)) is None


def test_subscribers_hear_each_batch_once() -> None:
    """One call per batch, none after the unsubscription."""
    feed = RingFeed(at(0))
    heard: list[list[int]] = []
    stop = feed.subscribe(lambda events: heard.append([e.position.offset for e in events]))
    feed.append([event(1), event(2)])
    stop()
    feed.append([event(3)])
    assert heard == [[1, 2]]


def test_the_local_announcer_reaches_all_of_this_process() -> None:
    """What is announced is heard by every subscriber, the sender included."""
    announcer = LocalAnnouncer()
    heard: list[bytes] = []
    stop = announcer.subscribe(heard.append)
    announcer.announce(b"{}")
    stop()
    announcer.announce(b"{}")
    assert heard == [b"{}"]
