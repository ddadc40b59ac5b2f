"""One snapshot for many who begin to listen: encoded once, told in slices, led on to now without a gap, and let go."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.http.applied_feed import AppliedFeed

from skerry.http.feed import FeedEvent
from skerry.http.hub import TRY_LATER, Hub, HubSettings
from skerry.http.listener import LINES, Listener
from skerry.position import Position
from skerry.testing.clock import VirtualClock

SLICE = 400


def at(offset: int) -> Position:
    return Position("a", offset)


class Client:
    """A transport in memory that takes `room` bytes before it asks for a pause, and what a page would make of it."""

    def __init__(self, stage: Stage, prefix: str, room: int) -> None:
        self.stage, self.prefix, self.room = stage, prefix, room
        self.writes: list[bytes] = []
        self.late: list[bytes] = []  # written after the close
        self.closed: tuple[int, str] | None = None
        self.listener = Listener(self, LINES, prefix)

    def write(self, data: bytes) -> None:
        (self.writes if self.closed is None else self.late).append(data)
        self.room -= len(data)
        if self.room <= 0 and not self.listener.paused:
            self.listener.pause()

    def close(self, code: int, reason: str) -> None:
        self.closed = (code, reason)

    def drained(self, room: int = 1 << 30) -> None:
        self.room = room
        if self.listener.paused:
            self.listener.resume()

    def seen(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in b"".join(self.writes).splitlines()]

    def snapshot(self) -> tuple[int, dict[str, str]] | None:
        """Where it stands and what is in it, once it is complete."""
        frames = self.seen()
        rows = [row for frame in frames if frame["type"] == "snapshot" for row in frame["values"]]
        for frame in frames:
            if frame["type"] == "snapshot_end":
                assert frame["count"] == len(rows)
                return int(frame["position"][2:]), {row["key"]: row["value"] for row in rows}
        return None

    def offsets(self) -> list[int]:
        """Of the events that came, all of them after the snapshot."""
        types = [frame["type"] for frame in self.seen()]
        assert "event" not in types[: types.index("snapshot_end")]
        return [int(frame["position"][2:]) for frame in self.seen() if frame["type"] == "event"]

    def values(self) -> dict[str, str]:
        """What the page shows in the end."""
        taken = self.snapshot()
        assert taken is not None
        values = taken[1]
        for frame in self.seen():
            if frame["type"] == "event":
                values.pop(frame["key"], None)
                if frame["value"] is not None:
                    values[frame["key"]] = frame["value"]
        return values


class Stage:
    """A hub with one channel, a store that is a dict, and its past."""

    def __init__(self, limits: HubSettings | None = None, keys: int = 0, **ring: Any) -> None:
        self.clock = VirtualClock()
        self.hub = Hub(limits or HubSettings(slice_bytes=SLICE), clock=self.clock, name="p")
        self.feed = AppliedFeed(at(0), **ring)
        self.store = {f"k{n:03}": "old" for n in range(keys)}
        self.past = [dict(self.store)]
        self.taken = self.produced = self.ended = 0
        self.fault: Callable[[], None] = lambda: None
        self.channel = self.hub.channel("/events", self.feed, self.snapshot)
        self.hub.start()

    def snapshot(self, prefix: str) -> tuple[Position, Iterator[bytes]]:
        self.taken += 1
        return self.feed.position(), self._rows(prefix, dict(self.store))

    def _rows(self, prefix: str, store: dict[str, str]) -> Iterator[bytes]:
        try:
            for key, value in store.items():
                if key.startswith(prefix):
                    self.fault()
                    self.produced += 1
                    yield json.dumps({"key": key, "value": value}).encode()
        finally:
            self.ended += 1

    def put(self, key: str, value: str | None) -> None:
        """None: it is deleted."""
        self.store.pop(key, None)
        if value is not None:
            self.store[key] = value
        self.past.append(dict(self.store))
        position = at(len(self.past) - 1)
        payload = {"type": "event", "key": key, "value": value, "position": str(position)}
        self.feed.append([FeedEvent(position, key, json.dumps(payload).encode(), 0.0)])

    def under(self, prefix: str, offset: int = -1) -> dict[str, str]:
        return {key: value for key, value in self.past[offset].items() if key.startswith(prefix)}

    async def open(self, prefix: str = "", room: int = 1 << 30) -> Client:
        client = Client(self, prefix, room)
        await self.channel.open(client.listener, snapshot=True)
        return client

    async def settle(self) -> None:
        """Until nobody has anything to do."""
        while self.channel._slices.waiting or self.channel._scheduled:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0)

    @property
    def held_bytes(self) -> int:
        assert self.channel._snapshots is not None
        return sum(taken.held_bytes for taken in self.channel._snapshots._all)


async def test_who_comes_at_about_the_same_time_shares_one_snapshot() -> None:
    """Taken once, produced once, the same bytes for all, also when something has happened since: that comes behind."""
    stage = Stage(keys=100)
    first = await stage.open()
    stage.put("k000", "new")
    second = await stage.open()
    await stage.settle()
    stage.put("k001", None)
    third = await stage.open()
    await stage.settle()
    assert (stage.taken, stage.produced) == (1, 100)
    for client in (first, second, third):
        assert client.snapshot() == (0, stage.under("", 0))
        assert client.offsets() == [1, 2]
    slices = [
        {id(data) for data in client.writes if b'"snapshot"' in data} for client in (first, second, third)
    ]
    assert len(slices[0] & slices[1] & slices[2]) == len([d for d in first.writes if b'"snapshot"' in d]) - 1
    assert json.loads(second.writes[0])["head"] == "a:1"


async def test_a_small_snapshot_is_that_of_now() -> None:
    """One that fits into a slice is taken anew whenever something has changed, and only then."""
    stage = Stage(keys=3)
    for turn in range(3):
        stage.put("k000", str(turn))
        clients = [await stage.open() for _ in range(2)]
        await stage.settle()
        assert [client.snapshot() for client in clients] == [(turn + 1, stage.under(""))] * 2
        assert stage.taken == turn + 1
    await stage.open(room=1)  # still being told
    stage.put("k000", "newest")
    last = await stage.open()
    await stage.settle()
    assert last.snapshot() == (4, stage.under(""))


async def test_an_old_snapshot_is_not_given_to_newcomers() -> None:
    """After `snapshot_seconds` it is taken anew, and nothing of the first is kept."""
    stage = Stage(HubSettings(slice_bytes=SLICE, snapshot_seconds=5), keys=100)
    await stage.open()
    await stage.settle()
    assert stage.held_bytes > 2000
    stage.put("k000", "new")
    stage.clock.jump(4.9)
    stage.hub.tick()
    assert (await stage.open()).listener.attached
    assert stage.taken == 1
    stage.clock.jump(0.1)
    late = await stage.open()
    await stage.settle()
    assert stage.taken == 2
    assert late.snapshot() == (1, stage.under(""))
    stage.clock.jump(5)
    stage.hub.tick()
    assert stage.held_bytes == 0


async def test_another_prefix_has_a_snapshot_of_its_own() -> None:
    """Nobody is told what was taken for others."""
    stage = Stage(keys=100)
    clients = [await stage.open(prefix) for prefix in ("k01", "k02", "k01")]
    stage.put("k015", "new")
    stage.put("k025", "new")
    await stage.settle()
    assert stage.taken == 2
    for client in clients:
        assert client.snapshot() == (0, stage.under(client.prefix, 0))
        assert client.values() == stage.under(client.prefix)


async def test_what_happens_meanwhile_is_told_however_much_it_is() -> None:
    """More than the feed's own memory holds: then the newest of each key, in order, and live events behind it."""
    stage = Stage(keys=100, max_events=5)
    slow = await stage.open(room=1)
    await stage.settle()
    for n in range(200):
        stage.put(f"k{n % 7:03}", f"v{n}")
        await stage.settle()
    stage.put("k099", None)
    slow.drained()
    await stage.settle()
    stage.put("k098", "live")
    await stage.settle()
    assert slow.closed is None
    assert slow.snapshot() == (0, stage.under("", 0))
    assert slow.offsets() == [*range(194, 203)]
    assert slow.values() == stage.store


