"""Batches that are ready while a commit is under way are committed together, on real servers: those that are refused
are taken out, and whatever dies in between, each is written once or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import asyncpg
import msgspec
import pytest

from skerry.backends.postgres.gathered import MOST_EVENTS, Gathered, Ready
from skerry.backends.postgres.journal import PostgresJournal
from skerry.backends.postgres.settings import PostgresSettings
from skerry.errors import Conflict, Disconnected, Fenced, JournalError, Unavailable
from skerry.journal.journal import JournalWriter, Lease, NewEvent, Writes
from skerry.position import Position
from skerry.testing.journal_samples import (
    THINGS,
    all_records,
    all_rows,
    applied,
    command_id,
    decide,
    event,
    put,
)
from skerry.testing.proxy import FaultProxy
from skerry.testing.services import PrivatePostgres, private_postgres, private_standby, require
from skerry.testing.shared_journals import increment

needs_server = pytest.mark.service("postgresql")
QUICK = PostgresSettings(first_pause_seconds=0.01, longest_pause_seconds=0.05)


# --- what goes together


def ready(number: int, key: str = "k", offset: int = 7, epoch: str = "e") -> Ready:
    reads = {THINGS: {key: None}}
    return Ready(put(number, key), Position(epoch, offset), frozenset({command_id(number)}), reads, None)


def test_offsets_go_by_the_order_of_the_batches() -> None:
    """The events of each follow those before it; what the statement is given says so of rows and outcomes too."""
    together = Gathered()
    for number, key in ((1, "a"), (2, "b"), (3, "c")):
        together.add(ready(number, key))
    values = together.values(0.0)
    assert together.befores == [0, 1, 2]
    assert (values["count"], values["expected"], values["leases"]) == (3, 7, [None, None, None])
    assert values["outcome_befores"] == [1, 2, 3]
    assert (values[f"put_{THINGS}_keys"], values[f"put_{THINGS}_befores"]) == (["a", "b", "c"], [1, 2, 3])
    assert together.last_id == command_id(3)


def test_what_meets_does_not_go_together() -> None:
    """One that has read, writes or decides what another one writes or decides; what both only read may be."""
    together = Gathered()
    together.add(
        Ready(put(1, "a"), Position("e", 0), frozenset({command_id(1)}), {THINGS: {"a": 1, "r": 2}}, None)
    )
    reads = Ready(put(2, "b"), Position("e", 0), frozenset({command_id(2)}), {THINGS: {"b": 1, "a": 1}}, None)
    blind = Ready(put(2, "a"), Position("e", 0), frozenset({command_id(2)}), {}, None)
    again = Ready(put(1, "b"), Position("e", 0), frozenset({command_id(1)}), {}, None)
    other = Ready(put(2, "b"), Position("e", 0), frozenset({command_id(2)}), {THINGS: {"b": 1, "r": 2}}, None)
    assert [together.meets(each) for each in (reads, blind, again, other)] == [True, True, True, False]


def test_a_commit_has_an_end() -> None:
    """Of one epoch, and not more events than are good; a single batch may have any number."""
    many = Writes(events=[event(n) for n in range(MOST_EVENTS + 1)])
    large = Ready(many, Position("e", 0), frozenset(), {}, None)
    together = Gathered()
    assert together.has_room(large)
    together.add(ready(1))
    assert together.has_room(ready(2, "b", 9))
    assert not together.has_room(large)
    assert not together.has_room(ready(2, "b", epoch="another"))


def test_what_was_read_is_told_of_whom() -> None:
    """The database learns whose evidence is which; of a batch that moves nothing only its ids count. When all were
    opened at one end, it is asked only whether that still is the end."""
    together = Gathered()
    together.add(ready(1, "a"))
    still = Writes(outcomes=[applied(2, 0, 0)])
    together.add(Ready(still, Position("e", 7), frozenset({command_id(2)}), {THINGS: {"x": 1}}, None))
    together.add(ready(3, "c", 7))
    evidence = together.evidence(wanted=True)
    assert evidence["claim_batches"] == [1, 2, 3]
    assert (evidence["read_keys"], evidence["read_batches"]) == (["a", "c"], [1, 3])
    assert set(together.evidence(wanted=False).values()) == {None}
    assert together.position == Position("e", 7)
    together.add(ready(4, "d", 8))
    assert together.position is None


# --- on a server


@pytest.fixture(scope="module")
def server() -> Iterator[PrivatePostgres]:
    require("postgresql")
    with private_postgres() as server:
        yield server


@asynccontextmanager
async def prepared(dsn: str, settings: PostgresSettings = QUICK) -> AsyncIterator[PostgresJournal]:
    async with PostgresJournal(dsn, "suite", settings=settings) as journal:
        await journal.prepare([THINGS])
        yield journal


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - what a server does has no event here
            await asyncio.sleep(0.005)


async def patiently(journal: JournalWriter, writes: Writes) -> int | None:
    """As a consumer does: again while the database is away."""
    async with asyncio.timeout(60):
        while True:
            try:
                return await decide(journal, writes)
            except Unavailable:
                await asyncio.sleep(0.01)


class Held:
    """A commit under way that waits for the lock on the journal's end, and batches that are ready meanwhile."""

    def __init__(self, journal: PostgresJournal, dsn: str) -> None:
        self._journal, self._dsn = journal, dsn
        self._tasks: list[asyncio.Task[int | None]] = []
        self.database = dsn.rpartition("/")[2]

    async def begin(self) -> None:
        """Lock the end, and let the command 100 wait for it."""
        self._stranger = await asyncpg.connect(self._dsn)
        self._transaction = self._stranger.transaction()
        await self._transaction.start()
        await self._stranger.execute("select pos from suite__log for update")
        self.first = asyncio.create_task(decide(self._journal, put(100, "held")))
        await until(lambda: self._journal._committer._is_busy)

    async def ready(self, *works: Awaitable[int | None]) -> list[asyncio.Task[int | None]]:
        """Let these wait for the commit under way; returns when all of them do."""

        async def done(work: Awaitable[int | None]) -> int | None:
            return await work

        waiting = len(self._journal._committer._waiting)
        tasks = [asyncio.create_task(done(work)) for work in works]
        await until(lambda: len(self._journal._committer._waiting) == waiting + len(tasks))
        return tasks

    async def let_go(self) -> None:
        await self._transaction.commit()
        await self._stranger.close()


