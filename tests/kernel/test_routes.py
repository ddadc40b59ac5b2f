"""The routes that every application has: command state, health with reasons, metrics, the stream."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from livekv import app
from skerry import App
from skerry.backends.memory.journal import MemoryJournal
from skerry.backends.memory.transport import MemoryHub
from skerry.bus.transport import Announcement
from skerry.kernel.kernel import Kernel
from skerry.kernel.routes import LISTENERS, Surroundings, TransportAnnouncer, _snapshot, declare_routes
from skerry.kernel.settings import Settings
from skerry.testing.app import World, running
from skerry.testing.client import Client
from skerry.testing.clock import settle

MEMORY = Settings(journal="memory:", transport="memory:", warm_start=False)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with running(app) as made:
        yield made


@pytest.fixture
async def kernel() -> AsyncIterator[Kernel]:
    """A process that reads along and has no routes yet."""
    async with MemoryJournal() as journal:
        await journal.prepare(["key_value"])
        transport = MemoryHub().endpoint("one")
        await transport.start()
        made = Kernel(app.declaration, MEMORY, transport, journal, name="one")
        await made.start_reading()
        yield made
        await made.stop_reading()
        await transport.stop()


async def ask(kernel: Kernel, around: Surroundings, path: str) -> Any:
    declare_routes(kernel, around)
    kernel.application.compile(kernel.services.resolve)
    async with Client(kernel.application) as client:
        return await client.get(path)


async def test_live_and_ready(world: World) -> None:
    """Alive is one thing, ready another: with each part's finding and the lag in positions."""
    assert (await world.client.get("/health/live")).status == 200
    ready = await world.client.get("/health/ready")
    assert ready.status == 200
    assert "memory" in ready.text
    assert "lag" in ready.text


async def test_a_runtime_that_mends_something_is_not_ready(kernel: Kernel) -> None:
    """503 with the reason, so that the balancer sends nobody."""
    answer = await ask(kernel, Surroundings(reasons=lambda: ("failed: the loop",)), "/health/ready")
    assert answer.status == 503
    assert "failed: the loop" in answer.text


async def test_a_projection_that_failed_is_not_ready(kernel: Kernel) -> None:
    """Its memory is wrong from then on: 503 with its name and the event."""
    kernel.projector.failed["Values"] = "event 7 (value_put): KeyError: 'x'"
    answer = await ask(kernel, Surroundings(), "/health/ready")
    assert answer.status == 503
    assert "Values stopped at event 7" in answer.text


async def test_a_queue_that_is_away_is_said_but_ready(kernel: Kernel) -> None:
    """Reads go on from memory: taking the server out would help nobody."""
    await kernel.transport.stop()
    answer = await ask(kernel, Surroundings(), "/health/ready")
    assert answer.status == 200
    assert "writes answer 503" in answer.text


async def test_metrics_of_all_processes(kernel: Kernel) -> None:
    """Under a runner its text is the answer; when the runner does not answer, this process's own."""

    async def everybody() -> str:
        return 'skerry_memory_offset{process="server-1"} 3\n'

    async def nobody() -> str:
        raise TimeoutError

    answer = await ask(kernel, Surroundings(all_metrics=everybody), "/metrics")
    assert answer.text == 'skerry_memory_offset{process="server-1"} 3\n'
    kernel.application = kernel.declaration.http.copy()
    answer = await ask(kernel, Surroundings(all_metrics=nobody), "/metrics")
    assert answer.status == 200
    assert answer.headers["cache-control"] == "no-store"
    assert "skerry_listeners" in answer.text


async def test_announcements_reach_every_process_and_only_theirs(kernel: Kernel) -> None:
    """A connection opened here is told there; other topics are not mistaken for it; ending is ending."""
    heard: list[bytes] = []
    announcer = TransportAnnouncer(kernel.transport)
    end = announcer.subscribe(heard.append)
    announcer.announce(b"opened")
    kernel.transport.announce(Announcement("another", b"x"))
    kernel.transport.announce(Announcement(LISTENERS, b"closed"))
    await settle()
    assert heard == [b"opened", b"closed"]
    end()
    announcer.announce(b"late")
    await settle()
    assert heard == [b"opened", b"closed"]


async def test_without_a_stream_there_is_none(kernel: Kernel) -> None:
    """An application that declares no `live` has no /events."""
    quiet = App("quiet")
    other = Kernel(quiet.declaration, MEMORY, kernel.transport, kernel.reader, name="two")
    assert (await ask(other, Surroundings(), "/events")).status == 404


async def test_a_snapshot_is_taken_at_memorys_position(world: World) -> None:
    """Rows of the application become events with their own position in memory's epoch; the prefix is handed on."""
    for key in ("a", "b", "ba"):
        await world.client.put(f"/values/{key}", body="x")
    function = _snapshot(world.kernel, world.kernel.declaration.live.snapshot)  # type: ignore[union-attr]
    assert function is not None
    position, payloads = function("b")
    assert position == world.kernel.projector.position
    found = list(payloads)
    shown = b'{"type":"domain_event","event":"value_put","key":"%s","value":"x","position":"%s:%d"}'
    epoch = position.epoch.encode()
    assert found == [shown % (b"b", epoch, 2), shown % (b"ba", epoch, 3)]