async def test_nobody_waits_for_the_slowest() -> None:
    """What a stalled one lags behind is bounded: beyond it the stalled one is sent away, the quick one is done."""
    stage = Stage(HubSettings(slice_bytes=SLICE, snapshot_bytes=2000), keys=300)
    stalled, quick = await stage.open(room=1), await stage.open()
    held = []
    while quick.snapshot() is None:
        await asyncio.sleep(0)
        held.append(stage.held_bytes)
    assert stalled.closed is not None
    assert stalled.closed[0] == TRY_LATER
    assert quick.closed is None
    assert max(held) < 2000 + 3 * SLICE
    assert stage.held_bytes <= SLICE


async def test_who_is_slow_alone_is_waited_for() -> None:
    """Nothing is produced ahead of it and nothing is kept behind it."""
    stage = Stage(HubSettings(slice_bytes=SLICE, snapshot_bytes=2000), keys=300)
    client = await stage.open()
    for _ in range(100):
        client.room = 1
        await stage.settle()
        assert stage.held_bytes <= 2000 + SLICE
        client.drained(1)
    await stage.settle()
    assert client.snapshot() == (0, stage.under("", 0))


async def test_what_happens_meanwhile_has_a_limit() -> None:
    """When even the newest of each key is too much, the listener is told to come again, and nothing stays."""
    stage = Stage(HubSettings(slice_bytes=SLICE, snapshot_bytes=8000), keys=300)
    slow = await stage.open(room=1)
    await stage.settle()
    for n in range(100):
        stage.put(f"n{n}", "new")
    stage.hub.tick()
    assert slow.closed is not None
    assert slow.closed[0] == TRY_LATER
    assert (stage.held_bytes, stage.ended) == (0, 1)
    assert stage.channel.listeners() == []


