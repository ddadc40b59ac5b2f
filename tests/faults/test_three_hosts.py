"""The fault matrix over three hosts: power, cuts, delay, loss, wrong clocks, promotions and upgrades, by seeds.

A plain run does some of them once; a soak (SKERRY_SOAK=1) does all of them, in an order by seed, seed after seed, and
holds the clock: no partition is without a write for 10 s, and all copies equal the database 10 s after each fault.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from faultworld import SEED, SOAK  # type: ignore[import-not-found]
from hostworld import HOSTS, HostWorld, three_hosts  # type: ignore[import-not-found]

from skerry.testing.network import available
from skerry.testing.program import HttpConnection

SECONDS = float(os.environ.get("SKERRY_SOAK_SECONDS", "600")) if SOAK else 0.0
PROMISED_SECONDS = 10.0
LASTS = 12.0 if SOAK else 1.5
"""How long a fault lasts that is mended."""
pytestmark = [
    pytest.mark.timeout(SECONDS + 900),
    pytest.mark.skipif(
        not available(), reason="NO NETWORK NAMESPACES HERE (root, /dev/net/tun, ip, nsenter)"
    ),
    pytest.mark.service("postgresql"),
    pytest.mark.service("cc"),
]


class Matrix:
    """Faults, each with what mends it. What is asked of all: `within`."""

    def __init__(self, world: HostWorld, seed: int) -> None:
        self.world, self.chance = world, random.Random(f"hosts {seed}")
        self.since = 0.0
        """When the fault began, or what somebody else has to do about it was done."""

    def others(self) -> list[str]:
        """Hosts without the primary."""
        return [host for host in HOSTS if host != self.world.primary.host]

    async def strike(self, fault: Callable[[], Awaitable[None]]) -> None:
        """One fault under load; then everything is compared, in a soak."""
        async with self.world.traffic(clients=12 if SOAK else 6, keys=20):
            await self.world.more(20)
            self.since = time.monotonic()
            await fault()
        if SOAK:
            await self.world.verdict(seconds=PROMISED_SECONDS)

    async def within(self, fault: str, until_back: Callable[[], Awaitable[None]] | None = None) -> None:
        """Writes of each partition go on in time, while the fault lasts and when it is mended."""
        await self.world.more(1)
        if until_back is not None:
            await until_back()
        await self.world.more(30)
        waits = self.world.longest_waits(self.since)
        told = (
            f"{fault}: partitions without a write for {', '.join(f'{each:.1f}' for each in waits)} s at most"
        )
        print(told)
        assert max(waits) < PROMISED_SECONDS or not SOAK, self.world.report(told)

    async def cut(self) -> None:
        host = self.chance.choice(self.others())
        self.world.network.cut(host, self.world.primary.host)
        await self._mended(f"cut both ways ({host}, {self.world.primary.host} with the primary)")

    async def cut_one_way(self) -> None:
        pair = [self.chance.choice(self.others()), self.world.primary.host]
        self.chance.shuffle(pair)
        self.world.network.cut(*pair, both=False)
        await self._mended(f"cut one way ({' to '.join(pair)}; the primary on {self.world.primary.host})")

    async def slow(self) -> None:
        self.world.network.slow(0.1)
        await self._mended("200 ms there and back")

    async def lossy(self) -> None:
        self.world.network.lose(0.05)
        await self._mended("5 % lost")

    async def _mended(self, fault: str) -> None:
        async def mend() -> None:
            await asyncio.sleep(LASTS)
            self.world.network.mend()

        await self.within(fault, mend)

    async def wrong_clock(self) -> None:
        await self._skewed(self.chance.choice(self.others()))

    async def wrong_clock_of_the_primary(self) -> None:
        await self._skewed(self.world.primary.host)

    async def _skewed(self, host: str) -> None:
        seconds = self.chance.choice((10.0, -10.0))
        await self.world.skew(host, seconds)
        await self.within(f"clock {seconds:+g} s ({host}; the primary on {self.world.primary.host})")

    async def power(self) -> None:
        host = self.chance.choice(self.others())
        await self.world.power_off(host)
        await self.within(f"power of a host off ({host})", lambda: self.world.power_on(host))

    async def power_of_the_primary(self) -> None:
        host = self.world.primary.host
        await self.world.power_off(host)
        await self.world.promote()
        self.since = time.monotonic()
        await self.within(f"power of the primary's host off ({host})", lambda: self.world.power_on(host))

    async def upgrade(self) -> None:
        for host in HOSTS if SOAK else HOSTS[1:2]:
            await self.world.upgrade(host)
        await self.within("upgraded to another release, host by host")


async def write_once(world: HostWorld, key: str) -> None:
    """One value, one event: a 503 is an outcome that is unknown, so it is repeated with the same key."""
    deadline = time.monotonic() + PROMISED_SECONDS
    connection = HttpConnection(world.ports[0])
    try:
        while True:
            answer = await connection.ask(
                "PUT", f"/values/{key}", b"x", Idempotency_Key=f"{world.seed}-{key}"
            )
            if answer.status != 503 or time.monotonic() > deadline:
                break
            await asyncio.sleep(0.05)
        assert answer.status == 200, world.report(f"{key} was not written: {answer}")
    finally:
        connection.close()


async def lost_tail(world: HostWorld) -> None:
    """Standbys that nobody waits for lack writes that were answered; one of them is promoted. These are lost, and
    named; memory and listeners are what the database is."""
    await world.fall_behind()
    for number in range(3):
        await write_once(world, f"lost-{number}")
    host = world.primary.host
    await world.power_off(host)
    await world.promote()
    async with world.traffic(clients=2, keys=20):
        await world.more(10)
    await world.power_on(host)
    began = time.monotonic()
    while different := await world.differences():
        late = time.monotonic() - began
        assert late < (PROMISED_SECONDS if SOAK else 60.0), world.report(
            f"{different} differ from the database"
        )
        await asyncio.sleep(0.1)
    memory = await world.memory_of(world.ports[0], 0, 5.0)
    assert not [key for key in memory if key.startswith("lost")]
    told = await world.skerry("journal", "verify", world.target)
    assert "lost: 3 events that had been seen" in told.out, told
    print(f"an asynchronous standby promoted: equal after {time.monotonic() - began:.1f} s, 3 lost and named")


async def one_life(directory: Path, seed: int, brokers: bool) -> None:
    async with three_hosts(directory, seed=seed, brokers=brokers) as world:
        matrix = Matrix(world, seed)
        faults = [matrix.cut, matrix.power_of_the_primary]
        if SOAK or not brokers:
            faults = [matrix.cut, matrix.lossy, matrix.wrong_clock_of_the_primary, matrix.upgrade]
            faults.append(matrix.power_of_the_primary)
        if SOAK:
            faults += [matrix.cut_one_way, matrix.slow, matrix.wrong_clock, matrix.power]
            matrix.chance.shuffle(faults)
        for fault in faults:
            await matrix.strike(fault)
        await world.verdict()
        if SOAK:
            await lost_tail(world)


@pytest.mark.parametrize(
    "transport", ["postgresql", pytest.param("rabbitmq", marks=pytest.mark.service("rabbitmq"))]
)
async def test_the_matrix(tmp_path: Path, transport: str) -> None:
    """Nothing that was answered is lost, as each commit is on two hosts; nothing is doubled, order per key holds,
    memory and resumed listeners equal the database. Commands go by the database, or by a cluster of three brokers."""
    began, seed = time.monotonic(), SEED
    while True:
        directory = tmp_path / str(seed)
        directory.mkdir()
        await one_life(directory, seed, transport == "rabbitmq")
        if time.monotonic() - began > SECONDS / 2:
            return
        seed += 1
