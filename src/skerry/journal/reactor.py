"""Reactors: what has to happen outside because of an event. Mail, webhooks, foreign queues, files.

A reactor has a durable cursor on the journal. It sees every event of its kinds at least once, and those of one key in
order. What it raises is tried again with growing pauses; meanwhile later events of that key wait, and others go on.
After `attempts` the event becomes a dead letter, so that one bad event does not stop its key for ever; `skerry dead
retry` asks for another try. The cursor stands before the first event that is not processed, and is stored ten times a
second. On a shared journal one process at a time runs it, by a lease.
"""

from __future__ import annotations

import asyncio
import traceback
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal, TypedDict

import msgspec

from skerry.clock import Backoff, Clock, SystemClock
from skerry.emitter import EventEmitter
from skerry.errors import MessageError, Trimmed, Unavailable
from skerry.journal.correcting import NOTHING
from skerry.journal.epochs import Epochs
from skerry.journal.hints import Hint, Hints
from skerry.journal.journal import DeadLetter, JournalWriter, Record
from skerry.journal.leases import Leases
from skerry.journal.memory import reason_of
from skerry.messages.message import Event, storable
from skerry.messages.serializer import Serializer
from skerry.position import Position
from skerry.provenance import carried, provenance

RETRY = "retry"
"""Header of a dead letter: an operator wants its event tried again."""
REPLAY = "~replay"
"""Behind a reactor's name: the cursor that an operator wants it to go back to. Like any other it holds the journal."""
React = Callable[[Any, Record], Awaitable[Any] | Any]
INFRASTRUCTURE = (Unavailable, OSError, TimeoutError)


class ReactorOptions(TypedDict, total=False):
    """What `app.reactor` takes beside the name and the events: fields of `Reactor`."""

    begin: Literal["now", "start"]
    attempts: int
    timeout_seconds: float
    first_pause: float
    longest_pause: float
    concurrency: int


@dataclass(frozen=True, slots=True)
class Reactor:
    """A declared reactor.

    `react(event, record, services...)`: sync or async. `events`: the classes it wants to see. `begin`: where a new
    one starts, "now" or "start" (of the journal). `attempts`: tries of one event before it is a dead letter, 0 = for
    ever. `timeout_seconds`: of one try. `first_pause`, `longest_pause`: seconds between tries. `concurrency`: so many
    keys are worked on at a time; those of one key always in order.
    """

    name: str
    react: React
    events: tuple[type[Event], ...]
    begin: str = "now"
    attempts: int = 10
    timeout_seconds: float = 30.0
    first_pause: float = 0.5
    longest_pause: float = 60.0
    concurrency: int = 1


@dataclass(frozen=True, slots=True)
class Parked:
    """A key whose next event fails: later ones of it wait behind it, and others go on."""

    key: str
    offset: int
    attempts: int
    error: str


