"""Making, looking and erasing on both databases: the application's own tables, and what an operator asks for."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import apsw
import pytest

from skerry.backends.postgres.journal import PostgresJournal
from skerry.backends.sqlite.journal import SqliteJournal
from skerry.errors import JournalError
from skerry.testing.journal_samples import OTHERS, THINGS, decide, put
from skerry.testing.services import PrivatePostgres, private_postgres, require

Journal = SqliteJournal | PostgresJournal
Opening = Callable[..., Journal]
ROOM = "create table room (name text primary key); insert into room values ('blue')"
SEAT = "create table seat (room text references room, number integer)"


@pytest.fixture(scope="module")
def server() -> Iterator[PrivatePostgres]:
    require("postgresql")
    with private_postgres() as server:
        yield server


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.service("postgresql"))])
def opening(request: pytest.FixtureRequest, tmp_path: Path) -> Opening:
    """Makes journals over one empty database; `namespace` is `shop` unless said."""
    if request.param == "sqlite":
        return lambda namespace="shop": SqliteJournal(str(tmp_path / "a.db"), namespace)
    dsn = request.getfixturevalue("server").database()
    return lambda namespace="shop": PostgresJournal(dsn, namespace)


async def rooms(journal: Journal) -> int:
    async with journal.batch([], []) as (batch, _), batch.savepoint():
        return int(await batch.connection().fetchval("select count(*) from room"))


async def test_steps_run_once(opening: Opening) -> None:
    """New steps run, in order, at once; what was run is not run again, by whoever opens it; later ones follow."""
    async with opening() as journal:
        await journal.prepare([THINGS])
        assert await journal.migrate([ROOM]) == 1
        assert await journal.migrate([ROOM]) == 0
        assert await rooms(journal) == 1
    async with opening() as journal:
        assert await journal.migrate([ROOM, SEAT]) == 1
        with pytest.raises(JournalError, match="newer release"):
            await journal.migrate([ROOM])


async def test_a_step_that_was_changed_is_refused(opening: Opening) -> None:
    """What ran is not what stands there any more: the start names the step and the cure. A journal of a release that
    did not look is taken as it is, once."""
    async with opening() as journal:
        await journal.prepare([THINGS])
        await journal.migrate([ROOM])
        for steps in ([ROOM + "; insert into room values ('red')"], [ROOM.replace("blue", "red"), SEAT]):
            with pytest.raises(JournalError, match=r"step 1 .* was changed after it ran: .* a new step"):
                await journal.migrate(steps)
            with pytest.raises(JournalError, match=r"step 1 .* was changed after it ran"):
                await journal.missing([THINGS], steps)
        assert await journal.migrate([f"\n{ROOM}\n"]) == 0
        assert await journal.migrate([ROOM, SEAT]) == 1


async def test_a_step_that_is_refused_leaves_nothing(opening: Opening) -> None:
    """The database's words with the step's number; none of the steps took effect, and they work once mended."""
    async with opening() as journal:
        await journal.prepare([THINGS])
        with pytest.raises(JournalError, match=r"step 2 of the application's own tables: .*nosuch"):
            await journal.migrate([ROOM, "insert into nosuch values (1)"])
        assert await journal.missing([THINGS], [ROOM, SEAT]) == [
            "version 1 of the application's own tables",
            "version 2 of the application's own tables",
        ]
        assert await journal.migrate([ROOM, SEAT]) == 2
        assert await rooms(journal) == 1


async def test_a_step_does_not_end_the_transaction(opening: Opening) -> None:
    """COMMIT in a step is refused: all or nothing would not hold."""
    async with opening() as journal:
        await journal.prepare([THINGS])
        with pytest.raises(JournalError, match="step 1"):
            await journal.migrate(["create table early (x integer); commit"])
        assert await journal.migrate([ROOM]) == 1


@pytest.mark.service("postgresql")
async def test_many_may_start_at_once(server: PrivatePostgres) -> None:
    """Consumers that start together run each step once between them."""
    dsn = server.database()

    async def start() -> int:
        async with PostgresJournal(dsn, "shop") as journal:
            await journal.prepare([THINGS])
            return await journal.migrate([ROOM, SEAT])

    async with asyncio.timeout(120):
        assert sorted(await asyncio.gather(*(start() for _ in range(5)))) == [0, 0, 0, 0, 2]


async def test_what_is_missing_is_named(opening: Opening) -> None:
    """Before anything, the journal's versions and each table; after `prepare`, what was added since; then nothing."""
    async with opening() as journal:
        found = await journal.missing([THINGS], [ROOM])
        assert found[0] == "version 1 of the journal 'shop'"
        assert found[-2:] == [f"table shop_{THINGS}", "version 1 of the application's own tables"]
        await journal.prepare([THINGS])
        await journal.migrate([ROOM])
        assert await journal.missing([THINGS, OTHERS], [ROOM, SEAT]) == [
            f"table shop_{OTHERS}",
            "version 2 of the application's own tables",
        ]
        assert await journal.missing([THINGS], [ROOM]) == []
        with pytest.raises(JournalError, match="newer release"):
            await journal.missing([THINGS], [])


