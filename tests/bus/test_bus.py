"""The buses: ids, partitions, packing, refusals, queries."""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.bus.bus import CommandBus, CommandBusSettings, CommandIds, QueryBus, command_id_for, partition_of
from skerry.bus.handlers import Handler, Handlers, bind, command_arguments, message_of
from skerry.bus.outcomes import Level, Outcomes
from skerry.bus.pipeline import within
from skerry.errors import (
    DeadlineExceeded,
    DeclarationError,
    Disconnected,
    InvalidMessage,
    OutcomeUnknown,
    Overloaded,
)
from skerry.journal.journal import Outcome, Status
from skerry.journal.unit import Unit
from skerry.messages.envelope import Envelope
from skerry.messages.message import Command, Query
from skerry.position import Position


class Do(Command):
    key: str


class Ask(Query[int]):
    n: int


class AskSlowly(Query[str]):
    pass


class Base:
    value = 40


def sync(query: Ask, base: Base) -> int:
    return base.value + query.n


async def slow(query: AskSlowly) -> str:
    await asyncio.sleep(60)
    return ""


class Wire:
    """A transport that keeps what it is given, and confirms when told."""

    connected, accepts_early, name = True, True, "me"

    def __init__(self) -> None:
        self.sent: list[tuple[int, list[Envelope]]] = []
        self.confirms: list[asyncio.Future[None]] = []

    def send(self, envelopes: list[Envelope], partition: int) -> asyncio.Future[None]:
        self.sent.append((partition, envelopes))
        self.confirms.append(asyncio.get_running_loop().create_future())
        return self.confirms[-1]


def bus(wire: Any, outcomes: Outcomes | None = None, **options: Any) -> CommandBus:
    handlers = Handlers()
    handlers.add_command(Handler(Do, do))
    return CommandBus(
        wire, waiting() if outcomes is None else outcomes, handlers.commands, CommandBusSettings(**options)
    )


def waiting(limit: int = 100) -> Outcomes:
    return Outcomes(
        lambda: Position("e", 0), lambda offset: asyncio.get_running_loop().create_future(), print, limit
    )


def do(command: Do, unit: Unit) -> None: ...


def needy(command: Do, unit: Unit, missing: Level) -> None: ...
def nothing(a: int) -> None: ...
def spread(command: Do, *rest: int) -> None: ...


def test_ids_are_uuid7_and_grow() -> None:
    """Version 7, RFC variant, in order of creation within a process, also when the clock stands still or goes back."""
    ids = CommandIds()

    made = [ids.new(now) for now in (1_700_000_000.0, 1_700_000_000.0, 1_699_999_999.0, 1_700_000_000.5)]

    assert made == sorted(made)
    assert len(set(made)) == 4
    parsed = uuid.UUID(made[0])
    assert (parsed.version, parsed.variant, parsed.int >> 80) == (7, uuid.RFC_4122, 1_700_000_000_000)


def test_an_idempotency_key_gives_the_same_id_and_parts_do_not_run_together() -> None:
    """The id depends on who, what and where, not on how the parts happen to join."""
    assert command_id_for("t", "PUT", "/a", "k") == command_id_for("t", "PUT", "/a", "k")
    assert command_id_for("t", "PUT", "/a", "k") != command_id_for("tP", "UT", "/a", "k")


@given(st.integers(1, 64), st.text())
def test_a_key_has_a_partition_that_there_is(partitions: int, key: str) -> None:
    """Whatever text it is, and however many there are."""
    assert partition_of(key, partitions) in range(partitions)


def test_partitions_are_used_evenly_and_never_move() -> None:
    """A release must not send a key elsewhere: known answers."""
    counted = Counter(partition_of(f"key-{n}", 4) for n in range(4000))
    assert all(800 < number < 1200 for number in counted.values())
    assert [partition_of(key, 8) for key in ("", "a", "mykey", "schlüssel")] == [4, 7, 7, 2]


async def test_commands_of_one_turn_travel_together_per_partition() -> None:
    """One message each, in order, at most `max_pack` commands."""
    wire = Wire()
    one = bus(wire, partitions=2, max_pack=10)
    for n in range(30):
        one.submit(Do(f"k{n}"))
    await asyncio.sleep(0)

    assert sum(len(envelopes) for _, envelopes in wire.sent) == 30
    assert max(len(envelopes) for _, envelopes in wire.sent) == 10
    for partition in (0, 1):
        keys = [e.key for p, envelopes in wire.sent if p == partition for e in envelopes]
        assert keys == sorted(keys, key=lambda k: int(k[1:]))
        assert all(partition_of(key, 2) == partition for key in keys)


async def test_what_was_not_sent_is_said_so_and_what_may_have_been_sent_too() -> None:
    """No connection: Disconnected. Lost before the confirm: OutcomeUnknown with the id. A full window: Overloaded."""
    wire = Wire()
    one = bus(wire)
    wire.connected = False
    with pytest.raises(Disconnected):
        await one.send(Do("a"))
    wire.connected = True
    future = one.submit(Do("a"))
    await asyncio.sleep(0)
    wire.confirms[-1].set_exception(Disconnected("cut"))
    with pytest.raises(OutcomeUnknown) as unknown:
        await future
    assert unknown.value.command_id == wire.sent[-1][1][0].id
    future = one.submit(Do("a"))
    await asyncio.sleep(0)
    wire.confirms[-1].set_exception(Overloaded("full"))
    with pytest.raises(Overloaded):
        await future


