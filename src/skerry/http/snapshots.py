"""The current values, for those who begin to listen: taken and encoded once for all who ask at about the same time.

A snapshot is produced a slice at a time, when the foremost of its readers wants the next one; the others are given
the same bytes. A slice is released when every reader is past it and newcomers are given a newer
snapshot. What happened since it was taken is remembered too, the newest of each key, so that a reader who is
done gets there however far the feed's own memory reaches back. All of it is bounded:
`overdue_readers` are those that are closed.

Everything is plain and runs in the loop's thread; the channel decides which listener is written to, and when.
"""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

from msgspec.json import encode

from skerry.clock import Clock
from skerry.errors import SkerryError, Unavailable
from skerry.http.feed import Feed, FeedEvent
from skerry.http.listener import Listener, Wire
from skerry.position import Position

log = logging.getLogger("skerry.hub")

Snapshot = Callable[[str], tuple[Position, Iterable[bytes]]]
"""The current values whose key starts with a prefix: (position, JSON objects). Called in the loop's thread; the
iterable is read in slices over many loop turns and has to stay correct while memory moves on."""


class NoSnapshot(SkerryError):
    """There is none, or it cannot be told to its end: the application's function failed, or a limit was reached."""


class SnapshotLimits(Protocol):
    """The part of the hub's settings that is about snapshots."""

    @property
    def slice_bytes(self) -> int: ...
    @property
    def snapshot_seconds(self) -> float: ...
    @property
    def snapshot_bytes(self) -> int: ...
    @property
    def snapshots_at_once(self) -> int: ...


class Reader:
    """One who is told a snapshot: gives its slices as they are wanted. `close` it."""

    __slots__ = ("listener", "place", "taken")

    def __init__(self, taken: SharedSnapshot, listener: Listener) -> None:
        self.taken, self.listener = taken, listener
        self.place = 0
        taken.enter(self)

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        """The next slice: ready frames, the same object for every reader. Raises NoSnapshot."""
        data = self.taken.slice(self.place)
        if data is None:
            raise StopIteration
        self.taken.step(self)
        return data

    def since(self, offset: int) -> list[FeedEvent] | None:
        """What happened after `offset`, of each key the newest; None when that is not known any more."""
        if self.taken.failed:
            return None
        return [event for event in self.taken.later.values() if event.position.offset > offset]

    def close(self) -> None:
        """Want nothing any more. Idempotent."""
        self.taken.leave(self)


class SharedSnapshot:
    """One snapshot: as of `position`, under `prefix`, in the frames of `wire`."""

    def __init__(
        self, wire: Wire, prefix: str, position: Position, rows: Iterable[bytes], slice_bytes: int, at: float
    ) -> None:
        self.wire, self.prefix, self.position, self.at = wire, prefix, position, at
        self.readers: set[Reader] = set()
        self.later: dict[object, FeedEvent] = {}
        self.later_bytes = self.held_bytes = 0
        self.open = True  # for newcomers
        self.failed = False
        self._slice_bytes = slice_bytes
        self._rows: Iterator[bytes] | None = iter(rows)
        self._number = 0
        self._slices: deque[bytes] = deque()
        self._first = 0  # the place of the first slice that is still here
        self._at_place: Counter[int] = Counter()
        self._produce()
        self.large = self._rows is not None

    @property
    def producing(self) -> bool:
        """Whether the application's values have not been read to their end."""
        return self._rows is not None

    @property
    def needed(self) -> bool:
        return self.open or bool(self.readers)

    def enter(self, reader: Reader) -> None:
        self.readers.add(reader)
        self._at_place[0] += 1

    def step(self, reader: Reader) -> None:
        """The reader has its slice."""
        self._move(reader, reader.place + 1)
        self._let_go()

    def leave(self, reader: Reader) -> None:
        if reader in self.readers:
            self.readers.discard(reader)
            self._move(reader, -1)
            self._let_go()

    def release(self) -> None:
        """No more newcomers."""
        self.open = False
        self._let_go()

    def slice(self, place: int) -> bytes | None:
        """The slice at `place`, produced now when nobody had it before; None behind the last. Raises NoSnapshot."""
        if self.failed:
            raise NoSnapshot("the snapshot cannot be told to its end")
        if place == self._first + len(self._slices):
            if self._rows is None:
                return None
            self._produce()
        return self._slices[place - self._first]

    def keep(self, events: Sequence[FeedEvent], limit_bytes: int) -> None:
        """This happened since. Beyond the limit it fails: nobody could be led on from it to now."""
        later, prefix = self.later, self.prefix
        for event in events:
            if prefix and (event.key is None or not event.key.startswith(prefix)):
                continue
            fold: object = event.position.offset if event.key is None else event.key
            older = later.pop(fold, None)
            if older is not None:
                self.later_bytes -= len(older.payload)
            later[fold] = event
            self.later_bytes += len(event.payload)
        if self.later_bytes > limit_bytes:
            self.fail()

    def slowest_readers(self) -> list[Reader]:
        """Readers that are more than one slice behind and block the release of the oldest slice."""
        if len(self._slices) < 2:
            return []
        return [reader for reader in self.readers if reader.place == self._first]

    def fail(self) -> None:
        """Nobody can be told the rest."""
        self.failed = True
        self.open = False
        self._rows = None
        self.later.clear()
        self.later_bytes = 0

    def _produce(self) -> None:
        rows = self._rows
        assert rows is not None
        parts: list[bytes] = []
        size, ended = 0, True
        try:
            for row in rows:
                parts.append(row)
                size += len(row) + 1
                if size >= self._slice_bytes:
                    ended = False
                    break
        except Exception as error:  # the application's function
            log.exception("the snapshot under %r could not be read to its end", self.prefix)
            self.fail()
            raise NoSnapshot("the application's snapshot failed") from error
        self._number += len(parts)
        data = b""
        if parts:
            data = self.wire.frame(b'{"type":"snapshot","values":[' + b",".join(parts) + b"]}", None)
        if ended:
            self._rows = None
            end = {"type": "snapshot_end", "position": str(self.position), "count": self._number}
            data += self.wire.frame(encode(end), self.position)
        self._slices.append(data)
        self.held_bytes += len(data)

    def _move(self, reader: Reader, place: int) -> None:
        self._at_place[reader.place] -= 1
        if not self._at_place[reader.place]:
            del self._at_place[reader.place]
        reader.place = place
        if place >= 0:
            self._at_place[place] += 1

    def _let_go(self) -> None:
        if self.open:
            return
        while self._slices and self._first not in self._at_place:
            self.held_bytes -= len(self._slices.popleft())
            self._first += 1
        if not self.readers:
            self._rows = None
            self.later.clear()


