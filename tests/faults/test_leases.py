"""Several consumers: partitions by lease, fencing, takeover; order per key and once-only through all of it."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest
from faultworld import FaultWorld, Servers, until  # type: ignore[import-not-found]

pytestmark = pytest.mark.timeout(120)
SETTLED = 0.7


async def test_a_consumer_hangs_longer_than_its_lease_and_returns(tmp_path: Path, servers: Servers) -> None:
    """SIGSTOP exactly between the decision and the commit, for longer than the lease (default length): another consumer
    takes over within 15 s; the one that returns is fenced, what it had decided is not written again, and it
    works on when its turn comes again."""
    async with FaultWorld(tmp_path, servers, target="crashing:app", lease=5.0) as world:
        await world.start(consumers=0)
        zombie = await world.consumer(SKERRY_FAULT="committing:30:stop")
        async with world.traffic():
            await world.more(20)
            heir = await world.consumer()
            await until(lambda: _is_stopped(zombie.pid), 20, lambda: world.report("it did not stop"))
            await asyncio.sleep(SETTLED)  # what was decided before is answered by then
            took = SETTLED + await world.more(1, 30)
            assert took > 2 * SETTLED, "nobody was to work meanwhile: the lease had not ended"
            assert took < 15, f"takeover took {took:.1f} s"
            await world.more(50)
            zombie.send_signal(signal.SIGCONT)
            await world.more(50)
            await heir.stop()
            took_back = await world.more(20, 30)
        await world.verdict()
        assert zombie.running, world.report("the zombie ended")
        print(f"taken over after {took:.1f} s, back after {took_back:.1f} s")


async def test_consumers_come_and_go(tmp_path: Path, servers: Servers) -> None:
    """Four partitions, three consumers that are killed, stopped in order and replaced in turn: order per key holds and
    nothing takes effect twice."""
    async with FaultWorld(tmp_path, servers) as world:
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


def _is_stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
