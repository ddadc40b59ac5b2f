"""Housekeeping: stored projections keep their snapshots, old events go, and neither ever takes what is still needed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from skerry import App, Event, Projection, Record
from skerry.backends.memory.journal import MemoryJournal
from skerry.backends.memory.transport import MemoryHub
from skerry.errors import Disconnected
from skerry.journal.journal import NewEvent, NewOutcome, Status, Writes
from skerry.kernel.kernel import Kernel
from skerry.kernel.settings import Settings
from skerry.position import Position
from skerry.roles.housekeeping import Housekeeping, HousekeepingSettings
from skerry.testing.clock import VirtualLoop, run_virtual


class Paid(Event):
    key: str
    amount: int


class Total(Projection):
    """Follows from events alone."""

    stored = True

    def __init__(self) -> None:
        self.total = 0

    def clear(self) -> None:
        self.total = 0

    @Projection.applies(Paid)
    def paid(self, event: Paid, record: Record) -> None:
        self.total += event.amount
        if event.amount == 13:
            raise RuntimeError("superstition")

    def state(self) -> bytes:
        return str(self.total).encode()

    def restore(self, state: bytes) -> None:
        self.total = int(state)


class World:
    def __init__(self, journal: MemoryJournal, kernel: Kernel) -> None:
        self.journal, self.kernel = journal, kernel
        self.count = 0
        self.tasks: list[asyncio.Task[None]] = []

    async def pay(self, amount: int) -> None:
        self.count += 1
        id, data = f"{self.count:032x}", self.kernel.serializer.encode(Paid("a", amount))
        writes = Writes(events=[NewEvent(id, "a", "paid", 1, data, 1.0, False)])
        writes.outcomes.append(NewOutcome(id, Status.APPLIED, 1, 1))
        async with self.journal.batch([id], []) as (batch, _):
            await batch.commit(writes)

    def keep(self, *, shared: bool = False, owner: str = "me", events: int = 1000) -> asyncio.Task[None]:
        rooms = Housekeeping(self.kernel, self.journal, shared, owner, HousekeepingSettings(60.0, events))
        task = asyncio.create_task(rooms.run())
        self.tasks.append(task)
        return task

    async def stored(self) -> tuple[int, bytes] | None:
        found = await self.journal.load_projection("Total")
        return (found.position.offset, found.data) if found is not None else None

    async def floor(self) -> int:
        return (await self.journal.head()).floor


@asynccontextmanager
async def world(*, stored: bool = True) -> AsyncIterator[World]:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    app = App("keeping")
    app.emits(Paid)
    if stored:
        app.projection(Total)
    async with AsyncExitStack() as stack:
        journal = await stack.enter_async_context(MemoryJournal(clock=loop.clock))
        await journal.prepare([])
        transport = MemoryHub().endpoint("one")
        await transport.start()
        stack.push_async_callback(transport.stop)
        settings = Settings(journal="memory:", transport="memory:", warm_start=False)
        made = World(
            journal, Kernel(app.declaration, settings, transport, journal, journal, clock=loop.clock)
        )
        yield made
        for task in made.tasks:
            task.cancel()
        await asyncio.gather(*made.tasks, return_exceptions=True)


def test_a_stored_projection_is_kept_every_round_and_at_the_end() -> None:
    """As of the position that memory has; the last round is at the stop, so that a restart replays little."""

    async def main() -> None:
        async with world() as here:
            await here.pay(1)
            task = here.keep()
            await asyncio.sleep(61)
            assert await here.stored() == (1, b"1")
            await here.pay(2)
            await asyncio.sleep(5)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await here.stored() == (2, b"3")

    run_virtual(main())


def test_a_stored_projection_holds_its_events_from_the_start() -> None:
    """It is stored when a consumer starts, not a round later: what is trimmed before the first round does not take
    events that it needs after a crash."""

    async def main() -> None:
        async with world() as here:
            await here.pay(1)
            here.keep()
            await asyncio.sleep(1)
            assert await here.stored() == (1, b"1")
            await here.pay(2)
            head = (await here.journal.head()).position
            assert await here.journal.trim(head) == 1

    run_virtual(main())


def test_a_projection_that_failed_is_not_kept() -> None:
    """What it holds is wrong: the last good snapshot stays."""

    async def main() -> None:
        async with world() as here:
            await here.pay(1)
            here.keep()
            await asyncio.sleep(61)
            await here.pay(13)
            await asyncio.sleep(120)
            assert await here.stored() == (1, b"1")

    run_virtual(main())


def test_old_events_go_but_the_last_ones_stay() -> None:
    """Never more than `keep_events` are kept once a round is over, never fewer than that are trimmed away."""

    async def main() -> None:
        async with world(stored=False) as here:
            for n in range(1, 11):
                await here.pay(n)
            here.keep(events=4)
            await asyncio.sleep(30)
            assert await here.floor() == 0
            await asyncio.sleep(31)
            assert await here.floor() == 6
            assert [record.offset for record in await here.journal.read(6, 100)] == [7, 8, 9, 10]

    run_virtual(main())


def test_what_a_reader_still_needs_is_never_trimmed() -> None:
    """A reactor's cursor and the oldest stored projection hold the floor."""

    async def main() -> None:
        async with world() as here:
            epoch = (await here.journal.head()).position.epoch
            await here.journal.advance("slow", Position(epoch, 2))
            for n in range(1, 11):
                await here.pay(n)
            here.keep(events=1)
            await asyncio.sleep(61)
            assert await here.floor() == 2
            await here.journal.forget("slow")
            await asyncio.sleep(61)
            assert await here.floor() == 9

    run_virtual(main())


