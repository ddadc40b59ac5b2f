"""What leaving events in foreign transactions has to do, as tests that a backend inherits.

    class TestMine(IntakeSuite):
        @pytest.fixture
        def open_journal(self) -> OpenJournal: ...             # of the namespace "suite"

        def connect(self) -> Any: ...                          # the application's own, for `emit(connection=)`
        def begin(self, connection: Any, level: str = "") -> None: ...

`connect` gives a connection of the application's driver (DB-API, autocommit) to the database that has the journal, and
in it a table `shop_order (number integer primary key, version integer not null)`. `SharedIntakeSuite` is for databases
in which several transactions write at a time. Needs pytest with pytest-asyncio in mode auto.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from skerry.backends.memory.transport import MemoryHub
from skerry.bridge.emitting import emit
from skerry.bus.intake import Mover
from skerry.errors import Conflict, Fenced, JournalError, LifecycleError, SettingsError
from skerry.journal.intake import HasIntake, Waiting
from skerry.journal.journal import JournalWriter, Lease, Record, Writes
from skerry.messages.message import Event, MessageTypes
from skerry.messages.serializer import Serializer
from skerry.testing.journal_samples import OTHERS, THINGS, OpenJournal, all_records, decide, put


class OrderPaid(Event):
    number: int
    version: int = 0

    def subject_key(self) -> str:
        return f"order-{self.number}"


class Unlisted(Event):
    text: str


TAKEN = [OrderPaid.message_name]


def serializer() -> Serializer:
    types = MessageTypes()
    for kind in (OrderPaid, Unlisted):
        types.add(kind)
    return Serializer(types)


class IntakeSuite:
    """Inherit, give it `open_journal`, `connect` and `begin`."""

    @pytest.fixture
    def open_journal(self) -> OpenJournal:
        raise NotImplementedError("a fixture that returns how to open the journal under test")

    def connect(self) -> Any:
        raise NotImplementedError

    def begin(self, connection: Any, level: str = "") -> None:
        """Begin a transaction, of an isolation level that `levels` names."""
        raise NotImplementedError

    def insert(self, connection: Any, number: int) -> None:
        connection.cursor().execute(f"insert into shop_order (number, version) values ({number}, 0)")

    @pytest.fixture(autouse=True)
    def settings(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SKERRY_NAMESPACE", "suite")

    @pytest.fixture
    async def journal(self, open_journal: OpenJournal) -> AsyncIterator[JournalWriter]:
        async with open_journal() as journal:
            await journal.prepare([THINGS, OTHERS])
            yield journal

    def mover(
        self, journal: JournalWriter, lease: Lease | None = None, taken: list[str] | None = None
    ) -> Mover | None:
        """The mover of what was left; None where events are numbered at once."""
        if not isinstance(journal, HasIntake):
            return None
        transport = MemoryHub().endpoint()
        return Mover(journal, transport, serializer(), TAKEN if taken is None else taken, lease=lambda: lease)

    async def settle(self, journal: JournalWriter) -> list[Record]:
        """Let everything that is committed come into the journal; all of its events. A mover that was ended may have a
        commit under way: then it is tried again, as movers do."""
        mover, moves = self.mover(journal), True
        while mover is not None and moves:
            with contextlib.suppress(Conflict):
                moves = bool(await mover.move())
        return await all_records(journal)

    # --- with the application's rows, or not at all

    async def test_an_event_comes_with_its_transaction(self, journal: JournalWriter) -> None:
        """Committed with the row, once, under its id, key, name and time; not before the commit."""
        connection = self.connect()
        self.begin(connection)
        self.insert(connection, 7)
        emitted = emit(OrderPaid(7, 3), connection=connection)
        assert await self.settle(journal) == []
        connection.commit()
        [record] = await self.settle(journal)
        assert (record.offset, record.command_id, record.key) == (1, emitted.id, "order-7")
        assert (record.name, record.version, record.more) == ("order_paid", 1, False)
        assert msgspec.json.decode(record.data) == {"number": 7, "version": 3}
        assert abs(record.at - time.time()) < 60
        assert await self.settle(journal) == [record]
        assert await journal.verify() == []

    async def test_a_key_may_be_given(self, journal: JournalWriter) -> None:
        """Any text; it is what listeners filter by."""
        connection = self.connect()
        self.begin(connection)
        emit(OrderPaid(1), key="Käse/'\"%s ?", connection=connection)
        connection.commit()
        [record] = await self.settle(journal)
        assert record.key == "Käse/'\"%s ?"

    async def test_a_rollback_leaves_nothing(self, journal: JournalWriter) -> None:
        """Nor does the end of a connection without a commit; numbers are not used up."""
        for end in ("rollback", "close", "commit"):
            connection = self.connect()
            self.begin(connection)
            emit(OrderPaid(1), connection=connection)
            getattr(connection, end)()
        assert [record.offset for record in await self.settle(journal)] == [1]

    async def test_a_savepoint_that_is_rolled_back_takes_its_events_along(
        self, journal: JournalWriter
    ) -> None:
        """The others of the transaction come."""
        connection = self.connect()
        self.begin(connection)
        cursor = connection.cursor()
        emit(OrderPaid(1), connection=connection)
        cursor.execute("savepoint one")
        emit(OrderPaid(2), connection=connection)
        cursor.execute("rollback to savepoint one")
        cursor.execute("savepoint two")
        emit(OrderPaid(3), connection=connection)
        cursor.execute("release savepoint two")
        connection.commit()
        assert [record.key for record in await self.settle(journal)] == ["order-1", "order-3"]

    async def test_outside_of_a_transaction_it_is_refused(self, journal: JournalWriter) -> None:
        """With words that say so; nothing is left."""
        with pytest.raises(LifecycleError, match="outside of a transaction"):
            emit(OrderPaid(1), connection=self.connect())
        assert await self.settle(journal) == []

    async def test_a_namespace_that_is_not_there_is_told(
        self, journal: JournalWriter, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As is one that nobody names."""
        connection = self.connect()
        monkeypatch.setenv("SKERRY_NAMESPACE", "elsewhere")
        self.begin(connection)
        with pytest.raises(JournalError, match="elsewhere"):
            emit(OrderPaid(1), connection=connection)
        connection.rollback()
        monkeypatch.delenv("SKERRY_NAMESPACE")
        with pytest.raises(SettingsError, match="SKERRY_NAMESPACE"):
            emit(OrderPaid(1), connection=self.connect())

    # --- one sequence

    async def test_commands_and_foreign_events_are_one_sequence(self, journal: JournalWriter) -> None:
        """Without a gap, in whatever order they come; rows that commands wrote keep their positions."""
        connection = self.connect()
        for number in range(1, 21):
            if number % 3:
                await decide(journal, put(number, f"k{number}"))
            else:
                self.begin(connection)
                emit(OrderPaid(number), connection=connection)
                connection.commit()
                if number % 2:
                    await self.settle(journal)
        records = await self.settle(journal)
        assert [record.offset for record in records] == list(range(1, 21))
        assert Counter(record.name for record in records) == {"thing_put": 14, "order_paid": 6}
        assert await journal.verify() == []

    async def test_a_batch_that_was_decided_meanwhile_is_not_lost(self, journal: JournalWriter) -> None:
        """A foreign event between a batch's opening and its commit: the batch goes on, or is told to decide again."""
        connection = self.connect()
        async with journal.batch([], [(THINGS, "k")]) as (batch, _):
            self.begin(connection)
            emit(OrderPaid(1), connection=connection)
            connection.commit()
            try:
                await batch.commit(Writes(puts={THINGS: {"k": (b"1", 1)}}, events=put(1, "k").events))
            except Conflict:
                pass
        records = await self.settle(journal)
        assert [record.offset for record in records] == list(range(1, len(records) + 1))
        assert "order_paid" in {record.name for record in records}
        assert await journal.verify() == []

    async def test_trimming_goes_on_beside_it(self, journal: JournalWriter) -> None:
        """What was moved is trimmed like other events; what comes later goes on from there."""
        connection = self.connect()
        for number in range(1, 4):
            self.begin(connection)
            emit(OrderPaid(number), connection=connection)
            connection.commit()
        await self.settle(journal)
        head = await journal.head()
        assert await journal.trim(head.position) == 3
        self.begin(connection)
        emit(OrderPaid(4), connection=connection)
        connection.commit()
        mover = self.mover(journal)
        if mover is not None:
            await mover.move()
        [record] = await journal.read(3, 10)
        assert (record.offset, record.key) == (4, "order-4")

    async def test_a_new_epoch_goes_on(self, journal: JournalWriter) -> None:
        """Events that were left before it began stand in the new one, or in the old one up to where that ended."""
        connection = self.connect()
        for number in (1, 2):
            self.begin(connection)
            emit(OrderPaid(number), connection=connection)
            connection.commit()
            if number == 1:
                await self.settle(journal)
                await journal.new_epoch("asked for", 1)
        records = await self.settle(journal)
        assert [(record.offset, record.key) for record in records] == [(1, "order-1"), (2, "order-2")]
        assert await journal.verify() == []


