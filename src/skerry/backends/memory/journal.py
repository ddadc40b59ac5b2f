"""The journal in this process's memory: the model of all others, with their semantics but for durability.

One batch at a time; the next waits until it has ended. Use one object for everything in the process; it keeps
what it has when it is closed and opened again. Not for what must survive the process.
"""

from __future__ import annotations

import asyncio
import dataclasses
from bisect import bisect_right
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import TracebackType
from typing import Any

import msgspec

from skerry.backends.storable import (
    DAY_SECONDS,
    MAX_EPOCHS,
    OUTCOME_SECONDS,
    PAGE_BYTES,
    PAGE_ROWS,
    check_letter,
    check_text,
    check_writes,
    new_epoch_name,
)
from skerry.backends.stored import head_of
from skerry.clock import Clock, SystemClock
from skerry.errors import Disconnected, Fenced, JournalError, Overloaded, Trimmed, WrongEpoch
from skerry.journal.correcting import correct
from skerry.journal.epochs import Epoch, Epochs
from skerry.journal.journal import (
    WAITS,
    Amendment,
    Batch,
    Correction,
    DeadLetter,
    Head,
    Lease,
    LetterHead,
    NewEvent,
    NewOutcome,
    Outcome,
    Reader,
    Record,
    Snapshot,
    Status,
    StoredProjection,
    StoredRow,
    Writes,
)
from skerry.position import Position

Place = tuple[str, str]


