"""Snapshots of PostgreSQL: one read-only transaction that sees one position, read page by page.

The limit of this form: while it is open the server keeps old versions of what changes, the journal's end among
them. A million small rows take a few seconds; `snapshot_seconds` bounds it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import asyncpg

from skerry.backends.postgres.faults import Foreign, translated
from skerry.backends.postgres.mirrors import reading
from skerry.backends.postgres.schema import Statements
from skerry.backends.storable import PAGE_BYTES, PAGE_ROWS
from skerry.journal.mirror import Mirrored, Transactions
from skerry.position import Position


class PostgresSnapshot:
    """See `skerry.journal.journal.Snapshot`; made inside a repeatable read transaction by `begin`."""

    def __init__(
        self, connection: asyncpg.Connection, statements: Statements, mirrors: Mapping[str, Mirrored]
    ) -> None:
        self._connection, self._statements, self._mirrors = connection, statements, mirrors
        self.position = Position("", 0)
        self.transactions: Transactions | None = None
        """What was seen of mirrored tables, where there are any."""

    async def begin(self) -> None:
        """The first statement decides what is seen."""
        self.position = Position(*await self._connection.fetchrow(self._statements["end"].sql))
        if self._mirrors:
            seen = await self._connection.fetchval(self._statements["transactions"].sql)
            self.transactions = Transactions(seen)
            await self._connection.execute(self._statements["plan_as_usual"].sql)

    async def rows(self, table: str) -> AsyncIterator[Sequence[tuple[str, bytes | str, int]]]:
        if table in self._mirrors:
            async for rows in self._mirrored(self._mirrors[table]):
                yield rows
            return
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

    async def _mirrored(self, mirror: Mirrored) -> AsyncIterator[Sequence[tuple[str, bytes | str, int]]]:
        """In no order: a table of the application's own."""
        try:
            cursor = await self._connection.cursor(reading(mirror))
            while page := await cursor.fetch(PAGE_ROWS):
                yield [(key, data, 0) for key, data in page]
        except Foreign as error:
            raise translated(error) from error
