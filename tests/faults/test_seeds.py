"""Random faults by seed: whatever happens in whatever order, every promise is kept.

A plain run has a fixed seed, SKERRY_SEED=123 another one; `make soak` (SKERRY_SOAK=1) takes seed after seed for
SKERRY_SOAK_SECONDS (600).
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections import Counter
from pathlib import Path

import pytest
from faultworld import SEED, SOAK, FaultWorld, Servers, through  # type: ignore[import-not-found]

from skerry.testing.proxy import FaultProxy

SECONDS = float(os.environ.get("SKERRY_SOAK_SECONDS", "600")) if SOAK else 0.0
FAULTS = 12 if SOAK else 6
pytestmark = pytest.mark.timeout(SECONDS + 900)


class Fate:
    """Does one thing after another to a world, chosen by its seed; undoes what it must."""

    def __init__(self, world: FaultWorld, servers: Servers, database: FaultProxy, broker: FaultProxy) -> None:
        self.world, self.servers, self.database, self.broker = world, servers, database, broker
        self.rng = random.Random(f"fate {world.seed}")
        self.done: Counter[str] = Counter()

    async def strike(self) -> None:
        """One fault, and the recovery from it."""
        common = [self.kill_consumer, self.replace_consumer, self.hang_consumer, self.kill_server]
        network = [self.cut, self.slow, self.silent]
        rare = [self.stop_database, self.power_cut]
        rare += [] if self.servers.brokerless else [self.kill_broker]
        fault = self.rng.choice(common * 3 + network * 2 + (rare if SOAK else rare[:1]))
        self.done[fault.__name__] += 1
        await fault()

    async def kill_consumer(self) -> None:
        victim = self.rng.choice([c for c in self.world.consumers if c.running])
        await victim.kill()
        await victim.start()

    async def replace_consumer(self) -> None:
        victim = self.rng.choice([c for c in self.world.consumers if c.running])
        code = await victim.stop(signal.SIGTERM, 60)
        young = code == -signal.SIGTERM and " ends: " not in victim.text  # it was still starting
        assert code == 0 or young, self.world.report(f"a consumer ended with {code}:\n{victim.text}")
        await victim.start()

    async def hang_consumer(self) -> None:
        victim = self.rng.choice([c for c in self.world.consumers if c.running])
        victim.send_signal(signal.SIGSTOP)
        await asyncio.sleep(self.rng.uniform(0.1, 14.0 if SOAK else 3.0))
        victim.send_signal(signal.SIGCONT)

    async def kill_server(self) -> None:
        number = self.rng.randrange(len(self.world.web))
        if self.rng.random() < 0.5:
            await self.world.web[number].kill()
        else:
            await self.world.web[number].stop(signal.SIGTERM, 60)
        await self.world.again(self.world.web[number])

    async def cut(self) -> None:
        self.rng.choice((self.database, self.broker)).cut()

    async def slow(self) -> None:
        proxy = self.rng.choice((self.database, self.broker))
        proxy.delay_seconds = self.rng.uniform(0.001, 0.03)
        await asyncio.sleep(1.0)
        proxy.mend()

    async def silent(self) -> None:
        proxy = self.rng.choice((self.database, self.broker))
        proxy.hold()
        await asyncio.sleep(self.rng.uniform(0.1, 9.0 if SOAK else 1.0))
        proxy.mend()

    async def stop_database(self) -> None:
        self.servers.postgres.stop(self.rng.choice(("immediate", "fast")))
        await asyncio.sleep(self.rng.uniform(0.0, 1.0))
        self.servers.postgres.start()

    async def kill_broker(self) -> None:
        await self.servers.broker.kill()
        await self.servers.broker.start()

    async def power_cut(self) -> None:
        victim = self.rng.choice([c for c in self.world.consumers if c.running])
        await asyncio.gather(
            victim.kill(), self.servers.broker.kill(), asyncio.to_thread(self.servers.postgres.kill)
        )
        self.servers.postgres.start()
        await self.servers.broker.start()
        await victim.start()


async def one_life(directory: Path, servers: Servers, seed: int) -> None:
    """A topology of its own through `FAULTS` faults."""
    async with (
        FaultProxy(servers.postgres.port) as database,
        FaultProxy(servers.queue_port) as broker,
        FaultWorld(directory, servers, seed=seed) as world,
    ):
        world.partitions = random.Random(seed).choice((1, 2, 4))
        world.journal_url = through(world.journal_url, database)
        world.transport_url = through(world.transport_url, broker)
        fate = Fate(world, servers, database, broker)
        await world.start(consumers=2)
        async with world.traffic(keys=20):
            await world.more(20)
            if SOAK:
                await asyncio.sleep(1.5)  # see BROKER_SECONDS in test_crashes.py
            for _ in range(FAULTS):
                await fate.strike()
                await world.more(20)
        await world.verdict()
        print(f"  {world.partitions} partitions, {dict(fate.done)}")


async def test_random_faults(tmp_path: Path, either: Servers) -> None:
    """Consumers and servers killed, stopped, hanging; networks cut, slow, silent; in an order by seed, while clients
    write and read: the history checker finds nothing."""
    began, seed = time.monotonic(), SEED
    while True:
        directory = tmp_path / str(seed)
        directory.mkdir()
        await one_life(directory, either, seed)
        if time.monotonic() - began > SECONDS:
            return
        seed += 1
