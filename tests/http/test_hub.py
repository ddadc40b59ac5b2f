"""Many listeners, none of whom delays another; nothing missed, nothing doubled; all that is held is bounded."""

from __future__ import annotations

import asyncio
import gc
import itertools
import json
import weakref
from collections.abc import Iterable
from typing import Any

import pytest
from tests.http.applied_feed import AppliedFeed

from skerry.errors import DeclarationError, Unavailable
from skerry.http.channel import Item, segments
from skerry.http.feed import FeedEvent
from skerry.http.hub import RESTART, SILENT, TRY_LATER, Channel, Hub, HubSettings
from skerry.http.listener import EVENT_STREAM, LINES, WEBSOCKET, Listener, Wire
from skerry.position import Position


def at(offset: int, epoch: str = "a") -> Position:
    return Position(epoch, offset)


def put(offset: int, key: str = "k", value: str = "v", epoch: str = "a") -> FeedEvent:
    body = {
        "type": "domain_event",
        "event": "value_put",
        "key": key,
        "value": value,
        "position": f"{epoch}:{offset}",
    }
    return FeedEvent(at(offset, epoch), key, json.dumps(body).encode(), 0.0)


class Socket:
    """A transport in memory: takes `room` bytes, then asks for a pause, as asyncio's do at the high-water mark."""

    def __init__(self, room: int = 1 << 30) -> None:
        self.room = room
        self.writes: list[bytes] = []
        self.closed: tuple[int, str] | None = None
        self.listener: Listener | None = None

    def write(self, data: bytes) -> None:
        assert self.closed is None, "written after close"
        self.writes.append(data)
        self.room -= len(data)
        if self.room <= 0 and self.listener is not None and not self.listener.paused:
            self.listener.pause()

    def close(self, code: int, reason: str) -> None:
        self.closed = (code, reason)

    def drained(self, room: int = 1 << 30) -> None:
        assert self.listener is not None
        self.room = room
        self.listener.resume()

    def seen(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in b"".join(self.writes).splitlines()]

    def offsets(self) -> list[int]:
        return [int(e["position"].split(":")[1]) for e in self.seen() if e["type"] == "domain_event"]


class Stage:
    """A hub with one channel whose snapshot is a dict."""

    def __init__(self, settings: HubSettings | None = None, **feed: Any) -> None:
        self.hub = Hub(settings, name="p")
        self.feed = AppliedFeed(at(0), **feed)
        self.values: dict[str, str] = {}
        self.channel: Channel = self.hub.channel("/events", self.feed, self.snapshot)
        self.hub.start()
        assert self.hub._timer is not None
        self.hub._timer.cancel()  # here seconds pass by `tick`

    def snapshot(self, prefix: str) -> tuple[Position, Iterable[bytes]]:
        rows = [
            json.dumps({"key": k, "value": v}).encode()
            for k, v in self.values.items()
            if k.startswith(prefix)
        ]
        return self.feed.position(), iter(rows)

    def apply(self, *events: FeedEvent) -> None:
        for e in events:
            self.values[e.key or ""] = json.loads(e.payload)["value"]
        self.feed.append(events)

    async def listen(
        self, since: Position | None = None, *, room: int = 1 << 30, prefix: str = "", snapshot: bool = False,
        wire: Wire = LINES,
    ) -> Socket:  # fmt: skip
        socket = Socket(room)
        socket.listener = Listener(socket, wire, prefix)
        await self.channel.open(socket.listener, since, snapshot=snapshot)
        await settle()
        return socket


async def settle(turns: int = 4) -> None:
    for _ in range(turns):
        await asyncio.sleep(0)


async def test_hello_comes_first_and_tells_where_the_stream_starts() -> None:
    """The first frame is hello with the position, then come live events."""
    stage = Stage()
    stage.apply(put(1))
    socket = await stage.listen()
    stage.apply(put(2))
    await settle()
    hello, opened, live = socket.seen()
    assert (hello["type"], hello["position"], hello["recovered"]) == ("hello", "a:1", False)
    assert opened == {"type": "connection_opened", "route": "/events", "connection": hello["connection"]}
    assert live["position"] == "a:2"