class MemoryJournal:
    """See `skerry.journal.journal.JournalWriter`. `turn_seconds`: how long a batch waits for the one before it.
    `max_events`: beyond this many, older events are forgotten (never those that a cursor or stored projection
    still needs)."""

    def __init__(
        self,
        namespace: str = "memory",
        *,
        clock: Clock | None = None,
        turn_seconds: float = 30.0,
        max_events: int = 1_000_000,
    ) -> None:
        self.namespace = namespace
        self._clock = clock or SystemClock()
        self._turn_seconds, self._max_events = turn_seconds, max_events
        self._turn = asyncio.Lock()
        self._epochs = [Epoch(1, new_epoch_name(), 0, 0, at=self._clock.now())]
        self._floor, self._trimmed_id = 0, ""
        self._records: list[Record] = []
        self._application = ""
        self._amendments: dict[int, Amendment] = {}
        self._tables: dict[str, dict[str, StoredRow]] = {}
        self._outcomes: dict[str, Outcome] = {}
        self._letters: dict[str, DeadLetter] = {}
        self._last_letter = 0
        self._attempts: dict[str, int] = {}
        self._cursors: dict[str, Position] = {}
        self._projections: dict[str, StoredProjection] = {}
        self._leases: dict[str, _Held] = {}

    async def __aenter__(self) -> MemoryJournal:
        self._turn = asyncio.Lock()  # of this loop
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    # --- reading

    @property
    def _epoch(self) -> str:
        return self._epochs[-1].name

    @property
    def _position(self) -> Position:
        return Position(self._epoch, self._floor + len(self._records))

    async def head(self, at: int | None = None) -> Head:
        return Head(self._position, self._floor, "" if at is None else self._command_id(at))

    def _command_id(self, offset: int) -> str:
        if offset == self._floor:
            return self._trimmed_id
        found = self._records[offset - self._floor - 1 : offset - self._floor] if offset > self._floor else ()
        return found[0].command_id if found else ""

    async def epochs(self) -> Sequence[Epoch]:
        return tuple(self._epochs)

    async def missed(self, position: Position) -> bool:
        names = [epoch.name for epoch in self._epochs]
        if position.epoch not in names:
            return False
        for number in range(names.index(position.epoch) + 1, len(names)):
            epoch = self._epochs[number]
            if epoch.began < position.offset:
                lost = max(epoch.lost, position.offset - epoch.began)
                self._epochs[number] = dataclasses.replace(epoch, lost=lost)
                return True
        return False

    async def read(self, after: int, limit: int) -> Sequence[Record]:
        if after < self._floor:
            raise Trimmed(after, self._floor)
        records = self._records[after - self._floor : after - self._floor + limit]
        if self._amendments:
            records = [_amended(record, self._amendments.get(record.offset)) for record in records]
        total = 0
        for number, record in enumerate(records):
            total += len(bytes(record.data))
            if total > PAGE_BYTES and number:
                return records[:number]
        return records

    @asynccontextmanager
    async def snapshot(self, tables: Sequence[str]) -> AsyncIterator[Snapshot]:
        yield _MemorySnapshot(self._position, {name: dict(self._table(name)) for name in tables})

    async def outcome(self, command_id: str) -> Outcome | None:
        outcome = self._outcomes.get(command_id)
        return None if outcome is None else self._with_epoch(outcome)

    def _with_epoch(self, outcome: Outcome) -> Outcome:
        epoch = Epochs.of(self._epochs).named(outcome.offset).epoch
        return msgspec.structs.replace(outcome, epoch=epoch)

    async def load_projection(self, name: str) -> StoredProjection | None:
        return self._projections.get(name)

    # --- deciding

    async def prepare(self, tables: Sequence[str]) -> None:
        for name in tables:
            self._tables.setdefault(name, {})

    async def application(self) -> str:
        return self._application

    async def adopt(self, application: str) -> None:
        self._application = application

    async def rename_table(self, old: str, new: str) -> bool:
        if old not in self._tables or self._table(new):
            return False
        self._tables[new] = self._tables.pop(old)
        return True

    @asynccontextmanager
    async def batch(
        self, claims: Sequence[str], keys: Iterable[Place], lease: Lease | None = None, recall: bool = False
    ) -> AsyncIterator[tuple[Batch, Mapping[Place, StoredRow]]]:
        check_text("command id", claims)
        try:
            async with asyncio.timeout(self._turn_seconds):
                await self._turn.acquire()
        except TimeoutError as error:
            raise Overloaded(f"the batch before took longer than {self._turn_seconds:g} s") from error
        batch = _MemoryBatch(self, claims, lease)
        try:
            yield batch, await batch.load(keys)
        finally:
            batch.is_open = False
            self._turn.release()

    def _table(self, name: str) -> dict[str, StoredRow]:
        table = self._tables.get(name)
        if table is None:
            raise Disconnected(f"the journal {self.namespace!r} has no table {name!r} yet")
        return table

    def _write(self, writes: Writes, lease: Lease | None) -> int:
        if lease is not None:
            held = self._leases.get(lease.name)
            if held is None or (held.owner, held.fence) != (lease.owner, lease.fence):
                raise Fenced(lease.name)
        for name in (*writes.puts, *writes.deletes):
            self._table(name)
        base = self._position.offset
        now = self._clock.now()
        self._records.extend(_record(base + n, event) for n, event in enumerate(writes.events, 1))
        for name, rows in writes.puts.items():
            table = self._tables[name]
            for key, (data, before) in rows.items():
                table[key] = StoredRow(data, base + before)
        for name, gone in writes.deletes.items():
            table = self._tables[name]
            for key in gone:
                table.pop(key, None)
        for new in writes.outcomes:
            self._outcomes[new.command_id] = _outcome(new, base, now)
        for letter in writes.dead:
            self._keep(letter)
        for amendment in writes.amendments:
            self._amendments[amendment.offset] = amendment
        if len(self._records) > self._max_events * 1.1:
            self._trim(base + len(writes.events) - self._max_events)
        return base

    async def attempts(self, command_ids: Sequence[str]) -> Mapping[str, int]:
        for command_id in command_ids:
            self._attempts[command_id] = self._attempts.get(command_id, 0) + 1
        return {command_id: self._attempts[command_id] for command_id in command_ids}

    async def survived(self, command_ids: Sequence[str]) -> None:
        for command_id in command_ids:
            if self._attempts.get(command_id, 0) > 0:
                self._attempts[command_id] -= 1

    # --- leases

    async def acquire(self, name: str, owner: str, seconds: float) -> Lease | None:
        now = self._clock.now()
        held = self._leases.get(name)
        if held is not None and held.owner != owner and held.until > now:
            return None
        fence = 1 if held is None else held.fence + (held.owner != owner)
        self._leases[name] = _Held(owner, fence, now + seconds)
        return Lease(name, owner, fence)

    async def release(self, lease: Lease) -> None:
        held = self._leases.get(lease.name)
        if held is not None and (held.owner, held.fence) == (lease.owner, lease.fence):
            self._leases[lease.name] = _Held("", held.fence, 0.0)

    # --- durable readers

    async def cursor(self, subscriber: str) -> Position | None:
        return self._cursors.get(subscriber)

    async def advance(self, subscriber: str, position: Position) -> None:
        check_text("subscriber", (subscriber, position.epoch))
        self._cursors[subscriber] = position

    async def forget(self, subscriber: str) -> None:
        self._cursors.pop(subscriber, None)

    async def save_projection(self, stored: StoredProjection) -> None:
        check_text("projection", (stored.name, stored.position.epoch))
        old = self._projections.get(stored.name)
        if (
            old is not None
            and (old.version, old.position.epoch) == (stored.version, stored.position.epoch)
            and old.position.offset > stored.position.offset
        ):
            return
        common = Epochs.of(self._epochs).common(stored.position)
        if common is not None and stored.position.offset <= min(common, self._position.offset):
            self._projections[stored.name] = stored

    # --- dead letters

    async def dead_letters(self, after: str = "", limit: int = 100) -> Sequence[DeadLetter]:
        ids = sorted(self._letters)
        start = bisect_right(ids, after)
        return [self._letters[command_id] for command_id in ids[start : start + limit]]

    async def dead_letter(self, command_id: str) -> DeadLetter | None:
        return self._letters.get(command_id)

    async def letters(self, after: int = 0, limit: int = 100, waiting: bool = False) -> Sequence[LetterHead]:
        found = [letter for letter in self._letters.values() if letter.number > after]
        heads = [head_of(letter) for letter in found if not waiting or WAITS in letter.headers]
        return sorted(heads, key=lambda head: head.number)[:limit]

    async def first_letters(self, keys: Sequence[str]) -> Sequence[LetterHead]:
        wanted = set(keys)
        first: dict[tuple[str, bool], DeadLetter] = {}
        for letter in sorted(self._letters.values(), key=lambda letter: letter.number):
            if letter.key in wanted and letter.name and not letter.command_id.startswith("reactor-"):
                first.setdefault((letter.key, False), letter)
                if WAITS in letter.headers:
                    first.setdefault((letter.key, True), letter)
        return [head_of(letter) for letter in {each.command_id: each for each in first.values()}.values()]

    async def bury(self, letter: DeadLetter) -> None:
        check_letter(letter)
        self._keep(letter)

    def _keep(self, letter: DeadLetter) -> None:
        known = self._letters.get(letter.command_id)
        taken = {each.number for each in self._letters.values()} if letter.number else set()
        if known is not None:
            number = known.number
        elif letter.number and letter.number not in taken:
            number = letter.number
        else:
            self._last_letter = number = self._last_letter + 1
        self._letters[letter.command_id] = dataclasses.replace(letter, number=number)

    async def exhume(self, command_id: str) -> bool:
        if self._letters.pop(command_id, None) is None:
            return False
        self._attempts.pop(command_id, None)
        outcome = self._outcomes.get(command_id)
        if outcome is not None and outcome.status is Status.FAILED:
            del self._outcomes[command_id]
        return True

    # --- keeping house

    async def trim(self, before: Position) -> int:
        if before.epoch != self._epoch:
            raise WrongEpoch(before.epoch, self._epoch)
        self._trim(before.offset)
        return self._floor

    def _trim(self, wanted: int) -> None:
        epochs = Epochs.of(self._epochs)
        needed = [*self._cursors.values(), *(p.position for p in self._projections.values())]
        pinned = [at.offset if (common := epochs.common(at)) is None else common for at in needed]
        floor = max(self._floor, min([wanted, self._position.offset, *pinned]))
        self._trimmed_id = self._command_id(floor)
        del self._records[: floor - self._floor]
        self._floor = floor
        for offset in [offset for offset in self._amendments if offset <= floor]:
            del self._amendments[offset]
        days = sorted({outcome.at // DAY_SECONDS for outcome in self._outcomes.values()})
        if len(days) < 9:
            return  # a clock that is wrong for a while, or a young journal: there is time
        horizon = min(self._clock.now() - OUTCOME_SECONDS, days[-9] * DAY_SECONDS)
        last = max(o.offset for o in self._outcomes.values() if o.at // DAY_SECONDS == days[-9])
        for command_id in [c for c, o in self._outcomes.items() if o.at < horizon and o.offset <= last]:
            if command_id not in self._letters:
                del self._outcomes[command_id]
                self._attempts.pop(command_id, None)

    async def verify(self) -> Sequence[str]:
        return list(self._problems())

    def _problems(self) -> Iterator[str]:
        end = self._position.offset
        for expected, record in enumerate(self._records, self._floor + 1):
            if record.offset != expected:
                yield f"event {expected} is missing: {record.offset} stands in its place"
                break
        if self._records and self._records[-1].more:
            yield f"the last event ({end}) says that more of its command follow"
        for name, table in self._tables.items():
            ahead = sum(row.offset > end for row in table.values())
            if ahead:
                yield f"table {name}: {ahead} rows are ahead of the journal's end {end}"
        ahead = sum(outcome.offset > end for outcome in self._outcomes.values())
        if ahead:
            yield f"{ahead} outcomes are ahead of the journal's end {end}"
        for name, cursor in self._cursors.items():
            if cursor.epoch == self._epoch and cursor.offset > end:
                yield f"cursor {name} ({cursor.offset}) is ahead of the journal's end {end}"
        for name, stored in self._projections.items():
            if stored.position.epoch == self._epoch and stored.position.offset > end:
                yield f"projection {name} ({stored.position.offset}) is ahead of the journal's end {end}"

    async def tables(self) -> Sequence[str]:
        return sorted(self._tables)

    async def readers(self) -> Sequence[Reader]:
        found = [Reader(name, "reactor", at) for name, at in self._cursors.items()]
        found += [Reader(name, "projection", each.position) for name, each in self._projections.items()]
        return sorted(found, key=lambda reader: (reader.name, reader.kind))

    async def forget_projection(self, name: str) -> None:
        self._projections.pop(name, None)

    async def correct(self, correction: Correction) -> Position:
        return await correct(self, correction, self._clock.now())

    async def new_epoch(self, reason: str = "asked for", common: int = 0) -> Position:
        last, end = self._epochs[-1], self._position.offset
        old = last.name
        began = Epoch(last.number + 1, new_epoch_name(), end, min(common, end), reason, at=self._clock.now())
        self._epochs = [*self._epochs, began][-MAX_EPOCHS:]
        for name, cursor in self._cursors.items():
            if cursor.epoch == old:
                self._cursors[name] = Position(self._epoch, cursor.offset)
        for name, stored in self._projections.items():
            if stored.position.epoch == old:
                moved = Position(self._epoch, stored.position.offset)
                self._projections[name] = StoredProjection(name, stored.version, moved, stored.data)
        return self._position


class _Held(msgspec.Struct, frozen=True):
    owner: str
    fence: int
    until: float


class _MemoryBatch:
    def __init__(self, journal: MemoryJournal, claims: Sequence[str], lease: Lease | None) -> None:
        self._journal, self._claims, self._lease = journal, frozenset(claims), lease
        self.position = journal._position
        self.known: Mapping[str, Outcome] = {
            command_id: journal._with_epoch(outcome)
            for command_id in claims
            if (outcome := journal._outcomes.get(command_id)) is not None
        }
        self.is_open = True

    async def load(self, keys: Iterable[Place]) -> Mapping[Place, StoredRow]:
        if not self.is_open:
            raise JournalError("this batch is over")
        found = {}
        for place in keys:
            row = self._journal._table(place[0]).get(place[1])
            if row is not None:
                found[place] = row
        return found

    async def commit(self, writes: Writes) -> int:
        if not self.is_open:
            raise JournalError("this batch is over")
        check_writes(writes, self._claims, self.known)
        self.is_open = False
        return self._journal._write(writes, self._lease)

    def connection(self) -> Any:
        raise JournalError("SQL mode needs sqlite: or postgresql:, this journal is in memory")

    def savepoint(self) -> AbstractAsyncContextManager[None]:
        raise JournalError("SQL mode needs sqlite: or postgresql:, this journal is in memory")


class _MemorySnapshot:
    def __init__(self, position: Position, tables: Mapping[str, Mapping[str, StoredRow]]) -> None:
        self.position = position
        self._tables = tables

    async def rows(self, table: str) -> AsyncIterator[Sequence[tuple[str, bytes | str, int]]]:
        rows = self._tables[table]
        keys = sorted(rows)
        page: list[tuple[str, bytes | str, int]] = []
        size = 0
        for key in keys:
            row = rows[key]
            if page and (len(page) == PAGE_ROWS or size + len(row.data) > PAGE_BYTES):
                yield page
                page, size = [], 0
            page.append((key, row.data, row.offset))
            size += len(row.data)
        if page:
            yield page


def _record(offset: int, new: NewEvent) -> Record:
    data = msgspec.Raw(new.data)
    return Record(
        offset, new.command_id, new.key, new.name, new.version, new.at, new.more, data, new.who, new.trace
    )


def _amended(record: Record, amendment: Amendment | None) -> Record:
    if amendment is None:
        return record
    data = msgspec.Raw(amendment.data)
    return msgspec.structs.replace(record, name=amendment.name, version=amendment.version, data=data)


def _outcome(new: NewOutcome, base: int, now: float) -> Outcome:
    result = None if new.result is None else msgspec.Raw(new.result)
    return Outcome(
        new.command_id,
        new.status,
        base + new.events_before,
        new.events,
        new.reason,
        new.kind,
        result,
        new.request_hash,
        now,
    )