@pytest.fixture
async def held(server: PrivatePostgres) -> AsyncIterator[tuple[PostgresJournal, Held]]:
    dsn = server.database()
    async with prepared(dsn) as journal:
        held = Held(journal, dsn)
        await held.begin()
        yield journal, held


def transactions(server: PrivatePostgres, database: str) -> list[list[str]]:
    """The keys of the events that were committed together."""
    found = server.query(
        "select string_agg(key, ' ' order by pos) from suite__event group by xmin::text order by min(pos)",
        database,
    )
    return [line.split() for line in found.splitlines()]


async def once(batch: AbstractAsyncContextManager[tuple[object, object]], writes: Writes) -> int | None:
    """Commit once, whatever comes of it."""
    async with batch as (opened, _):
        return await opened.commit(writes)  # type: ignore[attr-defined, no-any-return]


@needs_server
async def test_what_is_ready_is_committed_together(
    server: PrivatePostgres, held: tuple[PostgresJournal, Held]
) -> None:
    """One transaction for all partitions that were ready, in the order in which they were; each is told its base."""
    journal, hold = held
    tasks = await hold.ready(*(decide(journal, put(n, f"k{n}")) for n in range(1, 5)))
    await hold.let_go()
    bases = [int(base) for base in await asyncio.gather(*tasks) if base is not None]
    assert await hold.first == 0
    assert sorted(bases) == [1, 2, 3, 4]
    records = await all_records(journal)
    assert [record.offset for record in records] == [1, 2, 3, 4, 5]
    assert {record.key: record.offset for record in records[1:]} == {
        f"k{number}": base + 1 for number, base in enumerate(bases, 1)
    }
    [alone, together] = transactions(server, hold.database)
    assert alone == ["held"]
    assert sorted(together) == ["k1", "k2", "k3", "k4"]
    assert {row[1] for row in (await all_rows(journal)).values()} == {1, 2, 3, 4, 5}
    assert await journal.verify() == []


@needs_server
async def test_a_batch_that_another_process_was_quicker_than_is_taken_out(
    server: PrivatePostgres, held: tuple[PostgresJournal, Held]
) -> None:
    """Only that one is told Conflict; the others are in the same commit. One whose id was decided elsewhere too."""
    journal, hold = held
    tasks = await hold.ready(
        decide(journal, put(1, "a")),
        once(journal.batch([command_id(2)], [(THINGS, "b")]), put(2, "b")),
        once(journal.batch([command_id(3)], [(THINGS, "c")]), put(3, "c")),
        decide(journal, put(4, "d")),
    )
    async with prepared(hold._dsn) as other:
        stranger = asyncio.create_task(decide(other, put(200, "b")))
        await until(lambda: other._committer._is_busy)
        await hold._stranger.execute(
            "insert into suite__outcome values ($1, 'rejected', 0, 0, '', '', null, '', 0)", command_id(3)
        )
        # it is committed between the two: the end is locked until all wait for it
        await until(lambda: server.query(_LOCKS, hold.database) == "2")
        await hold.let_go()
        found = await asyncio.gather(hold.first, stranger, *tasks, return_exceptions=True)
    assert [isinstance(each, Conflict) for each in found] == [False, False, False, True, True, False]
    together = transactions(server, hold.database)
    assert sorted(map(sorted, together)) == sorted([["held"], ["b"], ["a", "d"]])
    assert (await all_rows(journal))["b"][0] == put(200, "b").puts[THINGS]["b"][0]
    assert await journal.verify() == []


