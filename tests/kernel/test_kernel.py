"""The parts of a process are wired once: who asks finds them, who listens hears once, what is lost is looked up."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from skerry import (
    App,
    Command,
    CommandBus,
    Event,
    EventBus,
    HttpReads,
    HttpWrites,
    Journal,
    Projection,
    Query,
    QueryBus,
    Record,
    Table,
    Unit,
)
from skerry import Settings as Chosen
from skerry.backends.memory.journal import MemoryJournal
from skerry.backends.memory.transport import MemoryHub
from skerry.bus.outcomes import Level
from skerry.bus.transport import Announcement
from skerry.clock import Clock
from skerry.errors import DeclarationError, Disconnected
from skerry.journal.journal import JournalWriter, Status
from skerry.journal.projector import Projector
from skerry.kernel.feed import JournalFeed
from skerry.kernel.kernel import ACCEPTED, Kernel
from skerry.kernel.settings import Settings
from skerry.roles.consumer import ConsumerRole
from skerry.telemetry import Registry
from skerry.testing import running
from skerry.testing.clock import settle

MEMORY = Settings(journal="memory:", transport="memory:", warm_start=False, drain=0.5)


class Count(msgspec.Struct, frozen=True):
    value: int


class Add(Command[int]):
    key: str
    by: int = 1


class Ask(Command[int]):
    """Decided without an event: its answer is all there is."""

    key: str


class Plain(Command):
    """Its event is its whole answer."""

    key: str


class Added(Event):
    key: str
    by: int


class HowMany(Query[int]):
    key: str


counts = Table("counts", key=str, row=Count)


class Counts(Projection):
    table = counts

    def __init__(self) -> None:
        self.values: dict[str, int] = {}

    def clear(self) -> None:
        self.values.clear()

    def load(self, table: Any, key: str, row: Count, offset: int) -> None:
        self.values[key] = row.value

    @Projection.applies(Added)
    def added(self, event: Added, record: Record) -> None:
        if event.key == "poison":
            raise RuntimeError("cannot apply")
        self.values[event.key] = self.values.get(event.key, 0) + event.by


def application() -> App:
    app = App("counter")
    app.projection(Counts)

    @app.handles(Add, loads=counts)
    def add(command: Add, unit: Unit) -> int:
        row = unit.loaded(counts, command.key) or Count(0)
        unit.put(counts, command.key, Count(row.value + command.by))
        unit.emit(Added(command.key, command.by))
        return row.value + command.by

    @app.handles(Plain)
    def plain(command: Plain, unit: Unit) -> None:
        unit.emit(Added(command.key, 0))

    @app.handles(Ask, loads=counts)
    def ask(command: Ask, unit: Unit) -> int:
        row = unit.loaded(counts, command.key)
        return row.value if row else 0

    return app


class Machine:
    """A journal and a hub in memory, and processes on them."""

    def __init__(self, stack: AsyncExitStack, journal: MemoryJournal) -> None:
        self._stack, self.journal, self.hub = stack, journal, MemoryHub()

    async def process(
        self,
        app: App,
        name: str,
        *,
        decides: bool = False,
        settings: Settings = MEMORY,
        reader: Any = None,
        start: bool = True,
    ) -> Kernel:
        transport = self.hub.endpoint(name)
        await transport.start()
        self._stack.push_async_callback(transport.stop)
        writer = self.journal if decides else None
        kernel = Kernel(app.declaration, settings, transport, reader or self.journal, writer, name=name)
        if decides:
            consumer = ConsumerRole(kernel)
            await consumer.start()
            self._stack.push_async_callback(consumer.stop)
        if start:
            await kernel.start_reading()
            self._stack.push_async_callback(kernel.stop_reading)
        return kernel


@pytest.fixture
async def machine() -> AsyncIterator[Machine]:
    async with made() as machine:
        yield machine


@asynccontextmanager
async def made() -> AsyncIterator[Machine]:
    async with AsyncExitStack() as stack:
        journal = await stack.enter_async_context(MemoryJournal())
        await journal.prepare(["counts"])
        yield Machine(stack, journal)


OFFERED = [
    CommandBus, QueryBus, EventBus, HttpReads, HttpWrites, Journal, Projector, JournalFeed, Registry, Clock, Chosen,
    Counts, Kernel,
]  # fmt: skip


@pytest.mark.parametrize("kind", OFFERED, ids=lambda kind: kind.__name__)
async def test_every_part_can_be_asked_for(machine: Machine, kind: type) -> None:
    """By the type that an application would write, those of the face included."""
    kernel = await machine.process(application(), "one", start=False)
    assert kernel.services.resolve(kind) is not None


async def test_who_only_reads_finds_no_writer(machine: Machine) -> None:
    """A server process decides nothing: nothing that could is injected there."""
    kernel = await machine.process(application(), "one", start=False)
    with pytest.raises(LookupError):
        kernel.services.resolve(JournalWriter)  # type: ignore[type-abstract]


async def test_a_projection_is_made_without_arguments(machine: Machine) -> None:
    """One that needs some is an error at start that names it."""

    class Needy(Counts):
        def __init__(self, size: int) -> None:
            super().__init__()

    app = App("x")
    app.projection(Needy)
    with pytest.raises(DeclarationError, match="projection Needy must be made without arguments"):
        await machine.process(app, "one", start=False)


async def test_queries_are_bound_at_start(machine: Machine) -> None:
    """To this process's memory; what nothing fills is found before the first question."""

    app = application()

    @app.answers(HowMany)
    def how_many(query: HowMany, values: Counts) -> int:
        return values.values.get(query.key, 0)

    kernel = await machine.process(app, "one", decides=True)
    await kernel.commands.send(Add("a", 3))
    assert kernel.queries.ask(HowMany("a")) == 3

    broken = application()

    @broken.answers(HowMany)
    def needs(query: HowMany, nothing: Path) -> int:
        return 0

    with pytest.raises(
        DeclarationError,
        match="nothing fills parameter nothing: there is no service Path, and it is not the HowMany",
    ):
        await machine.process(broken, "two", start=False)


