"""Primaries that change places, connections that go silent, commits that wait for a standby: on real servers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import asyncpg
import pytest

from skerry.backends.postgres.journal import PostgresJournal
from skerry.backends.postgres.role import Need
from skerry.backends.postgres.session import committing
from skerry.backends.postgres.settings import PostgresSettings
from skerry.errors import Conflict, Disconnected, Unavailable
from skerry.journal.journal import JournalWriter, Writes
from skerry.testing.journal_samples import THINGS, all_records, command_id, decide, put
from skerry.testing.proxy import FaultProxy
from skerry.testing.services import PrivatePostgres, private_postgres, private_standby, require

pytestmark = pytest.mark.service("postgresql")
QUICK = PostgresSettings(first_pause_seconds=0.01, longest_pause_seconds=0.05)


@pytest.fixture
def primary() -> Iterator[PrivatePostgres]:
    require("postgresql")
    with private_postgres() as server:
        yield server


@pytest.fixture
def standby(primary: PrivatePostgres) -> Iterator[PrivatePostgres]:
    with private_standby(primary, "near") as server:
        yield server


async def patiently(journal: JournalWriter, writes: Writes, seconds: float = 60.0) -> int | None:
    """As a consumer does: again while the database is away."""
    async with asyncio.timeout(seconds):
        while True:
            try:
                return await decide(journal, writes)
            except Unavailable:
                await asyncio.sleep(0.01)


async def decide_by_sql(journal: JournalWriter, number: int) -> int | None:
    """A command of SQL mode, as a consumer decides it."""
    while True:
        try:
            async with journal.batch([command_id(number)], []) as (batch, _):
                if batch.known:
                    return None
                async with batch.savepoint():
                    await batch.connection().execute("select 1")
                return await batch.commit(put(number))
        except Conflict:
            continue


def through(dsn: str, port: int, proxy: FaultProxy) -> str:
    return dsn.replace(f":{port}/", f":{proxy.port}/")


# --- roles


async def test_after_a_switchover_work_goes_on_at_the_new_primary(
    primary: PrivatePostgres, standby: PrivatePostgres
) -> None:
    """The old one comes back as its standby under the name that leads to it for a while longer: connections to it are
    healthy and of no use, and are not kept."""
    async with FaultProxy(primary.port) as proxy:
        dsn = through(primary.dsn, primary.port, proxy)
        async with PostgresJournal(dsn, "suite", settings=QUICK) as journal:
            await journal.prepare([THINGS])
            assert await decide(journal, put(1)) == 0
            primary.stop()
            standby.promote()
            primary.follow(standby)
            for _ in range(3):
                with pytest.raises(Disconnected):
                    await decide(journal, put(2))
            with pytest.raises(Disconnected, match="is a standby, and the primary is needed"):
                await _why(journal)
            assert (journal.is_away, journal.read_only) == (True, True)
            proxy.lead(standby.port)
            assert await patiently(journal, put(2)) == 1
            assert journal._connections.role is not None
            assert journal._connections.role.timeline == 2
            assert not journal.read_only


async def _why(journal: PostgresJournal) -> None:
    async with asyncio.timeout(60):
        while True:
            try:
                await journal.head()
            except Disconnected as error:
                if "standby" in str(error):
                    raise
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("by_sql", [False, True], ids=["plain", "SQL mode"])
async def test_a_connection_that_became_read_only_is_thrown_away(
    primary: PrivatePostgres, standby: PrivatePostgres, by_sql: bool
) -> None:
    """A server that changes its role under open connections, as some services do: they all go, those that rest too."""

    async def write(journal: JournalWriter, number: int) -> int | None:
        return await (decide_by_sql(journal, number) if by_sql else decide(journal, put(number)))

    async with FaultProxy(primary.port) as proxy:
        dsn = through(primary.dsn, primary.port, proxy)
        async with PostgresJournal(dsn, "suite", settings=QUICK) as journal:
            await journal.prepare([THINGS])
            assert await write(journal, 1) == 0
            async with journal.snapshot([THINGS]), journal.snapshot([THINGS]):
                pass  # more connections, which rest now
            standby.caught_up(primary)
            standby.promote()
            primary.query("alter system set default_transaction_read_only = on")
            primary.query("select pg_reload_conf()")
            proxy.lead(standby.port)
            async with asyncio.timeout(60):
                while True:
                    try:
                        assert await write(journal, 2) == 1
                        break
                    except Unavailable:
                        await asyncio.sleep(0.01)
            assert proxy.accepted >= 2


async def test_who_only_follows_reads_a_primary_that_takes_no_writes(
    pair: tuple[PrivatePostgres, PrivatePostgres],
) -> None:
    """Servers start and go on reading while the database is kept read-only; a consumer says why it does not."""
    primary, _ = pair
    dsn = primary.database()
    async with PostgresJournal(dsn, "suite") as journal:
        await journal.prepare([THINGS])
        await decide(journal, put(1))
    primary.query(f'alter database "{dsn.rpartition("/")[2]}" set default_transaction_read_only = on')
    async with PostgresJournal(dsn, "suite", need=Need.PRIMARY) as journal:
        assert (await journal.head()).position.offset == 1
        with pytest.raises(Disconnected):
            await journal.bodies.put("k", b"x")
        assert (await journal.head()).position.offset == 1
        assert journal.read_only
        primary.query(f'alter database "{dsn.rpartition("/")[2]}" reset default_transaction_read_only')
        await journal.bodies.put("k", b"x")
        assert not journal.read_only
    primary.query(f'alter database "{dsn.rpartition("/")[2]}" set default_transaction_read_only = on')
    for url, need in ((dsn, Need.WRITABLE), (f"{dsn}?target_session_attrs=read-write", Need.PRIMARY)):
        with pytest.raises(Disconnected, match="default_transaction_read_only is on"):
            await PostgresJournal(url, "suite", need=need).__aenter__()


# --- silence


async def test_a_connection_that_goes_silent_is_given_up(
    pair: tuple[PrivatePostgres, PrivatePostgres],
) -> None:
    """What goes into it is acknowledged by somebody and lost, new ones work: nobody waits until the statement's own
    end, and those that rest are not tried one after the other."""
    settings = PostgresSettings(first_pause_seconds=0.01, doubt_seconds=0.3, statement_seconds=600.0)
    primary, _ = pair
    async with FaultProxy(primary.port) as proxy:
        dsn = through(primary.database(), primary.port, proxy)
        async with PostgresJournal(dsn, "suite", settings=settings) as journal:
            await journal.prepare([THINGS])
            for number, reaches in enumerate(("open", "commit", "head"), 1):
                async with journal.snapshot([THINGS]), journal.snapshot([THINGS]):
                    pass
                async with asyncio.timeout(60):
                    if reaches == "commit":
                        async with journal.batch([command_id(number)], []) as (batch, _):
                            proxy.silence()
                            with pytest.raises(Disconnected, match="went silent"):
                                await batch.commit(put(number))
                    else:
                        proxy.silence()
                        with pytest.raises(Disconnected, match="went silent"):
                            await (decide(journal, put(number)) if reaches == "open" else journal.head())
                    assert await decide(journal, put(number)) == number - 1


async def test_a_server_that_is_at_work_is_waited_for(pair: tuple[PrivatePostgres, PrivatePostgres]) -> None:
    """A commit behind somebody's lock is no silence, however often it is asked about."""
    settings = PostgresSettings(doubt_seconds=0.1)
    dsn = pair[0].database()
    async with PostgresJournal(dsn, "suite", settings=settings) as journal:
        await journal.prepare([THINGS])
        stranger = await asyncpg.connect(dsn)
        async with stranger.transaction():
            await stranger.execute("select pos from suite__log for update")
            writing = asyncio.create_task(decide(journal, put(1)))
            await until(
                lambda: any(
                    session.waiting_since is not None and session.asked_at - session.waiting_since > 0.5
                    for session in journal._connections._used
                )
            )
        await stranger.close()
        assert await writing == 0


