"""One batch on SQLite: opened by one statement, written by one statement.

The first one is left out where this process remembers what it last committed. Without SQL mode no transaction of the
database is open while handlers run: only one batch is under way at a time and nobody else may write, so what was read
stays true, and the flush is one atomic statement. SQL mode opens a transaction with its first savepoint.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, field

import apsw

from skerry.backends.recent import Recent, check_decided
from skerry.backends.sqlite.connection import Worker, transaction
from skerry.backends.sqlite.files import check_place
from skerry.backends.sqlite.rows import flush_values, listed, read_rows
from skerry.backends.sqlite.schema import Statements
from skerry.backends.sqlite.settings import SqliteSettings
from skerry.backends.sqlite.sql import SqlConnection
from skerry.backends.storable import check_text, check_writes
from skerry.backends.stored import by_table, read_outcome
from skerry.clock import Clock
from skerry.errors import Conflict, Fenced, JournalError
from skerry.journal.journal import Lease, Outcome, StoredRow, Writes
from skerry.position import Position

Place = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Opened:
    """What the opening statement told."""

    position: Position
    known: Mapping[str, Outcome]
    rows: Mapping[Place, StoredRow]


@dataclass(frozen=True, slots=True)
class Room:
    """What a batch works with. `recent`: what was last committed. `note`: is told of each commit, where the journal
    ends and whose event that is."""

    worker: Worker
    statements: Statements
    settings: SqliteSettings
    clock: Clock
    recent: Recent
    note: Callable[[Position, str], None] = lambda end, command_id: None


async def opened(room: Room, claims: Sequence[str], keys: Iterable[Place]) -> Opened:
    """Read where the journal ends, which claims were decided before, and the rows: one statement."""
    check_text("command id", claims)
    wanted = by_table(keys)
    check_text("key", (key for names in wanted.values() for key in names))
    statements = room.statements
    text = statements.opening(tuple(wanted))
    bindings = (listed(claims), *(listed(names) for names in wanted.values()))

    def job(connection: apsw.Connection) -> tuple[Sequence[object], list[Sequence[object]]]:
        row = connection.execute(text, bindings).fetchall()[0]
        known = row[2] if row[2] != "[]" else None
        outcomes = connection.execute(statements["outcomes"], (known,)).fetchall() if known else []
        return row, list(outcomes)

    row, outcomes = await room.worker.run(job, room.settings.statement_seconds)
    known = {str(found[0]): read_outcome(found) for found in outcomes}
    rows = {
        (table, key): StoredRow(data, pos)
        for table, joined in zip(wanted, row[3:], strict=True)
        for key, data, pos in read_rows(None if joined is None else str(joined))
    }
    return Opened(Position(str(row[0]), int(str(row[1]))), known, rows)


@dataclass(slots=True, eq=False)
class SqliteBatch:
    """See `skerry.journal.journal.Batch`. `places`: what was read when it was opened; `is_recalled`: without
    asking the database."""

    room: Room
    claims: frozenset[str]
    lease: Lease | None
    position: Position
    known: Mapping[str, Outcome]
    places: frozenset[Place]
    is_recalled: bool = False
    _is_open: bool = True
    _in_transaction: bool = False
    _connection: SqlConnection | None = field(default=None)

    async def load(self, keys: Iterable[Place]) -> Mapping[Place, StoredRow]:
        """Rows as committed (or as SQL mode sees them)."""
        self._must_be_open()
        wanted = by_table(keys)
        check_text("key", (key for names in wanted.values() for key in names))
        texts = [(self.room.statements.of("load", table), listed(names)) for table, names in wanted.items()]

        def job(connection: apsw.Connection) -> list[str | None]:
            return [connection.execute(text, (names,)).fetchall()[0][0] for text, names in texts]  # type: ignore[misc]

        joined = await self.room.worker.run(job, self.room.settings.statement_seconds)
        return {
            (table, key): StoredRow(data, pos)
            for table, text in zip(wanted, joined, strict=True)
            for key, data, pos in read_rows(text)
        }

    async def commit(self, writes: Writes) -> int:
        self._must_be_open()
        check_writes(writes, self.claims, self.known)
        if self.is_recalled:
            check_decided(self.claims, writes)
        statements, lease = self.room.statements, self.lease
        for table in (*writes.puts, *writes.deletes):
            statements.known(table)
        events, outcomes, dead, *rows = flush_values(writes, statements.tables, self.room.clock.now())
        holder = (lease.name, lease.fence, lease.owner) if lease else (None, None, None)
        values = (self.position.offset, len(writes.events), events, outcomes, dead, *holder, *rows)
        in_transaction, base = self._in_transaction, self.position.offset
        amended = [
            (new.offset, base + new.events_before, new.name, new.version, new.data.decode())
            for new in writes.amendments
        ]

        def job(connection: apsw.Connection) -> None:
            if in_transaction and not connection.in_transaction:
                raise Conflict("SQLite gave up the whole transaction")
            check_place(connection)
            if not amended:
                connection.execute(statements.flush, values)
            else:
                with nullcontext() if in_transaction else transaction(connection):
                    connection.execute(statements.flush, values)
                    connection.executemany(statements["amend"], amended)
            if in_transaction:
                connection.execute("commit")

        self._is_open = False
        try:
            await self.room.worker.run(job, self.room.settings.statement_seconds)
        except BaseException as error:
            self.room.recent.forget()
            if not isinstance(error, JournalError):
                raise
            if "skerry: fenced" in str(error) and lease is not None:
                raise Fenced(lease.name) from error
            if "skerry: the journal moved" in str(
                error
            ) or f"UNIQUE constraint failed: {statements.namespace}__outcome" in str(error):
                raise Conflict("another writer changed the journal") from error
            raise
        self._in_transaction = False
        self.room.recent.committed(self.position, writes, self.places)
        if writes.events:
            end = Position(self.position.epoch, self.position.offset + len(writes.events))
            self.room.note(end, writes.events[-1].command_id)
        return self.position.offset

    def connection(self) -> SqlConnection:
        if self._connection is None:
            raise JournalError("SQL mode: the transaction's connection is to be had inside savepoint()")
        return self._connection

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        """SQL mode. The first one begins the database's transaction."""
        self._must_be_open()
        if self._connection is not None:
            raise JournalError("SQL mode: savepoints are not nested")
        seconds, worker = self.room.settings.statement_seconds, self.room.worker
        if not self._in_transaction:
            self._in_transaction = True  # before: when this is cancelled, it is rolled back all the same
            await worker.run(lambda connection: connection.execute("begin immediate"), seconds)
        await worker.run(lambda connection: connection.execute("savepoint command"), seconds)
        self._connection = SqlConnection(worker, seconds)
        try:
            yield
        except BaseException:
            self._leave()
            worker.post(_undo)
            raise
        self._leave()
        await worker.run(lambda connection: connection.execute("release command"), seconds)

    def _leave(self) -> None:
        if self._connection is not None:
            self._connection.end()
            self._connection = None

    def close(self) -> None:
        """Leave no trace of what was not committed."""
        self._is_open = False
        self._leave()
        if self._in_transaction:
            self._in_transaction = False
            self.room.worker.post(_roll_back)

    def _must_be_open(self) -> None:
        if not self._is_open:
            raise JournalError("this batch is over")


def _undo(connection: apsw.Connection) -> None:
    if connection.in_transaction:
        connection.execute("rollback to command")
        connection.execute("release command")


def _roll_back(connection: apsw.Connection) -> None:
    if connection.in_transaction:
        connection.execute("rollback")