async def test_a_snapshot_that_nobody_reads_any_more_is_given_up() -> None:
    """Its readers left and newcomers get another: the application's iterator is closed and nothing is held."""
    stage = Stage(keys=300)
    clients = [await stage.open(room=1) for _ in range(3)]
    await asyncio.sleep(0)
    for client in clients[:2]:
        client.listener.gone()
    stage.clock.jump(60)
    stage.hub.tick()
    assert stage.produced < 300
    assert (stage.held_bytes > 0, stage.ended) == (True, 0)
    clients[2].listener.gone()
    assert (stage.held_bytes, stage.ended) == (0, 1)


async def test_a_turn_of_the_loop_sends_so_much_and_no_more() -> None:
    """However many are being told: the others' requests are answered in between, and everybody's turn comes."""
    stage = Stage(HubSettings(slice_bytes=SLICE, turn_bytes=4096, opens_per_second=1000), keys=100)
    clients = [await stage.open() for _ in range(50)]
    sent, most = 0, 0
    while stage.channel._slices.waiting:
        before = sent
        await asyncio.sleep(0)
        sent = sum(len(data) for client in clients for data in client.writes)
        most = max(most, sent - before)
    assert most < 4096 + 50 * 200, "a slice, and what is announced"
    assert all(client.snapshot() == (0, stage.under("")) for client in clients)


@pytest.mark.parametrize("when", [1, 50])
async def test_a_snapshot_that_fails_sends_its_listeners_away(when: int) -> None:
    """The application's function raises, at once or half way: they are told to come again, the next one is well."""
    stage = Stage(keys=100)

    def fault() -> None:
        if stage.produced >= when - 1:
            raise ZeroDivisionError

    stage.fault = fault
    clients = [await stage.open() for _ in range(2)]
    await stage.settle()
    for client in clients:
        assert client.closed is not None
        assert client.closed[0] == TRY_LATER
        assert client.snapshot() is None
    assert stage.channel.listeners() == []
    stage.fault = lambda: None
    well = await stage.open()
    await stage.settle()
    assert well.snapshot() == (0, stage.under(""))


async def test_only_so_many_are_produced_at_a_time() -> None:
    """One more large one is refused until another is done; those that are shared count once."""
    stage = Stage(HubSettings(slice_bytes=SLICE, snapshots_at_once=2), keys=300)
    first = [await stage.open(prefix, room=1) for prefix in ("k0", "k1", "k0")]
    refused = await stage.open("k2")
    assert [client.closed for client in first] == [None] * 3
    assert refused.closed is not None
    assert refused.closed[0] == TRY_LATER
    first[1].drained()
    await stage.settle()
    late = await stage.open("k2")
    await stage.settle()
    assert late.snapshot() == (0, stage.under("k2"))


async def test_memory_loaded_anew_ends_it() -> None:
    """Half of one history is not followed by another one's events."""
    stage = Stage(keys=300)
    client = await stage.open(room=1)
    await stage.settle()
    stage.feed.reset(Position("b", 1))
    client.drained()
    await stage.settle()
    assert client.closed is not None
    assert (client.snapshot(), client.late) == (None, [])


KEYS = st.sampled_from(["k000", "k001", "k010", "k011", "n0", "n1"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), KEYS),
        st.tuples(st.just("delete"), KEYS),
        st.tuples(st.just("open"), st.sampled_from(["", "k01", "n"])),
        st.tuples(st.just("room"), st.integers(1, 2000)),
        st.tuples(st.just("turn"), st.integers(1, 4)),
        st.tuples(st.just("second"), st.integers(1, 6)),
    ),
    min_size=5,
    max_size=60,
)


@settings(deadline=None, max_examples=60)
@given(keys=st.integers(0, 40), ring=st.sampled_from([3, 1000]), steps=STEPS)
async def test_snapshot_then_live_has_no_gap(
    keys: int, ring: int, steps: list[tuple[str, str | int]]
) -> None:
    """Whatever is written, whoever comes and however slowly each reads: everyone is told the store of one position
    exactly, then what followed, each once and in order, and ends with the store as it is."""
    limits = HubSettings(slice_bytes=SLICE, turn_bytes=2000, announcements_per_second=0)
    stage = Stage(limits, keys=keys, max_events=ring)
    clients: list[Client] = []
    try:
        for number, step in enumerate(steps):
            match step:
                case "put", str(key):
                    stage.put(key, f"v{number}")
                case "delete", str(key):
                    stage.put(key, None)
                case "open", str(prefix):
                    clients.append(await stage.open(prefix, room=700))
                case "room", int(room):
                    for client in clients:
                        client.drained(room)
                case "turn", int(turns):
                    for _ in range(turns):
                        await asyncio.sleep(0)
                case "second", int(seconds):
                    stage.clock.jump(seconds)
                    stage.hub.tick()
        for client in clients:
            client.drained()
        await stage.settle()
        stage.put("n2", "last")
        await stage.settle()
        for client in clients:
            assert client.late == []
            if client.closed is not None:  # stalled for two turns of the wheel
                continue
            taken = client.snapshot()
            assert taken is not None
            start, values = taken
            assert values == stage.under(client.prefix, start)
            offsets = client.offsets()
            assert offsets == sorted(set(offsets))
            assert all(offset > start for offset in offsets)
            assert client.values() == stage.under(client.prefix)
    finally:
        stage.hub.stop()