# --- commits


class Synchronous:
    """A database whose commits wait for a standby, which is parted from it by `part`."""

    def __init__(self, primary: PrivatePostgres, standby: PrivatePostgres) -> None:
        self.primary, self.standby = primary, standby
        self.dsn = primary.database()
        self.database = self.dsn.rpartition("/")[2]
        self._log_bytes = (primary.directory / "log").stat().st_size

    def part(self) -> None:
        self.primary.query("alter system set synchronous_standby_names = 'near'")
        self.primary.query("select pg_reload_conf()")
        self.standby.caught_up(self.primary)
        self.standby.part()

    def mend(self) -> None:
        self.standby.follow(self.primary)
        self.primary.query("alter system reset synchronous_standby_names")
        self.primary.query("select pg_reload_conf()")

    @property
    def said(self) -> str:
        """What the primary has logged since."""
        return (self.primary.directory / "log").read_bytes()[self._log_bytes :].decode()

    def events(self, server: PrivatePostgres) -> int:
        return int(server.query("select count(*) from suite__event", self.database))

    async def until_waiting(self, number: int = 1) -> None:
        """Until so many commits wait for the standby."""
        waiting = f"from pg_stat_activity where wait_event = 'SyncRep' and datname = '{self.database}'"
        await until(lambda: int(self.primary.query(f"select count(*) {waiting}")) >= number)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - what a server does has no event here
            await asyncio.sleep(0.01)


