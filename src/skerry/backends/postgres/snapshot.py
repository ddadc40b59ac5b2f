"""Snapshots of PostgreSQL: one read-only transaction that sees one position, read page by page.

The limit of this form: while it is open the server keeps old versions of what changes, the journal's end among
them. A million small rows take a few seconds; `snapshot_seconds` bounds it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

import asyncpg

from skerry.backends.postgres.faults import Foreign, translated
from skerry.backends.postgres.schema import Statements
from skerry.backends.storable import PAGE_BYTES, PAGE_ROWS
from skerry.position import Position


class PostgresSnapshot:
    """See `skerry.journal.journal.Snapshot`; made inside a repeatable read transaction by `begin`."""

    def __init__(self, connection: asyncpg.Connection, statements: Statements) -> None:
        self._connection, self._statements = connection, statements
        self.position = Position("", 0)

    async def begin(self) -> None:
        """The first statement decides what is seen."""
        self.position = Position(*await self._connection.fetchrow(self._statements["end"].sql))

    async def rows(self, table: str) -> AsyncIterator[Sequence[tuple[str, bytes | str, int]]]:
        statement = self._statements.of("page", table)
        values: dict[str, Any] = {"after": "", "first": True, "limit": PAGE_ROWS, "bytes": PAGE_BYTES}
        while True:
            try:
                page = await self._connection.fetch(statement.sql, *statement.arguments(values))
            except Foreign as error:
                raise translated(error) from error
            if not page:
                return
            yield [(key, data, pos) for key, data, pos in page]
            values["after"], values["first"] = page[-1][0], False
