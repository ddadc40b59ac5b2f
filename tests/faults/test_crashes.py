"""The crash matrix: kill -9 of the consumer at every named step, of the broker, PostgreSQL stopped at once."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from faultworld import FaultWorld, Servers  # type: ignore[import-not-found]

from skerry.testing.faultpoints import STEPS

pytestmark = pytest.mark.timeout(600)
BROKER_SECONDS = 1.0
"""RabbitMQ 3.10 writes the list of its quorum queues half a second late: one made just before a kill hangs for ever
(docs/rabbitmq.md). That is not what is to be shown here."""


async def test_the_consumer_is_killed_at_every_step(tmp_path: Path, either: Servers) -> None:
    """Consumers die at each step of their work, one after another, while clients write and read: every promise that
    the history checker knows is kept."""
    async with FaultWorld(tmp_path, either, target="crashing:app") as world:
        await world.start(consumers=0)
        async with world.traffic():
            for number, step in enumerate(STEPS):
                victim = await world.consumer(SKERRY_FAULT=f"{step}:{20 + number}")
                assert await victim.ended(120) == -9, world.report(f"it did not die at {step}")
            await world.consumer()
            await world.more(50)
        await world.verdict()


async def test_the_broker_is_killed(tmp_path: Path, servers: Servers) -> None:
    """kill -9 of RabbitMQ in the middle of writes: reads go on, writes wait or say 503, and nothing that was
    acknowledged is lost when it comes back."""
    async with FaultWorld(tmp_path, servers) as world:
        await world.start()
        async with world.traffic():
            await world.more(50)
            await asyncio.sleep(BROKER_SECONDS)
            await servers.broker.kill()
            reads = sum(o.verdict == "applied" and not o.writes for o in world.history.operations)
            await servers.broker.start()
            await world.more(100)
            later = sum(o.verdict == "applied" and not o.writes for o in world.history.operations)
            assert later > reads
        await world.verdict()


async def test_postgresql_is_stopped_at_once(tmp_path: Path, each: Servers) -> None:
    """`pg_ctl stop -m immediate`, and later kill -9, in the middle of writes: the same."""
    async with FaultWorld(tmp_path, each) as world:
        await world.start()
        async with world.traffic():
            await world.more(50)
            each.postgres.stop("immediate")
            await asyncio.sleep(0.7)
            each.postgres.start()  # in this thread: it ends with the one that starts it
            await world.more(50)
            await asyncio.to_thread(each.postgres.kill)
            each.postgres.start()  # in this thread: it ends with the one that starts it
            await world.more(50)
        await world.verdict()


async def test_both_go_at_once_and_the_consumer_too(tmp_path: Path, servers: Servers) -> None:
    """Broker, database and consumer killed together, as by a power cut; servers live on."""
    async with FaultWorld(tmp_path, servers) as world:
        await world.start()
        async with world.traffic():
            await world.more(50)
            await asyncio.sleep(BROKER_SECONDS)
            await asyncio.gather(
                world.consumers[0].kill(), servers.broker.kill(), asyncio.to_thread(servers.postgres.kill)
            )
            servers.postgres.start()  # in this thread: it ends with the one that starts it
            await servers.broker.start()
            await world.consumer()
            await world.more(100)
        await world.verdict()
