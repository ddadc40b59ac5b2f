"""The routes that every application has: command state, health with reasons, metrics, the stream."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any, NamedTuple

import pytest

from livekv import app
from livekv.messages import PutValue
from skerry import App
from skerry.backends.memory.journal import MemoryJournal
from skerry.backends.memory.transport import MemoryHub
from skerry.bus.transport import Announcement
from skerry.http.application import Application
from skerry.journal.journal import Status
from skerry.journal.memory import Stopped
from skerry.kernel.checks import reading_checks
from skerry.kernel.kernel import Kernel
from skerry.kernel.routes import LISTENERS, ProcessInfo, TransportAnnouncer, _snapshot, declare_routes
from skerry.kernel.settings import Settings
from skerry.roles.consumer import ConsumerRole
from skerry.settings import HubSettings
from skerry.testing.app import World, running
from skerry.testing.client import Client
from skerry.testing.clock import VirtualClock, settle

STOPPED = Stopped("Values", 6, "event 7 (value_put)", "KeyError", "mend it")
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


async def ready(kernel: Kernel, purpose: str = "", *reasons: str) -> tuple[int, str]:
    """Status and text of readiness, for that purpose, of a process whose runtime gives those reasons."""
    health = Application()
    reading_checks(kernel, lambda: reasons).install(health)
    async with Client(health) as client:
        answer = await client.get(f"/health/ready{purpose}")
    return answer.status, answer.text


async def ask(kernel: Kernel, around: ProcessInfo, path: str) -> Any:
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
    answer = await ask(kernel, ProcessInfo(reasons=lambda: ("failed: the loop",)), "/health/ready")
    assert answer.status == 503
    assert "failed: the loop" in answer.text


async def test_a_projection_that_failed_is_not_ready(kernel: Kernel) -> None:
    """Its memory is wrong from then on: 503 with its name and the event."""
    kernel.projector.stopped["Values"] = STOPPED
    answer = await ask(kernel, ProcessInfo(), "/health/ready")
    assert answer.status == 503
    assert "Values stopped at event 7" in answer.text


async def test_a_queue_that_is_away_is_said_but_ready(kernel: Kernel) -> None:
    """Reads go on from memory: taking the server out would help nobody."""
    await kernel.transport.stop()
    answer = await ask(kernel, ProcessInfo(), "/health/ready")
    assert answer.status == 200
    assert "writes answer 503" in answer.text


class Clocked(NamedTuple):
    """Two processes of one application on one clock; only the second can decide."""

    clock: VirtualClock
    server: Kernel
    decider: Kernel


@pytest.fixture
async def clocked() -> AsyncIterator[Clocked]:
    clock, hub = VirtualClock(), MemoryHub()
    async with MemoryJournal(clock=clock) as journal:
        await journal.prepare(["key_value"])
        kernels = []
        for name in ("server", "decider"):
            transport = hub.endpoint(name)
            await transport.start()
            writer = journal if name == "decider" else None
            kernels.append(
                Kernel(app.declaration, MEMORY, transport, journal, writer, clock=clock, name=name)
            )
        await kernels[0].start_reading()
        yield Clocked(clock, *kernels)
        await kernels[0].stop_reading()
        for kernel in kernels:
            await kernel.transport.stop()


async def test_commands_that_nobody_decides_are_no_readiness_for_writes(clocked: Clocked) -> None:
    """A consumer that hangs, or none: after SKERRY_WRITABLE_AFTER `?for=writes` is 503 and says since when, reads and
    the whole stay ready; with the first decision it is over."""
    clock, server, decider = clocked
    assert (await ready(server, "?for=writes"))[0] == 200
    waiting = server.commands.submit(PutValue("k", "v"), wait_seconds=30.0)
    await clock.advance(9.0)
    assert (await ready(server, "?for=writes"))[0] == 200
    await clock.advance(3.0)
    status, text = await ready(server, "?for=writes")
    assert status == 503
    assert "commands have waited for 12 s and nobody decides them" in text
    assert (await ready(server, "?for=traffic"))[0] == 200
    assert (await ready(server))[0] == 200
    consumer = ConsumerRole(decider)
    await consumer.start()
    try:
        assert (await waiting).applied
        assert (await ready(server, "?for=writes"))[0] == 200
    finally:
        await consumer.stop()


async def test_a_command_that_was_decided_unheard_is_no_sign(clocked: Clocked) -> None:
    """What was accepted elsewhere and rejected (no event, and the answer went there) is looked up before it is said
    that nobody decides."""
    clock, server, decider = clocked
    consumer = ConsumerRole(decider)
    await consumer.start()
    await decider.start_reading()
    try:
        rejected = await decider.commands.send(PutValue("k", "v", if_match=("no",)))
        assert rejected.status is Status.REJECTED
        server.outcomes.note_pending(rejected.id)
        await clock.advance(30.0)
        assert (await ready(server, "?for=writes"))[0] == 200
        assert not server.outcomes.is_pending(rejected.id)
    finally:
        await decider.stop_reading()
        await consumer.stop()


async def test_a_broker_or_database_that_takes_nothing_is_no_readiness_for_writes(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No queue, or a database that is read-only: known without waiting."""
    monkeypatch.setattr(kernel.reader, "read_only", True, raising=False)
    status, text = await ready(kernel, "?for=writes")
    assert (status, "read-only" in text) == (503, True)
    assert (await ready(kernel, "?for=traffic"))[0] == 200
    monkeypatch.undo()
    assert (await ready(kernel, "?for=writes"))[0] == 200
    await kernel.transport.stop()
    status, text = await ready(kernel, "?for=writes")
    assert (status, "writes answer 503" in text) == (503, True)


