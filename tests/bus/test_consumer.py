"""The consumer: batches that form by themselves, one command failing alone, each taking effect once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from skerry.backends.memory.journal import MemoryJournal
from skerry.backends.memory.transport import MemoryHub
from skerry.bus.bus import CommandBus, CommandBusSettings, CommandIds, partition_of
from skerry.bus.consumer import Consumer
from skerry.bus.decider import Decider
from skerry.bus.handlers import Handler, Handlers
from skerry.bus.outcomes import Level, Outcomes, Receipt
from skerry.bus.pipeline import Proceed
from skerry.errors import (
    Disconnected,
    InvalidMessage,
    JournalError,
    OutcomeUnknown,
    PreconditionFailed,
    Rejected,
)
from skerry.journal.hints import Hint
from skerry.journal.journal import Status
from skerry.journal.projection import Projection
from skerry.journal.projector import Projector
from skerry.journal.table import Table
from skerry.journal.unit import Unit
from skerry.messages.envelope import Envelope
from skerry.messages.message import Command, Event, MessageTypes
from skerry.messages.serializer import Serializer


class Account(msgspec.Struct, frozen=True):
    balance: int


class Deposit(Command):
    key: str
    amount: int
    after: float = 0.0
    note: Any = None


class Deposited(Event):
    key: str
    amount: int


class Look(Command):
    key: str


IDS = CommandIds()
accounts = Table("accounts", key=str, row=Account)


class Seen(Projection):
    """What memory was told."""

    table = accounts

    def __init__(self) -> None:
        self.amounts: list[int] = []

    def clear(self) -> None:
        self.amounts.clear()

    def load(self, *row: Any) -> None: ...

    @Projection.applies(Deposited)
    def deposited(self, event: Deposited, record: Any) -> None:
        self.amounts.append(event.amount)


async def deposit(command: Deposit, unit: Unit) -> None:
    if command.after:
        await asyncio.sleep(command.after)
    if command.amount < 0:
        raise Rejected("no negative deposits")
    if command.amount == 13:
        raise RuntimeError("superstition")
    if command.amount == 412:
        raise PreconditionFailed("not as you think")
    account = await unit.get(accounts, command.key) or Account(0)
    unit.put(accounts, command.key, Account(account.balance + command.amount))
    unit.emit(Deposited(command.key, command.amount))


def look(command: Look, unit: Unit) -> int:
    account = unit.loaded(accounts, command.key)
    return account.balance if account else 0


class Bench:
    """One process: bus, consumer, memory, on a journal and a hub in memory."""

    def __init__(
        self, journal: MemoryJournal, hub: MemoryHub, handlers: Handlers, middlewares: list[Any]
    ) -> None:
        self.journal, self.hub = journal, hub
        self.transport = hub.endpoint("one")
        types = MessageTypes()
        for kind in (Deposit, Look, Deposited):
            types.add(kind)
        self.serializer = Serializer(types)
        self.decider = Decider(handlers.commands, middlewares, self.serializer, lambda kind: None)
        self.memory = Seen()
        self.projector = Projector(journal, self.transport, [self.memory], self.serializer)
        self.outcomes = Outcomes(lambda: self.projector.position, self.projector.reach, lambda id: None)
        self.bus = CommandBus(self.transport, self.outcomes, handlers.commands)
        self.batches: list[int] = []
        self.dead: list[Any] = []
        self.tasks: list[asyncio.Task[None]] = []

    def consumer(self, writer: Any = None) -> Consumer:
        consumer = Consumer(self.transport, writer or self.journal, self.decider)
        consumer.events.on("batch", lambda count, seconds: self.batches.append(count))
        consumer.events.on("dead", self.dead.append)
        return consumer

    async def run(self, consumer: Consumer) -> None:
        self.tasks.append(asyncio.create_task(consumer.run()))

    async def balance(self, key: str) -> int:
        async with self.journal.batch([], [("accounts", key)]) as (_, rows):
            row = rows.get(("accounts", key))
        return accounts.decode(row.data).balance if row else 0


@asynccontextmanager
async def bench(
    *middlewares: Any, hold: bool = False, timeout: float = 5.0, looking: Any = look
) -> AsyncIterator[Bench]:
    handlers = Handlers()
    handlers.add_command(Handler(Deposit, deposit, accounts, hold=hold, timeout_seconds=timeout))
    handlers.add_command(Handler(Look, looking, accounts))
    async with MemoryJournal() as journal:
        await journal.prepare(["accounts"])
        one = Bench(journal, MemoryHub(), handlers, list(middlewares))
        await one.transport.start()
        one.transport.answers(one.outcomes.answered)
        one.projector.listen(one.outcomes.applied)
        await one.projector.start()
        try:
            yield one
        finally:
            for task in one.tasks:
                task.cancel()
            await asyncio.gather(*one.tasks, return_exceptions=True)
            await one.projector.stop()
            await one.transport.stop()


async def test_a_write_is_answered_when_it_is_visible_here() -> None:
    """The receipt's position is that of the effect, and memory has it."""
    async with bench() as b:
        await b.run(b.consumer())

        receipt = await b.bus.send(Deposit("a", 5))

        assert receipt.applied
        assert receipt.position == b.projector.position
        assert b.memory.amounts == [5]
        assert await b.balance("a") == 5


