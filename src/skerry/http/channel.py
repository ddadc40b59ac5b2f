"""A channel: one event encoded once and written as a ready frame to many listeners, none of whom delays another.

All events of a loop turn become one write per listener. A slow listener is held back alone (`listener`), a new one
is told what it missed or the current values first (`Channel.open`) and then goes live without a gap. What channels
share is the `hub`'s; how the history is read is `recovery`'s, how the values are told is `snapshots`'s.

Everything here runs in the loop's thread; nothing is awaited between reading a position and acting on it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, count
from typing import NamedTuple, Protocol

from msgspec.json import encode

from skerry.clock import Clock
from skerry.http.feed import Feed, FeedEvent
from skerry.http.limits import RESTART, TRY_LATER, HubSettings, HubStats
from skerry.http.listener import Change, Listener, Wire
from skerry.http.recovery import Behind, Recovery
from skerry.http.snapshots import NoSnapshot, Reader, Snapshot, Snapshots
from skerry.http.wheel import Wheel
from skerry.position import Position

LEAST_BYTES = 4096
"""What a slice counts for at least: a call costs something too."""


class Shared(Protocol):
    """What a channel needs of its hub."""

    @property
    def name(self) -> str: ...
    @property
    def settings(self) -> HubSettings: ...
    @property
    def stats(self) -> HubStats: ...
    @property
    def clock(self) -> Clock: ...
    @property
    def wheel(self) -> Wheel[Listener]: ...
    @property
    def reads(self) -> asyncio.Semaphore: ...

    def new_id(self) -> str: ...
    def close(self, listener: Listener, code: int, reason: str) -> None: ...
    def tell_connection(self, what: str, channel: str, listener: Listener) -> None: ...


class Item(NamedTuple):
    """One event on its way out. `key` None: not folded; `fold` under what it is held for the slow."""

    payload: bytes
    position: Position | None
    key: str | None
    fold: object


def passes(item: Item, prefix: str) -> bool:
    """Whether an event is for a listener of that prefix. Announcements are for everybody."""
    return not prefix or item.position is None or (item.key is not None and item.key.startswith(prefix))


def concerns(event: FeedEvent, prefix: str) -> bool:
    """Whether a listener of that prefix is told this event of the history."""
    return not prefix or (event.key is not None and event.key.startswith(prefix))


def segments(pairs: list[tuple[Item, bytes]], limit_bytes: int) -> list[list[tuple[Item, bytes]]]:
    """Cut a turn's frames into runs of at most `limit_bytes` each, one frame at least."""
    runs: list[list[tuple[Item, bytes]]] = [[]]
    size = 0
    for pair in pairs:
        if runs[-1] and size + len(pair[1]) > limit_bytes:
            runs.append([])
            size = 0
        runs[-1].append(pair)
        size += len(pair[1])
    return runs


class Slices:
    """Which listener gets the next slice: those that are behind get one each in turn, within `turn_bytes` of a loop
    turn. `send(listener)` sends one slice and returns its size in bytes; `after()` is called when a turn is over."""

    def __init__(self, send: Callable[[Listener], int], turn_bytes: int, after: Callable[[], None]) -> None:
        self._send, self._turn_bytes, self._after = send, turn_bytes, after
        self._waiting: deque[Listener] = deque()
        self._turning = False

    @property
    def waiting(self) -> bool:
        """Whether somebody waits for a slice."""
        return self._turning

    def later(self, listener: Listener) -> None:
        """Give the listener a slice in the next turn, or when it is its turn."""
        if not listener.pumping:
            listener.pumping = True
            self._waiting.append(listener)
        self._turn_soon()

    def _turn_soon(self) -> None:
        if self._waiting and not self._turning:
            self._turning = True
            asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        self._turning = False
        sent = 0
        for _ in range(len(self._waiting)):
            listener = self._waiting.popleft()
            listener.pumping = False
            sent += max(LEAST_BYTES, self._send(listener))
            if sent >= self._turn_bytes:
                break
        self._after()
        self._turn_soon()


