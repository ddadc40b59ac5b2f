"""Events in foreign transactions on SQLite: numbered at once, in the application's own transaction on the same file."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest

from skerry.backends.sqlite.journal import SqliteJournal
from skerry.bridge.emitting import emit
from skerry.errors import LifecycleError
from skerry.journal.journal import JournalWriter
from skerry.testing.intakes import IntakeSuite, OrderPaid
from skerry.testing.journal_samples import OpenJournal, all_records, decide, put


class Guest(apsw.Connection):
    """apsw's connection with the two methods of DB-API that the suite uses: in this process the journal is open too,
    and two SQLite libraries on one file are refused."""

    def commit(self) -> None:
        self.execute("commit")

    def rollback(self) -> None:
        self.execute("rollback")


@pytest.mark.usefixtures("no_app_runs")
class TestSqliteIntake(IntakeSuite):
    path: Path
    open: list[Guest]

    @pytest.fixture
    def open_journal(self, tmp_path: Path) -> Iterator[OpenJournal]:
        self.path, self.open = tmp_path / "shop.db", []
        self.connect().execute(
            "create table shop_order (number integer primary key, version integer not null)"
        )
        yield lambda: SqliteJournal(str(self.path), "suite")
        for connection in self.open:
            connection.close()

    def connect(self) -> Any:
        connection = Guest(str(self.path))
        connection.set_busy_timeout(30_000)
        self.open.append(connection)
        return connection

    def begin(self, connection: Any, level: str = "") -> None:
        connection.execute("begin immediate")

    async def test_the_owner_learns_of_it(self, journal: JournalWriter) -> None:
        """Once for what guests wrote, never for what it wrote itself."""
        assert isinstance(journal, SqliteJournal)
        await journal.guests_end()
        await decide(journal, put(1))
        assert await journal.guests_end() is None
        connection = self.connect()
        self.begin(connection)
        emit(OrderPaid(1), connection=connection)
        assert await journal.guests_end() is None
        connection.commit()
        end = await journal.guests_end()
        assert end is not None
        assert end.offset == 2
        assert await journal.guests_end() is None

    async def test_processes_of_sqlite3_write_beside_commands(self, journal: JournalWriter) -> None:
        """As Django's connections do: nobody fails, no number is missing or given out twice."""
        guests = [
            await asyncio.create_subprocess_exec(sys.executable, "-c", _GUEST, str(self.path), str(first))
            for first in (0, 100)
        ]
        number = 0
        while any(guest.returncode is None for guest in guests):
            number += 1
            await decide(journal, put(number, f"k{number}"))
        assert [await guest.wait() for guest in guests] == [0, 0]
        records = await all_records(journal)
        assert [record.offset for record in records] == list(range(1, number + 30 + 1))
        assert sum(record.name == "order_paid" for record in records) == 30
        assert await journal.verify() == []

    async def test_sqlite3_in_the_owners_process_is_refused(self, tmp_path: Path) -> None:
        """Two SQLite libraries in one process damage a file: it is not opened, nothing is written by who has it open
        already, and it is said what to do. Before and afterwards, and other files, are free."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", _OWNER, str(tmp_path / "a.db"), stdout=asyncio.subprocess.PIPE
        )
        told, _ = await process.communicate()
        assert process.returncode == 0
        assert [line.split()[0] for line in told.decode().splitlines()] == ["emit:", "connect:", "connect:"]
        assert told.decode().count("skerry up") == 3

    def test_a_transaction_that_sqlite3_begins_itself(self, tmp_path: Path) -> None:
        """A connection as sqlite3 makes it begins one with the first write: `emit` may be that."""

        async def prepared() -> None:
            async with SqliteJournal(str(tmp_path / "a.db"), "suite") as journal:
                await journal.prepare([])

        asyncio.run(prepared())
        with sqlite3.connect(tmp_path / "a.db") as connection:
            emit(OrderPaid(1), connection=connection)
            assert connection.in_transaction
        connection.isolation_level = None
        with pytest.raises(LifecycleError):
            emit(OrderPaid(1), connection=connection)
        assert connection.execute("select pos from suite__log").fetchall() == [(1,)]
        connection.close()


_GUEST = """
import sqlite3, sys
from skerry.bridge.emitting import emit
from skerry.testing.intakes import OrderPaid

connection = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=60)
for number in range(int(sys.argv[2]), int(sys.argv[2]) + 20):
    connection.execute("begin immediate")
    emit(OrderPaid(number), connection=connection)
    connection.execute("rollback" if number % 4 == 0 else "commit")
connection.close()
"""

_OWNER = """
import asyncio, sqlite3, sys
from skerry.backends.sqlite.journal import SqliteJournal
from skerry.bridge.emitting import emit
from skerry.errors import JournalError
from skerry.testing.intakes import OrderPaid

async def main():
    guest = sqlite3.connect(sys.argv[1], isolation_level=None)
    async with SqliteJournal(sys.argv[1], "suite") as journal:
        await journal.prepare([])
        guest.execute("begin immediate")
        try:
            emit(OrderPaid(1), connection=guest)
        except JournalError as error:
            print("emit:", error)
        for name, more in ((sys.argv[1], {}), (f"file:{sys.argv[1]}?mode=ro", {"uri": True})):
            try:
                sqlite3.connect(name, **more)
            except JournalError as error:
                print("connect:", error)
        sqlite3.connect(":memory:").close()
    sqlite3.connect(sys.argv[1]).close()

asyncio.run(main())
"""