async def test_all_events_of_a_turn_are_one_write() -> None:
    """However many batches are applied in a turn, a listener's transport is called once."""
    stage = Stage()
    sockets = [await stage.listen() for _ in range(3)]
    await settle()
    for socket in sockets:
        socket.writes.clear()
    for offset in range(1, 65):
        stage.apply(put(offset))
    await settle()
    for socket in sockets:
        assert len(socket.writes) == 1
        assert socket.offsets() == list(range(1, 65))
    assert sockets[0].writes[0] is sockets[1].writes[0], "the same bytes object serves all"


async def test_what_this_process_cannot_tell_sends_away_whoever_waits_for_it() -> None:
    """Live or in the history: what came before it is told, it is not passed over, and the close code says "come again".
    Listeners of other keys stay."""
    stage = Stage()
    live, other = await stage.listen(), await stage.listen(prefix="z")
    withheld = FeedEvent(at(2), "k", b"", 0.0, withheld="of a newer release")
    stage.feed.append([put(1), withheld, put(3), put(4, "z")])
    await settle()
    assert live.offsets() == [1]
    assert live.closed == (RESTART, "of a newer release")
    assert (other.offsets(), other.closed) == ([4], None)
    late = await stage.listen(since=at(1))
    assert (late.seen(), late.closed) == ([], (RESTART, "of a newer release"))
    behind_it = await stage.listen(since=at(2))
    assert (behind_it.offsets(), behind_it.closed) == ([3, 4], None)


async def test_a_channel_that_is_declared_later_is_served_at_once() -> None:
    """After the hub was started, as before it."""
    stage = Stage()
    feed = AppliedFeed(at(0))
    channel = stage.hub.channel("/later", feed)
    socket = Socket()
    socket.listener = Listener(socket, LINES)
    await channel.open(socket.listener)
    feed.append([put(1)])
    await settle()
    assert socket.offsets() == [1]


async def test_a_slow_listener_gets_the_newest_of_each_key_and_others_everything() -> None:
    """Held events of one key are folded to the last; nobody else notices."""
    stage = Stage()
    slow, quick = await stage.listen(room=1), await stage.listen()
    assert slow.listener is not None
    before = len(slow.writes)
    for offset in range(1, 1001):
        stage.apply(put(offset, key=f"k{offset % 3}"))
        await settle(1)
    await settle()
    assert quick.offsets() == list(range(1, 1001))
    assert len(slow.writes) == before, "nothing is written to a transport that asked for a pause"
    assert stage.hub.stats.paused == 1
    slow.drained()
    await settle()
    assert slow.offsets() == [998, 999, 1000]
    stage.apply(put(1001))
    await settle()
    assert slow.offsets()[-1] == 1001, "and it is live again"
    assert slow.closed is None


async def test_what_is_held_for_a_slow_listener_has_a_limit() -> None:
    """Over the byte limit the slow one is closed with a code that says: reconnect. One large frame is no offence."""
    stage = Stage(HubSettings(held_bytes=1000))
    slow = await stage.listen(room=1)
    stage.apply(put(1, value="x" * 5000))
    await settle()
    assert slow.closed is None
    stage.apply(put(2, key="other"))
    await settle()
    assert slow.closed is not None
    assert slow.closed[0] == TRY_LATER
    assert stage.hub.stats.listeners == 0
    assert slow.listener is not None
    assert slow.listener.held is None


async def test_a_slow_listener_is_drained_in_slices() -> None:
    """What was held goes out in slices, and stops as soon as the transport is full again."""
    stage = Stage(HubSettings(slice_bytes=300))
    slow = await stage.listen(room=1)
    for offset in range(1, 21):
        stage.apply(put(offset, key=f"k{offset}"))
    await settle()
    seen = len(slow.offsets())
    slow.drained(room=500)
    await settle(20)
    assert seen < len(slow.offsets()) < 20
    slow.drained()
    await settle(30)
    assert slow.offsets() == list(range(1, 21))
    assert max(map(len, slow.writes)) <= 300