async def test_what_waits_becomes_one_batch_and_later_commands_see_earlier_ones() -> None:
    """A hundred commands of one turn are one message and one transaction; the sum is right."""
    async with bench() as b:
        receipts = [b.bus.submit(Deposit("a", 1)) for _ in range(100)]
        await asyncio.sleep(0)
        await b.run(b.consumer())

        done = await asyncio.gather(*receipts)

        assert b.batches == [100]
        assert [r.position.offset for r in done if r.position] == list(range(1, 101))
        assert await b.balance("a") == 100


async def test_one_command_fails_alone() -> None:
    """Neighbours of a rejected, a failing and an unencodable command take effect; each is told its own outcome."""
    async with bench() as b:
        amounts = [1, -1, 2, 13, 3, 412]
        receipts = [b.bus.submit(Deposit("a", amount)) for amount in amounts]
        with pytest.raises(InvalidMessage, match=r"note.*an object of type object"):
            b.bus.submit(Deposit("a", 13, note=object()))  # nothing is sent
        await b.run(b.consumer())

        done = await asyncio.gather(*receipts)

        assert [r.status.value for r in done] == [
            "applied", "rejected", "applied", "failed", "applied", "rejected",
        ]  # fmt: skip
        assert done[1].reason == "no negative deposits"
        assert (done[5].kind, done[1].kind) == ("precondition", "")
        assert await b.balance("a") == 6
        letters = await b.journal.dead_letters()
        assert [letter.command_id for letter in letters] == [done[3].id]
        assert "superstition" in letters[0].details
        assert msgspec.json.decode(letters[0].body)["amount"] == 13


async def test_unknown_and_undecodable_commands_go_to_the_dead_letters() -> None:
    """D-13: never dropped as success, never blocking what comes behind."""
    async with bench() as b:
        b.hub.inject(0, b"\xff not a pack")
        strangers = [
            Envelope(IDS.new(1), "nobody", 1, "k", "one", body=b"{}"),
            Envelope(IDS.new(2), "deposit", 1, "k", "one", body=b'{"key":1}'),
            Envelope(IDS.new(3), "deposited", 1, "k", "one", body=b'{"key":"k","amount":1}'),
            Envelope(IDS.new(4), "deposit", 9, "k", "one", body=b"{}"),
        ]
        sending = asyncio.ensure_future(b.transport.send(strangers, 0))
        await b.run(b.consumer())
        assert (await b.bus.send(Deposit("a", 5))).applied
        await sending

        letters = await b.journal.dead_letters()
        assert len(letters) == 5
        assert {letter.body for letter in letters} >= {b"\xff not a pack", b'{"key":1}'}