async def test_accepted_means_confirmed_and_a_wait_that_ends_says_pending() -> None:
    """202 is only for what is durable."""
    wire = Wire()
    outcomes = waiting()
    one = bus(wire, outcomes)
    accepted = one.submit(Do("a"), level=Level.ACCEPTED)
    slow = one.submit(Do("a"), wait_seconds=0.3)
    await asyncio.sleep(0)
    assert not accepted.done()
    wire.confirms[-1].set_result(None)
    assert (await accepted).status is Status.PENDING
    receipt = await slow
    assert receipt.status is Status.PENDING
    assert outcomes.is_pending(receipt.id)
    outcomes.answered([Outcome(receipt.id, Status.APPLIED, 1)], "e")
    assert not outcomes.is_pending(receipt.id)


async def test_too_many_waiting_is_refused() -> None:
    """The number of commands that one process waits for is bounded."""
    one = bus(Wire(), waiting(limit=2))
    one.submit(Do("a"))
    one.submit(Do("a"))
    with pytest.raises(Overloaded):
        await one.submit(Do("a"))


@pytest.mark.parametrize("key", ["\ud800", "a\x00b", 7])
async def test_a_key_that_cannot_travel_is_refused_at_the_sender(
    key: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Alone: those that are sent in the same turn go on."""
    wire = Wire()
    one = bus(wire)
    with monkeypatch.context() as computed:
        computed.setattr(Do, "routing_key", lambda self: key)
        with pytest.raises(InvalidMessage, match="key"):
            one.submit(Do("a"))
    one.submit(Do("schlüssel"))
    await asyncio.sleep(0)
    assert [each.key for _, envelopes in wire.sent for each in envelopes] == ["schlüssel"]


async def test_a_command_without_handler_is_refused_at_the_sender() -> None:
    """D-13: not sent and dropped elsewhere."""

    class Stranger(Command):
        pass

    with pytest.raises(DeclarationError, match="no handler decides Stranger"):
        bus(Wire()).submit(Stranger())


async def test_queries_are_answered_here() -> None:
    """A plain handler by a plain call, an asynchronous one within its time-out, each with its services."""

    handlers = Handlers()
    handlers.add_query(Handler(Ask, sync))
    handlers.add_query(Handler(AskSlowly, slow, timeout_seconds=0.01))
    queries = QueryBus(handlers.queries)
    queries.compile(lambda kind: Base())
    assert queries.ask(Ask(2)) == 42
    assert await queries.ask_async(Ask(2)) == 42
    with pytest.raises(DeclarationError, match="ask_async"):
        queries.ask(AskSlowly())
    with pytest.raises(DeadlineExceeded):
        await queries.ask_async(AskSlowly())


def test_what_cannot_work_is_found_at_start() -> None:
    """Two handlers for a command, a parameter that nothing fills, a handler of nothing."""
    handlers = Handlers()
    handlers.add_command(Handler(Do, do))
    with pytest.raises(DeclarationError, match="two handlers for the command Do"):
        handlers.add_command(Handler(Do, lambda command: None))

    def resolve(kind: type) -> Any:
        raise LookupError(kind)

    with pytest.raises(DeclarationError, match="nothing fills parameter missing: there is no service Level"):
        bind(Handler(Do, needy), resolve, command_arguments(Do))
    with pytest.raises(DeclarationError, match=r"\*rest cannot be filled"):
        bind(Handler(Do, spread), resolve, command_arguments(Do))
    with pytest.raises(DeclarationError, match="no parameter annotated"):
        message_of(nothing, Command)


async def test_a_deadline_costs_nothing_until_something_waits() -> None:
    """Work that never suspends is done in one step; what suspends keeps its errors and its cancellation."""

    async def ready() -> int:
        return 1

    async def waits() -> str:
        await asyncio.sleep(0)
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            ended.append(True)
            raise
        return "never"

    async def fails() -> None:
        await asyncio.sleep(0)
        raise KeyError("x")

    async def gathers() -> list[int]:
        return list(await asyncio.gather(ready(), ready()))

    ended: list[bool] = []
    assert await within(ready(), 1, "ready") == 1
    assert await within(gathers(), 1, "gathers") == [1, 1]
    with pytest.raises(KeyError):
        await within(fails(), 1, "fails")
    with pytest.raises(DeadlineExceeded, match=r"waits took longer than 0\.01 s"):
        await within(waits(), 0.01, "waits")
    assert ended == [True]
    task = asyncio.ensure_future(within(waits(), 60, "waits"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended == [True, True]


async def test_a_drain_waits_for_what_was_sent() -> None:
    """It returns when the queue has confirmed every command, those of this turn included."""
    wire = Wire()
    commands = bus(wire)
    commands.submit(Do("a"))
    await asyncio.sleep(0)
    commands.submit(Do("b"))
    draining = asyncio.ensure_future(commands.drain())
    for _ in range(5):
        await asyncio.sleep(0)
    wire.confirms[0].set_result(None)
    for _ in range(5):
        await asyncio.sleep(0)
    assert len(wire.confirms) == 2
    assert not draining.done()
    wire.confirms[1].set_result(None)
    async with asyncio.timeout(60):
        await draining