async def test_one_turn_with_large_values_is_cut_for_each_transport() -> None:
    """A turn's worth beyond the slice is written in parts, and the rest held for who is full by then."""
    stage = Stage(HubSettings(slice_bytes=1000))
    tight, wide = await stage.listen(room=1500), await stage.listen()
    stage.apply(*(put(offset, key=f"k{offset}", value="x" * 900) for offset in range(1, 6)))
    await settle()
    assert wide.offsets() == [1, 2, 3, 4, 5]
    assert tight.offsets() == [1, 2]
    tight.drained()
    await settle(10)
    assert tight.offsets() == [1, 2, 3, 4, 5]


async def test_resume_tells_everything_missed_once() -> None:
    """`since` within the ring: recovered, every event after it, then live ones, none doubled."""
    stage = Stage()
    stage.apply(*(put(n) for n in range(1, 11)))
    stage.apply(put(11))  # still on its way out in this turn
    socket = await stage.listen(at(4))
    stage.apply(put(12))
    await settle()
    assert socket.seen()[0]["recovered"] is True
    assert socket.seen()[0]["position"] == "a:4"
    assert socket.offsets() == list(range(5, 13))


async def test_a_long_history_and_live_events_meet_without_a_gap() -> None:
    """While a history goes out in slices more happens; it is pulled in order, and nothing is folded."""
    stage = Stage(HubSettings(slice_bytes=400))
    stage.apply(*(put(n) for n in range(1, 101)))
    socket = Socket()
    socket.listener = Listener(socket, LINES)
    await stage.channel.open(socket.listener, at(0))
    for offset in range(101, 141):
        stage.apply(put(offset))
        await settle(1)
    await settle(60)
    assert socket.offsets() == list(range(1, 141))


async def test_recovery_is_whole_or_not_at_all() -> None:
    """Beyond the ring without a journal, another epoch, or an impossible future: recovered is false, nothing told."""
    stage = Stage(HubSettings(wait_seconds=0.01), max_events=5)
    stage.apply(*(put(n) for n in range(1, 21)))
    for since in (at(3), at(3, "old"), at(999)):
        socket = await stage.listen(since)
        assert socket.seen()[0]["recovered"] is False
        assert socket.offsets() == []
    assert stage.hub.stats.not_recovered == 3


async def test_beyond_the_ring_the_journal_answers() -> None:
    """The journal's part and the ring's part join; what memory has not applied yet comes once, as a live event."""
    journal = [put(n) for n in range(1, 23)]

    async def backlog(position: Position) -> list[FeedEvent]:
        stage.apply(put(21))
        return journal[position.offset :]

    stage = Stage(max_events=5, backlog=backlog)
    stage.apply(*(put(n) for n in range(1, 21)))
    socket = await stage.listen(at(3))
    stage.apply(put(22))
    await settle()
    assert socket.seen()[0]["recovered"] is True
    assert socket.offsets() == list(range(4, 23))


async def test_a_journal_that_is_away_means_a_snapshot() -> None:
    """When the backlog cannot be read the listener is told so and gets the current values instead."""

    async def backlog(position: Position) -> list[FeedEvent]:
        raise Unavailable("the database is away")

    stage = Stage(max_events=5, backlog=backlog)
    stage.apply(*(put(n) for n in range(1, 21)))
    socket = await stage.listen(at(3), snapshot=True)
    kinds = [e["type"] for e in socket.seen()]
    assert kinds == ["hello", "snapshot", "snapshot_end", "connection_opened"]
    assert socket.seen()[0]["recovered"] is False