_LOCKS = (
    "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
)


@needs_server
async def test_batches_of_one_process_that_meet(held: tuple[PostgresJournal, Held]) -> None:
    """Two that raise one counter at once: the second is told to look again; each command counts once."""
    journal, hold = held
    numbers = range(1, 7)
    works = [_raised(journal, number, f"c{number % 2}") for number in numbers]
    tasks = await hold.ready(*works)
    await hold.let_go()
    late = await asyncio.gather(*tasks)
    rows = await all_rows(journal)
    assert {key: msgspec.json.decode(rows[key][0]) for key in ("c0", "c1")} == {"c0": 3, "c1": 3}
    assert sum(late) > 0  # type: ignore[arg-type]
    assert await hold.first == 0
    assert await journal.verify() == []


async def _raised(journal: JournalWriter, number: int, key: str) -> int | None:
    return await increment(journal, number, key)


@needs_server
async def test_a_lost_lease_takes_out_its_partition_alone(
    server: PrivatePostgres, held: tuple[PostgresJournal, Held]
) -> None:
    """Of three partitions one is somebody else's by now: that one is Fenced, the others are written together."""
    journal, hold = held
    leases = [await journal.acquire(f"p{n}", "anna", 60.0) for n in range(3)]
    tasks = await hold.ready(*(_under(journal, put(n, f"k{n}"), lease) for n, lease in enumerate(leases)))
    server.query("update suite__lease set owner = 'bert', fence = fence + 1 where name = 'p1'", hold.database)
    await hold.let_go()
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(each) for each in found] == [int, Fenced, int]
    assert sorted(map(sorted, transactions(server, hold.database))) == [["held"], ["k0", "k2"]]
    assert await hold.first == 0


async def _under(journal: JournalWriter, writes: Writes, lease: Lease | None) -> int | None:
    return await decide(journal, writes, lease)


@needs_server
async def test_what_the_database_refuses_fails_alone(held: tuple[PostgresJournal, Held]) -> None:
    """A batch with something that PostgreSQL cannot take fails; those that were to be committed with it are written."""
    journal, hold = held
    bad = NewEvent(command_id(2), "k", "thing_put", 2**40, b"{}", 1.0, False)
    spoilt = Writes(events=[bad], outcomes=[applied(2, 1)])
    tasks = await hold.ready(
        decide(journal, put(1, "a")), decide(journal, spoilt), decide(journal, put(3, "c"))
    )
    await hold.let_go()
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert [isinstance(each, JournalError) for each in found] == [False, True, False]
    assert {record.key for record in await all_records(journal)} == {"held", "a", "c"}
    assert await hold.first == 0


@needs_server
async def test_one_that_gives_up_waiting_is_not_written(held: tuple[PostgresJournal, Held]) -> None:
    """A partition whose task is cancelled while its batch waits: the batch is left out, the others are written."""
    journal, hold = held
    tasks = await hold.ready(*(decide(journal, put(n, f"k{n}")) for n in range(3)))
    tasks[1].cancel()
    await asyncio.wait({tasks[1]})
    await hold.let_go()
    await asyncio.gather(hold.first, tasks[0], tasks[2])
    assert {record.key for record in await all_records(journal)} == {"held", "k0", "k2"}


@needs_server
async def test_a_journal_that_is_closed_leaves_nobody_waiting(server: PrivatePostgres) -> None:
    """Whoever waits is told Disconnected; nothing of it is written."""
    dsn = server.database()
    async with prepared(dsn) as journal:
        hold = Held(journal, dsn)
        await hold.begin()
        tasks = await hold.ready(*(decide(journal, put(n, f"k{n}")) for n in range(3)))
        hold.first.cancel()
        await asyncio.wait({hold.first})
        await journal._committer.close()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(each) for each in found] == [Disconnected] * 3
    await hold.let_go()


