"""Reactors: what has to happen outside because of an event. Mail, webhooks, foreign queues, files.

A reactor has a durable cursor on the journal. It sees every event of its kinds at least once and in order; what
it raises is tried again with growing pauses, and after `attempts` the event is put aside as a dead letter, so
that one bad event does not stop the rest for ever; `skerry dead retry` asks for another try. On a shared journal
one process at a time runs it, by a lease.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from skerry.clock import Backoff, Clock, SystemClock
from skerry.emitter import EventEmitter
from skerry.errors import MessageError, Trimmed, Unavailable
from skerry.journal.epochs import Epochs
from skerry.journal.hints import HintLike, Hints
from skerry.journal.journal import DeadLetter, JournalWriter, Lease, Record
from skerry.messages.message import Event
from skerry.messages.serializer import Serializer
from skerry.messages.text import storable
from skerry.position import Position

RETRY = "retry"
"""Header of a dead letter: an operator wants its event tried again."""
React = Callable[[Any, Record], Awaitable[Any] | Any]
INFRASTRUCTURE = (Unavailable, OSError, TimeoutError)


@dataclass(frozen=True, slots=True)
class Reactor:
    """A declared reactor.

    `react(event, record, services...)`: sync or async. `events`: the classes it wants to see. `begin`: where a new
    one starts, "now" or "start" (of the journal). `attempts`: tries of one event before it is put aside, 0 = for
    ever. `timeout_seconds`: of one try. `first_pause`, `longest_pause`: seconds between tries.
    """

    name: str
    react: React
    events: tuple[type[Event], ...]
    begin: str = "now"
    attempts: int = 10
    timeout_seconds: float = 30.0
    first_pause: float = 0.5
    longest_pause: float = 60.0


@dataclass(slots=True)
class ReactorRun:
    """Runs one reactor. Emits on `emitter`: `reacted` (name, record), `retrying` (name, record, exception, pause),
    `gave_up` (name, record, exception), `waiting` (name: another process has the lease), `lost` (name, position,
    number: so many events that it had seen are not in the journal any more)."""

    reactor: Reactor
    react: React
    writer: JournalWriter
    hints: Hints
    serializer: Serializer
    owner: str
    shared: bool = True
    lease_seconds: float = 15.0
    page: int = 200
    poll_seconds: float = 1.0
    letters_seconds: float = 5.0
    clock: Clock = field(default_factory=SystemClock)
    emitter: EventEmitter = field(default_factory=EventEmitter)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _looked_at: float = float("-inf")

    async def run(self) -> None:
        """React for ever; ends by cancellation, between two events or within a try (which is then repeated)."""
        unsubscribe = self.hints.subscribe(self._on_hint)
        backoff = Backoff(0.1, 10.0)
        lease: Lease | None = None
        try:
            while True:
                try:
                    if self.shared:
                        lease = await self.writer.acquire(self._lease_name, self.owner, self.lease_seconds)
                    if self.shared and lease is None:
                        self.emitter.emit("waiting", self.reactor.name)
                        await self._pause(self.lease_seconds / 3)
                        continue
                    moved = await (self._work() if lease is None else self._work_under(lease))
                    backoff.reset()
                    if not moved:
                        await self._pause(self.poll_seconds)
                except INFRASTRUCTURE:
                    await self.clock.sleep(backoff.next())
        finally:
            unsubscribe()
            if lease is not None:
                await self._release(lease)

    @property
    def _lease_name(self) -> str:
        return f"reactor:{self.reactor.name}"

    async def _release(self, lease: Lease) -> None:
        try:
            async with asyncio.timeout(1.0):
                await self.writer.release(lease)
        except INFRASTRUCTURE:
            pass  # it ends by itself

    def _on_hint(self, hint: HintLike) -> None:
        self._wake.set()

    async def _pause(self, seconds: float) -> None:
        self._wake.clear()
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            pass

    async def _work_under(self, lease: Lease) -> bool:
        """Work for as long as the lease is ours, however long it takes. Lost, the work ends where it is."""
        working = asyncio.create_task(self._work(), name=f"skerry-reactor-{self.reactor.name}")
        keeping = asyncio.create_task(self._keep(lease), name=f"skerry-keep-{self.reactor.name}")
        try:
            await asyncio.wait({working, keeping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (working, keeping):
                task.cancel()
            await asyncio.wait({working, keeping})
        if working.cancelled():
            keeping.result()
            return False
        return working.result()

    async def _keep(self, lease: Lease) -> None:
        """Renew it until it is lost. While the database is away nobody else can take it."""
        while True:
            await self.clock.sleep(self.lease_seconds / 3)
            try:
                renewed = await self.writer.acquire(lease.name, self.owner, self.lease_seconds)
            except INFRASTRUCTURE:
                continue
            if renewed is None or renewed.fence != lease.fence:
                return

    async def _work(self) -> bool:
        """One page of events, and what operators want tried again; False when there was nothing new."""
        cursor = await self._cursor()
        try:
            records = await self.writer.read(cursor.offset, self.page)
        except Trimmed as gone:
            # Never by our own trim, which respects cursors: a restored or foreign journal.
            records = await self.writer.read(gone.floor, self.page)
        names = {kind.message_name for kind in self.reactor.events}
        for record in records:
            if record.name in names:
                await self._handle(record)
                await self._advance(cursor.epoch, record.offset)
        if records:
            await self._advance(cursor.epoch, records[-1].offset)
        await self._try_letters()
        return bool(records)

    async def _cursor(self) -> Position:
        head = await self.writer.head()
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

    async def _advance(self, epoch: str, offset: int) -> None:
        await self.writer.advance(self.reactor.name, Position(epoch, offset))

    async def _try_letters(self) -> None:
        """Try once more what was put aside, where somebody asked for it."""
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
            offset, data = int(letter.headers["offset"]), msgspec.Raw(letter.body)
            record = Record(offset, "", letter.key, letter.name, letter.version, letter.at, False, data)
            try:
                await self._try(record)
            except Exception as error:
                again = _letter(self.reactor, record, error, letter.attempts + 1, self.clock.now())
                await self.writer.bury(again)
                self.emitter.emit("gave_up", self.reactor.name, record, error)
            else:
                await self.writer.exhume(letter.command_id)
                self.emitter.emit("reacted", self.reactor.name, record)

    async def _try(self, record: Record) -> None:
        event = self.serializer.decode(record.name, record.version, record.data)
        async with asyncio.timeout(self.reactor.timeout_seconds):
            result = self.react(event, record)
            if isinstance(result, Awaitable):
                await result

    async def _handle(self, record: Record) -> None:
        """Until it worked, or it was put aside."""
        backoff = Backoff(self.reactor.first_pause, self.reactor.longest_pause)
        while True:
            try:
                await self._try(record)
                break
            except Exception as error:
                pause = backoff.next()
                enough = 0 < self.reactor.attempts <= backoff.attempts
                if enough or isinstance(error, MessageError):
                    await self.writer.bury(
                        _letter(self.reactor, record, error, backoff.attempts, self.clock.now())
                    )
                    self.emitter.emit("gave_up", self.reactor.name, record, error)
                    return
                self.emitter.emit("retrying", self.reactor.name, record, error, pause)
                await self.clock.sleep(pause)
        self.emitter.emit("reacted", self.reactor.name, record)


def _letter(reactor: Reactor, record: Record, error: Exception, attempts: int, at: float) -> DeadLetter:
    details = storable("".join(traceback.format_exception(error, limit=-20)), 20_000)
    reason = storable(f"reactor {reactor.name}: {type(error).__name__}: {error}")
    letter_id = f"reactor-{reactor.name}-{record.offset}"
    headers = {"reactor": reactor.name, "offset": str(record.offset)}
    name, version, body = record.name, record.version, bytes(record.data)
    return DeadLetter(letter_id, name, version, record.key, body, reason, details, attempts, at, headers)
