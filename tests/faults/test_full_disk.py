"""The disk is full: reads go on, writes are told that they may be repeated, servers can be added; when there is room
again everything goes on by itself, and what was repeated took effect once."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from skerry.process import control
from skerry.process.orders import Scale
from skerry.testing.program import HttpAnswer, HttpConnection

sys.path.insert(0, str(Path(__file__).parents[1] / "e2e"))
from upworld import Up, free_port, up  # type: ignore[import-not-found]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits of another process are of Linux")
VALUE = b"x" * 400_000
MEANWHILE = b'"reason":"deciding: commands: '


@contextlib.contextmanager
def no_room(world: Up) -> Iterator[None]:
    """The consumer may make no file longer than it is. (A disk that is really full: `make soak`.)"""
    [consumer] = world.processes("consumer")
    largest = max(path.stat().st_size for path in (world.directory / ".skerry").glob("livekv.db*"))
    before = resource.prlimit(consumer.pid, resource.RLIMIT_FSIZE, (largest, resource.RLIM_INFINITY))
    try:
        yield
    finally:
        resource.prlimit(consumer.pid, resource.RLIMIT_FSIZE, before)


async def put(world: Up, number: int, **headers: str) -> HttpAnswer:
    client = HttpConnection(world.port)
    try:
        return await client.ask(
            "PUT", f"/values/k{number}", VALUE, Idempotency_Key=f"full-{number}", **headers
        )
    finally:
        client.close()


async def test_nothing_is_lost_and_everything_goes_on(tmp_path: Path) -> None:
    """See above; readiness for writes names the disk meanwhile, for traffic all are ready."""
    admin = free_port()
    async with up(tmp_path, "--servers", "1", "--admin-bind", f"127.0.0.1:{admin}") as world:
        assert (await put(world, 0)).status == 200
        client = HttpConnection(admin)
        with no_room(world):
            told = [await put(world, number, Prefer="wait=1") for number in range(1, 5)]
            assert {answer.status for answer in told} <= {202, 503}
            async with asyncio.timeout(60):
                while MEANWHILE not in (await client.ask("GET", "/health/ready?for=writes")).body:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
            assert (await client.ask("GET", "/health/ready?for=writes")).status == 503
            assert (await client.ask("GET", "/health/ready?for=traffic")).status == 200
            reading = HttpConnection(world.port)
            assert (await reading.ask("GET", "/values/k0")).body.endswith(b'xxx"}')
            reading.close()
            outcome = await asyncio.to_thread(control.order, world.pid, Scale("server", 2), lambda text: None)
            assert outcome.code == 0, outcome
        for number in range(1, 5):
            last = await put(world, number, Prefer="wait=30")
            assert last.status == 200
        async with asyncio.timeout(60):
            while (await client.ask("GET", "/health/ready?for=writes")).status != 200:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        client.close()
        reading = HttpConnection(world.port)
        values = (
            await reading.ask("GET", "/values?limit=100", Skerry_Position=last.headers["skerry-position"])
        ).body
        assert values.count(b'"key"') == 5
        reading.close()
        assert [process.restarts for process in world.processes("consumer")] == [0]
        assert await world.stop() == 0
