"""One batch on PostgreSQL: opened by one statement, written by one statement, protected in between.

No transaction is open while handlers run, so a process that hangs holds up nobody. What it decided on is checked
when it commits, by the database's own function (`migrations/0004.sql`), under the lock on the journal's end: as long
as that has not moved, nothing else can have changed, as every change of rows moves it; else no claim may have been
decided and no row that was read may have changed, or it is a `Conflict`. That makes batches serializable, for what
they read by the journal. SQL mode opens a transaction with its first savepoint and commits it under the same check.
Not here: who is committed together (committer.py).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import asyncpg

from skerry.backends.postgres.committer import Committer
from skerry.backends.postgres.faults import Foreign, translated
from skerry.backends.postgres.gathered import Ready, Recalled
from skerry.backends.postgres.room import ANOTHER_HISTORY, Room
from skerry.backends.postgres.schema import Statement, Statements
from skerry.backends.postgres.session import committing, proven
from skerry.backends.recent import NO_ROW, check_decided, existing
from skerry.backends.storable import check_text, check_writes
from skerry.backends.stored import by_table, read_outcome
from skerry.errors import Conflict, Disconnected, JournalError
from skerry.journal.journal import Lease, Outcome, StoredRow, Writes
from skerry.position import Position

Place = tuple[str, str]


async def opened(
    committer: Committer, claims: Sequence[str], keys: Iterable[Place], lease: Lease | None, recall: bool
) -> tuple[PostgresBatch, Mapping[Place, StoredRow]]:
    """Read where the journal ends, which claims were decided before, and the rows: one statement, one view. In a
    database whose history is another than that of the present epoch, the next one begins first. `recall`: without a
    statement, where this process remembers all of that."""
    room = committer.room
    if recall:
        keys = list(keys)
        recalled = _recalled(committer, claims, keys, lease)
        if recalled is not None:
            return recalled
    check_text("command id", claims)
    wanted = _checked(room.statements, keys)
    tables = tuple(wanted)
    statement = room.statements.over("open", tables)
    values: dict[str, Any] = {f"keys_{table}": names for table, names in wanted.items()}
    values["claims"] = list(claims)
    while True:
        seen = room.seen  # before it is sent: others go on meanwhile
        values["seen"] = seen[0].offset
        found, there = await _fetched(room, statement, values, tables)
        if there is None:
            await room.begin_epoch(ANOTHER_HISTORY)
        elif _has_changed(seen, found.position, there):
            # The server does not say so, but it is not the same any more. Nobody knows since when.
            await room.begin_epoch("what this writer had committed is not there", 0)
        else:
            break
    batch = PostgresBatch(committer, frozenset(claims), lease, found.position, found.known)
    batch.note(wanted, found.rows)
    room.recent.read(found.position, batch.places, found.rows)
    return batch, found.rows


def _recalled(
    committer: Committer, claims: Sequence[str], places: Sequence[Place], lease: Lease | None
) -> tuple[PostgresBatch, Mapping[Place, StoredRow]] | None:
    """The same without asking; None when this process does not remember enough."""
    room, recent = committer.room, committer.room.recent
    recalled, position = recent.recall(places), recent.position
    if recalled is None or position is None or room.wrote is None or room.crowded:
        return None
    rows = existing(recalled)
    batch = PostgresBatch(
        committer, frozenset(claims), lease, position, {}, Recalled(recalled, recent.dropped)
    )
    batch.note(by_table(places), rows)
    return batch, rows


@dataclass(frozen=True, slots=True)
class _Opened:
    position: Position
    known: Mapping[str, Outcome]
    rows: Mapping[Place, StoredRow]


async def _fetched(
    room: Room, statement: Statement, values: Mapping[str, Any], tables: Sequence[str]
) -> tuple[_Opened, str | None]:
    """What the opening statement tells, and whose event stands at the offset seen before ("" for nobody's); None when
    the present epoch is not of the server's history."""
    position, there = Position("", 0), None
    rows: dict[Place, StoredRow] = {}
    decided: list[str] = []
    known: dict[str, Outcome] = {}
    async with room.connections.one() as connection:
        for kind, key, data, pos in await connection.fetch(statement.sql, *statement.arguments(values)):
            if kind >= 2:
                rows[tables[kind - 2], key] = StoredRow(data, pos)
            elif kind == 1:
                decided.append(key)
            else:
                position, there = Position(data, pos), key
        if decided:
            found = await connection.fetch(room.statements["outcomes"].sql, decided)
            await proven(connection)
            known = {row[0]: read_outcome(row) for row in found}
    return _Opened(position, known, rows), there


def _has_changed(seen: tuple[Position, str], now: Position, there: str) -> bool:
    """Whether a journal that ends at `now`, with the event of `there` at the offset seen, cannot be the one seen."""
    (position, command_id) = seen
    if position.epoch != now.epoch:
        return False
    return now.offset < position.offset or (there != "" and command_id not in ("", there))


def _checked(statements: Statements, keys: Iterable[Place]) -> dict[str, list[str]]:
    wanted = by_table(keys)
    for table, names in wanted.items():
        statements.known(table)
        check_text("key", names)
    return wanted


@dataclass(slots=True, eq=False)
class PostgresBatch:
    """See `skerry.journal.journal.Batch`. `recalled`: of one that was opened without asking the database."""

    committer: Committer
    claims: frozenset[str]
    lease: Lease | None
    position: Position
    known: Mapping[str, Outcome]
    recalled: Recalled | None = None
    _reads: dict[str, dict[str, int | None]] = field(default_factory=dict)
    _is_open: bool = True
    _stack: AsyncExitStack | None = None
    _transaction: Any = None
    _connection: Any = None
    _is_within: bool = False

    @property
    def room(self) -> Room:
        return self.committer.room

    @property
    def places(self) -> list[Place]:
        """What was read."""
        return [(table, key) for table, keys in self._reads.items() for key in keys]

    def note(self, wanted: Mapping[str, Iterable[str]], rows: Mapping[Place, StoredRow]) -> None:
        """Remember what was read, missing rows included."""
        for table, keys in wanted.items():
            reads = self._reads.setdefault(table, {})
            for key in keys:
                row = rows.get((table, key))
                reads.setdefault(key, None if row is None else row.offset)

    async def load(self, keys: Iterable[Place]) -> Mapping[Place, StoredRow]:
        self._must_be_open()
        wanted = _checked(self.room.statements, keys)
        tables = tuple(wanted)
        if not tables:
            return {}
        statement = self.room.statements.over("load", tables)
        arguments = statement.arguments({f"keys_{table}": names for table, names in wanted.items()})
        async with self.room.connections.one() as connection:
            found = await connection.fetch(statement.sql, *arguments)
        rows = {(tables[kind - 2], key): StoredRow(data, pos) for kind, key, data, pos in found}
        self.note(wanted, rows)
        if self.recalled:
            places = ((table, key) for table, names in wanted.items() for key in names)
            self.recalled.more.update((place, rows.get(place, NO_ROW)) for place in places)
        return rows

    # --- writing

    async def commit(self, writes: Writes) -> int:
        self._must_be_open()
        check_writes(writes, self.claims, self.known)
        if self.recalled:
            check_decided(self.claims, writes)
        for table in (*writes.puts, *writes.deletes):
            self.room.statements.known(table)
        await self.load(self._unread(writes))
        self._is_open = False
        claims = self.claims.difference(self.known)
        ready = Ready(writes, self.position, claims, self._reads, self.lease, self.recalled)
        if self._connection is None:
            return await self.committer.commit(ready)
        try:
            await self._connection.execute(self.room.statements["plan_by_keys"].sql)
            base, wrote = await self.committer.write_within(self._connection, ready)
            transaction, self._transaction = self._transaction, None
            with committing(self._connection):
                await transaction.commit()
        except Foreign as error:
            self.room.connections.doubt(self._connection, error)
            self.room.recent.forget()
            raise translated(error) from error
        except BaseException:
            self.room.recent.forget()
            raise
        self.committer.committed(ready, base, wrote)
        return base

    def _unread(self, writes: Writes) -> list[Place]:
        """Rows to be deleted that nobody has read: the flush would not see one that is made while it waits."""
        return [
            (table, key)
            for table, keys in writes.deletes.items()
            for key in keys
            if key not in self._reads.get(table, ())
        ]

    # --- SQL mode

    def connection(self) -> Any:
        if not self._is_within:
            raise JournalError("SQL mode: the transaction's connection is to be had inside savepoint()")
        return self._connection

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        """SQL mode. The first one begins the database's transaction, on a connection of its own."""
        self._must_be_open()
        if self._is_within:
            raise JournalError("SQL mode: savepoints are not nested")
        if self._stack is None:
            self._stack = AsyncExitStack()
            connection = await self._stack.enter_async_context(self.room.connections.one())
            try:
                self._transaction = connection.transaction()
                await self._transaction.start()
                await connection.execute(self.room.statements["plan_as_usual"].sql)
            except Foreign as error:
                raise translated(error) from error
            self._connection = connection
        if self._connection is None or self._connection.is_closed():
            raise Disconnected("the transaction of this batch was lost")
        self._is_within = True
        try:
            async with self._connection.transaction():
                yield
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            ours = translated(error)
            self.room.connections.doubt(self._connection, error)
            if isinstance(
                error, asyncpg.UndefinedTableError
            ):  # in a handler's own SQL: its mistake, not ours
                raise
            if isinstance(ours, (Disconnected, Conflict)):  # nobody's fault: the whole batch again
                raise ours from error
            raise
        finally:
            self._is_within = False

    async def close(self) -> None:
        """Leave no trace of what was not committed."""
        self._is_open = False
        stack, self._stack = self._stack, None
        self._connection = None
        if stack is None:
            return
        async with stack:
            transaction, self._transaction = self._transaction, None
            if transaction is None:
                return
            try:
                await transaction.rollback()
            except Foreign:
                pass  # it went with its connection, which is not used again

    def _must_be_open(self) -> None:
        if not self._is_open:
            raise JournalError("this batch is over")