async def test_equal_backlog_reads_are_made_once() -> None:
    """A crowd that comes back at one position costs one journal read."""
    reads = 0

    async def backlog(position: Position) -> list[FeedEvent]:
        nonlocal reads
        reads += 1
        await asyncio.sleep(0)
        return [put(n) for n in range(position.offset + 1, 21)]

    stage = Stage(max_events=5, backlog=backlog)
    stage.apply(*(put(n) for n in range(1, 21)))
    sockets = await asyncio.gather(*(stage.listen(at(3)) for _ in range(50)))
    await settle()
    assert reads == 1
    assert all(s.offsets() == list(range(4, 21)) for s in sockets)


async def test_a_listener_ahead_of_this_process_waits_for_it() -> None:
    """Served before by a faster process: no false alarm, the events beyond its cursor follow once."""
    stage = Stage()
    stage.apply(put(1))
    opening = asyncio.ensure_future(stage.listen(at(3)))
    await settle()
    stage.apply(put(2), put(3))
    socket = await opening
    stage.apply(put(4))
    await settle()
    assert socket.seen()[0]["recovered"] is True
    assert socket.offsets() == [4]


@pytest.mark.parametrize("journal", [at(7), None])
async def test_a_listener_that_knows_more_than_this_process_is_sent_away(journal: Position | None) -> None:
    """Memory does not come that far in time, and the journal is further on, or away: nothing older is told. A position
    that the journal does not have either is old."""
    stage = Stage(HubSettings(wait_seconds=0.01))
    stage.feed.journal.at = journal
    stage.apply(put(1))
    socket = await stage.listen(at(5), snapshot=True)
    assert socket.writes == []
    assert socket.closed == (1013, "this process has not come to a:5 yet: come again")
    stage.apply(*(put(n) for n in range(2, 8)))
    assert (await stage.listen(at(5))).offsets() == [6, 7]
    if journal is not None:
        assert (await stage.listen(at(8))).seen()[0]["recovered"] is False
        assert (await stage.listen(at(5, "z"))).seen()[0]["recovered"] is False


async def test_snapshot_then_live_on_one_socket_without_a_gap() -> None:
    """The values at a position first, then exactly the events after it, also those that happen while it is sent."""
    stage = Stage(HubSettings(slice_bytes=500))
    stage.apply(*(put(n, key=f"k{n}", value="old") for n in range(1, 101)))
    socket = Socket()
    socket.listener = Listener(socket, LINES)
    await stage.channel.open(socket.listener, snapshot=True)
    stage.apply(put(101, key="k1", value="new"), put(102, key="k500"))
    await settle(40)
    stage.apply(put(103))
    await settle()
    seen = socket.seen()
    rows = [row for e in seen if e["type"] == "snapshot" for row in e["values"]]
    assert len(rows) == 100
    assert {row["value"] for row in rows} == {"old"}
    (end,) = (n for n, e in enumerate(seen) if e["type"] == "snapshot_end")
    assert seen[end]["position"] == "a:100"
    assert seen[end]["count"] == 100
    assert [e["type"] for e in seen[:end]].count("domain_event") == 0
    assert socket.offsets() == [101, 102, 103]
    assert all(len(w) < 2000 for w in socket.writes), "in slices"


async def test_a_paused_snapshot_waits_for_its_transport() -> None:
    """No more is produced than the transport takes; the iterable is not run ahead."""
    stage = Stage(HubSettings(slice_bytes=500))
    produced = 0

    def many() -> Iterable[bytes]:
        nonlocal produced
        for n in range(10_000):
            produced += 1
            yield b'{"key":"%d","value":""}' % n

    channel = stage.hub.channel("/large", stage.feed, lambda prefix: (stage.feed.position(), many()))
    socket = Socket(room=1000)
    socket.listener = Listener(socket, LINES)
    await channel.open(socket.listener, snapshot=True)
    await settle(20)
    assert produced < 200
    socket.drained()
    await settle(2000)
    assert produced == 10_000


