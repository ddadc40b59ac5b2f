"""What the HTTP rooms need to know of the application's memory, as small contracts.

A role wires a `Feed` to the projector and an `Announcer` to whatever joins the processes. `http.events` serves
browsers from them; views use them to wait for a position. `Ring` remembers the last events, `RingFeed` is a whole
feed over one (the journal only lends its `backlog`), `LocalAnnouncer` joins one process with itself.
"""

from __future__ import annotations

import asyncio
import heapq
from bisect import bisect_right
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from skerry.clock import Clock, Deadline, SystemClock
from skerry.position import Position


@dataclass(frozen=True, slots=True)
class FeedEvent:
    """One applied event, encoded once for every listener of this process.

    `payload` is the JSON object (UTF-8) that goes into a frame, `key` the key it is about, `at` seconds since 1970.
    Without a key (None) it is never coalesced, and is sent only to listeners without a prefix filter. `withheld`: why
    this process cannot tell it: listeners that wait for it are sent away before it, to come again elsewhere.
    """

    position: Position
    key: str | None
    payload: bytes
    at: float
    withheld: str = ""


class Feed(Protocol):
    """The events that this process has applied, in journal order."""

    def position(self) -> Position:
        """What this process's memory has applied."""
        ...

    async def wait(self, position: Position, deadline: Deadline) -> bool:
        """Return True once the memory is at `position` or later, False when the deadline passed first.

        A position that the history does not have is answered at once with False.
        """
        ...

    def carry(self, position: Position) -> Position | None:
        """The same place in the present epoch; None when the history has no such place (any more)."""
        ...

    def since(self, position: Position) -> Iterable[FeedEvent] | None:
        """Events after `position` from memory, oldest first; None when memory does not reach back that far, or has
        another history."""
        ...

    async def is_in_journal(self, position: Position) -> bool:
        """Whether the journal has this position, whatever memory has. Raises SkerryError or OSError when it is away."""
        ...

    async def backlog(self, position: Position) -> list[FeedEvent] | None:
        """Events after `position` from the journal; None when they cannot be recovered wholly."""
        ...

    def subscribe(self, listener: Callable[[Sequence[FeedEvent]], None]) -> Callable[[], None]:
        """Call `listener` once per applied batch, in order, in the loop's thread. Returns the unsubscriber."""
        ...


class Announcer(Protocol):
    """Ephemeral events (a connection opened or closed): told to every process, kept nowhere."""

    def announce(self, payload: bytes) -> None:
        """Tell every process. Never waits; may drop when the way is blocked."""
        ...

    def subscribe(self, listener: Callable[[bytes], None]) -> Callable[[], None]:
        """Call `listener` for each announcement of any process. Returns the unsubscriber."""
        ...


class Ring:
    """The last events in order, bounded by number and by bytes of payload. Not for threads.

    `position` is where it ends and may be ahead of the last event kept (not every journal entry is shown);
    `floor` is where it begins: everything after it is here.
    """

    def __init__(self, position: Position, *, max_events: int = 10_000, max_bytes: int = 16 << 20) -> None:
        self._max_events, self._max_bytes = max_events, max_bytes
        self.reset(position)

    def reset(self, position: Position) -> None:
        """Forget everything and stand at `position`."""
        self.position = self.floor = position
        self._events: list[FeedEvent] = []
        self._offsets: list[int] = []
        self._start = 0
        self.bytes = 0

    def extend(self, events: Sequence[FeedEvent]) -> None:
        """Append events of one epoch, offsets ascending. Another epoch than before forgets what was kept.

        Raises ValueError when an offset does not lie after all before it: a ring with a repeated or missing place
        would hand out a wrong history.
        """
        for event in events:
            at = event.position
            if at.epoch != self.position.epoch:
                self.reset(Position(at.epoch, at.offset - 1))
            if at.offset <= self.position.offset:
                raise ValueError(f"event at {at} after {self.position}: positions must ascend")
            self._events.append(event)
            self._offsets.append(at.offset)
            self.bytes += len(event.payload)
            self.position = at
        self._trim()

    def advance(self, position: Position) -> None:
        """Say that memory is at `position` although no event is shown for the last step."""
        if position.epoch != self.position.epoch:
            self.reset(position)
        elif position.offset > self.position.offset:
            self.position = position

    def since(self, position: Position) -> Sequence[FeedEvent] | None:
        """Events after `position`, oldest first; None when the ring does not reach there (or is behind it)."""
        if position.epoch != self.position.epoch:
            return None
        if not self.floor.offset <= position.offset <= self.position.offset:
            return None
        return self._events[bisect_right(self._offsets, position.offset, self._start) :]

    def __len__(self) -> int:
        return len(self._events) - self._start

    def _trim(self) -> None:
        start, end = self._start, len(self._events)
        while start < end and (end - start > self._max_events or self.bytes > self._max_bytes):
            gone = self._events[start]
            self.bytes -= len(gone.payload)
            self.floor = gone.position
            start += 1
        self._start = start
        # Cut off in large pieces, so that a steady stream pays for the move once per max_events / 2 events.
        if start > self._max_events // 2 or start == end:
            del self._events[:start], self._offsets[:start]
            self._start = 0


