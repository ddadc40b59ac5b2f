"""The journal in PostgreSQL passes the suites, against a private server, and keeps to what only it promises."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import asyncpg
import pytest

from skerry.backends.postgres.journal import PostgresJournal
from skerry.backends.postgres.settings import PostgresSettings
from skerry.errors import Disconnected, JournalError, Overloaded, SettingsError, Unavailable
from skerry.journal.journal import JournalWriter, NewEvent, Writes
from skerry.testing.clock import VirtualClock
from skerry.testing.durable_journals import DurableJournalSuite
from skerry.testing.journal_samples import (
    DAY,
    THINGS,
    OpenJournal,
    all_records,
    all_rows,
    applied,
    command_id,
    decide,
    event,
    put,
)
from skerry.testing.proxy import FaultProxy
from skerry.testing.services import PrivatePostgres, private_postgres, require
from skerry.testing.shared_journals import SharedJournalSuite
from skerry.testing.sql_journals import SqlJournalSuite


@pytest.fixture(scope="session")
def server() -> Iterator[PrivatePostgres]:
    """One server for all tests here that leave it alone; each test takes a database of its own."""
    require("postgresql")
    with private_postgres() as server:
        yield server


@pytest.mark.service("postgresql")
class TestPostgresJournal(DurableJournalSuite, SqlJournalSuite, SharedJournalSuite):
    server: PrivatePostgres
    database: str
    dsn: str

    @pytest.fixture
    def open_journal(self, server: PrivatePostgres) -> OpenJournal:
        dsn = server.database()
        self.server, self.dsn, self.database = server, dsn, dsn.rpartition("/")[2]
        return lambda: PostgresJournal(dsn, "suite")

    async def pass_time(self, journal: JournalWriter, seconds: float) -> None:
        self.server.query(
            f"update suite__lease set until = until - interval '{seconds} s';"
            f"update suite__outcome set at = at - {seconds}; update suite__attempt set at = at - {seconds}",
            self.database,
        )

    async def test_a_wrong_clock_of_a_process_forgets_nothing(self, journal: JournalWriter) -> None:
        """Outcomes, attempts and their trim go by the database's time: a consumer whose clock is eight days ahead
        forgets none, and one that is eight days behind leaves none that is forgotten at once."""
        await decide(journal, put(1))
        for days in (8, -8):
            wrong = VirtualClock(epoch=time.time() + days * DAY)
            async with PostgresJournal(self.dsn, "suite", clock=wrong) as other:
                await decide(other, put(10 + days))
                await other.attempts([command_id(20 + days)])
                await other.trim((await other.head()).position)
        for number in (1, 18, 2):
            outcome = await journal.outcome(command_id(number))
            assert outcome is not None
            assert abs(outcome.at - time.time()) < DAY
        assert await journal.attempts([command_id(28), command_id(12)]) == {
            command_id(28): 2,
            command_id(12): 2,
        }

    async def damage(self, journal: JournalWriter, what: str) -> None:
        if what == "event missing":
            self.server.query("delete from suite__event where pos = 2", self.database)
        else:
            self.server.query(f"update suite_{THINGS} set pos = 99 where key = 'k1'", self.database)

    async def fail_over(self, journal: JournalWriter, keep: int) -> None:
        lose = [f"delete from suite__{table} where pos > {keep}" for table in ("event", "outcome")]
        lose += [f"delete from suite_{table} where pos > {keep}" for table in (THINGS, "other_thing")]
        lose.append(f"update suite__log set pos = {keep}, history = 'of another server'")
        self.server.query("; ".join(lose), self.database)

    async def make_table(self, journal: JournalWriter) -> None:
        self.server.query("create table booking (room text primary key, guest text not null)", self.database)

    def opening(self) -> str:
        return (
            "from skerry.backends.postgres.journal import PostgresJournal\n"
            f"journal = PostgresJournal({self.dsn!r}, 'suite')"
        )


@pytest.fixture
def dsn(server: PrivatePostgres) -> str:
    """An empty database."""
    return server.database()


QUICK = PostgresSettings(first_pause_seconds=0.01, longest_pause_seconds=0.05)


async def patiently(journal: JournalWriter, writes: Writes) -> None:
    """As a consumer does: again while the database is away."""
    async with asyncio.timeout(120):
        while True:
            try:
                await decide(journal, writes)
                return
            except Unavailable:
                await asyncio.sleep(0.01)


@pytest.mark.service("postgresql")
async def test_the_server_may_go_and_come_back() -> None:
    """Stopped at once under load and started again: callers are told `Disconnected`, nothing acknowledged is lost,
    nothing is written twice, and the journal recovers by itself."""
    require("postgresql")
    with private_postgres(durable=True) as own:
        async with PostgresJournal(own.dsn, "suite", settings=QUICK) as journal:
            await journal.prepare([THINGS])
            acknowledged: list[int] = []
            progress = asyncio.Event()

            async def write(worker: int) -> None:
                for turn in range(60):
                    number = worker * 100 + turn
                    await patiently(journal, put(number, f"k{worker}"))
                    acknowledged.append(number)
                    if len(acknowledged) % 20 == 0:
                        progress.set()

            writers = [asyncio.create_task(write(worker)) for worker in range(3)]
            for way in ("immediate", "kill"):
                progress.clear()
                async with asyncio.timeout(60):
                    await progress.wait()
                own.kill() if way == "kill" else own.stop(way)
                with pytest.raises(Disconnected):
                    await journal.head()
                own.start()
            await asyncio.gather(*writers)
            records = await all_records(journal)
            assert sorted(acknowledged) == sorted(int(r.command_id, 16) for r in records)
            assert [r.offset for r in records] == list(range(1, 181))
            assert await journal.verify() == []
            assert not journal.is_away


@pytest.mark.service("postgresql")
async def test_handlers_have_their_sql_planned_as_usual(dsn: str) -> None:
    """How the journal's own statements are planned would be wrong for an application's; a connection that comes back
    from a handler has it again."""
    async with PostgresJournal(dsn, "suite") as journal:
        await journal.prepare([THINGS])
        async with journal.batch([command_id(1)], []) as (batch, _):
            async with batch.savepoint():
                assert await batch.connection().fetchval("show enable_seqscan") == "on"
                assert await batch.connection().fetchval("show plan_cache_mode") == "auto"
            assert await batch.commit(put(1)) == 0
        assert await decide(journal, put(2)) == 1
        async with journal._connections.one() as connection:
            assert await connection.fetchval("show enable_seqscan") == "off"
            assert await connection.fetchval("show plan_cache_mode") == "force_generic_plan"


@pytest.mark.service("postgresql")
async def test_whoever_hangs_in_a_transaction_holds_up_nobody(dsn: str) -> None:
    """A process that says nothing within its SQL transaction loses it; the others go on, it starts over."""
    forgetful = PostgresSettings(idle_transaction_seconds=1.0)
    async with (
        PostgresJournal(dsn, "suite", settings=forgetful) as hanging,
        PostgresJournal(dsn, "suite") as other,
    ):
        await other.prepare([THINGS])
        await hanging.prepare([THINGS])
        async with hanging.batch([command_id(1)], []) as (batch, _):
            async with batch.savepoint():
                await batch.connection().execute("select pos from suite__log for update")
            async with asyncio.timeout(60):
                assert await decide(other, put(2)) == 0  # waits for the server to end the other's transaction
            with pytest.raises(Unavailable):
                await batch.commit(put(1))
        assert await decide(hanging, put(1)) == 1


@pytest.mark.service("postgresql")
async def test_a_statement_that_takes_too_long_is_given_up(dsn: str) -> None:
    """When the journal's end is locked by somebody else, a commit ends in time with `Disconnected`; written once."""
    async with PostgresJournal(dsn, "suite", settings=PostgresSettings(statement_seconds=1.5)) as journal:
        await journal.prepare([THINGS])
        stranger = await asyncpg.connect(dsn)
        try:
            async with stranger.transaction():
                await stranger.execute("select pos from suite__log for update")
                with pytest.raises(Disconnected):
                    await decide(journal, put(1))
        finally:
            await stranger.close()
        assert await decide(journal, put(1)) == 0


