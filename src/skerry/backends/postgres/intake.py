"""The intake in PostgreSQL: its rows for the one who moves them, and the SQL by which an application leaves one.

The application uses its own driver and its own connection, so a `PostgresDoor` only makes statements. `who` is not
among what is inserted: the column's default says `session_user`, and a writer needs no more than

    grant insert (event_id, name, version, key, data, trace) on NAMESPACE__intake to WRITER
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from skerry.backends.postgres.connections import Connections
from skerry.backends.postgres.schema import Statements
from skerry.backends.storable import PAGE_BYTES, checked_namespace
from skerry.journal.intake import MOVE_ROWS, Leaving, Left, Waiting
from skerry.journal.journal import DeadLetter


class PostgresIntake:
    """See `skerry.journal.intake.Intake`."""

    def __init__(self, connections: Connections, statements: Statements) -> None:
        self._connections, self._statements = connections, statements

    async def _rows(self, name: str, /, **values: Any) -> list[Any]:
        statement = self._statements[name]
        async with self._connections.one() as connection:
            return list(await connection.fetch(statement.sql, *statement.arguments(values)))

    async def left(self, limit: int = MOVE_ROWS) -> Sequence[Left]:
        return [Left(*row) for row in await self._rows("intake", limit=limit, bytes=PAGE_BYTES)]

    async def waiting(self) -> Waiting:
        [(rows, seconds)] = await self._rows("intake_waiting")
        return Waiting(rows, max(0.0, seconds))

    async def put_back(self, letter: DeadLetter) -> None:
        await self._rows(
            "intake_put_back",
            letter=letter.command_id,
            id=letter.headers.get("event", ""),
            source=letter.headers.get("source", ""),
            name=letter.name,
            version=letter.version,
            key=letter.key,
            data=letter.body.decode(),
            who=letter.headers.get("who", ""),
        )


class PostgresDoor:
    """See `skerry.journal.intake.Door`."""

    is_numbered = False
    asks = ""
    wrote = "select pg_current_xact_id_if_assigned()::text"

    def __init__(self, namespace: str) -> None:
        self._table = f"{checked_namespace(namespace)}__intake"
        columns = "event_id, name, version, key, data, trace"
        self._insert = f"insert into {self._table} ({columns}) values (?, ?, ?, ?, ?, ?)"

    def statements(self, leaving: Leaving) -> Sequence[tuple[str, Sequence[Any]]]:
        values = (leaving.id, leaving.name, leaving.version, leaving.key, leaving.data, leaving.trace)
        return [(self._insert, values)]

    def refused(self, found: Any) -> str:
        return ""

    def explained(self, error: BaseException) -> str:
        state = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)
        if state == "42P01":
            return (
                f"there is no table {self._table} in this database: name the journal's namespace (SKERRY_NAMESPACE), "
                "and prepare it (start a consumer, or skerry infra create)"
            )
        if state == "42501":
            return (
                "this user may not leave events: grant insert (event_id, name, version, key, data, trace) on "
                f"{self._table} to it"
            )
        return ""