class RingFeed:
    """A `Feed` over a ring. Code that applies events calls `append`, in the loop's thread.

    `backlog` reads further back than the ring (a role hands in the journal); without one, what the ring has
    forgotten cannot be recovered.
    """

    def __init__(
        self,
        position: Position,
        *,
        backlog: Callable[[Position], Awaitable[list[FeedEvent] | None]] | None = None,
        max_events: int = 10_000,
        max_bytes: int = 16 << 20,
        clock: Clock | None = None,
    ) -> None:
        self.ring = Ring(position, max_events=max_events, max_bytes=max_bytes)
        self._backlog = backlog
        self._clock = clock or SystemClock()
        self._listeners: tuple[Callable[[Sequence[FeedEvent]], None], ...] = ()
        self._waiters: list[tuple[int, int, asyncio.Future[bool]]] = []
        self._turn = 0

    def append(self, events: Sequence[FeedEvent], position: Position | None = None) -> None:
        """Append one applied batch and notify every subscriber; `position`: of memory now, if later than the
        last event."""
        epoch = self.ring.position.epoch
        if events:
            self.ring.extend(events)
        if position is not None:
            self.ring.advance(position)
        self._wake(changed=epoch != self.ring.position.epoch)
        if events:
            for listener in self._listeners:
                listener(events)

    def reset(self, position: Position) -> None:
        """Memory was loaded anew at `position`, perhaps of another epoch: nothing before it can be recovered here."""
        self.ring.reset(position)
        self._wake(changed=True)

    def position(self) -> Position:
        return self.ring.position

    def carry(self, position: Position) -> Position | None:
        return position if position.epoch == self.ring.position.epoch else None

    async def wait(self, position: Position, deadline: Deadline) -> bool:
        here = self.ring.position
        if position.epoch != here.epoch:
            return False
        if here.offset >= position.offset:
            return True
        arrived: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._turn += 1
        entry = (position.offset, self._turn, arrived)
        heapq.heappush(self._waiters, entry)
        try:
            return await asyncio.wait_for(arrived, deadline.remaining(self._clock))
        except TimeoutError:
            return False
        finally:
            if arrived.cancelled():  # timed out, or the waiter was cancelled: the entry is still in the heap
                self._waiters.remove(entry)
                heapq.heapify(self._waiters)

    def since(self, position: Position) -> Sequence[FeedEvent] | None:
        return self.ring.since(position)

    async def is_in_journal(self, position: Position) -> bool:
        here = self.ring.position
        return position.epoch == here.epoch and position.offset <= here.offset

    async def backlog(self, position: Position) -> list[FeedEvent] | None:
        if self._backlog is None or position.epoch != self.ring.position.epoch:
            return None
        return await self._backlog(position)

    def subscribe(self, listener: Callable[[Sequence[FeedEvent]], None]) -> Callable[[], None]:
        self._listeners = (*self._listeners, listener)

        def unsubscribe() -> None:
            self._listeners = tuple(other for other in self._listeners if other is not listener)

        return unsubscribe

    def _wake(self, *, changed: bool) -> None:
        offset = self.ring.position.offset
        while self._waiters and (changed or self._waiters[0][0] <= offset):
            _, _, arrived = heapq.heappop(self._waiters)
            if not arrived.done():
                arrived.set_result(not changed)


class LocalAnnouncer:
    """Announcements within one process."""

    def __init__(self) -> None:
        self._listeners: tuple[Callable[[bytes], None], ...] = ()

    def announce(self, payload: bytes) -> None:
        for listener in self._listeners:
            listener(payload)

    def subscribe(self, listener: Callable[[bytes], None]) -> Callable[[], None]:
        self._listeners = (*self._listeners, listener)

        def unsubscribe() -> None:
            self._listeners = tuple(other for other in self._listeners if other is not listener)

        return unsubscribe