async def test_the_same_id_takes_effect_once() -> None:
    """Within a batch, and later: the stored outcome is told again; another request under the id is refused."""
    async with bench() as b:
        id = IDS.new(1)
        await b.run(b.consumer())
        first = await b.bus.send(Deposit("a", 5), id=id, request_hash="x")
        again = await b.bus.send(Deposit("a", 5), id=id, request_hash="x")
        other = await b.bus.send(Deposit("a", 6), id=id, request_hash="y")
        assert (again.position, again.status) == (first.position, Status.APPLIED)
        assert other.kind == "different_request"

        twice = Envelope(IDS.new(2), "deposit", 1, "a", "", command=Deposit("a", 1))
        await b.transport.send([twice, twice], 0)
        assert await b.balance("a") == 6


async def test_two_askers_of_one_id_share_the_answer() -> None:
    """The same idempotency key at the same time from one process is one command."""
    async with bench() as b:
        id = IDS.new(1)
        one = b.bus.submit(Deposit("a", 5), id=id, request_hash="x")
        two = b.bus.submit(Deposit("a", 5), id=id, request_hash="x")
        three = b.bus.submit(Deposit("a", 7), id=id, request_hash="z")
        await b.run(b.consumer())
        assert (await one) is (await two)
        assert (await three).kind == "different_request"
        assert await b.balance("a") == 5


async def test_a_result_comes_with_the_receipt() -> None:
    """What a handler returns is in the receipt, also when nothing was emitted."""
    async with bench() as b:
        await b.run(b.consumer())
        await b.bus.send(Deposit("a", 5))
        receipt = await b.bus.send(Look("a"))
        assert receipt.result == b"5"
        assert receipt.position == b.projector.position


async def test_a_handler_that_hangs_is_ended() -> None:
    """Every wait has a deadline: the command fails, the next ones go on."""
    async with bench(timeout=0.2) as b:
        await b.run(b.consumer())
        slow, quick = b.bus.submit(Deposit("a", 1, after=60)), b.bus.submit(Deposit("a", 2))
        assert (await slow).status is Status.FAILED
        assert "took longer" in (await slow).reason
        assert (await quick).applied


class Away:
    """A journal whose calls fail as told, `fail` being asked before each transaction."""

    def __init__(self, journal: MemoryJournal, fail: Callable[[], BaseException | None]) -> None:
        self.journal, self.fail = journal, fail

    def __getattr__(self, name: str) -> Any:
        return getattr(self.journal, name)

    @asynccontextmanager
    async def batch(self, *args: Any) -> Any:
        error = self.fail()
        if error is not None:
            raise error
        async with self.journal.batch(*args) as opened:
            yield opened


class Asked:
    """A journal that notes which rows each batch is opened with, and whether it may recall."""

    def __init__(self, journal: MemoryJournal) -> None:
        self.journal = journal
        self.batches: list[tuple[list[str], bool]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.journal, name)

    @asynccontextmanager
    async def batch(self, claims: Any, places: Any, lease: Any = None, recall: bool = False) -> Any:
        self.batches.append(([key for _, key in places], recall))
        async with self.journal.batch(claims, places, lease, recall) as opened:
            yield opened


def seldom(command: Look, unit: Unit) -> int:
    """Looks at its row when the key says so, and takes no error for an answer."""
    if command.key.startswith("look"):
        try:
            return look(command, unit)
        except Exception:
            return -1
    unit.delete(accounts, command.key)
    return 0


@asynccontextmanager
async def seldom_looking() -> AsyncIterator[tuple[Bench, Asked]]:
    """A consumer that has met a hundred commands which did not look at their rows, after a deposit of 5 for "look"."""
    async with bench(looking=seldom) as b:
        asked = Asked(b.journal)
        await b.run(b.consumer(asked))
        assert (await b.bus.send(Deposit("look", 5))).applied
        for number in range(100):
            assert (await b.bus.send(Look(f"k{number}"))).applied
        assert asked.batches == [(["look"], True), *(([f"k{number}"], True) for number in range(100))]
        asked.batches.clear()
        yield b, asked