class SharedIntakeSuite(IntakeSuite):
    """Where several transactions write at a time, and a consumer moves what they left. `levels`: isolation levels
    beside the default."""

    levels: tuple[str, ...] = ()

    async def test_every_isolation_level(self, journal: JournalWriter) -> None:
        """Transactions that began before the journal moved on commit all the same: nothing they touch is shared."""
        connections = {level: self.connect() for level in ("", *self.levels)}
        for number, (level, connection) in enumerate(connections.items()):
            self.begin(connection, level)
            cursor = connection.cursor()
            cursor.execute("select count(*) from shop_order")
            cursor.fetchone()
            self.insert(connection, number)
            emit(OrderPaid(number), connection=connection)
        await decide(journal, put(1))
        for connection in connections.values():
            connection.commit()
        assert len(await self.settle(journal)) == 1 + len(connections)

    async def test_two_phase_commit(self, journal: JournalWriter) -> None:
        """A prepared transaction leaves its event with its second phase, also when its session has ended."""
        for number, end in enumerate(("commit prepared", "rollback prepared")):
            connection = self.connect()
            self.begin(connection)
            emit(OrderPaid(number), connection=connection)
            connection.cursor().execute(f"prepare transaction 'suite-{number}'")
            connection.close()
            assert len(await self.settle(journal)) == number
            self.connect().cursor().execute(f"{end} 'suite-{number}'")
        assert [record.key for record in await self.settle(journal)] == ["order-0"]

    async def test_a_long_transaction_holds_up_nobody(self, journal: JournalWriter) -> None:
        """While one that has emitted stays open, others emit, commit and are moved, and commands are decided; its
        own event comes last."""
        long = self.connect()
        self.begin(long)
        self.insert(long, 1)
        emit(OrderPaid(1), connection=long)
        other = self.connect()
        self.begin(other)
        emit(OrderPaid(2), connection=other)
        other.commit()
        await decide(journal, put(1))
        assert [record.key for record in await self.settle(journal)] == ["k", "order-2"]
        long.commit()
        assert [record.key for record in await self.settle(journal)] == ["k", "order-2", "order-1"]

    async def test_sixteen_writers(self, journal: JournalWriter) -> None:
        """At random, with rollbacks, beside commands and a mover: one event for each committed change and none else,
        without a gap, of each row in the order of its versions."""
        rows, each = 5, 12
        setup = self.connect()
        for number in range(rows):
            self.insert(setup, number)
        committed: list[tuple[int, int]] = []
        told = threading.Lock()

        def write(seed: int) -> None:
            rng, connection = random.Random(seed), self.connect()
            with contextlib.closing(connection):  # one that fails keeps no row locked for the others
                for _ in range(each):
                    number = rng.randrange(rows)
                    self.begin(connection)
                    cursor = connection.cursor()
                    cursor.execute(f"update shop_order set version = version + 1 where number = {number}")
                    cursor.execute(f"select version from shop_order where number = {number}")
                    [version] = cursor.fetchone()
                    emit(OrderPaid(number, version), connection=connection)
                    if rng.random() < 0.3:
                        connection.rollback()
                        continue
                    connection.commit()
                    with told:
                        committed.append((number, version))

        mover = self.mover(journal)
        assert mover is not None
        moving = asyncio.create_task(mover.run())
        writers = [asyncio.create_task(asyncio.to_thread(write, seed)) for seed in range(16)]
        try:
            for number in range(1, 30):
                await decide(journal, put(number, f"k{number}"))
            await asyncio.gather(*writers)
        finally:
            moving.cancel()
            await asyncio.wait({moving})
        records = await self.settle(journal)
        assert [record.offset for record in records] == list(range(1, len(records) + 1))
        moved = [
            msgspec.json.decode(record.data, type=OrderPaid) for record in records if record.name in TAKEN
        ]
        assert sorted((event.number, event.version) for event in moved) == sorted(committed)
        versions: defaultdict[int, list[int]] = defaultdict(list)
        for event in moved:
            versions[event.number].append(event.version)
        assert all(found == sorted(found) for found in versions.values())
        assert await journal.verify() == []

    def opening(self) -> str:
        """Python source whose last statement binds `journal`, of the journal that `open_journal` opens."""
        raise NotImplementedError

    async def test_killed_movers(self, journal: JournalWriter) -> None:
        """SIGKILL at random moments while it moves, several times over: every event once, in order."""
        connection = self.connect()
        for first in range(0, 3000, 500):
            self.begin(connection)
            for number in range(first, first + 500):
                emit(OrderPaid(number), connection=connection)
            connection.commit()
        rng = random.Random(5)
        for _ in range(3):
            await self._move_and_die(rng.randrange(1, 40))
        records = await self.settle(journal)
        numbers = [msgspec.json.decode(record.data, type=OrderPaid).number for record in records]
        assert numbers == list(range(3000))
        assert [record.offset for record in records] == list(range(1, 3001))

    async def _move_and_die(self, batches: int) -> None:
        source = _MOVER.format(opening=self.opening())
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", source, stdout=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        for _ in range(batches):
            assert await process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        await process.stdout.read()
        await process.wait()

    # --- who may move

    async def test_two_movers_double_nothing(self, journal: JournalWriter, open_journal: OpenJournal) -> None:
        """Without a lease too: the second one gets Conflict, and has written nothing."""
        connection = self.connect()
        self.begin(connection)
        for number in range(300):
            emit(OrderPaid(number), connection=connection)
        connection.commit()
        async with open_journal() as second:
            movers = [self.mover(journal), self.mover(second)]
            assert isinstance(journal, HasIntake)
            while (await journal.intake.waiting()).rows:
                found = await asyncio.gather(
                    *(each.move() for each in movers if each), return_exceptions=True
                )
                assert all(isinstance(each, int | Conflict) for each in found), found
        assert len(await all_records(journal)) == 300

    async def test_a_mover_without_its_lease_writes_nothing(self, journal: JournalWriter) -> None:
        """Somebody else has it by now: the moving statement itself is refused."""
        connection = self.connect()
        self.begin(connection)
        emit(OrderPaid(1), connection=connection)
        connection.commit()
        lease = await journal.acquire("intake", "anna", 60)
        assert lease is not None
        late = self.mover(journal, replace(lease, fence=lease.fence - 1))
        assert late is not None
        with pytest.raises(Fenced):
            await late.move()
        assert await all_records(journal) == []
        mine = self.mover(journal, lease)
        assert mine is not None
        assert await mine.move() == 1
        assert len(await all_records(journal)) == 1

    # --- what is no event

    async def test_what_does_not_fit_is_a_dead_letter(self, journal: JournalWriter) -> None:
        """With its bytes, its writer and the reason; the others go on, and a letter may be tried again."""
        connection = self.connect()
        assert isinstance(journal, HasIntake)
        self.begin(connection)
        emit(OrderPaid(1), connection=connection)
        emit(Unlisted("é"), key="u", connection=connection)
        insert = "insert into suite__intake (name, version, key, data, event_id) values"
        execute = connection.cursor().execute
        execute(f"""{insert} ('order_paid', 1, 'a', '{{"number": "x"}}', '{1:012x}4{1:019x}')""")
        execute(f"""{insert} ('order_paid', 9, 'b', '{{}}', '{2:012x}4{2:019x}')""")
        execute(f"""{insert} ('order_paid', 1, 'c', 'no json', '{3:012x}4{3:019x}')""")
        execute(f"""{insert} ('order_paid', 1, 'd', '{{"number": 4}}', '{"0" * 32}')""")
        execute(f"""{insert} ('order_paid', 1, 'e', '"{"x" * (1 << 20)}"', '{4:012x}4{4:019x}')""")
        emit(OrderPaid(2), connection=connection)
        connection.commit()
        assert [record.key for record in await self.settle(journal)] == ["order-1", "order-2"]
        letters = await journal.dead_letters()
        assert sorted(letter.key for letter in letters) == ["a", "b", "c", "d", "e", "u"]
        assert await journal.intake.waiting() == Waiting()
        [unlisted] = [letter for letter in letters if letter.key == "u"]
        assert unlisted.body == '{"text":"é"}'.encode()
        assert "foreign=True" in unlisted.reason
        assert unlisted.headers["who"]
        assert await journal.first_letters(["u", "a"]) == []  # they hold no commands
        await journal.intake.put_back(unlisted)
        assert await journal.dead_letter(unlisted.command_id) is None
        mover = self.mover(journal, taken=["unlisted"])
        assert mover is not None
        assert await mover.move() == 1
        [*_, record] = await all_records(journal)
        assert (record.name, record.key, record.who) == ("unlisted", "u", unlisted.headers["who"])

    async def test_what_waits_is_told(self, journal: JournalWriter) -> None:
        """How many, for how long; enough of it is trouble."""
        assert isinstance(journal, HasIntake)
        assert await journal.intake.waiting() == Waiting()
        connection = self.connect()
        self.begin(connection)
        for number in range(3):
            emit(OrderPaid(number), connection=connection)
        connection.commit()
        waiting = await journal.intake.waiting()
        assert waiting.rows == 3
        assert waiting.trouble == ""
        assert "200000 events" in replace(waiting, rows=200_000).trouble
        assert "for 11 s" in replace(waiting, seconds=11.0).trouble


_MOVER = """
import asyncio
from skerry.backends.memory.transport import MemoryHub
from skerry.bus.intake import Mover
from skerry.testing.intakes import TAKEN, serializer
{opening}

async def main():
    async with journal:
        mover = Mover(journal, MemoryHub().endpoint(), serializer(), TAKEN)
        left = journal.intake.left
        journal.intake.left = lambda limit: left(20)
        while True:
            await mover.move()
            print("moved", flush=True)

asyncio.run(main())
"""