@dataclass(slots=True)
class ReactorRun:
    """Runs one reactor. Emits on `emitter`: `reacted` (name, record), `retrying` (name, record, exception, pause),
    `gave_up` (name, record, exception), `waiting` (name: another process has the lease), `replaying` (name, position:
    an operator lets it go back there), `lost` (name, position, number: so many events that it had seen are not in the
    journal any more)."""

    reactor: Reactor
    react: React
    writer: JournalWriter
    hints: Hints
    serializer: Serializer
    owner: str
    shared: bool = True
    lease_seconds: float = 15.0
    page: int = 1000
    cursor_seconds: float = 0.1
    most_waiting: int = 1000
    poll_seconds: float = 1.0
    letters_seconds: float = 5.0
    clock: Clock = field(default_factory=SystemClock)
    emitter: EventEmitter = field(default_factory=EventEmitter)
    behind: int = 0
    """Events of the journal that it has not come to, as of its last look."""
    at_work: bool = False
    """Whether it is this process that runs it."""
    parked: dict[str, Parked] = field(default_factory=dict)
    position: Position | None = None
    """Its cursor; it has processed everything up to there."""
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _room: asyncio.Event = field(default_factory=asyncio.Event)
    _looked_at: float = float("-inf")
    _replay_at: float = float("-inf")
    _stored_at: float = float("-inf")
    _read_to: int = 0
    _undone: dict[int, None] = field(default_factory=dict)
    _lanes: dict[str, deque[Record]] = field(default_factory=dict)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _trouble: BaseException | None = None
    _slots: asyncio.Semaphore = field(init=False)
    _leases: Leases = field(init=False)

    def __post_init__(self) -> None:
        self._slots = asyncio.Semaphore(self.reactor.concurrency)
        self._leases = Leases(self.writer, self.owner, self.lease_seconds, lambda: True, self.clock)

    async def run(self) -> None:
        """React for ever; ends by cancellation, between two events or within a try (which is then repeated)."""
        unsubscribe = self.hints.subscribe(self._on_hint)
        backoff = Backoff(0.1, 10.0)
        try:
            while True:
                try:
                    lease = await self._leases.acquire(self._lease_name) if self.shared else None
                    self.at_work = not self.shared or lease is not None
                    if self.at_work:
                        await self._leases.hold(
                            lease, **{f"reactor-{self.reactor.name}": self._follow(backoff)}
                        )
                    else:
                        self.emitter.emit("waiting", self.reactor.name)
                        await self._pause(self.lease_seconds / 3)
                except INFRASTRUCTURE:
                    await self.clock.sleep(backoff.next())
        finally:
            self.at_work = False
            unsubscribe()

    def told(self) -> Iterator[str]:
        """What does not work now, in words fit for everybody's eyes."""
        for parked in list(self.parked.values())[:3]:
            yield (
                f"reactor {self.reactor.name}: event {parked.offset} was tried {parked.attempts} times "
                f"({parked.error}); its key waits"
            )
        if len(self.parked) > 3:
            yield f"reactor {self.reactor.name}: {len(self.parked)} keys wait"

    @property
    def _lease_name(self) -> str:
        return f"reactor:{self.reactor.name}"

    def _on_hint(self, hint: Hint) -> None:
        self._wake.set()

    async def _pause(self, seconds: float) -> None:
        self._wake.clear()
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            pass

    async def _follow(self, backoff: Backoff) -> None:
        """Work whenever there is something to do, for ever."""
        while True:
            moved = await self._work()
            backoff.reset()
            if not moved:
                await self._pause(self.poll_seconds)

    async def _work(self) -> bool:
        """Events, and what operators want tried again, until nothing is new and no key is parked; False when there was
        nothing at all."""
        cursor = await self._cursor()
        self.position, self._read_to, self._trouble = cursor, cursor.offset, None
        names = {kind.message_name for kind in self.reactor.events}
        moved = False
        try:
            while True:
                head = await self.writer.head()
                if head.position.epoch != cursor.epoch:
                    return True  # another history: it begins anew from its cursor
                records = await self._read()
                for record in records:
                    self._read_to = record.offset
                    if record.name in names:
                        await self._take(record)
                    self.behind = max(0, head.position.offset - self._done)
                    if self.clock.monotonic() - self._stored_at >= self.cursor_seconds:
                        await self._store()
                        await asyncio.sleep(0)
                moved = moved or bool(records)
                await self._store()
                self.behind = max(0, head.position.offset - self._done)
                await self._try_letters()
                if await self._replay_due():
                    return True  # from where somebody wants it to begin again
                if not records:
                    if not self._lanes:
                        return moved
                    await self._pause(self.poll_seconds)
                self._raise_trouble()
        finally:
            await self._let_go()

    async def _read(self) -> Sequence[Record]:
        try:
            return await self.writer.read(self._read_to, self.page)
        except Trimmed as gone:
            # Never by our own trim, which respects cursors: a restored or foreign journal.
            return await self.writer.read(gone.floor, self.page)

    async def _take(self, record: Record) -> None:
        """See to an event: at once, or behind those of its key."""
        self._undone[record.offset] = None
        lane = self._lanes.get(record.key)
        if lane is not None:
            lane.append(record)
        elif self.reactor.concurrency > 1:
            self._open(record, None)
        elif (error := await self._try(record)) is not None:
            self._open(record, error)
        else:
            self._finish(record)
        while len(self._undone) >= self.most_waiting:
            self._room.clear()
            await self._room.wait()
            self._raise_trouble()

    def _open(self, record: Record, error: Exception | None) -> None:
        """Let the events of this key wait for one another, apart from the others."""
        lane = self._lanes[record.key] = deque([record])
        name = f"skerry-reactor-{self.reactor.name}-{record.offset}"
        task = asyncio.create_task(self._work_off(record.key, lane, error), name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    async def _work_off(self, key: str, lane: deque[Record], error: Exception | None) -> None:
        while lane:
            await self._handle(lane[0], error)
            error = None
            self._finish(lane.popleft())
        del self._lanes[key]

    def _finish(self, record: Record) -> None:
        self._undone.pop(record.offset, None)
        self._room.set()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._trouble = task.exception()
        self._room.set()
        self._wake.set()

    def _raise_trouble(self) -> None:
        if self._trouble is not None:
            raise self._trouble

    async def _let_go(self) -> None:
        """End what is under way; it comes again. What is done is stored, while it is ours to store."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        if not self.shared or self._leases.has(self._lease_name):
            with suppress(*INFRASTRUCTURE):
                async with asyncio.timeout(1.0):
                    await self._store()
        self._lanes.clear()
        self._undone.clear()
        self.parked.clear()

    @property
    def _done(self) -> int:
        """Up to where every event is processed."""
        return next(iter(self._undone)) - 1 if self._undone else self._read_to

    async def _store(self) -> None:
        """Advance the cursor, when there is something to tell."""
        self._stored_at = self.clock.monotonic()
        assert self.position is not None
        if self._done != self.position.offset:
            moved = Position(self.position.epoch, self._done)
            await self.writer.advance(self.reactor.name, moved)
            self.position = moved

    async def _cursor(self) -> Position:
        head = await self.writer.head()
        await self._go_back(head.position)
        cursor = await self.writer.cursor(self.reactor.name)
        if (
            cursor is not None
            and cursor.epoch == head.position.epoch
            and cursor.offset <= head.position.offset
        ):
            return cursor
        if cursor is None and self.reactor.begin == "start":
            start = Position(head.position.epoch, head.floor)
        else:
            start = Position(head.position.epoch, await self._common(cursor, head.position))
        await self.writer.advance(self.reactor.name, start)
        return start

    async def _replay_due(self) -> bool:
        """Whether an operator wants it to go back; asked as often as for letters."""
        if self.clock.monotonic() - self._replay_at < self.letters_seconds:
            return False
        self._replay_at = self.clock.monotonic()
        return await self.writer.cursor(self.reactor.name + REPLAY) is not None

    async def _go_back(self, end: Position) -> None:
        """Begin again where an operator wants it to; a wish of a lost history is none."""
        asked = await self.writer.cursor(self.reactor.name + REPLAY)
        if asked is None:
            return
        common: int | None = asked.offset
        if asked.epoch != end.epoch:
            common = Epochs.of(await self.writer.epochs()).common(asked)
        if common is not None:
            start = Position(end.epoch, min(common, end.offset))
            await self.writer.advance(self.reactor.name, start)
            self.emitter.emit("replaying", self.reactor.name, start)
        await self.writer.forget(self.reactor.name + REPLAY)

    async def _common(self, cursor: Position | None, end: Position) -> int:
        """Up to where what this reactor has seen is the journal's history; it goes on there, in a new epoch too, and
        sees what took the place of what was lost."""
        if cursor is None:
            return end.offset
        common = Epochs.of(await self.writer.epochs()).common(cursor)
        offset = min(cursor.offset if common is None else common, end.offset)
        if offset < cursor.offset:
            self.emitter.emit("lost", self.reactor.name, cursor, cursor.offset - offset)
        return offset

    async def _try_letters(self) -> None:
        """Try dead letters once more where somebody asked for it."""
        now = self.clock.monotonic()
        if now - self._looked_at < self.letters_seconds:
            return
        self._looked_at = now
        prefix = f"reactor-{self.reactor.name}-"
        for letter in await self.writer.dead_letters(after=prefix, limit=100):
            if not letter.command_id.startswith(prefix):
                break
            if RETRY not in letter.headers:
                continue
            record = await self._record_of(letter)
            if record.name == NOTHING:  # passed over since
                await self.writer.exhume(letter.command_id)
            elif (error := await self._try(record)) is not None:
                again = _letter(self.reactor, record, error, letter.attempts + 1, self.clock.now())
                await self.writer.bury(again)
                self.emitter.emit("gave_up", self.reactor.name, record, error)
            else:
                await self.writer.exhume(letter.command_id)

    async def _record_of(self, letter: DeadLetter) -> Record:
        """The event as it is read now, which may have been amended since; as it was, when it is trimmed."""
        offset, data = int(letter.headers["offset"]), msgspec.Raw(letter.body)
        with suppress(Trimmed):
            if found := await self.writer.read(offset - 1, 1):
                return found[0]
        return Record(offset, "", letter.key, letter.name, letter.version, letter.at, False, data)

    async def _try(self, record: Record) -> Exception | None:
        """Once; what it raised, None when it worked."""
        try:
            event = self.serializer.decode(record.name, record.version, record.data)
            async with self._slots:
                cause = carried.set(provenance(record.who, record.trace))  # of the commands that it sends
                try:
                    result = self.react(event, record)
                    if isinstance(result, Awaitable):
                        async with asyncio.timeout(self.reactor.timeout_seconds):
                            await result
                finally:
                    carried.reset(cause)
        except Exception as error:
            return error
        self.emitter.emit("reacted", self.reactor.name, record)
        return None

    async def _handle(self, record: Record, error: Exception | None) -> None:
        """Until it worked, or became a dead letter; `error`: of a first try."""
        backoff = Backoff(self.reactor.first_pause, self.reactor.longest_pause)
        while error is not None or (error := await self._try(record)) is not None:
            pause = backoff.next()
            enough = 0 < self.reactor.attempts <= backoff.attempts
            if enough or isinstance(error, MessageError):
                letter = _letter(self.reactor, record, error, backoff.attempts, self.clock.now())
                await self.writer.bury(letter)
                self.emitter.emit("gave_up", self.reactor.name, record, error)
                break
            told = reason_of(error)
            self.parked[record.key] = Parked(record.key, record.offset, backoff.attempts, told)
            self.emitter.emit("retrying", self.reactor.name, record, error, pause)
            await self.clock.sleep(pause)
            error = None
        self.parked.pop(record.key, None)


def _letter(reactor: Reactor, record: Record, error: Exception, attempts: int, at: float) -> DeadLetter:
    details = storable("".join(traceback.format_exception(error, limit=-20)), 20_000)
    reason = storable(f"reactor {reactor.name}: {type(error).__name__}: {error}")
    letter_id = f"reactor-{reactor.name}-{record.offset}"
    headers = {"reactor": reactor.name, "offset": str(record.offset)}
    name, version, body = record.name, record.version, bytes(record.data)
    return DeadLetter(letter_id, name, version, record.key, body, reason, details, attempts, at, headers)