async def test_a_row_that_nobody_looks_at_is_not_read() -> None:
    """A handler that only writes costs no read of the row that it names, after some time."""
    async with seldom_looking() as (b, asked):
        for key in ("a", "b"):
            assert (await b.bus.send(Look(key))).applied
        assert asked.batches == [([], True), ([], True)]
        assert (await b.bus.send(Deposit("look", 1))).applied  # of a class that looks
        assert asked.batches[2:] == [(["look"], True)]


async def test_one_that_looks_at_last_is_given_its_row() -> None:
    """The batch is opened again with it, whatever the handler made of the error; the next of its class comes with it at
    once."""
    async with seldom_looking() as (b, asked):
        for _ in range(2):
            assert (await b.bus.send(Look("look"))).value == 5
        assert asked.batches == [([], True), (["look"], False), (["look"], True)]


async def test_what_the_batch_has_written_is_seen_without_a_read() -> None:
    """A row that a command before it has put is there for one that looks, though it was left out."""
    async with seldom_looking() as (b, asked):
        receipts = [b.bus.submit(Deposit("look", 1)), b.bus.submit(Look("look"))]
        assert (await receipts[1]).value == 6
        assert asked.batches == [(["look"], True)]


async def test_infrastructure_that_fails_repeats_the_batch_in_order() -> None:
    """D-14, D-12: the command in hand is not lost, and not tried without a pause."""
    async with bench() as b:
        errors = [Disconnected("away"), Disconnected("away"), None]
        paused: list[float] = []
        consumer = b.consumer(Away(b.journal, lambda: errors.pop(0) if errors else None))
        consumer.events.on("retrying", lambda error, pause: paused.append(pause))
        receipts = [b.bus.submit(Deposit("a", n)) for n in (1, 2, 3)]
        await b.run(consumer)
        assert all(r.applied for r in await asyncio.gather(*receipts))
        assert len(paused) == 2
        assert b.memory.amounts == [1, 2, 3]


async def test_a_command_that_spoils_its_batch_is_found_by_halving() -> None:
    """When the database refuses a batch, its neighbours take effect and the culprit goes to the dead letters."""
    async with bench() as b:
        real = b.journal.batch

        @asynccontextmanager
        async def refusing(claims: Any, keys: Any, lease: Any = None, recall: bool = False) -> Any:
            async with real(claims, keys, lease, recall) as (batch, rows):

                class Refusing:
                    known, load, position = batch.known, batch.load, batch.position

                    async def commit(self, writes: Any) -> int:
                        if any(b'"amount":666' in event.data for event in writes.events):
                            raise JournalError("value out of range")
                        return await batch.commit(writes)

                yield Refusing(), rows

        b.journal.batch = refusing  # type: ignore[method-assign]
        receipts = [b.bus.submit(Deposit("a", n)) for n in (1, 2, 666, 3, 4)]
        await b.run(b.consumer())
        done = await asyncio.gather(*receipts)
        assert [r.status.value for r in done] == ["applied", "applied", "failed", "applied", "applied"]
        assert "refused" in done[2].reason
        assert b.memory.amounts == [1, 2, 3, 4]


