"""The network between everybody and the servers: cut, slow, silent."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from faultworld import FaultWorld, Servers, through  # type: ignore[import-not-found]

from skerry.testing.proxy import FaultProxy

pytestmark = pytest.mark.timeout(600)


async def test_the_network_is_cut_slow_and_silent(tmp_path: Path, either: Servers) -> None:
    """Connections to both servers are reset, refused, delayed and swallowed while clients write: every promise is kept,
    and work goes on by itself each time the network is well."""
    async with (
        FaultProxy(either.postgres.port) as database,
        FaultProxy(either.queue_port) as broker,
        FaultWorld(tmp_path, either) as world,
    ):
        world.journal_url = through(world.journal_url, database)
        world.transport_url = through(world.transport_url, broker)
        await world.start()
        async with world.traffic():
            await world.more(30)
            for proxy in (database, broker):
                for _ in range(3):
                    proxy.cut()
                    await world.more(10)
                proxy.refuse()
                await asyncio.sleep(0.5)
                proxy.mend()
                await world.more(20)
                proxy.delay_seconds = 0.02
                await world.more(20)
                proxy.mend()
            broker.hold()
            database.hold()
            await asyncio.sleep(1.0)
            broker.mend()
            database.mend()
            await world.more(50)
            database.silence()  # what there is; new connections work
            await world.more(50)
        await world.verdict()


async def test_a_consumer_that_is_cut_off_leaves_its_work_to_another(tmp_path: Path, either: Servers) -> None:
    """One consumer loses the database, later one loses the broker, and nobody else does: another one takes over though
    the first still lives, and nothing takes effect twice."""
    async with (
        FaultProxy(either.postgres.port) as database,
        FaultProxy(either.queue_port) as broker,
        FaultWorld(tmp_path, either) as world,
    ):
        await world.start(consumers=0)
        await world.consumer(SKERRY_JOURNAL=through(world.journal_url, database))
        async with world.traffic():
            await world.more(20)
            await world.consumer(SKERRY_TRANSPORT=through(world.transport_url, broker))
            await asyncio.sleep(
                2.0
            )  # it waits for its turn by now, or comes too late and takes it all the same
            database.refuse()
            await world.more(30)
            database.mend()
            await asyncio.sleep(2.0)
            broker.refuse()
            await world.more(30)
            broker.mend()
        await world.verdict()
        assert all(consumer.running for consumer in world.consumers)