class Channel:
    """The listeners of one feed. Made by `Hub.channel`."""

    def __init__(self, hub: Shared, name: str, feed: Feed, snapshot: Snapshot | None) -> None:
        self.hub, self.name, self.feed = hub, name, feed
        self._snapshots = None if snapshot is None else Snapshots(snapshot, feed, hub.settings, hub.clock)
        self._live: dict[tuple[Wire, str], set[Listener]] = {}
        self._behind: set[Listener] = set()
        self._readers: dict[Listener, Reader] = {}
        self._slices = Slices(self._pump, hub.settings.turn_bytes, self._after_turn)
        self._batch: list[Item] = []
        self._scheduled = False
        self._ephemeral = count()
        self._recovery = Recovery(feed, hub.settings, hub.reads, hub.clock)
        self._unsubscribe: Callable[[], None] | None = None
        self._told = feed.position()  # up to here the listeners' stream has no gap
        self._notify = self._changed  # one bound method for all listeners

    def start(self) -> None:
        if self._unsubscribe is None:
            self._told = self.feed.position()
            self._unsubscribe = self.feed.subscribe(self._applied)

    def stop(self) -> None:
        if self._unsubscribe is not None:
            self._unsubscribe()
            self._unsubscribe = None
        self._recovery.stop()

    def listeners(self) -> list[Listener]:
        """Everybody who listens now."""
        return [*self._behind, *(listener for group in self._live.values() for listener in group)]

    # --- events in

    def send(self, payload: bytes, key: str | None = None) -> None:
        """Send one JSON object that belongs to no history to every listener of this process.

        Of the same `key` the slow get only the newest; without a key only the last 64.
        """
        fold = (None, next(self._ephemeral) & 63) if key is None else (key,)
        self._batch.append(Item(payload, None, None, fold))
        self._schedule()

    def check(self) -> None:
        """Memory that was loaded anew (a restored database, a trimmed journal) leaves listeners with a history that
        broke off: send them away to come again. Called wherever that would matter, and once a second."""
        here, told = self.feed.position(), self._told
        if here != told:
            if self.feed.since(told) is None:
                self.close_all("memory was loaded anew")
            self._told = here

    def tick(self) -> None:
        """A second has passed."""
        self.check()
        if self._snapshots is not None:
            self._snapshots.expire()
        self._after_turn()

    def close_all(self, reason: str) -> None:
        """Close every listener with 1012; they come again and catch up or load a snapshot."""
        self._batch.clear()
        for listener in self.listeners():
            self.hub.close(listener, RESTART, reason)

    def _applied(self, events: Sequence[FeedEvent]) -> None:
        first = events[0].position
        if first.offset != self._told.offset + 1 or first.epoch != self._told.epoch:
            self.check()
        self._told = events[-1].position
        if self._snapshots is not None:
            self._snapshots.keep(events)
        for e in events:
            if e.withheld:
                self._send_away(e)
            else:
                fold = e.position.offset if e.key is None else e.key
                self._batch.append(Item(e.payload, e.position, e.key, fold))
        self._schedule()
        self.hub.stats.lag_seconds = max(0.0, self.hub.clock.now() - events[-1].at)

    def _send_away(self, event: FeedEvent) -> None:
        """Listeners of an event that cannot be told here get what came before it, and come again."""
        self.flush()
        for listener in self.listeners():
            if concerns(event, listener.prefix):
                self.hub.close(listener, RESTART, event.withheld)

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self.flush)

    # --- events out

    def flush(self) -> None:
        """Write everything of this turn. Called by itself once per turn."""
        self._scheduled = False
        if not self._batch:
            return
        batch, self._batch = self._batch, []
        stats = self.hub.stats
        stats.events += len(batch)
        behind = tuple(self._behind)
        frames: dict[Wire, list[bytes]] = {}
        for (wire, prefix), group in list(self._live.items()):
            encoded = frames.get(wire)
            if encoded is None:
                encoded = frames[wire] = [wire.frame(item.payload, item.position) for item in batch]
            pairs = list(zip(batch, encoded, strict=True))
            if prefix:
                pairs = [pair for pair in pairs if passes(pair[0], prefix)]
            if pairs:
                self._fan_out(tuple(group), pairs)
        for listener in behind:
            wire = listener.wire
            encoded = frames.get(wire)
            if encoded is None:
                encoded = frames[wire] = [wire.frame(item.payload, item.position) for item in batch]
            for item, frame in zip(batch, encoded, strict=True):
                # Who is told the history pulls these events from it later.
                if item.position is None or (not listener.replaying and passes(item, listener.prefix)):
                    self._hold(listener, item, frame)

    def _fan_out(self, group: tuple[Listener, ...], pairs: list[tuple[Item, bytes]]) -> None:
        stats = self.hub.stats
        for part in segments(pairs, self.hub.settings.slice_bytes):
            data = part[0][1] if len(part) == 1 else b"".join([frame for _, frame in part])
            stats.writes += len(group)
            stats.deliveries += len(group) * len(part)
            for listener in group:
                if listener.live:
                    listener.write(data)
                else:
                    for item, frame in part:
                        self._hold(listener, item, frame)

    def _hold(self, listener: Listener, item: Item, frame: bytes) -> None:
        if listener.closed:
            return
        self.hub.stats.held += 1
        if not listener.hold(item.fold, frame, self.hub.settings.held_bytes):
            self.hub.close(listener, TRY_LATER, "too slow: reconnect to catch up")

    # --- one listener

    async def open(
        self, listener: Listener, since: Position | None = None, *, snapshot: bool = False
    ) -> bool:
        """Take in a listener whose connection is ready: greet it, tell it what it missed, and let it go live.

        With `since` the events after it are told, wholly or not at all. When they are not and `snapshot` is wanted,
        the current values come first. Returns whether the history was told. Order: hello, then history or snapshot,
        then live events, each once, none left out. A listener that knows more than memory holds is closed with
        TRY_LATER: it is not told what is older.
        """
        try:
            history = None if since is None else await self._recovery.events(since)
        except Behind as error:
            self.hub.close(listener, TRY_LATER, str(error))
            return False
        if listener.closed:
            return False
        self._attach(listener, since, history, snapshot=snapshot)
        return history is not None

    def _attach(
        self,
        listener: Listener,
        since: Position | None,
        history: Sequence[FeedEvent] | None,
        *,
        snapshot: bool,
    ) -> None:
        self.flush()  # what is on its way to others is part of this one's past
        hub, stats = self.hub, self.hub.stats
        head = start = self.feed.position()
        reader: Reader | None = None
        if history is not None and since is not None:
            start = since
            stats.recovered += 1
            listener.replaying = True
            listener.cursor = history[-1].position.offset if history else since.offset
            listener.source = self._frames(listener, history)
        else:
            stats.not_recovered += since is not None
            if snapshot and self._snapshots is not None:
                try:
                    reader = self._snapshots.reader(listener)
                except NoSnapshot as error:
                    hub.close(listener, TRY_LATER, str(error))
                    return
                start = reader.taken.position
                stats.snapshots += 1
                listener.replaying = True
                listener.cursor = start.offset
                listener.source = self._readers[listener] = reader
        if not listener.id:
            listener.id = hub.new_id()
        listener.notify = self._notify
        listener.attached = True
        listener.slot = hub.wheel.add(listener)
        stats.listeners += 1
        stats.opened += 1
        self._behind.add(listener)
        hello: dict[str, object] = {
            "type": "hello",
            "position": str(start),
            "recovered": history is not None,
            "snapshot": reader is not None,
            "connection": listener.id,
            "process": hub.name,
            "head": str(head),
        }
        if listener.beats:
            hello["beat"] = hub.settings.ping_seconds
        # A cursor is given along only when what precedes it is already known to the listener.
        greeting = listener.wire.frame(encode(hello), start if reader is None else None)
        if reader is None:
            listener.source = chain((greeting,), listener.source or ())
            self._pump(listener)
        else:  # apart from the first slice, which stays the same object for everybody
            listener.write(greeting)
            self._slices.later(listener)
        hub.tell_connection("opened", self.name, listener)

    def _frames(self, listener: Listener, events: Iterable[FeedEvent]) -> Iterator[bytes]:
        frame, prefix = listener.wire.frame, listener.prefix
        for event in events:
            if concerns(event, prefix):
                if event.withheld:
                    self.hub.close(listener, RESTART, event.withheld)
                    return
                yield frame(event.payload, event.position)

    def _after_turn(self) -> None:
        """Close the listeners that keep a snapshot from being freed."""
        for listener in () if self._snapshots is None else self._snapshots.overdue_readers():
            self.hub.close(listener, TRY_LATER, "too slow: reconnect to catch up")

    def _pump(self, listener: Listener) -> int:
        """Send a listener a slice of what it is behind with, until its transport pauses or it goes live. Returns the
        slice's size in bytes."""
        if listener.paused or listener.closed:
            return 0
        try:
            data = self._next_slice(listener)
        except NoSnapshot as error:
            self.hub.close(listener, TRY_LATER, str(error))
            return 0
        if listener.closed:
            return 0
        if data:
            listener.write(data)
            self._slices.later(listener)  # a paused or closed one is found out then
        else:
            self._behind.discard(listener)
            listener.live = True
            self._live.setdefault((listener.wire, listener.prefix), set()).add(listener)
        return len(data)

    def _next_slice(self, listener: Listener) -> bytes:
        limit = self.hub.settings.slice_bytes
        while listener.source is not None:
            parts, size = [], 0
            for frame in listener.source:
                parts.append(frame)
                size += len(frame)
                if size >= limit:
                    return b"".join(parts)
            listener.source = None
            if listener.replaying:
                self._replay_further(listener)
            if parts:
                return b"".join(parts)
        return listener.take(limit)

    def _replay_further(self, listener: Listener) -> None:
        """What was read is told; go on with what happened meanwhile, until there is nothing more."""
        self.flush()
        self.check()
        if listener.closed:
            return
        reader, here = self._readers.get(listener), self.feed.position()
        further = self.feed.since(Position(here.epoch, listener.cursor))
        if further is None and reader is not None:
            further = reader.since(listener.cursor)
        if further is None:
            self.hub.close(listener, TRY_LATER, "too slow: reconnect to catch up")
            return
        events = list(further)
        if events:
            listener.cursor = events[-1].position.offset
            listener.source = self._frames(listener, events)
            return
        listener.replaying = False
        if reader is not None:
            self._done_reading(listener)
        else:
            caught_up = encode({"type": "caught_up", "position": str(here)})
            listener.source = iter((listener.wire.frame(caught_up, here),))

    def _changed(self, listener: Listener, change: Change) -> None:
        match change:
            case Change.PAUSED if listener.attached:
                self.hub.stats.paused += 1
                self._leave_group(listener)
                self._behind.add(listener)
            case Change.RESUMED:
                self._slices.later(listener)
            case Change.GONE if listener.attached:
                listener.attached = False
                self._leave_group(listener)
                self._behind.discard(listener)
                listener.source = listener.held = None
                self._done_reading(listener)
                self.hub.wheel.remove(listener, listener.slot)
                self.hub.stats.listeners -= 1
                self.hub.tell_connection("closed", self.name, listener)

    def _done_reading(self, listener: Listener) -> None:
        reader = self._readers.pop(listener, None)
        if reader is not None:
            reader.close()

    def _leave_group(self, listener: Listener) -> None:
        name = (listener.wire, listener.prefix)
        group = self._live.get(name)
        if group is not None:
            group.discard(listener)
            if not group:
                del self._live[name]
