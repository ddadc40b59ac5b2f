"""SQL mode, for journals that have it: a suite to be inherited beside `JournalSuite`.

    class TestMine(SqlJournalSuite, JournalSuite): ...

The application's own relational table is made by `make_table`. Statements use `$1`, which all understand.
"""

from __future__ import annotations

import asyncio

import pytest

from skerry.errors import JournalError
from skerry.journal.journal import JournalWriter, Writes
from skerry.testing.journal_samples import (
    all_records,
    all_rows,
    applied,
    command_id,
    decide,
    event,
    put,
)
from skerry.testing.journals import JournalSuite

INSERT = "insert into booking (room, guest) values ($1, $2)"
COUNT = "select count(*) from booking"


class SqlJournalSuite(JournalSuite):
    """Needs `make_table`, which executes `create table booking (room text primary key, guest text not null)`."""

    async def make_table(self, journal: JournalWriter) -> None:
        raise NotImplementedError

    async def count(self, journal: JournalWriter) -> int:
        """How many bookings are committed."""
        async with journal.batch([], []) as (batch, _), batch.savepoint():
            found = int(await batch.connection().fetchval(COUNT))
            assert found >= 0
        return found

    async def test_rows_and_events_commit_together(self, journal: JournalWriter) -> None:
        """What SQL wrote, the journal's rows and its events become durable at once, and are gone at once."""
        await self.make_table(journal)
        async with journal.batch([command_id(1)], []) as (batch, _):
            async with batch.savepoint():
                await batch.connection().execute(INSERT, "12", "Ann O'Hara % \U0001f600")
                row = await batch.connection().fetchrow(
                    "select room, guest from booking where room = $1", "12"
                )
                assert (row["room"], row["guest"], row[0]) == ("12", "Ann O'Hara % \U0001f600", "12")
                assert [r[0] for r in await batch.connection().fetch("select room from booking")] == ["12"]
                assert (
                    await batch.connection().fetchrow("select 1 from booking where room = $1", "13") is None
                )
            assert await batch.commit(put(1)) == 0
        assert await self.count(journal) == 1
        async with journal.batch([command_id(2)], []) as (batch, _), batch.savepoint():
            await batch.connection().execute(INSERT, "13", "Bob")
        assert await self.count(journal) == 1
        assert len(await all_records(journal)) == 1

    async def test_one_command_fails_alone(self, journal: JournalWriter) -> None:
        """An error in one command's block undoes its SQL only; the same transaction goes on."""
        await self.make_table(journal)
        ids = [command_id(n) for n in (1, 2, 3)]
        async with journal.batch(ids, []) as (batch, _):
            async with batch.savepoint():
                await batch.connection().execute(INSERT, "1", "Ann")

            async def second(error: bool) -> None:
                async with batch.savepoint():
                    await batch.connection().execute(INSERT, "2", "Bob")
                    if error:
                        raise ZeroDivisionError
                    await batch.connection().execute(INSERT, "1", "Dan")

            with pytest.raises(ZeroDivisionError):
                await second(True)
            with pytest.raises(Exception, match=r"(?i)unique"):
                await second(False)
            async with batch.savepoint():
                await batch.connection().execute(INSERT, "4", "Eve")
            await batch.commit(Writes(events=[event(1), event(3)], outcomes=[applied(1, 1), applied(3, 2)]))
        async with journal.batch([], []) as (batch, _), batch.savepoint():
            rooms = await batch.connection().fetch("select room from booking order by room")
            assert [row[0] for row in rooms] == ["1", "4"]
        assert await decide(journal, put(2)) == 2

    async def test_the_connection_is_lent_for_one_command(self, journal: JournalWriter) -> None:
        """It is to be had inside a savepoint only, and savepoints do not nest."""
        await self.make_table(journal)
        async with journal.batch([command_id(1)], []) as (batch, _):
            with pytest.raises(JournalError):
                batch.connection()
            async with batch.savepoint():
                batch.connection()
                with pytest.raises(JournalError):
                    async with batch.savepoint():
                        pass
            with pytest.raises(JournalError):
                batch.connection()
            await batch.commit(put(1))
        assert len(await all_rows(journal)) == 1

    async def test_a_cancelled_handler_leaves_no_sql(self, journal: JournalWriter) -> None:
        """Cancelled between two statements, everything of its batch is undone and the journal works on."""
        await self.make_table(journal)
        written = asyncio.Event()

        async def hang() -> None:
            async with journal.batch([command_id(1)], []) as (batch, _), batch.savepoint():
                await batch.connection().execute(INSERT, "1", "Ann")
                written.set()
                await asyncio.Event().wait()

        task = asyncio.create_task(hang())
        await written.wait()
        task.cancel()
        await asyncio.wait({task})
        assert await self.count(journal) == 0
        assert await decide(journal, put(1)) == 0