@pytest.mark.service("postgresql")
async def test_a_wrong_dsn_is_said_at_once(server: PrivatePostgres, dsn: str) -> None:
    """A password or database that is refused names the setting; a port where nobody listens is `Disconnected`."""
    for wrong in (dsn.replace("postgres:", "postgres:x"), dsn + "_missing", "postgresql://h:notaport/x"):
        with pytest.raises(SettingsError, match="SKERRY_JOURNAL"):
            await PostgresJournal(wrong, "suite").__aenter__()
    with pytest.raises(Disconnected):
        await PostgresJournal(dsn.replace(str(server.port), "1"), "suite", settings=QUICK).__aenter__()
    journal = PostgresJournal(dsn, "suite")
    with pytest.raises(Disconnected, match="not open"):
        await journal.head()


@pytest.mark.service("postgresql")
async def test_processes_may_start_together_on_an_empty_database(dsn: str) -> None:
    """Four prepare at once what is not there at all; before that, reading is `Disconnected`."""
    journals = [PostgresJournal(dsn, "suite") for _ in range(4)]
    async with journals[0], journals[1], journals[2], journals[3]:
        with pytest.raises(Disconnected, match="not there yet"):
            await journals[0].head()
        await asyncio.gather(*(journal.prepare([THINGS, f"t{n}"]) for n, journal in enumerate(journals)))
        heads = [await journal.head() for journal in journals]
        assert len({head.position.epoch for head in heads}) == 1
        for number, journal in enumerate(journals):
            assert await decide(journal, put(number + 1, f"k{number}")) == number
        async with journals[0].snapshot(["t3"]) as snapshot:  # prepared by another process
            assert snapshot.position.offset == 4


