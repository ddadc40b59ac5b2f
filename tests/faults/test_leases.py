"""Several consumers: partitions by lease, fencing, takeover; order per key and once-only through all of it."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path

import pytest
from faultworld import SOAK, FaultWorld, Servers, until  # type: ignore[import-not-found]

from skerry.backends.postgres.journal import PostgresJournal

pytestmark = pytest.mark.timeout(600)
TAKEOVER_SECONDS = 10.0
"""What is promised; asked of a soak, as a busy test machine may take longer."""


async def test_a_consumer_hangs_longer_than_its_lease_and_returns(tmp_path: Path, either: Servers) -> None:
    """SIGSTOP exactly between the decision and the commit, for longer than the lease (default length): another consumer
    takes over within 10 s; the one that returns is fenced, what it had decided is not written again, and it
    works on when its turn comes again."""
    async with FaultWorld(tmp_path, either, target="crashing:app", lease=5.0) as world:
        await world.start(consumers=0)
        zombie = await world.consumer(SKERRY_FAULT="committing:30:stop")
        async with world.traffic():
            await world.more(20)
            owner = _owner(world)
            heir = await world.consumer()
            await until(lambda: _is_stopped(zombie.pid), 90, lambda: world.report("it did not stop"))
            took = await _next_commit(world)
            assert _owner(world) != owner, "nobody was to work before the lease had ended"
            assert took < TAKEOVER_SECONDS or not SOAK, f"takeover took {took:.1f} s"
            await world.more(50)
            zombie.send_signal(signal.SIGCONT)
            await world.more(50)
            await heir.stop()
            took_back = await world.more(20)
        await world.verdict()
        assert zombie.running, world.report("the zombie ended")
        print(f"taken over after {took:.1f} s, back after {took_back:.1f} s")


async def test_consumers_come_and_go(tmp_path: Path, either: Servers) -> None:
    """Four partitions, three consumers that are killed, stopped in order and replaced in turn: order per key holds and
    nothing takes effect twice."""
    async with FaultWorld(tmp_path, either) as world:
        world.partitions = 4
        await world.start(consumers=3)
        async with world.traffic(keys=24):
            await world.more(50)
            await world.consumers[0].kill()
            await world.more(50)
            await world.consumer()
            await world.consumers[1].stop()
            await world.more(50)
            await asyncio.gather(world.consumers[2].kill(), world.consumers[3].stop())
            await world.consumer()
            await world.more(100)
        await world.verdict()


def _owner(world: FaultWorld) -> str:
    """Who has, or had last, the lease of the only partition."""
    sql = f"select owner from {world.namespace}__lease where name = 'partition:0'"
    return str(world.servers.postgres.query(sql))


async def _next_commit(world: FaultWorld) -> float:
    """Wait until the journal goes on; the seconds that took. What was answered says less: answers may be late."""
    began = time.monotonic()
    async with PostgresJournal(world.servers.postgres.dsn, world.namespace) as journal:
        before = await journal.head()
        async with asyncio.timeout(90):
            while (await journal.head()).position == before.position:  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.05)
    return time.monotonic() - began


def _is_stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
