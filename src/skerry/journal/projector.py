"""Keeps a process's memory equal to the journal.

The start has no race: hear hints and buffer them; load a snapshot with its position; drop what is older; read
what is missing; go live. A hint that leaves a gap waits for a moment (another consumer's may be on its way),
then the gap is read from the journal. Once a second the journal's end is asked for, so that a lost last hint
is repaired too, also while the broker is away. A new epoch (a restored database) means a new snapshot.

Decides and waits in one place on purpose, and does nothing else: what an event means is the projections' own
business, who listens is the caller's.
"""

from __future__ import annotations

import asyncio
import enum
import heapq
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from skerry.clock import Backoff, Clock, Deadline, SystemClock
from skerry.emitter import EventEmitter
from skerry.errors import DeclarationError, JournalError, SkerryError, Trimmed, Unavailable
from skerry.journal.journal import JournalReader, Record
from skerry.journal.projection import Apply, Projection
from skerry.journal.snapshot import SnapshotFile
from skerry.journal.table import AnyTable
from skerry.messages.message import Event
from skerry.messages.serializer import Serializer
from skerry.position import Position


class HintLike(Protocol):
    """What the projector needs to know of a transport's hint."""

    @property
    def epoch(self) -> str: ...
    @property
    def first(self) -> int: ...
    @property
    def last(self) -> int: ...
    @property
    def records(self) -> list[Record] | None: ...


class Hints(Protocol):
    """Where hints come from: a transport."""

    def subscribe(self, listener: Callable[[Any], None]) -> Callable[[], None]: ...


class Phase(enum.StrEnum):
    """Where a projector stands. Memory may be read from `CATCHING_UP` on when it was warm-started."""

    CREATED = "created"
    LOADING = "loading"
    CATCHING_UP = "catching up"
    LIVE = "live"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class ProjectorSettings:
    """`poll_seconds`: how often the journal's end is asked for. `reorder_seconds`: how long a gap may wait for
    another consumer's hint. `page`: records read at a time. `max_held`: records of early hints kept meanwhile."""

    poll_seconds: float = 1.0
    reorder_seconds: float = 0.02
    page: int = 1000
    max_held: int = 10_000


Applied = Callable[[Sequence[Record], str], None]


