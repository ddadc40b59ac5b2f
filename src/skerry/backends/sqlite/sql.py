"""SQL mode on SQLite: the open transaction, spoken to as one speaks to asyncpg's connection.

`$1` and `?1` both name the first argument, so that a handler may run on SQLite and on PostgreSQL. Statements run
in the writer's thread, one at a time. BEGIN, COMMIT, ROLLBACK and savepoints are the journal's and refused here.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Sequence
from typing import Any

import apsw

from skerry.backends.sqlite.connection import Worker
from skerry.errors import Disconnected, JournalError

_CONTROL = re.compile(
    r"(?:\s|--[^\n]*(?:\n|$)|/\*.*?\*/|;)*(begin|commit|end|rollback|savepoint|release|attach|detach|pragma)\b",
    re.IGNORECASE | re.DOTALL,
)
_STEPS = 20_000
"""How many steps of SQLite's machine (well under a millisecond) go by between two looks at a cancelled handler."""
_DOLLAR = re.compile(r"\$\d")


class SqlRow(tuple[Any, ...]):
    """A row: by number as a tuple, by column name as asyncpg's records."""

    names: Sequence[str] = ()

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, str):
            try:
                return tuple.__getitem__(self, self.names.index(key))
            except ValueError:
                raise KeyError(key) from None
        return tuple.__getitem__(self, key)

    def keys(self) -> Sequence[str]:
        return self.names

    def items(self) -> Iterator[tuple[str, Any]]:
        return zip(self.names, self, strict=True)


class SqlConnection:
    """The transaction of one batch, within a savepoint. Refuses to work once that has ended.

    Raises JournalError for what SQLite refuses (the handler may catch it: the statement had no effect), and
    Disconnected when the transaction itself was lost.
    """

    def __init__(self, worker: Worker, seconds: float) -> None:
        self._worker, self._seconds = worker, seconds
        self._is_open = True

    def end(self) -> None:
        self._is_open = False

    async def execute(self, sql: str, *arguments: Any) -> list[SqlRow]:
        """Run one or more statements; returns the rows that they give."""
        if not self._is_open:
            raise JournalError("this transaction has ended")
        bindings: Any = arguments
        if arguments and _DOLLAR.search(sql):
            bindings = {str(number): value for number, value in enumerate(arguments, 1)}
        given_up: list[bool] = []
        try:
            return await self._worker.run(lambda c: run(c, sql, bindings, given_up), self._seconds)
        except asyncio.CancelledError:
            given_up.append(True)
            raise

    async def fetch(self, sql: str, *arguments: Any) -> list[SqlRow]:
        """All rows."""
        return await self.execute(sql, *arguments)

    async def fetchrow(self, sql: str, *arguments: Any) -> SqlRow | None:
        """The first row, None when there is none."""
        rows = await self.execute(sql, *arguments)
        return rows[0] if rows else None

    async def fetchval(self, sql: str, *arguments: Any) -> Any:
        """The first column of the first row, None when there is none."""
        rows = await self.execute(sql, *arguments)
        return rows[0][0] if rows else None


def _refuse_control(statement: str) -> None:
    control = _CONTROL.match(statement)
    if control:
        raise JournalError(f"{control[1].upper()} is the journal's business: savepoints come by themselves")


def run(connection: apsw.Connection, sql: str, bindings: Any, given_up: list[bool]) -> list[SqlRow]:
    """Run statements within the open transaction; one that would end it is refused. For the connection's thread."""
    names: tuple[str, ...] = ()

    def guard(cursor: apsw.Cursor, statement: str, _: Any) -> bool:
        nonlocal names
        control = _CONTROL.match(statement)
        if control:
            raise JournalError(
                f"{control[1].upper()} is the journal's business: savepoints come by themselves"
            )
        names = tuple(column[0] for column in cursor.get_description())
        return True

    _refuse_control(sql)  # some pragmas act when they are prepared, before the trace sees them
    connection.exec_trace = guard
    connection.set_progress_handler(lambda: bool(given_up), _STEPS)
    try:
        rows = connection.execute(sql, bindings).fetchall()
    finally:
        connection.exec_trace = None
        connection.set_progress_handler(None)
        if not connection.in_transaction:
            raise Disconnected("SQLite gave up the whole transaction")
    if not rows:
        return []
    kind = type("SqlRow", (SqlRow,), {"names": names})
    return [kind(row) for row in rows]