@pytest.fixture(scope="module")
def pair() -> Iterator[tuple[PrivatePostgres, PrivatePostgres]]:
    """A primary and its standby, for tests that do not promote it."""
    require("postgresql")
    with private_postgres() as primary, private_standby(primary, "near") as standby:
        yield primary, standby


@pytest.fixture
def synchronous(pair: tuple[PrivatePostgres, PrivatePostgres]) -> Iterator[Synchronous]:
    made = Synchronous(*pair)
    yield made
    made.mend()


@pytest.mark.parametrize("by_sql", [False, True], ids=["plain", "SQL mode"])
@pytest.mark.parametrize("ends", ["deadline", "cancellation"])
async def test_a_commit_is_never_cancelled(synchronous: Synchronous, by_sql: bool, ends: str) -> None:
    """Whether its deadline passes or its task is cancelled while it waits for a standby: its connection is closed, the
    server goes on waiting, and nobody sees what the standby does not have. It takes effect once."""
    seconds = 0.6 if ends == "deadline" else 600.0
    settings = PostgresSettings(
        first_pause_seconds=0.01,
        connect_seconds=60.0 if ends != "deadline" else 0.6,
        statement_seconds=seconds,
    )
    async with PostgresJournal(synchronous.dsn, "suite", settings=settings) as journal:
        await journal.prepare([THINGS])
        synchronous.part()
        writing = asyncio.create_task(decide_by_sql(journal, 1) if by_sql else decide(journal, put(1)))
        await synchronous.until_waiting()
        if ends == "cancellation":
            writing.cancel()
            with pytest.raises(asyncio.CancelledError):
                await writing
        else:
            with pytest.raises(Disconnected):
                await writing
        await synchronous.until_waiting()
        assert synchronous.events(synchronous.primary) == 0
        assert "cancel" not in synchronous.said
    async with PostgresJournal(synchronous.dsn, "suite", settings=QUICK) as journal:
        synchronous.standby.follow(synchronous.primary)
        await patiently(journal, put(1))
        assert [record.command_id for record in await all_records(journal)] == [command_id(1)]


async def test_only_a_commit_is_not_cancelled(pair: tuple[PrivatePostgres, PrivatePostgres]) -> None:
    """What the driver cancels is ended by the server, and the connection goes on (a late handler of SQL mode); where a
    commit is under way nothing is sent, and the connection ends."""
    async with PostgresJournal(pair[0].database(), "suite") as journal, journal._connections.one() as session:
        state = f"select state from pg_stat_activity where pid = {session.role.backend}"
        with pytest.raises(TimeoutError):
            await session.execute("select pg_sleep(600)", timeout=0.1)
        assert await session.fetchval("select 1") == 1
        with pytest.raises(TimeoutError), committing(session):
            await session.execute("select pg_sleep(600)", timeout=0.1)
        await until(session.is_closed)
        assert pair[0].query(state) == "active"
        pair[0].query(f"select pg_terminate_backend({session.role.backend})")


@pytest.mark.parametrize("by_sql", [False, True], ids=["plain", "SQL mode"])
async def test_a_commit_with_a_warning_is_not_acknowledged(synchronous: Synchronous, by_sql: bool) -> None:
    """An administrator ends its waiting: it stands on this server alone. It is told to nobody, neither at once nor when
    it is looked up, before the standby has it too."""
    async with PostgresJournal(synchronous.dsn, "suite", settings=QUICK) as journal:
        await journal.prepare([THINGS])
        synchronous.part()
        for _ in range(2):  # the commit itself, then the look at what became of it
            writing = asyncio.create_task(decide_by_sql(journal, 1) if by_sql else decide(journal, put(1)))
            await synchronous.until_waiting()
            synchronous.primary.query(
                "select pg_cancel_backend(pid) from pg_stat_activity where wait_event = 'SyncRep'"
            )
            with pytest.raises(Disconnected, match="committed with a warning"):
                await writing
            assert synchronous.events(synchronous.primary) == 1
        writing = asyncio.create_task(decide(journal, put(1)))
        await synchronous.until_waiting()
        asked = asyncio.create_task(journal.outcome(command_id(1)))
        await synchronous.until_waiting(2)
        synchronous.standby.follow(synchronous.primary)
        assert await writing is None  # known, and on both
        assert (await asked) is not None
        assert synchronous.events(synchronous.standby) == 1