class Projector:
    """Applies the journal's events, in order and without a gap, to the projections of this process.

    Emits on `events`: `applied` (position, number), `gap` (expected, got), `caught_up` (position), `reloaded`
    (position), `failure` (name of a projection, "listener", "feed" or "memory"; record or None; exception).
    """

    def __init__(
        self,
        reader: JournalReader,
        hints: Hints,
        projections: Sequence[Projection],
        serializer: Serializer,
        *,
        settings: ProjectorSettings | None = None,
        warm: SnapshotFile | None = None,
        clock: Clock | None = None,
        events: EventEmitter | None = None,
    ) -> None:
        self._reader, self._hints, self._serializer = reader, hints, serializer
        self._projections = list(projections)
        self._settings = settings or ProjectorSettings()
        self._warm = warm
        self._clock = clock or SystemClock()
        self.events = events or EventEmitter()
        self._apply_by_name: dict[str, list[tuple[Projection, Apply]]] = _methods(self._projections)
        self.phase = Phase.CREATED
        self.failed: dict[str, str] = {}
        self.fresh_at = 0.0
        self._epoch, self._offset = "", 0
        self._position = Position("", 0)
        self._tip = 0
        self._held: list[_Held] = []
        self._held_records = 0
        self._wake = asyncio.Event()
        self._repair_at: float | None = None
        self._waiters: list[tuple[int, int, asyncio.Future[bool]]] = []
        self._waiter_number = 0
        self._listeners: list[Applied] = []
        self._owner: asyncio.Task[None] | None = None
        self._unsubscribe: Callable[[], None] = lambda: None
        self._live = asyncio.Event()

    # --- what others ask

    @property
    def position(self) -> Position:
        """What this memory has applied; the same object until it changes."""
        known = self._position
        if known.offset != self._offset or known.epoch != self._epoch:
            known = self._position = Position(self._epoch, self._offset)
        return known

    @property
    def behind(self) -> int:
        """How many known events are not applied yet (exact as of the last hint or poll)."""
        return max(0, self._tip - self._offset)

    @property
    def stale_seconds(self) -> float:
        """How long ago memory was last known to be equal to the journal; huge before the first time."""
        return self._clock.monotonic() - self.fresh_at if self.fresh_at else float("inf")

    def listen(self, listener: Applied) -> Callable[[], None]:
        """Call `listener(records, epoch)` after each applied run of records, in order. Returns how to end it."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener) if listener in self._listeners else None

    def reached(self, position: Position) -> bool:
        return position.epoch == self._epoch and self._offset >= position.offset

    def when(self, offset: int) -> asyncio.Future[bool]:
        """A future that is done (True) when memory has reached `offset` of the present epoch."""
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        if self._offset >= offset:
            future.set_result(True)
        else:
            self._waiter_number += 1
            heapq.heappush(self._waiters, (offset, self._waiter_number, future))
        return future

    def expect(self, offset: int) -> asyncio.Future[bool]:
        """Like `when`, for an offset that somebody says exists: the journal is asked at once, not at the next poll."""
        if self._offset < offset:
            self._repair_at = self._clock.monotonic()
            self._wake.set()
        return self.when(offset)

    async def wait(self, position: Position, deadline: Deadline) -> bool:
        """Whether memory reached `position` in time. A position of another epoch is never waited for: False."""
        if position.epoch != self._epoch:
            return False
        if self._offset >= position.offset:
            return True
        future = self.expect(position.offset)
        try:
            async with asyncio.timeout(deadline.remaining(self._clock)):
                return await future
        except TimeoutError:
            return False
        finally:
            future.cancel()

    # --- life

    async def start(self, *, wait: bool = True) -> None:
        """Load and catch up. With `wait` it returns when memory is live; without, at once after a warm start or
        with the loading under way (`phase` tells). Raises what the first load raises when there is no warm start."""
        if self._owner is not None:
            return
        self._live.clear()
        self._unsubscribe = self._hints.subscribe(self._on_hint)
        self.phase = Phase.LOADING
        if self._warm is not None and await self._start_warm(self._warm):
            self.phase = Phase.CATCHING_UP
        self._owner = asyncio.create_task(self._run(), name="skerry-projector")
        if wait:
            await self.live()

    async def live(self) -> None:
        """Return when memory has caught up for the first time; raises what ended the projector, if that comes first."""
        assert self._owner is not None
        waiting = asyncio.ensure_future(self._live.wait())
        try:
            await asyncio.wait({waiting, self._owner}, return_when=asyncio.FIRST_COMPLETED)
            if not self._live.is_set():
                self._owner.result()
        finally:
            waiting.cancel()

    async def stop(self) -> None:
        """Stop following; memory stays readable. Writes the warm-start file when there is one."""
        self._unsubscribe()
        owner, self._owner = self._owner, None
        if owner is not None:
            owner.cancel()
            await asyncio.wait({owner})
        whole = self._live.is_set() and self.phase is not Phase.LOADING  # else it is the state of no position
        self.phase = Phase.STOPPED
        for _, _, future in self._waiters:
            future.cancel()
        self._waiters.clear()
        if whole:
            self.save()

    def save(self) -> None:
        """Write the warm-start file now, when one is configured and every projection can be dumped."""
        if self._warm is not None and self._epoch and not self.failed and self.phase is not Phase.LOADING:
            known_at = self._clock.now() - self.stale_seconds if self.fresh_at else 0.0
            self._warm.write(self.position, self._projections, known_at)

    # --- hints: what usually happens, without a task

    def _on_hint(self, hint: HintLike) -> None:
        if hint.epoch != self._epoch or self.phase is not Phase.LIVE:
            if hint.epoch != self._epoch and self.phase is Phase.LIVE:
                self._wake.set()  # perhaps a restored database; the journal knows
            self._hold(hint)
            return
        if hint.last > self._tip:
            self._tip = hint.last
        if hint.last <= self._offset:
            if hint.last == self._offset:
                self.fresh_at = self._clock.monotonic()
            return
        if hint.first <= self._offset + 1 and hint.records is not None and not self._held:
            self._take(hint.records)
        elif hint.first > self._offset + 1 or hint.records is None or self._held:
            self._hold(hint)
            self._take_held()
            if self._offset < self._tip and self._repair_at is None:
                self.events.emit("gap", self._offset + 1, hint.first)
                wait = 0.0 if hint.records is None else self._settings.reorder_seconds
                self._repair_at = self._clock.monotonic() + wait
                self._wake.set()

    def _hold(self, hint: HintLike) -> None:
        self._tip = max(self._tip, hint.last) if hint.epoch == self._epoch else self._tip
        size = len(hint.records) if hint.records else 0
        if size and self._held_records + size <= self._settings.max_held:  # beyond it: the journal has it
            heapq.heappush(self._held, _Held(hint.first, hint))
            self._held_records += size

    def _take_held(self) -> None:
        while self._held and self._held[0].first <= self._offset + 1:
            hint = heapq.heappop(self._held).hint
            self._held_records -= len(hint.records or ())
            if hint.epoch == self._epoch and hint.last > self._offset and hint.records:
                self._take(hint.records)

    def _take(self, records: Sequence[Record]) -> None:
        """Apply what is new of `records`, which are contiguous and begin at or before the next offset."""
        skip = self._offset + 1 - records[0].offset
        if skip > 0:
            records = records[skip:]
            if not records:
                return
        for record in records:
            applies = self._apply_by_name.get(record.name)
            if applies is not None:
                self._apply(record, applies)
        self._offset = records[-1].offset
        if self._offset >= self._tip:
            self._tip = self._offset
            self.fresh_at = self._clock.monotonic()
        for listener in list(self._listeners):
            try:
                listener(records, self._epoch)
            except Exception as error:  # memory goes on, and the others hear it
                self.events.emit("failure", "listener", records[-1], error)
        self._wake_waiters()
        self.events.emit("applied", self._offset, len(records))

    def _apply(self, record: Record, applies: list[tuple[Projection, Apply]]) -> None:
        try:
            event = self._serializer.decode(record.name, record.version, record.data)
        except Exception as error:
            for projection, _ in applies:
                self._fail(projection, record, error)
            return
        for projection, apply in applies:
            if self.failed and type(projection).__name__ in self.failed:
                continue
            try:
                apply(event, record)
            except Exception as error:
                self._fail(projection, record, error)

    def _fail(self, projection: Projection, record: Record, error: Exception) -> None:
        """A projection that cannot apply an event is wrong from then on: it is not fed further, and readiness
        says so; the others go on. A restart rebuilds it, once the reason is mended."""
        name = type(projection).__name__
        self.failed.setdefault(
            name, f"event {record.offset} ({record.name}): {type(error).__name__}: {error}"
        )
        self.events.emit("failure", name, record, error)

    # --- loading and repair: one task

    async def _run(self) -> None:
        backoff = Backoff(0.1, 5.0)
        jitter = random.Random()
        load = self.phase is Phase.LOADING
        while True:
            try:
                if load:
                    await self._load()
                    load = False
                if not await self._catch_up():
                    load = True
                    continue
                backoff.reset()
                pause = self._settings.poll_seconds * (0.75 + 0.5 * jitter.random())
            except Trimmed:
                load = True
                continue
            except (Unavailable, TimeoutError, OSError):
                pause = backoff.next()
            except SkerryError as error:
                if not self._epoch:
                    raise  # the start fails
                # Memory stays what it is, and is loaded anew; it must never stop without a word.
                self.events.emit("failure", "memory", None, error)
                load, pause = True, backoff.next()
            self._repair_at = None
            await self._pause(pause)

    async def _pause(self, seconds: float) -> None:
        """Wait until the next poll, or until there is a gap to repair whose time has come."""
        until = self._clock.monotonic() + seconds
        while True:
            self._wake.clear()
            if self._repair_at is not None:
                until = min(until, self._repair_at)
            left = until - self._clock.monotonic()
            if left <= 0:
                return
            try:
                async with asyncio.timeout(left):
                    await self._wake.wait()
            except TimeoutError:
                return
            if self._repair_at is None:
                return

    async def _load(self) -> None:
        """Everything anew from a snapshot (or, for stored projections, from theirs and the events since).

        The first time nobody reads yet, and rows are taken as they come. Later they are gathered first, and memory
        changes in one step: a read never meets one that is half there, nor does a lost connection leave it so.
        """
        self.phase = Phase.LOADING
        first = not self._epoch
        tables = {table.name: table for p in self._projections for table in p.source_tables()}
        by_table = {
            name: [p for p in self._projections if tables[name] in p.source_tables()] for name in tables
        }
        gathered: list[tuple[str, Sequence[tuple[str, bytes | str, int]]]] = []
        async with self._reader.snapshot(list(tables)) as snapshot:
            position = snapshot.position
            if first:
                self._clear()
            for name, table in tables.items():
                async for page in snapshot.rows(name):
                    if first:
                        _load_page(table, by_table[name], page)
                    else:
                        gathered.append((name, page))
        histories = [await self._history(p, position) for p in self._projections if p.stored]
        if not first:
            self._clear()
            for name, page in gathered:
                _load_page(tables[name], by_table[name], page)
        self.failed.clear()
        for history in histories:
            self._relive(history)
        self._arrive(position)

    def _clear(self) -> None:
        for projection in self._projections:
            projection.clear()

    def _arrive(self, position: Position) -> None:
        """Memory is at `position`, not by events."""
        moved = self._epoch != position.epoch
        self._epoch, self._offset = position.epoch, position.offset
        self._tip = position.offset
        if moved:
            self._held = [held for held in self._held if held.hint.epoch == position.epoch]
            heapq.heapify(self._held)
            self._held_records = sum(len(held.hint.records or ()) for held in self._held)
            self._release_waiters()
        else:
            self._wake_waiters()
        self.phase = Phase.CATCHING_UP
        self.events.emit("reloaded", position)

    async def _history(self, projection: Projection, upto: Position) -> _History:
        """A stored projection's own snapshot and the events between it and `upto`.
        Raises JournalError when the journal no longer reaches back to it."""
        name = type(projection).__name__
        stored = await self._reader.load_projection(name)
        fits = stored and stored.version == projection.version and stored.position.epoch == upto.epoch
        after = stored.position.offset if stored and fits else 0
        wanted = {kind.message_name for kind in projection.applied_events()}
        history = _History(projection, stored.data if stored and fits else None, [])
        try:
            while after < upto.offset:
                records = await self._reader.read(after, self._settings.page)
                history.records += [r for r in records if r.offset <= upto.offset and r.name in wanted]
                if not records:
                    break
                after = min(records[-1].offset, upto.offset)
        except Trimmed as gone:
            raise JournalError(
                f"projection {name} has to be rebuilt (version {projection.version}), but the journal no longer "
                f"reaches back: {gone}"
            ) from gone
        return history

    def _relive(self, history: _History) -> None:
        if history.state is not None:
            history.projection.restore(history.state)
        applies = _methods([history.projection])
        for record in history.records:
            self._apply(record, applies[record.name])

    async def _catch_up(self) -> bool:
        """Read until the journal's end; False when everything has to be loaded anew."""
        # Hints may overtake the answer: it is older than what they bring, and only proves what was here before.
        before = self._offset
        head = await self._reader.head()
        if head.position.epoch != self._epoch or head.position.offset < before or head.floor > self._offset:
            return False
        self._tip = max(self._tip, head.position.offset)
        self._take_held()
        while self._offset < head.position.offset:
            records = await self._reader.read(self._offset, self._settings.page)
            if records and records[0].offset <= self._offset + 1:
                self._take(records)
            self._take_held()
            if not records and self._offset < head.position.offset:
                raise JournalError(
                    f"the journal ends at {head.position} but has nothing after {self._offset}"
                )
            await asyncio.sleep(0)  # reads go on between pages
        if self.phase is not Phase.LIVE:
            self.phase = Phase.LIVE
            self._live.set()
            self.events.emit("caught_up", self.position)
        if self._offset >= head.position.offset:
            self._tip = max(self._offset, self._highest_held())
            self.fresh_at = self._clock.monotonic()
        return True

    def _highest_held(self) -> int:
        return max((held.hint.last for held in self._held), default=0)

    async def _start_warm(self, warm: SnapshotFile) -> bool:
        """Load the local snapshot file; False when there is none that fits."""
        position = warm.read(self._projections)
        if position is None:
            for projection in self._projections:
                projection.clear()
            return False
        self._epoch, self._offset, self._tip = position.epoch, position.offset, position.offset
        if warm.known_at:
            age = max(0.0, self._clock.now() - warm.known_at)
            self.fresh_at = (self._clock.monotonic() - age) or -1.0
        return True

    def _wake_waiters(self) -> None:
        while self._waiters and self._waiters[0][0] <= self._offset:
            future = heapq.heappop(self._waiters)[2]
            if not future.done():
                future.set_result(True)

    def _release_waiters(self) -> None:
        """Positions of the epoch that ended are never reached."""
        waiters, self._waiters = self._waiters, []
        for _, _, future in waiters:
            if not future.done():
                future.set_result(False)


