"""Whose history a PostgreSQL journal has: restarts, promotions, restores and servers that hide it, on real servers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from skerry.backends.postgres.journal import PostgresJournal
from skerry.backends.postgres.settings import PostgresSettings
from skerry.errors import Conflict, Unavailable
from skerry.journal.epochs import Epochs
from skerry.position import Position
from skerry.testing.journal_samples import THINGS, all_records, command_id, decide, put
from skerry.testing.services import PrivatePostgres, private_postgres, private_standby, require

pytestmark = pytest.mark.service("postgresql")
QUICK = PostgresSettings(first_pause_seconds=0.01, longest_pause_seconds=0.05)


@pytest.fixture(scope="module")
def server() -> Iterator[PrivatePostgres]:
    require("postgresql")
    with private_postgres() as server:
        yield server


def on(dsn: str) -> PostgresJournal:
    return PostgresJournal(dsn, "suite", settings=QUICK)


async def patiently(journal: PostgresJournal, number: int) -> int | None:
    while True:
        try:
            return await decide(journal, put(number, f"k{number}"))
        except Unavailable:
            continue


async def test_a_restart_begins_an_epoch_and_loses_nothing(server: PrivatePostgres) -> None:
    """A server that was killed may have lost what it had not flushed; here it has not, and all positions stay right."""
    async with on(server.database()) as journal:
        await journal.prepare([THINGS])
        await decide(journal, put(1))
        old = (await journal.head()).position
        server.kill()
        server.start()
        assert await patiently(journal, 2) == 1
        [first, second] = await journal.epochs()
        assert (first.name, second.began, second.common, second.lost) == (old.epoch, 1, 1, 0)
        assert Epochs.of([first, second]).carry(old) == Position(second.name, 1)
        await patiently(journal, 3)
        assert len(await journal.epochs()) == 2


@pytest.mark.parametrize("lost", [0, 3])
async def test_a_promoted_standby_begins_an_epoch_where_it_stands(server: PrivatePostgres, lost: int) -> None:
    """With the first write; the writer that had seen more says how many events were lost, and two writers agree."""
    with private_standby(server, "behind") as standby:
        dsn = server.database()
        there = dsn.replace(f":{server.port}/", f":{standby.port}/")
        async with on(dsn.replace("/test", f",127.0.0.1:{standby.port}/test")) as journal:
            await journal.prepare([THINGS])
            await decide(journal, put(1))
            standby.caught_up(server)
            standby.part()
            for number in range(lost):
                await decide(journal, put(10 + number))
            old = (await journal.head()).position
            server.stop()
            standby.promote()
            async with on(there) as other:
                await patiently(other, 2)
                await patiently(journal, 3)
                assert [r.offset for r in await all_records(journal)] == [1, 2, 3]
                [first, second] = await journal.epochs()
                assert list(await other.epochs()) == [first, second]
                assert (first.name, second.began) == (old.epoch, 1)
                await journal.missed(old)
                assert (await journal.epochs())[1].lost == lost
        server.start()


async def test_the_lease_notices_when_nobody_writes(server: PrivatePostgres) -> None:
    """Consumers renew their leases all the time: that begins the epoch too, and tells what was lost."""
    dsn = server.database()
    async with on(dsn) as journal:
        await journal.prepare([THINGS])
        await decide(journal, put(1))
        await decide(journal, put(2))
        server.query(
            "delete from suite__event where pos = 2; update suite__log set pos = 1, history = 'of another'",
            dsn.rpartition("/")[2],
        )
        lease = await journal.acquire("p0", "anna", 10)
        assert lease is not None
        [_, second] = await journal.epochs()
        assert (second.began, second.lost) == (1, 1)
        assert await journal.acquire("p0", "anna", 10) == lease
        assert len(await journal.epochs()) == 2


async def test_tables_that_were_read_in_again_begin_an_epoch(server: PrivatePostgres) -> None:
    """A dump restored on the very server that it came from."""
    dsn = server.database()
    async with on(dsn) as journal:
        await journal.prepare([THINGS])
        await decide(journal, put(1))
        server.query(
            "alter table suite__log rename to dumped; create table suite__log (like dumped including all); "
            "insert into suite__log select * from dumped; drop table dumped",
            dsn.rpartition("/")[2],
        )
    async with on(dsn) as journal:
        await journal.prepare([THINGS])
        assert [epoch.began for epoch in await journal.epochs()] == [0, 1]


async def test_what_is_remembered_is_of_the_history_that_is_there(server: PrivatePostgres) -> None:
    """Where history is hidden and the journal ends at the same offset, another event there tells that it is not the one
    that this writer remembers: nothing is written on that memory, and a new epoch begins."""
    database = "another"
    async with on(server.database(database)) as journal:
        await journal.prepare([THINGS])
        for number in (1, 2):
            await decide(journal, put(number))
        server.query("update suite__event set command_id = repeat('f', 32) where pos = 2", database)
        async with journal.batch([command_id(3)], [(THINGS, "k")], None, True) as (batch, _):
            assert batch.position.offset == 2
            with pytest.raises(Conflict):
                await batch.commit(put(3))
        assert await decide(journal, put(3)) == 2
        assert len(await journal.epochs()) == 2


@pytest.mark.parametrize("again", [0, 1, 3])
async def test_a_server_that_hides_its_history_is_known_by_its_events(
    server: PrivatePostgres, again: int
) -> None:
    """A writer finds that what it committed is gone, or is another event's by now: nobody knows since when, so nothing
    of the epoch before is trusted."""
    dsn = server.database()
    database = dsn.rpartition("/")[2]
    hide = "create or replace function suite__history() returns text language sql as $$ select '' $$"
    async with on(dsn) as journal, on(dsn) as other:
        await journal.prepare([THINGS])
        await other.prepare([THINGS])
        server.query(f"{hide}; update suite__log set history = ''", database)
        await decide(journal, put(1))
        await decide(journal, put(2))
        old = (await journal.head()).position
        server.query(
            "delete from suite__event where pos = 2; delete from suite__outcome where pos = 2; "
            "update suite__log set pos = 1",
            database,
        )
        for number in range(again):
            await decide(other, put(10 + number))
        assert len(await journal.epochs()) == 1
        await decide(journal, put(3))
        assert len(await journal.epochs()) == 2
        epochs = Epochs.of(await journal.epochs())
        assert epochs.carry(old) is None
        assert epochs.carry(Position(old.epoch, 1)) is None
        await decide(other, put(20))
        await decide(journal, put(4))
        assert len(await journal.epochs()) == 2