async def test_what_should_get_no_connections(kernel: Kernel) -> None:
    """A stopped projection does not count for traffic, as every other server stopped there too; a runtime that starts,
    ends or failed does, and memory that is not loaded."""
    kernel.projector.stopped["Values"] = STOPPED
    assert [(await ready(kernel, f"?for={what}"))[0] for what in ("traffic", "writes")] == [200, 200]
    for purpose in ("?for=traffic", "?for=writes"):
        status, text = await ready(kernel, purpose, "stopping")
        assert (status, "stopping" in text) == (503, True)
    quiet = App("quiet")
    unloaded = Kernel(quiet.declaration, MEMORY, kernel.transport, kernel.reader, name="two")
    for purpose in ("?for=traffic", "?for=writes"):
        status, text = await ready(unloaded, purpose)
        assert (status, "memory is " in text) == (503, True)


async def test_metrics_of_all_processes(kernel: Kernel) -> None:
    """Under a runner its text is the answer; when the runner does not answer, this process's own."""

    async def everybody() -> str:
        return 'skerry_memory_offset{process="server-1"} 3\n'

    async def nobody() -> str:
        raise TimeoutError

    answer = await ask(kernel, ProcessInfo(all_metrics=everybody), "/metrics")
    assert answer.text == 'skerry_memory_offset{process="server-1"} 3\n'
    kernel.application = kernel.declaration.http.copy()
    answer = await ask(kernel, ProcessInfo(all_metrics=nobody), "/metrics")
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
    assert (await ask(other, ProcessInfo(), "/events")).status == 404


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


@pytest.mark.parametrize(("told_singly", "recovered"), [(10, True), (1, False)])
async def test_a_part_s_settings_reach_it(told_singly: int, recovered: bool) -> None:
    """As the hub's: a history that is longer than what is told event by event becomes a snapshot."""
    settings = replace(MEMORY, sections=(HubSettings(replay_events=told_singly),))
    async with running(app, settings=settings) as world:
        first = await world.client.put("/values/a", body="1")
        await world.client.put("/values/b", body="2")
        await world.client.put("/values/c", body="3")
        query = f"/events?since={first.headers['skerry-position']}"
        async with world.client.stream("GET", query, headers={"Accept": "text/event-stream"}) as stream:
            text = b""
            async for part in stream:
                text += part
                if b"recovered" in text:
                    break
        assert (b'"recovered":true' in text) is recovered
