"""What a broker set aside ends as dead letters of the journal, once, and its senders hear of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from msgspec.structs import replace

from skerry.backends.memory.journal import MemoryJournal
from skerry.backends.memory.transport import MemoryHub
from skerry.bus.deadletter import SET_ASIDE, DeadQueue, SetsAside
from skerry.bus.transport import Commands, Transport
from skerry.emitter import EventEmitter
from skerry.errors import Disconnected
from skerry.journal.journal import DeadLetter, Outcome, Status, Writes
from skerry.messages.envelope import Envelope
from skerry.testing.journal_samples import THINGS, applied, command_id, decide
from skerry.testing.transports import envelope


class Aside:
    """A dead queue: a partition of a transport of its own, away for the first `failures` times."""

    def __init__(self, transport: Transport, failures: int = 0) -> None:
        self.transport, self.failures = transport, failures

    async def set_aside(self) -> Commands:
        self.failures -= 1
        if self.failures >= 0:
            raise Disconnected("not yet")
        return await self.transport.commands(0)


class World:
    def __init__(self, journal: MemoryJournal, aside: Aside, transport: Transport, other: Transport) -> None:
        self.journal, self.aside, self.transport, self.other = journal, aside, transport, other
        self.events = EventEmitter()
        self.queue = DeadQueue(aside, transport, journal, events=self.events)
        self.buried: asyncio.Queue[DeadLetter] = asyncio.Queue()
        self.answers: asyncio.Queue[Outcome] = asyncio.Queue()
        self.events.on("dead", self.buried.put_nowait)
        other.answers(self._answered)

    def _answered(self, outcomes: list[Outcome], epoch: str) -> None:
        for outcome in outcomes:
            self.answers.put_nowait(outcome)


@asynccontextmanager
async def working(failures: int = 0) -> AsyncIterator[World]:
    hub, queue = MemoryHub(), MemoryHub().endpoint("dead")
    here, there = hub.endpoint("consumer"), hub.endpoint("server")
    for transport in (queue, here, there):
        await transport.start()
    async with MemoryJournal() as journal:
        await journal.prepare([THINGS])
        world = World(journal, Aside(queue, failures), here, there)
        task = asyncio.create_task(world.queue.run())
        try:
            yield world
        finally:
            task.cancel()
            await asyncio.wait({task})
            for transport in (queue, here, there):
                await transport.stop()


def from_server(number: int) -> Envelope:
    sent = envelope(number)
    sent.sender, sent.headers = "server", {"trace": "t", SET_ASIDE: "expired in shop.commands.v1.p0"}
    return sent


async def test_a_command_set_aside_is_failed_with_its_bytes() -> None:
    """Outcome, dead letter and answer say the broker's reason; the letter can be retried: it has what was sent."""
    async with asyncio.timeout(30), working() as world:
        _ = world.aside.transport.send([from_server(1), from_server(2)], 0)
        letter = await world.buried.get()
        assert (letter.command_id, dict(letter.headers)) == (command_id(1), {"trace": "t"})
        assert letter.reason == "set aside by the broker: expired in shop.commands.v1.p0"
        assert await world.journal.dead_letter(command_id(1)) == letter
        outcome = await world.journal.outcome(command_id(1))
        assert outcome is not None
        assert outcome.status is Status.FAILED
        assert await world.answers.get() == replace(outcome, at=0.0)  # the time is the journal's
        assert (await world.buried.get()).command_id == command_id(2)


async def test_what_was_decided_after_all_is_no_dead_letter() -> None:
    """A command that was committed and then set aside (its acknowledgement was lost) keeps its outcome."""
    async with asyncio.timeout(30), working() as world:
        await decide(world.journal, Writes(outcomes=[applied(1, 0)]))
        _ = world.aside.transport.send([from_server(1)], 0)
        assert (await world.answers.get()).status is Status.APPLIED
        assert await world.journal.dead_letters() == []


async def test_a_queue_that_is_away_is_waited_for() -> None:
    """It tries again, says so, and then works."""
    async with asyncio.timeout(30), working(failures=2) as world:
        paused: list[float] = []
        world.events.on("retrying", lambda error, pause: paused.append(pause))
        _ = world.aside.transport.send([from_server(1)], 0)
        assert (await world.buried.get()).command_id == command_id(1)
        assert len(paused) == 2


def test_only_a_transport_with_such_a_queue_is_asked() -> None:
    """A transport in memory has none; the consumer role asks by type."""
    assert not isinstance(MemoryHub().endpoint("x"), SetsAside)
    assert isinstance(Aside(MemoryHub().endpoint("x")), SetsAside)
