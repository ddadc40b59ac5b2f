"""Processes that stand still: one of them is a fault, all of them together are a pause."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest
from faultworld import SOAK  # type: ignore[import-not-found]

from skerry.testing.program import HttpConnection

sys.path.insert(0, str(Path(__file__).parents[1] / "e2e"))
from upworld import up  # type: ignore[import-not-found]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="signals as on Linux")


async def test_a_hung_balancer_is_replaced_whatever_others_may_take(tmp_path: Path) -> None:
    """New connections wait at it, so it is noticed within seconds, though others may be silent for an hour; what
    stands goes on, and what waited is served."""
    async with up(tmp_path, "--servers", "1", "--hang", "3600") as world:
        [balancer] = world.processes("balancer")
        standing = HttpConnection(world.port)
        assert (await standing.ask("GET", "/values/k")).status == 404
        os.kill(balancer.pid, signal.SIGSTOP)
        waiting = HttpConnection(world.port)
        assert (await waiting.ask("GET", "/values/k")).status == 404
        assert (await standing.ask("GET", "/values/k")).status == 404
        assert standing.connections == 1
        await world.all_ready()
        [after] = world.processes("balancer")
        assert after.pid != balancer.pid
        assert after.restarts >= 1
        assert [p.restarts for p in world.processes() if p.role != "balancer"] == [0, 0]
        standing.close()
        waiting.close()


@pytest.mark.skipif(not SOAK, reason="ten seconds, and it needs a machine that lets processes run: make soak")
async def test_a_pause_of_everybody_is_no_hang(tmp_path: Path) -> None:
    """Stopped together for longer than anybody may be silent, as `docker pause` and a moved machine do: everything goes
    on, nobody is restarted, connections stand."""
    async with up(tmp_path, "--servers", "2", "--hang", "3") as world:
        client = HttpConnection(world.port)
        assert (await client.ask("PUT", "/values/k", b"v")).status == 200
        everybody = [*(p.pid for p in world.processes()), world.pid]
        for pid in everybody:
            os.kill(pid, signal.SIGSTOP)
        await asyncio.sleep(
            10.0
        )  # longer than a runner waits (3 s), and than a child waits for itself (5.5 s)
        for pid in everybody:
            os.kill(pid, signal.SIGCONT)
        assert (await client.ask("PUT", "/values/k", b"w")).status == 200
        await asyncio.sleep(4.0)  # and nobody is found out later
        assert [p.pid for p in world.processes()] == everybody[:-1]
        assert (await client.ask("GET", "/values/k")).status == 200
        assert client.connections == 1
        client.close()