def test_one_consumer_keeps_house_for_all() -> None:
    """On a shared journal: the second one waits for its turn, and has it when the first is gone."""

    async def main() -> None:
        async with world(stored=False) as here:
            first, trims = here.keep(shared=True, owner="first"), []
            real = here.journal.trim

            async def trim(before: Any) -> int:
                trims.append(before)
                return await real(before)

            here.journal.trim = trim  # type: ignore[method-assign]
            await asyncio.sleep(1)
            here.keep(shared=True, owner="second")
            await asyncio.sleep(600)
            assert len(trims) == 10
            first.cancel()
            await asyncio.sleep(600)
            assert len(trims) >= 18

    run_virtual(main())


def test_a_database_that_is_away_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """The round is left out and said; the next one does what was missed."""

    async def main() -> None:
        async with world() as here:
            await here.pay(1)
            task = here.keep(events=0)
            real = here.journal.save_projection

            async def away(stored: Any) -> None:
                raise Disconnected("the database is away")

            here.journal.save_projection = away  # type: ignore[method-assign]
            await asyncio.sleep(61)
            assert not task.done()
            assert await here.stored() is None
            here.journal.save_projection = real  # type: ignore[method-assign]
            await asyncio.sleep(61)
            assert await here.stored() == (1, b"1")

    caplog.set_level(logging.WARNING)
    run_virtual(main())
    assert "next round: the database is away" in caplog.text


def test_a_database_that_is_away_at_the_end_does_not_spoil_the_end(caplog: pytest.LogCaptureFixture) -> None:
    """The last snapshot cannot be written: that is said, and the cancellation stays a cancellation; nothing of the
    projector is left running."""

    async def main() -> None:
        async with world() as here:
            await here.pay(1)
            task = here.keep()
            await asyncio.sleep(5)

            async def away(stored: Any) -> None:
                raise Disconnected("the database is away")

            here.journal.save_projection = away  # type: ignore[method-assign]
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await asyncio.sleep(0)
            assert [t.get_name() for t in asyncio.all_tasks() if "projector" in t.get_name()] == []

    caplog.set_level(logging.WARNING)
    run_virtual(main())
    assert "the database is away" in caplog.text


def test_ended_while_it_is_still_loading() -> None:
    """A stop during the first load leaves no projector behind, and no snapshot of half a state."""

    async def main() -> None:
        async with world() as here:
            await here.pay(1)
            gate = asyncio.Event()
            real = here.journal.snapshot

            @asynccontextmanager
            async def slow(tables: Any) -> AsyncIterator[Any]:
                await gate.wait()
                async with real(tables) as snapshot:
                    yield snapshot

            here.journal.snapshot = slow  # type: ignore[method-assign]
            task = here.keep()
            await asyncio.sleep(1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert [t.get_name() for t in asyncio.all_tasks() if "projector" in t.get_name()] == []
            assert await here.stored() is None

    run_virtual(main())


def test_a_state_that_is_half_loaded_is_not_kept() -> None:
    """While memory is loaded anew it is the state of no position: neither a round nor the end keeps it."""

    async def main() -> None:
        async with world() as here:
            for n in (1, 2, 3):
                await here.pay(n)
            task = here.keep()
            await asyncio.sleep(61)
            assert await here.stored() == (3, b"6")
            gate = asyncio.Event()
            real = here.journal.read

            async def slow(after: int, limit: int) -> Any:
                await gate.wait()
                return await real(after, limit)

            await here.journal.new_epoch()
            here.journal.load_projection = _nothing  # type: ignore[method-assign]
            here.journal.read = slow  # type: ignore[method-assign]
            kept: list[Any] = []

            async def keep(stored: Any) -> None:
                kept.append(stored)

            here.journal.save_projection = keep  # type: ignore[method-assign]
            await asyncio.sleep(130)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert kept == []

    run_virtual(main())


async def _nothing(name: str) -> None:
    return None