@needs_server
@pytest.mark.parametrize("phase", ["waiting", "committed"])
async def test_a_connection_that_dies_takes_all_or_nothing(server: PrivatePostgres, phase: str) -> None:
    """Ended by the server while the commit waits for the lock, or cut when it is done and not answered yet: all of its
    batches are unknown, and when they come again each is in effect once."""
    dsn = server.database()
    async with FaultProxy(server.port) as proxy:
        near = dsn.replace(f":{server.port}/", f":{proxy.port}/")
        async with prepared(near) as journal:
            hold = Held(journal, dsn)
            await hold.begin()
            tasks = await hold.ready(*(decide(journal, put(n, f"k{n}")) for n in range(1, 5)))
            ours = "application_name = 'skerry suite' and datname = current_database()"
            if phase == "waiting":
                await hold._stranger.execute("select pg_sleep(0)")
                hold_again = await asyncpg.connect(dsn)
                # the next one to lock the end is this: the four wait behind it
                locking = asyncio.create_task(_lock(hold_again))
                await until(lambda: server.query(_LOCKS, hold.database) == "2")
                await hold.let_go()
                await until(lambda: hold.first.done())
                waits = f"from pg_stat_activity where {ours} and wait_event_type = 'Lock'"
                end = f"select pg_terminate_backend(pid) {waits}"
                await until(lambda: "t" in server.query(end, hold.database))
                found = await asyncio.gather(*tasks, return_exceptions=True)
                await hold_again.close()
                await asyncio.wait({locking})
                assert [type(each) for each in found] == [Disconnected] * 4
                assert transactions(server, hold.database) == [["held"]]
            else:
                proxy.hold()  # answers do not come through any more, what was sent does its work
                await hold.let_go()
                await until(lambda: transactions(server, hold.database) == [["held"]])
                proxy.cut()
                proxy.mend()
                with pytest.raises(Disconnected):
                    await hold.first
                await asyncio.gather(*tasks, return_exceptions=True)
            for number in range(1, 5):
                await patiently(journal, put(number, f"k{number}"))
            await patiently(journal, put(100, "held"))
            records = await all_records(journal)
            assert sorted(record.key for record in records) == ["held", "k1", "k2", "k3", "k4"]
            assert [record.offset for record in records] == [1, 2, 3, 4, 5]
            assert await journal.verify() == []


async def _lock(connection: asyncpg.Connection) -> None:
    await connection.execute("begin; select pos from suite__log for update")


@needs_server
async def test_one_wait_for_a_synchronous_standby() -> None:
    """While a commit waits for the standby others become ready, and wait together. Then the primary is killed: at the
    promoted standby each of those that were not answered is in effect once, as are those that were."""
    require("postgresql")
    with private_postgres(durable=True) as primary, private_standby(primary, "near", durable=True) as standby:
        database = primary.database("fleet").rpartition("/")[2]
        dsn = f"{primary.dsn.removesuffix('postgres')}{database}"
        async with FaultProxy(primary.port) as proxy:
            near = dsn.replace(f":{primary.port}/", f":{proxy.port}/")
            async with prepared(near) as journal:
                primary.query("alter system set synchronous_standby_names = 'near'")
                primary.query("select pg_reload_conf()")
                answered = [await decide(journal, put(n, f"k{n}")) for n in range(3)]
                assert answered == [0, 1, 2]
                standby.caught_up(primary)
                standby.part()
                first = asyncio.create_task(decide(journal, put(3, "k3")))
                await until(lambda: primary.query(_SYNC) == "1")
                tasks = [asyncio.create_task(decide(journal, put(n, f"k{n}"))) for n in range(4, 8)]
                await until(lambda: len(journal._committer._waiting) == 4)
                standby.follow(primary)
                assert await first == 3
                assert sorted(await asyncio.gather(*tasks)) == [4, 5, 6, 7]  # type: ignore[type-var]
                assert sorted(map(len, transactions(primary, database))) == [1, 1, 1, 1, 4]
                standby.caught_up(primary)
                standby.part()
                lost = [asyncio.create_task(decide(journal, put(n, f"k{n}"))) for n in range(8, 12)]
                await until(lambda: primary.query(_SYNC) == "1" and len(journal._committer._waiting) == 3)
                primary.kill()
                found = await asyncio.gather(*lost, return_exceptions=True)
                assert all(isinstance(each, Disconnected) for each in found)
                standby.promote()
                proxy.lead(standby.port)
                for number in range(12):
                    await patiently(journal, put(number, f"k{number}"))
                records = await all_records(journal)
                assert sorted(int(record.command_id, 16) for record in records) == list(range(12))
                assert [record.offset for record in records] == list(range(1, 13))
                assert await journal.verify() == []


_SYNC = "select count(*) from pg_stat_activity where wait_event = 'SyncRep'"