@pytest.mark.service("postgresql")
async def test_namespaces_share_a_database(dsn: str) -> None:
    """Two applications beside each other; a table of somebody else's is never taken over."""
    async with PostgresJournal(dsn, "one") as one, PostgresJournal(dsn, "two") as two:
        await one.prepare([THINGS])
        await two.prepare([THINGS])
        await decide(one, put(1))
        assert (await two.head()).position.offset == 0
        stranger = await asyncpg.connect(dsn)
        await stranger.execute("create table one_other (mine text)")
        await stranger.close()
        with pytest.raises(SettingsError, match="one_other"):
            await one.prepare(["other"])
        assert await decide(one, put(2)) == 1


@pytest.mark.service("postgresql")
async def test_what_the_database_refuses_is_refused_as_a_whole(dsn: str) -> None:
    """One row that PostgreSQL cannot take fails its whole batch with JournalError; the halves without it pass."""
    bad = NewEvent(command_id(2), "k", "thing_put", 2**40, b"{}", 1.0, False)
    async with PostgresJournal(dsn, "suite") as journal:
        await journal.prepare([THINGS])
        with pytest.raises(JournalError):
            await decide(journal, Writes(events=[event(1), bad], outcomes=[applied(1, 1), applied(2, 2)]))
        assert (await journal.head()).position.offset == 0
        assert await decide(journal, put(1)) == 0


@pytest.mark.service("postgresql")
async def test_kept_plans_go_by_keys(server: PrivatePostgres, dsn: str) -> None:
    """Plans made while the tables were empty do not read whole tables once they have grown."""
    async with PostgresJournal(dsn, "suite") as journal:
        await journal.prepare([THINGS])
        for number in range(40):
            keys = [(THINGS, f"k{number}-{n}") for n in range(50)]
            async with journal.batch([command_id(number)], keys) as (batch, _):
                puts: dict[str, dict[str, tuple[bytes | str, int]]] = {
                    THINGS: {k: (b"1", 1) for _, k in keys}
                }
                await batch.commit(Writes(puts, events=[event(number)], outcomes=[applied(number, 1)]))
            await journal.read(max(0, number - 5), 10)
        assert len(await all_rows(journal)) == 2000
    scans = server.query(
        f"select relname, seq_scan from pg_stat_user_tables where relname in ('suite_{THINGS}', 'suite__outcome', "
        "'suite__event') and seq_scan > 2",
        dsn.rpartition("/")[2],
    )
    assert scans == ""


@pytest.mark.service("postgresql")
async def test_connections_are_bounded(server: PrivatePostgres, dsn: str) -> None:
    """Many callers share few connections; one that waits too long is `Overloaded`."""
    settings = PostgresSettings(connections=2, turn_seconds=2.0)
    async with PostgresJournal(dsn, "suite", settings=settings) as journal:
        await journal.prepare([THINGS])
        await asyncio.gather(*(journal.head() for _ in range(50)))
        count = (
            "select count(*) from pg_stat_activity where application_name = 'skerry suite' and datname = '{}'"
        )
        assert int(server.query(count.format(dsn.rpartition("/")[2]))) <= 2
        async with journal.snapshot([THINGS]), journal.snapshot([THINGS]):
            with pytest.raises(Overloaded):
                await journal.head()
        assert (await journal.head()).position.offset == 0


@pytest.mark.service("postgresql")
async def test_a_silent_network_does_not_hang_anybody(server: PrivatePostgres, dsn: str) -> None:
    """When nothing comes through any more without any connection being closed, every call ends in time with
    `Disconnected`, and all goes on when the network is back; what was under way is written once."""
    settings = PostgresSettings(connect_seconds=1.5, statement_seconds=1.5, first_pause_seconds=0.01)
    async with FaultProxy(server.port) as proxy:
        near = dsn.replace(f":{server.port}/", f":{proxy.port}/")
        async with PostgresJournal(near, "suite", settings=settings) as journal:
            await journal.prepare([THINGS])
            await decide(journal, put(1))
            proxy.hold()
            async with asyncio.timeout(60):
                for _ in range(3):
                    with pytest.raises(Disconnected):
                        await journal.head()
                with pytest.raises(Disconnected):
                    await decide(journal, put(2))
            assert journal.is_away
            proxy.mend()
            await patiently(journal, put(2))
            assert [r.command_id for r in await all_records(journal)] == [command_id(1), command_id(2)]
            assert not journal.is_away
