"""The fault matrix over three hosts: power, cuts, delay, loss, wrong clocks, promotions and upgrades, by seeds.

A plain run does some of them once; a soak (SKERRY_SOAK=1) does all of them, in an order by seed, seed after seed, and
holds the clock: writes are back within 10 s, and all copies equal the database 10 s after each fault.
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
]


class Matrix:
    """Faults, each with what mends it. What is asked of all: `within`."""

    def __init__(self, world: HostWorld, seed: int) -> None:
        self.world, self.chance = world, random.Random(f"hosts {seed}")

    def others(self) -> list[str]:
        """Hosts without the primary."""
        return [host for host in HOSTS if host != self.world.primary.host]

    async def within(self, fault: str, until_back: Callable[[], Awaitable[None]] | None = None) -> None:
        """Writes go on in time; then what was done for longer is mended, and everything is compared."""
        took = await self.world.more(1)
        print(f"{fault}: writes again after {took:.1f} s")
        assert took < PROMISED_SECONDS or not SOAK, self.world.report(f"{fault}: {took:.1f} s without writes")
        if until_back is not None:
            await until_back()
        await self.world.more(30)

    async def cut(self) -> None:
        host = self.chance.choice(self.others())
        self.world.network.cut(host, self.world.primary.host)
        await self._mended("cut both ways")

    async def cut_one_way(self) -> None:
        pair = [self.chance.choice(self.others()), self.world.primary.host]
        self.chance.shuffle(pair)
        self.world.network.cut(*pair, both=False)
        await self._mended("cut one way")

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
        host = self.chance.choice(HOSTS)
        await self.world.skew(host, self.chance.choice((10.0, -10.0)))
        await self.within("a clock 10 s off")

    async def power(self) -> None:
        host = self.chance.choice(self.others())
        await self.world.power_off(host)
        await self.within(f"power of a host off ({host})", lambda: self.world.power_on(host))

    async def power_of_the_primary(self) -> None:
        host = self.world.primary.host
        await self.world.power_off(host)
        await self.world.promote()
        await self.within(f"power of the primary's host off ({host})", lambda: self.world.power_on(host))

    async def upgrade(self) -> None:
        for host in HOSTS if SOAK else HOSTS[:1]:
            await self.world.replace_host(host)
        await self.within("upgraded host by host")


async def lost_tail(world: HostWorld) -> None:
    """Standbys that nobody waits for lack writes that were answered; one of them is promoted. These are lost, and
    named; memory and listeners are what the database is."""
    await world.fall_behind()
    for number in range(3):
        connection = HttpConnection(world.ports[0])
        assert (await connection.ask("PUT", f"/values/lost-{number}", b"x")).status == 200
        connection.close()
    host = world.primary.host
    await world.power_off(host)
    await world.promote()
    async with world.traffic(clients=2, keys=20):
        await world.more(10)
    began = time.monotonic()
    await world.power_on(host)
    while different := await world.differences():
        late = time.monotonic() - began
        assert late < 60.0, world.report(f"{different} differ from the database")
        await asyncio.sleep(0.1)
    memory = await world.memory_of(world.ports[0], 0, 5.0)
    assert not [key for key in memory if key.startswith("lost")]
    told = await world.skerry("journal", "verify", world.target)
    assert "lost: 3 events that had been seen" in told.out, told
    print(f"an asynchronous standby promoted: equal after {time.monotonic() - began:.1f} s, 3 lost and named")


async def one_life(directory: Path, seed: int) -> None:
    async with three_hosts(directory, seed=seed) as world:
        matrix = Matrix(world, seed)
        faults = [matrix.cut, matrix.lossy, matrix.wrong_clock, matrix.power_of_the_primary]
        if SOAK:
            faults += [matrix.cut_one_way, matrix.slow, matrix.power, matrix.upgrade]
            matrix.chance.shuffle(faults)
        for fault in faults:
            async with world.traffic(clients=6, keys=20):
                await world.more(20)
                await fault()
            if SOAK:
                await world.verdict(seconds=PROMISED_SECONDS)
        await world.verdict()
        if SOAK:
            await lost_tail(world)


async def test_the_matrix(tmp_path: Path) -> None:
    """Nothing that was answered is lost, as each commit is on two hosts; nothing is doubled, order per key holds,
    memory and resumed listeners equal the database."""
    began, seed = time.monotonic(), SEED
    while True:
        directory = tmp_path / str(seed)
        directory.mkdir()
        await one_life(directory, seed)
        if time.monotonic() - began > SECONDS:
            return
        seed += 1