async def test_prefix_filters_events_history_and_snapshot_but_not_announcements() -> None:
    """Only keys that start with it; connection events come to everybody."""
    stage = Stage()
    stage.apply(put(1, key="a/1"), put(2, key="b/1"))
    fresh = await stage.listen(prefix="b/", snapshot=True)
    resumed = await stage.listen(at(0), prefix="b/")
    stage.apply(put(3, key="a/2"), put(4, key="b/2"))
    await settle()
    assert [r["key"] for e in fresh.seen() if e["type"] == "snapshot" for r in e["values"]] == ["b/1"]
    assert fresh.offsets() == [4]
    assert resumed.offsets() == [2, 4]
    assert [e["type"] for e in fresh.seen()].count("connection_opened") == 2


async def test_connection_events_reach_every_listener_of_every_process() -> None:
    """Opened and closed are announced; another hub on the same announcer hears them too."""
    here = Stage()
    there = Hub(announcer=here.hub.announcer)
    channel = there.channel("/events", AppliedFeed(at(0)))
    there.start()
    far = Socket()
    far.listener = Listener(far, LINES)
    await channel.open(far.listener)
    near = await here.listen()
    assert near.listener is not None
    near.listener.gone()
    near.listener.gone()
    await settle()
    told = [(e["type"], e["connection"]) for e in far.seen()[1:]]
    assert told == [
        ("connection_opened", far.listener.id),
        ("connection_opened", near.listener.id),
        ("connection_closed", near.listener.id),
    ]


async def test_a_rush_of_connections_is_summed_up() -> None:
    """Above the rate the numbers are told once a second, so that a storm does not multiply itself."""
    stage = Stage(HubSettings(announcements_per_second=3))
    watcher = await stage.listen()
    for _ in range(9):
        await stage.listen()
    stage.hub.tick()
    await settle()
    kinds = [e["type"] for e in watcher.seen()]
    assert kinds.count("connection_opened") == 3
    assert watcher.seen()[-1] == {"type": "connections", "process": "p", "opened": 7, "closed": 0}


async def test_announcements_to_many_are_told_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a crowd to tell, what is announced waits a little and comes as one write, the excess as a number."""
    monkeypatch.setattr("skerry.http.hub.PAUSE_PER_LISTENER", 1.0)  # the little while is over by `_tell`
    stage = Stage(HubSettings(opens_per_second=10_000, announcements_per_second=0))
    sockets = [await stage.listen() for _ in range(200)]
    for socket in sockets:
        socket.writes.clear()
    for n in range(50):
        stage.hub.announcer.announce(b'{"type":"connection_closed","connection":"x-%d"}' % n)
    await settle()
    assert not any(socket.writes for socket in sockets)
    stage.hub._tell()
    await settle()
    for socket in sockets:
        assert len(socket.writes) == 1
        assert len(socket.seen()) == 21
        assert socket.seen()[-1] == {"type": "connections", "process": "p", "opened": 0, "closed": 30}
    stage.hub.stop()


async def test_silent_listeners_are_closed_and_answering_ones_stay() -> None:
    """A ping is due once per period; no answer within the grace closes, any sign of life counts."""
    stage = Stage(HubSettings(ping_seconds=5, pong_seconds=2))
    silent, lively, stream = [await stage.listen(wire=w) for w in (WEBSOCKET, WEBSOCKET, EVENT_STREAM)]
    for _ in range(8):
        stage.hub.tick()
        assert lively.listener is not None
        lively.listener.alive()
    assert silent.closed is not None
    assert silent.closed[0] == SILENT
    assert lively.closed is None
    assert WEBSOCKET.ping in lively.writes
    assert EVENT_STREAM.ping in stream.writes
    assert stream.closed is None


async def test_nothing_is_kept_of_a_listener_that_left() -> None:
    """It is pinged no more, counted no more, and free to be collected."""
    stage = Stage()
    socket = await stage.listen()
    assert socket.listener is not None
    left = weakref.ref(socket)
    socket.listener.gone()
    await settle()
    assert (len(stage.hub.wheel), stage.hub.stats.listeners) == (0, 0)
    del socket
    gc.collect()
    assert left() is None


async def test_pings_are_spread_over_half_a_period() -> None:
    """A crowd that arrives in one moment is neither pinged at once nor in one moment; everybody's turn comes."""
    stage = Stage(HubSettings(opens_per_second=10_000, announcements_per_second=0))
    sockets = [await stage.listen(wire=WEBSOCKET) for _ in range(130)]
    for socket in sockets:
        socket.writes.clear()
    pinged = []
    for _ in range(25):
        stage.hub.tick()
        pinged.append(sum(len(s.writes) for s in sockets))
    assert pinged[10] == 0
    assert [later - earlier for earlier, later in itertools.pairwise(pinged[10:24])] == [10] * 13