async def test_erasing_leaves_nothing_of_the_namespace(opening: Opening) -> None:
    """Tables, functions and (by the script) the application's own are gone; all can be made anew from nothing."""
    async with opening() as journal:
        await journal.prepare([THINGS])
        await journal.migrate([ROOM])
        await decide(journal, put(1))
        assert await journal.missing([], None) == []
        erased = await journal.erase("drop table room")
        assert f"table shop_{THINGS}" in erased
        assert "the application's own tables" in erased
    async with opening() as journal:
        assert (await journal.missing([], None))[0] == "version 1 of the journal 'shop'"
        await journal.prepare([THINGS])
        await journal.migrate([ROOM])
        assert (await journal.head()).position.offset == 0


async def test_erasing_leaves_others_alone(opening: Opening) -> None:
    """Another namespace of the same database, one whose name begins alike too, keeps everything."""
    async with opening("shop_a") as other:
        await other.prepare([THINGS])
        await decide(other, put(1))
    async with opening() as journal:
        await journal.prepare([THINGS])
        erased = await journal.erase("")
        assert not [line for line in erased if "shop_a" in line and line.startswith("table")]
    async with opening("shop_a") as other:
        assert (await other.head()).position.offset == 1
        assert await other.verify() == []
        assert await decide(other, put(2)) == 1
    async with opening() as journal:
        assert await journal.missing([], None)


async def test_erasing_twice_is_no_error(opening: Opening) -> None:
    """There is nothing the second time; the script, which has nothing to undo, is not run."""
    async with opening() as journal:
        await journal.prepare([])
        await journal.erase("")
    async with opening() as journal:
        assert [line for line in await journal.erase("drop table never_there") if "table" in line] == []


async def test_a_script_that_fails_erases_nothing(opening: Opening) -> None:
    """erase.sql and the journal's own tables go together or not at all."""
    async with opening() as journal:
        await journal.prepare([THINGS])
        await journal.migrate([ROOM])
        await decide(journal, put(1))
        with pytest.raises(JournalError, match=r"erase\.sql"):
            await journal.erase("drop table room; drop table never_there")
        assert await rooms(journal) == 1
        assert (await journal.head()).position.offset == 1


async def test_a_file_goes_with_its_last_tables(tmp_path: Path) -> None:
    """SQLite: the file, its write-ahead log and its lock are deleted; a file that holds somebody else's table stays,
    without ours."""
    path = tmp_path / "a.db"
    async with SqliteJournal(str(path), "shop") as journal:
        await journal.prepare([THINGS])
        assert (await journal.erase(""))[-1] == f"file {path}"
    assert os.listdir(tmp_path) == []
    async with SqliteJournal(str(path), "shop") as journal:
        await journal.prepare([THINGS])
        await journal.migrate([ROOM])
        assert (await journal.erase(""))[-1] == f"(the file {path} is kept: room are in it)"
    found = apsw.Connection(str(path)).execute("select name from sqlite_schema where type = 'table'")
    assert found.fetchall() == [("room",)]


@pytest.mark.service("postgresql")
async def test_consumers_at_work_are_named(server: PrivatePostgres) -> None:
    """Who holds a lease now, and nobody when it was given back or the journal is not there."""
    async with PostgresJournal(server.database(), "shop") as journal:
        assert await journal.users() == []
        await journal.prepare([])
        lease = await journal.acquire("partition:0", "host.1", 60)
        assert lease is not None
        assert await journal.users() == ["host.1 works on partition:0"]
        await journal.release(lease)
        assert await journal.users() == []


@pytest.mark.service("postgresql")
async def test_a_handlers_own_missing_table_is_its_mistake(server: PrivatePostgres) -> None:
    """SQL mode: a table that is not there fails the command; it is not taken for a journal that is not there yet."""
    async with PostgresJournal(server.database(), "shop") as journal:
        await journal.prepare([THINGS])
        async with journal.batch([], []) as (batch, _):
            with pytest.raises(Exception, match='relation "nosuch" does not exist') as caught:
                async with batch.savepoint():
                    await batch.connection().execute("select 1 from nosuch")
            assert type(caught.value).__module__.startswith("asyncpg")
            async with batch.savepoint():
                assert await batch.connection().fetchval("select 1") == 1
