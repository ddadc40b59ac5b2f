"""What a child has started ends with the child, however that ends."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from runnerworld import World, gone, running, spec  # type: ignore[import-not-found]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="process groups as on Linux")


async def started(world: World) -> list[int]:
    """The two processes that the child has started: one that ends when it is told, one that does not listen."""
    async with asyncio.timeout(90):
        while len(found := re.findall(r"started (\d+)", world.text.getvalue())) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    return [int(pid) for pid in found[-2:]]


def is_over(pid: int) -> bool:
    """Ended, whether or not somebody has waited for it: its parent is not we."""
    return gone(pid) or Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


@pytest.mark.parametrize("killed", [True, False])
async def test_nothing_is_left_behind(killed: bool) -> None:
    """Killed, or ended in order: a moment later neither of them is there; and not after the runner's own end."""
    world = World([spec("a", "parent")])
    async with running(world):
        await world.until(lambda: world.count("all_ready") == 1)
        pids = await started(world)
        if killed:
            os.kill(world.pid("a"), signal.SIGKILL)
            async with asyncio.timeout(90):
                while not all(map(is_over, pids)):  # noqa: ASYNC110 - of other processes
                    await asyncio.sleep(0.02)
            await world.until(lambda: world.count("started", "a") == 2)
    async with asyncio.timeout(90):
        while not all(map(is_over, pids)):  # noqa: ASYNC110 - of other processes
            await asyncio.sleep(0.02)