async def test_every_process_hears_every_event_once_in_order(machine: Machine) -> None:
    """Listeners of the application hear what memory has applied, in all processes, and once again after a restart of
    the reading: not twice because they were bound twice."""
    heard: dict[str, list[int]] = {"one": [], "two": []}
    app = application()

    @app.on(Added)
    def listen(event: Added, record: Record, kernel: Kernel, values: Counts) -> None:
        assert values.values[event.key] >= event.by, "memory is there before its listeners are told"
        heard[kernel.name].append(event.by)

    one = await machine.process(app, "one", decides=True)
    two = await machine.process(app, "two")
    for n in range(1, 4):
        await one.commands.send(Add("a", n))
    await two.commands.send(Add("a", 4))
    assert heard == {"one": [1, 2, 3, 4], "two": [1, 2, 3, 4]}
    await two.stop_reading()
    await two.start_reading()
    await two.commands.send(Add("a", 5))
    assert heard["two"] == [1, 2, 3, 4, 5]


async def test_reading_that_starts_again_is_there_when_it_says_so(machine: Machine) -> None:
    """After a stop memory is loaded anew, and `start_reading` returns when it is, however late the database answers."""
    slow = Slow(machine.journal)
    one = await machine.process(application(), "one", decides=True)
    two = await machine.process(application(), "two", reader=slow)
    await two.stop_reading()
    await one.commands.send(Add("a", 5))
    slow.pause = asyncio.Event()
    starting = asyncio.create_task(two.start_reading())
    await settle()
    assert not starting.done(), "memory is not there yet"
    slow.pause.set()
    await starting
    assert two.services.resolve(Counts).values == {"a": 5}


class Slow:
    """A reader that waits for `pause` before a snapshot."""

    def __init__(self, journal: MemoryJournal) -> None:
        self._journal = journal
        self.pause: asyncio.Event | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._journal, name)

    @asynccontextmanager
    async def snapshot(self, tables: list[str]) -> AsyncIterator[Any]:
        if self.pause is not None:
            await self.pause.wait()
        async with self._journal.snapshot(tables) as snapshot:
            yield snapshot


