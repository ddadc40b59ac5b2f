"""Snapshots of a SQLite file: a read transaction on a connection of its own, page by page.

Writing goes on meanwhile. Runs in the readers' thread, so that a page never waits for a flush.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import apsw

from skerry.backends.sqlite.connection import Worker
from skerry.backends.sqlite.files import open_reader
from skerry.backends.sqlite.rows import Row, read_rows
from skerry.backends.sqlite.schema import Statements
from skerry.backends.storable import PAGE_BYTES, PAGE_ROWS
from skerry.errors import Disconnected
from skerry.position import Position


class SqliteSnapshot:
    """See `skerry.journal.journal.Snapshot`. `open` before use, `close` afterwards."""

    def __init__(self, path: str, worker: Worker, statements: Statements, seconds: float) -> None:
        self._path, self._worker, self._statements, self._seconds = path, worker, statements, seconds
        self._connection: apsw.Connection | None = None
        self.position = Position("", 0)

    async def open(self) -> None:
        def job(_: apsw.Connection) -> tuple[apsw.Connection, Position]:
            connection = open_reader(self._path)
            try:
                connection.execute("begin")
                epoch, pos = connection.execute(self._statements["end"]).fetchall()[0]
            except BaseException:
                connection.close()
                raise
            self._connection = connection
            return connection, Position(str(epoch), int(str(pos)))

        _, self.position = await self._worker.run(job, self._seconds)

    def close(self) -> None:
        def job(_: apsw.Connection) -> None:
            connection, self._connection = self._connection, None
            if connection is not None:
                connection.close()

        self._worker.post(job)

    async def rows(self, table: str) -> AsyncIterator[Sequence[Row]]:
        text = self._statements.of("page", table)
        after, is_first = "", True
        while True:
            bindings = (after, PAGE_ROWS, PAGE_BYTES, is_first)
            page = read_rows(await self._worker.run(lambda _, b=bindings: self._page(text, b), self._seconds))  # type: ignore[misc]
            if not page:
                return
            yield page
            after, is_first = page[-1][0], False

    def _page(self, text: str, bindings: tuple[str | int, ...]) -> str | None:
        if self._connection is None:
            raise Disconnected("this snapshot is closed")
        joined = self._connection.execute(text, bindings).fetchall()[0][0]
        return None if joined is None else str(joined)