class Snapshots:
    """The snapshots of one channel. `take` is the application's, `feed` what its values follow."""

    def __init__(self, take: Snapshot, feed: Feed, limits: SnapshotLimits, clock: Clock) -> None:
        self._take, self._feed, self._limits, self._clock = take, feed, limits, clock
        self._all: list[SharedSnapshot] = []  # oldest first
        self._newest: dict[tuple[Wire, str], SharedSnapshot] = {}

    @property
    def held_bytes(self) -> int:
        """Encoded slices that are here now."""
        return sum(taken.held_bytes for taken in self._all)

    def reader(self, listener: Listener) -> Reader:
        """What `listener` is to be told first: a snapshot that others are told too, or one taken now.

        Raises NoSnapshot.
        """
        name = (listener.wire, listener.prefix)
        taken = self._newest.get(name)
        if taken is None or not self._fits(taken):
            if taken is not None:
                taken.release()
            taken = self._newest[name] = self._new(*name)
        return Reader(taken, listener)

    def keep(self, events: Sequence[FeedEvent]) -> None:
        """These were applied."""
        for taken in self._all:
            if taken.readers or (taken.open and taken.large):
                if not taken.failed:
                    taken.keep(events, self._limits.snapshot_bytes // 2)
            elif taken.open:
                taken.release()  # a small one is taken anew when something has changed

    def overdue_readers(self) -> list[Listener]:
        """Listeners to be closed: what is kept for them is over a limit, or they cannot be told the rest."""
        if not self._all:
            return []
        away = [reader.listener for taken in self._all if taken.failed for reader in taken.readers]
        limit, held = self._limits.snapshot_bytes, sum(taken.held_bytes for taken in self._all)
        for taken in self._all:
            if held <= limit:
                return away
            held -= taken.held_bytes
            taken.release()
            held += taken.held_bytes
        if held > limit:
            slowest_readers = next(filter(None, (taken.slowest_readers() for taken in self._all)), [])
            away += [reader.listener for reader in slowest_readers]
        return away

    def expire(self) -> None:
        """Called once a second: forget what newcomers are not given any more and nobody reads."""
        now = self._clock.monotonic()
        for taken in self._all:
            if taken.open and now - taken.at >= self._limits.snapshot_seconds:
                taken.release()
        self._all = [taken for taken in self._all if taken.needed]
        self._newest = {name: taken for name, taken in self._newest.items() if taken.open}

    def _fits(self, taken: SharedSnapshot) -> bool:
        here = self._feed.position()
        if not taken.open or here.epoch != taken.position.epoch:
            return False
        if here == taken.position:
            return True
        return taken.large and self._clock.monotonic() - taken.at < self._limits.snapshot_seconds

    def _new(self, wire: Wire, prefix: str) -> SharedSnapshot:
        if sum(taken.producing for taken in self._all) >= self._limits.snapshots_at_once:
            raise NoSnapshot("too many snapshots at a time")
        try:
            position, rows = self._take(prefix)
        except Unavailable as error:  # what it would read from has stopped
            raise NoSnapshot(error.reason) from error
        except Exception as error:  # the application's function
            log.exception("no snapshot under %r could be taken", prefix)
            raise NoSnapshot("the application's snapshot failed") from error
        taken = SharedSnapshot(
            wire, prefix, position, rows, self._limits.slice_bytes, self._clock.monotonic()
        )
        self._all.append(taken)
        return taken