async def test_a_listener_that_fails_is_reported_and_harmless(
    machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    """Memory goes on, the sender gets its answer, the next listener hears, and the failure is in the log."""
    heard: list[int] = []
    app = application()

    @app.on(Added)
    def broken(event: Added) -> None:
        raise RuntimeError("listener is broken")

    @app.on(Added)
    def fine(event: Added) -> None:
        heard.append(event.by)

    kernel = await machine.process(app, "one", decides=True)
    for n in (1, 2):
        receipt = await kernel.commands.send(Add("a", n))
        assert receipt.applied
    assert heard == [1, 2]
    assert kernel.services.resolve(Counts).values == {"a": 3}
    assert sum("listener is broken" in (r.exc_text or r.getMessage()) for r in caplog.records) == 2


async def test_a_projection_that_cannot_apply_is_said_loudly(
    machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    """Once, with its name, the event and the reason; memory of others goes on, and readiness tells (checks)."""
    kernel = await machine.process(application(), "one", decides=True)
    assert (await kernel.commands.send(Add("poison"))).applied
    assert (await kernel.commands.send(Add("a"))).applied
    assert set(kernel.projector.stopped) == {"Counts"}
    said = [r for r in caplog.records if r.levelno >= logging.ERROR]
    assert len(said) == 1
    text = said[0].getMessage() + (said[0].exc_text or "")
    assert "Counts" in text
    assert "added" in text
    assert "cannot apply" in text


async def test_an_answer_that_is_lost_is_looked_up(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The event arrives, the answer with the result does not: the database is asked, the sender gets its result."""
    kernel = await machine.process(application(), "one", decides=True)
    monkeypatch.setattr(kernel.transport, "answer", lambda sender, outcomes, epoch: None)
    receipt = await kernel.commands.send(Add("a", 7))
    assert receipt.applied
    assert receipt.result == b"7"


async def test_a_write_that_meets_a_reload_is_answered(machine: Machine) -> None:
    """Its event came into memory by the snapshot of a new epoch, so no event tells of it: its outcome is looked up,
    and its sender does not wait until the time is over."""
    kernel = await machine.process(application(), "one", decides=True)
    await kernel.commands.send(Ask("a"))
    await machine.journal.new_epoch()
    async with asyncio.timeout(20):
        plain = await kernel.commands.send(Plain("b"), wait_seconds=30)
    assert plain.position is not None
    assert plain.position.epoch == (await machine.journal.head()).position.epoch


async def test_a_look_up_that_fails_is_no_failure(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The database is away just then: the sender is told what is known, and nothing is left behind."""
    kernel = await machine.process(application(), "one", decides=True)

    async def away(command_id: str) -> None:
        raise Disconnected("away")

    monkeypatch.setattr(kernel.transport, "answer", lambda sender, outcomes, epoch: None)
    monkeypatch.setattr(kernel.reader, "outcome", away)
    waiting = kernel.commands.submit(Add("a", 7), wait_seconds=1.0)
    # In one process a command is confirmed by its commit, so it is durable: pending, not unknown.
    receipt = await waiting
    assert receipt.status is Status.PENDING
    assert not kernel._asking


async def test_every_process_can_say_that_a_command_is_pending(machine: Machine) -> None:
    """Accepted by one, asked of another, before anybody has decided it."""
    one = await machine.process(application(), "one")
    two = await machine.process(application(), "two")
    one.announce_pending("a" * 32)
    await settle()
    assert two.outcomes.is_pending("a" * 32)
    assert not two.outcomes.is_pending("b" * 32)


async def test_a_process_that_comes_later_knows_what_is_pending(machine: Machine) -> None:
    """A server that was replaced can say of a command what the others told before, and what was asked for."""
    one = await machine.process(application(), "one")
    one.outcomes.note_pending("a" * 32, "hash")
    later = await machine.process(application(), "later")
    await settle()
    assert later.outcomes.pending == {"a" * 32: "hash"}


async def test_announcements_of_others_are_none_of_its_business(machine: Machine) -> None:
    """Another topic, and bytes that are no id: nothing happens."""
    one = await machine.process(application(), "one")
    one.transport.announce(Announcement("other", b"x"))
    one.transport.announce(Announcement(ACCEPTED, b"\xff"))
    await settle()
    assert not one.outcomes.is_pending("x")


async def test_three_levels_of_answer(machine: Machine) -> None:
    """Committed may come before visible: a process whose memory lags is told at once, or when it is there."""
    one = await machine.process(application(), "one", decides=True)
    two = await machine.process(application(), "two")
    hold = two.projector
    committed = await two.commands.send(Ask("a"), level=Level.COMMITTED)
    assert committed.result == b"0"
    visible = await two.commands.send(Add("a", 2), level=Level.VISIBLE)
    assert visible.position is not None
    assert hold.reached(visible.position)
    assert one.services.resolve(Counts).values == two.services.resolve(Counts).values == {"a": 2}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (Settings(journal="memory:"), None),
        (Settings(journal="sqlite:///x.db", warm_start=False), None),
        (Settings(journal="sqlite:///x.db", data="there"), Path("there/counter.one.warm")),
        (Settings(journal="sqlite:///x.db", data="there", namespace="ns"), Path("there/ns.one.warm")),
    ],
)
async def test_where_the_copy_of_memory_lies(
    machine: Machine, settings: Settings, expected: Path | None
) -> None:
    """One file a process, named after namespace and process; none where there is nothing to come back to."""
    kernel = await machine.process(application(), "one", settings=settings, start=False)
    file = kernel._warm_file()
    assert (file.path if file is not None else None) == expected


async def test_the_same_application_may_run_twice(machine: Machine) -> None:
    """Two kernels of one declaration in one interpreter share neither memory nor services nor routes."""
    app = application()
    one = await machine.process(app, "one", start=False)
    two = await machine.process(app, "two", start=False)
    assert one.services.resolve(Counts) is not two.services.resolve(Counts)
    assert one.application is not two.application
    assert one.services.resolve(CommandBus) is not two.services.resolve(CommandBus)


@pytest.mark.parametrize(
    ("said", "warned"),
    [({}, 1), ({"ephemeral": True}, 0), ({"stored": True}, 0), ({"table": Table("t", key=str, row=int)}, 0)],
)
async def test_a_projection_that_is_empty_at_every_start_is_named(
    said: dict[str, Any], warned: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Unless it has a table, keeps its state, or says that this is meant."""
    app = App("things")

    class Happened(Event):
        key: str

    class Seen(Projection):
        def clear(self) -> None: ...

        def load(self, table: Any, key: Any, row: Any, offset: int) -> None: ...

        def state(self) -> bytes:
            return b""

        def restore(self, state: bytes) -> None: ...

        @Projection.applies(Happened)
        def happened(self, event: Happened, record: Record) -> None: ...

    for name, value in said.items():
        setattr(Seen, name, value)
    app.projection(Seen)
    async with running(app):
        pass
    assert len([record for record in caplog.records if "begins empty" in record.getMessage()]) == warned