async def test_a_command_that_kills_its_process_is_isolated() -> None:
    """After redelivery it is tried with its pack once, then alone a few times, then set aside; the rest is decided."""
    async with bench() as b:
        died: list[str] = []

        async def deadly(command: Command, unit: Unit, proceed: Proceed) -> Any:
            if isinstance(command, Deposit) and command.amount == 9:
                died.append(unit.command_id)
                raise asyncio.CancelledError  # as if the process had gone
            return await proceed(command, unit)

        handlers = Handlers()
        handlers.add_command(Handler(Deposit, deposit, accounts))
        b.decider = Decider(handlers.commands, [deadly], b.serializer, lambda kind: None)
        receipts = [b.bus.submit(Deposit("a", n)) for n in (1, 9, 2)]
        everything = asyncio.gather(*receipts)
        for _ in range(10):
            task = asyncio.ensure_future(b.consumer().run())
            racing: list[asyncio.Future[Any]] = [task, everything]
            await asyncio.wait(racing, return_when=asyncio.FIRST_COMPLETED)
            if everything.done():
                task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            if everything.done():
                break
        done = [r.result() for r in receipts]
        assert [r.status.value for r in done] == ["applied", "failed", "applied"]
        assert "died" in done[1].reason
        assert len(died) == 5
        assert await b.balance("a") == 3


async def test_held_commands_wait_behind_a_failure_of_their_key() -> None:
    """Opt-in: what comes later for the same key is parked; other keys go on; retried in order they take effect."""
    async with bench(hold=True) as b:
        await b.run(b.consumer())
        bad = await b.bus.send(Deposit("a", 13))
        parked = await b.bus.send(Deposit("a", 1))
        assert (await b.bus.send(Deposit("b", 1))).applied
        assert parked.status is Status.FAILED
        assert bad.id in parked.reason

        await b.journal.exhume(bad.id)  # dropped
        letter = await b.journal.dead_letter(parked.id)
        assert letter is not None
        await b.journal.exhume(parked.id)
        again = Envelope(letter.command_id, letter.name, letter.version, letter.key, body=letter.body)
        await b.transport.send([again], partition_of(again.key, CommandBusSettings().partitions))
        assert await b.balance("a") == 1
        assert (await b.bus.send(Deposit("a", 2))).applied


async def test_stopping_finishes_the_batch_and_publishes_the_tip() -> None:
    """D-16: what was taken is committed, answered and acknowledged; `run` returns."""
    taken = asyncio.Event()

    async def noting(command: Command, unit: Unit, proceed: Proceed) -> Any:
        taken.set()
        return await proceed(command, unit)

    async with bench(noting) as b:
        consumer, hints = b.consumer(), list[Hint]()
        b.transport.subscribe(hints.append)
        task = asyncio.create_task(consumer.run())
        receipt = b.bus.submit(Deposit("a", 1, after=0.02))
        await taken.wait()
        await consumer.stop()
        await asyncio.wait_for(task, 30)
        assert (await receipt).applied
        assert b.hub.window.held == 0
        assert (hints[-1].first, hints[-1].last) == (2, 1)


async def test_nothing_is_answered_that_is_not_durable() -> None:
    """Without a consumer the wait runs out, and the answer is that nobody knows; not accepted, since a queue in
    memory is not durable."""
    async with bench() as b:
        with pytest.raises(OutcomeUnknown) as unknown:
            await b.bus.send(Deposit("a", 1), wait_seconds=0.01)
        assert unknown.value.command_id
        receipt: asyncio.Future[Receipt] = b.bus.submit(
            Deposit("a", 1), level=Level.ACCEPTED, wait_seconds=0.01
        )
        with pytest.raises(OutcomeUnknown):
            await receipt


async def test_middleware_wraps_the_decision_and_may_choose_its_commands() -> None:
    """Outermost first; `only` limits it to classes; what it raises is the command's outcome."""
    order: list[str] = []

    async def outer(command: Command, unit: Unit, proceed: Proceed) -> Any:
        order.append("outer")
        return await proceed(command, unit)

    async def looks(command: Command, unit: Unit, proceed: Proceed) -> Any:
        order.append("looks")
        raise Rejected("nobody looks")

    looks.only = (Look,)  # type: ignore[attr-defined]
    async with bench(outer, looks) as b:
        await b.run(b.consumer())
        assert (await b.bus.send(Deposit("a", 1))).applied
        assert (await b.bus.send(Look("a"))).reason == "nobody looks"
        assert order == ["outer", "outer", "looks"]
