"""The memory transport: the suite of every transport, and what only one process can promise."""

from __future__ import annotations

import asyncio

import pytest

from skerry.backends.endpoint import DEFAULT_WINDOW
from skerry.backends.memory.transport import MemoryHub
from skerry.bus.transport import Transport
from skerry.errors import Disconnected, LifecycleError
from skerry.journal.hints import Hint, tip
from skerry.position import Position
from skerry.testing.transports import TransportSuite, World, envelope, started, take


class MemoryWorld:
    def __init__(self) -> None:
        self.hub = MemoryHub()

    def endpoint(self, window: int | None = None) -> Transport:
        self.hub.window.most = window or DEFAULT_WINDOW
        return self.hub.endpoint()

    async def inject(self, partition: int, data: bytes) -> None:
        self.hub.inject(partition, data)


class TestMemoryTransport(TransportSuite):
    @pytest.fixture
    async def world(self) -> World:
        return MemoryWorld()


async def test_the_command_object_itself_travels() -> None:
    """Nothing is serialised: the very envelope and command arrive, and no bytes were made."""
    process = MemoryHub().endpoint("one")
    async with started(process):
        sent = envelope(1)
        sending = asyncio.ensure_future(process.send([sent], 0))
        [delivery] = await take(await process.commands(0), 1)
        await sending
        assert delivery.envelopes[0] is sent
        assert sent.body is None


async def test_hints_are_heard_before_publish_returns() -> None:
    """Publishing is a call: no turn of the loop lies between a commit and memory."""
    process = MemoryHub().endpoint("one")
    async with started(process):
        heard: list[Hint] = []
        process.subscribe(heard.append)
        process.publish(tip(Position("e", 1)))
        assert heard == [tip(Position("e", 1))]


async def test_what_a_listener_publishes_comes_after_what_it_hears() -> None:
    """Every listener hears the same order, also when one of them publishes while it listens."""
    process = MemoryHub().endpoint("one")
    async with started(process):
        second: list[int] = []

        def echo(hint: Hint) -> None:
            if hint.last == 1:
                process.publish(tip(Position("e", 2)))

        process.subscribe(echo)
        process.subscribe(lambda hint: second.append(hint.last))
        process.publish(tip(Position("e", 1)))
        assert second == [1, 2]


async def test_names_are_unique() -> None:
    """Two running endpoints of one name would share answers: the second is refused."""
    hub = MemoryHub()
    async with started(hub.endpoint("one")):
        with pytest.raises(LifecycleError):
            await hub.endpoint("one").start()
    async with started(hub.endpoint("one")):
        pass


async def test_an_endpoint_that_never_ran_stops_nobody() -> None:
    """Stopping one that was refused its name leaves the one that has it."""
    hub = MemoryHub()
    first, second = hub.endpoint("one"), hub.endpoint("one")
    async with started(first):
        await second.stop()
        heard: list[Hint] = []
        first.subscribe(heard.append)
        first.publish(tip(Position("e", 1)))
        assert len(heard) == 1


async def test_stop_tells_whoever_waits() -> None:
    """A send that was not decided when its endpoint stopped raises Disconnected: its outcome is unknown."""
    process = MemoryHub().endpoint("one")
    await process.start()
    sending = asyncio.ensure_future(process.send([envelope(1)], 0))
    await process.stop()
    with pytest.raises(Disconnected):
        await sending


async def test_a_window_takes_one_large_pack() -> None:
    """A pack above the window goes when nothing else waits: it is refused for load, never for its size."""
    hub = MemoryHub(window=2)
    process = hub.endpoint("one")
    async with started(process):
        sending = asyncio.ensure_future(process.send([envelope(n) for n in range(3)], 0))
        await take(await process.commands(0), 3)
        await sending
        assert hub.window.held == 0
