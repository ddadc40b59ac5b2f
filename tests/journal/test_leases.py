"""A consumer that cannot do its work lets go of its partitions, also when what it waits for does not want to end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from livekv.app import app
from livekv.messages import PutValue
from skerry.backends.memory.journal import MemoryJournal
from skerry.backends.memory.transport import MemoryHub
from skerry.bus.transport import Commands, Transport
from skerry.errors import Disconnected
from skerry.journal.journal import Lease
from skerry.kernel.kernel import Kernel
from skerry.kernel.settings import Settings
from skerry.roles.consumer import ConsumerRole
from skerry.testing.clock import VirtualLoop, run_virtual

SETTINGS = Settings(journal="memory:", transport="memory:", warm_start=False)
LEASE = SETTINGS.lease


class Wire:
    """A transport that can be away, and whose queue may not want to open, nor to be given up."""

    def __init__(self, inner: Transport) -> None:
        self.inner = inner
        self.connected = True
        self.stubborn = 0
        """So many cancellations of `commands` are swallowed, as wait_for of Python 3.11 does at times."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    async def commands(self, partition: int) -> Commands:
        while self.stubborn:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                self.stubborn -= 1
                if not self.stubborn:
                    raise
        return await self.inner.commands(partition)


class World:
    def __init__(self, journal: MemoryJournal, wire: Wire, kernel: Kernel) -> None:
        self.journal, self.wire, self.kernel = journal, wire, kernel

    def role(self) -> ConsumerRole:
        return ConsumerRole(self.kernel, shared=True)

    async def other_gets_it(self) -> bool:
        """Whether another consumer could have the partition now; it gives it back."""
        lease = await self.journal.acquire("partition:0", "other", LEASE)
        if lease is not None:
            await self.journal.release(lease)
        return lease is not None


@asynccontextmanager
async def world() -> AsyncIterator[World]:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    async with MemoryJournal(clock=loop.clock) as journal:
        endpoint = MemoryHub().endpoint("one")
        await endpoint.start()
        wire: Any = Wire(endpoint)
        kernel = Kernel(app.declaration, SETTINGS, wire, journal, journal, clock=loop.clock, name="one")
        await journal.prepare(kernel.tables)
        await kernel.start_reading()
        try:
            yield World(journal, wire, kernel)
        finally:
            await kernel.stop_reading()
            await endpoint.stop()


def test_cut_off_from_the_broker() -> None:
    """Its lease is given back after about a lease's time, and taken again when the broker is there."""

    async def main() -> None:
        async with world() as here:
            role = here.role()
            await role.start()
            await here.kernel.commands.send(PutValue("a", "1"))
            here.wire.connected = False
            await asyncio.sleep(LEASE / 2)
            assert not await here.other_gets_it()
            await asyncio.sleep(LEASE * 1.5)
            assert await here.other_gets_it()
            assert role.consumers == {}
            here.wire.connected = True
            await asyncio.sleep(LEASE)
            assert (await here.kernel.commands.send(PutValue("b", "2"))).applied
            await role.stop()

    run_virtual(main())


def test_cut_off_from_the_database() -> None:
    """It stops consuming, so that the broker gives the partition to another; it works on when the database is back. A
    database that says nothing is away as much as one that refuses."""

    async def main() -> None:
        async with world() as here:
            real = here.journal.acquire

            async def refusing(name: str, owner: str, seconds: float) -> Lease | None:
                raise Disconnected("away")

            async def silent(name: str, owner: str, seconds: float) -> Lease | None:
                await asyncio.sleep(3600)
                return None

            for away in (refusing, silent):
                role = here.role()
                await role.start()
                await here.kernel.commands.send(PutValue("a", "1"))
                here.journal.acquire = away  # type: ignore[method-assign]
                await asyncio.sleep(LEASE * 3)
                assert role.consumers == {}
                here.journal.acquire = real  # type: ignore[method-assign]
                if away is refusing:
                    await asyncio.sleep(LEASE)
                    assert (await here.kernel.commands.send(PutValue("b", "2"))).applied
                await role.stop()

    run_virtual(main())


def test_what_does_not_want_to_end_is_ended_all_the_same() -> None:
    """A cancellation that is swallowed on the way leaves no partition standing still: it is repeated."""

    async def main() -> None:
        async with world() as here:
            here.wire.stubborn = 3
            role = here.role()
            await role.start()
            await asyncio.sleep(0.1)
            here.wire.connected = False
            await asyncio.sleep(LEASE * 2 + 5)
            assert here.wire.stubborn == 0
            assert await here.other_gets_it()
            here.wire.connected = True
            await asyncio.sleep(LEASE)
            assert (await here.kernel.commands.send(PutValue("a", "1"))).applied
            await role.stop()

    run_virtual(main())