async def test_a_stalled_listener_is_closed_in_the_end() -> None:
    """A transport without any progress for two periods is given up, also when nothing is held for it."""
    stage = Stage(HubSettings(ping_seconds=5, pong_seconds=2))
    stalled = await stage.listen(room=1, wire=EVENT_STREAM)
    for _ in range(10):
        stage.hub.tick()
    assert stalled.closed is not None
    assert stalled.closed[0] == TRY_LATER


async def test_drain_sends_all_away_with_the_reconnect_code() -> None:
    """Everybody is closed with 1012, in slices; no one is admitted meanwhile."""
    stage = Stage()
    sockets = [await stage.listen() for _ in range(120)]
    await stage.hub.drain(0.1)
    assert {s.closed for s in sockets} == {(RESTART, "service restart")}
    assert stage.hub.admit() is not None
    assert stage.hub.stats.listeners == 0
    stage.hub.stop()


async def test_admission_is_limited_in_number_and_in_rate() -> None:
    """Beyond the limits a newcomer is told when to try again."""
    few = Stage(HubSettings(max_listeners=2))
    assert few.hub.admit() is None
    await few.listen()
    await few.listen()
    assert few.hub.admit() == 5.0
    rushed = Stage(HubSettings(opens_per_second=2))
    assert [rushed.hub.admit() for _ in range(3)] == [None, None, 1.0]
    rushed.hub.tick()
    assert rushed.hub.admit() is None


@pytest.mark.parametrize("how", ["tick", "event"])
@pytest.mark.parametrize("epoch", ["a", "b"])
async def test_memory_that_was_loaded_anew_sends_everybody_to_come_again(how: str, epoch: str) -> None:
    """Another epoch, or a jump within this one: nobody keeps a stream whose history broke off, nor hears across it."""
    stage = Stage()
    stage.apply(put(1))
    socket = await stage.listen()
    stage.feed.reset(at(7, epoch))
    if how == "tick":
        stage.hub.tick()
    else:
        stage.apply(put(8, epoch=epoch))
    await settle()
    assert socket.closed is not None
    assert socket.closed[0] == RESTART
    assert socket.offsets() == []
    again = await stage.listen(at(1), snapshot=True)
    assert again.seen()[0]["recovered"] is False
    assert again.seen()[0]["position"].startswith(f"{epoch}:")


async def test_a_position_that_moves_without_an_event_is_no_gap() -> None:
    """Not every journal entry is shown; listeners stay."""
    stage = Stage()
    socket = await stage.listen()
    stage.feed.append([], at(3))
    stage.hub.tick()
    stage.apply(put(5))
    await settle()
    assert socket.closed is None
    assert socket.offsets() == [5]


async def test_processes_that_come_and_go_are_told() -> None:
    """Listeners of one process hear of another."""
    stage = Stage()
    socket = await stage.listen()
    other = Hub(announcer=stage.hub.announcer, name="q")
    other.start()
    await other.drain(0.1)
    other.stop()
    await settle()
    told = [(e["type"], e["process"]) for e in socket.seen() if e["type"].startswith("process")]
    assert told == [("process_joined", "q"), ("process_left", "q")]