@dataclass(slots=True)
class _History:
    """What a stored projection is made of: its snapshot (None: from the beginning) and the events since."""

    projection: Projection
    state: bytes | None
    records: list[Record]


class _Held:
    """A hint that came early, in order of its first offset."""

    __slots__ = ("first", "hint")

    def __init__(self, first: int, hint: HintLike) -> None:
        self.first, self.hint = first, hint

    def __lt__(self, other: _Held) -> bool:
        return self.first < other.first


def _methods(projections: Iterable[Projection]) -> dict[str, list[tuple[Projection, Apply]]]:
    """Event name -> who applies it, bound once."""
    found: dict[str, list[tuple[Projection, Apply]]] = {}
    seen: set[str] = set()
    for projection in projections:
        name = type(projection).__name__
        if name in seen:
            raise DeclarationError(f"two projections are named {name}")
        seen.add(name)
        kinds: dict[type[Event], str] = projection.applied_events()
        for kind, method in kinds.items():
            found.setdefault(kind.message_name, []).append((projection, getattr(projection, method)))
    return found


def _load_page(
    table: AnyTable, projections: list[Projection], page: Sequence[tuple[str, bytes | str, int]]
) -> None:
    decode, key_of = table.decode, table.key_of
    if table.key is str and len(projections) == 1:
        load = projections[0].load
        for key, data, offset in page:
            load(table, key, decode(data), offset)
        return
    for text, data, offset in page:
        key, row = key_of(text), decode(data)
        for projection in projections:
            projection.load(table, key, row, offset)