async def test_messages_without_a_history_reach_the_listeners_of_a_channel() -> None:
    """`send` takes no position; the slow keep the newest per key, and a bounded number without one."""
    stage = Stage()
    quick, slow = await stage.listen(), await stage.listen(room=1)
    for n in range(500):
        stage.channel.send(b'{"type":"note","n":%d}' % n)
        stage.channel.send(b'{"type":"tick","n":%d}' % n, key="tick")
    await settle()
    slow.drained()
    await settle()
    assert len([e for e in quick.seen() if e["type"] == "note"]) == 500
    assert [e["n"] for e in slow.seen() if e["type"] == "note"] == list(range(436, 500))
    assert [e["n"] for e in slow.seen() if e["type"] == "tick"] == [499]


async def test_a_listener_lost_while_it_recovers_is_not_attached() -> None:
    """A connection that breaks during the journal read leaves nothing in the hub."""
    release = asyncio.Event()

    async def backlog(position: Position) -> list[FeedEvent]:
        await release.wait()
        return []

    stage = Stage(max_events=5, backlog=backlog)
    stage.apply(*(put(n) for n in range(1, 21)))
    opening = asyncio.ensure_future(stage.channel.open(lost := Listener(Socket(), LINES), at(3)))
    await settle()
    lost.gone()
    release.set()
    assert await opening is False
    assert stage.channel.listeners() == []


async def test_two_channels_of_one_name_are_refused() -> None:
    """A declaration that contradicts another is found at once."""
    stage = Stage()
    with pytest.raises(DeclarationError, match="/events"):
        stage.hub.channel("/events", stage.feed)


def test_frames_of_each_wire() -> None:
    """RFC 6455 section 5.2 lengths; an event stream's lines; one line per object."""
    assert WEBSOCKET.frame(b"{}", None) == b"\x81\x02{}"
    assert WEBSOCKET.frame(b"x" * 126, None)[:4] == b"\x81\x7e\x00\x7e"
    assert WEBSOCKET.frame(b"x" * 65536, None)[:10] == b"\x81\x7f\x00\x00\x00\x00\x00\x01\x00\x00"
    assert EVENT_STREAM.frame(b"{}", at(7)) == b"id: a:7\ndata: {}\n\n"
    assert EVENT_STREAM.frame(b"[1,\n2]", None) == b"data: [1,\ndata: 2]\n\n"
    assert LINES.frame(b"{\n}", at(1)) == b"{ }\n"


def test_segments_keep_order_and_limit() -> None:
    """A run holds as much as fits, one frame at least."""
    pairs = [(Item(b"", None, None, n), b"x" * size) for n, size in enumerate((4, 4, 4, 50, 1))]
    assert [[item.fold for item, _ in run] for run in segments(pairs, 10)] == [[0, 1], [2], [3], [4]]


async def test_a_beat_is_seen_by_who_asked_for_it() -> None:
    """A page sees no ping and no comment: with `beats` each ping has a frame beside it, also where there is no ping,
    and `hello` says how often. Nobody else is told of it."""
    stage = Stage(HubSettings(ping_seconds=5, pong_seconds=2))
    beats = []
    for wire in (WEBSOCKET, EVENT_STREAM, LINES):
        socket = Socket(1 << 30)
        socket.listener = Listener(socket, wire, beats=True)
        await stage.channel.open(socket.listener, None, snapshot=False)
        beats.append(socket)
    others = [await stage.listen(wire=wire) for wire in (WEBSOCKET, EVENT_STREAM, LINES)]
    await settle()
    assert b'"beat":5' in b"".join(beats[2].writes)
    assert b"beat" not in b"".join(others[2].writes)
    for _ in range(6):
        stage.hub.tick()
        for socket in (*beats, *others):
            assert socket.listener is not None
            socket.listener.alive()
    assert b'\x89\x00\x81\x0f{"type":"beat"}' in beats[0].writes
    assert b':\n\ndata: {"type":"beat"}\n\n' in beats[1].writes
    assert b'{"type":"beat"}\n' in beats[2].writes
    assert not any(b"beat" in written for socket in others for written in socket.writes)
    stage.hub.stop()
