"""`make soak`: mixed load on an App and what it hosts, apart, leaves nothing behind in any of their processes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import sys
import time
from pathlib import Path

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from skerry.hosting.trend import grows, slope_of
from skerry.testing.program import HttpConnection

sys.path.insert(0, str(Path(__file__).parent))
from test_hosts_apart import request, world_in  # type: ignore[import-not-found]

SOAK = os.environ.get("SKERRY_SOAK") == "1"
SECONDS = float(os.environ.get("SKERRY_SOAK_SECONDS", "600"))
EVERY = 10.0
FEWEST_BYTES = 16.0
"""Of resident memory for each request: less is no growth."""
pytestmark = [
    pytest.mark.skipif(not SOAK, reason="minutes of load: make soak"),
    pytest.mark.timeout(SECONDS + 600),
]


async def test_mixed_load_leaves_nothing_behind(tmp_path: Path) -> None:
    """Pages, uploads, streams, files, websockets, and clients that leave in the middle: after a while neither memory
    nor descriptors of any process grow, and no host has a leak slope."""
    async with world_in(tmp_path, "--hosts", "2") as world:
        done = asyncio.Event()
        count = [0]
        bad: list[object] = []

        async def asks(number: int) -> None:
            client = HttpConnection(world.port)
            large = bytes(100_000)
            while not done.is_set():
                for path, body in (
                    ("/hello/x", b""),
                    ("/a", b""),
                    ("/file", b""),
                    ("/up", large),
                    ("/chat/", b""),
                ):
                    found = await client.ask("POST" if body else "GET", path, body)
                    count[0] += 1
                    if found.status != 200:
                        bad.append((path, found))
                await asyncio.sleep(0.01)
            client.close()

        async def leaves() -> None:
            while not done.is_set():
                _, writer = await asyncio.open_connection("127.0.0.1", world.port)
                writer.write(
                    request("/big") if count[0] % 2 else request("/up", "POST", "Content-Length: 99999")
                )
                await asyncio.sleep(0.05)
                writer.transport.abort()

        async def chats() -> None:
            while not done.is_set():
                try:
                    async with connect(f"ws://127.0.0.1:{world.port}/chat/") as chat:
                        for _ in range(5):
                            await chat.send("x")
                            await chat.recv()
                except InvalidStatus as error:
                    bad.append(("/chat/", error.response.status_code))
                await asyncio.sleep(0.05)

        tasks = [asyncio.create_task(each) for each in (*map(asks, range(4)), leaves(), chats())]
        at: list[float] = []
        memory: dict[str, list[float]] = {}
        descriptors: dict[str, list[float]] = {}
        slopes: dict[str, float] = {}
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            await asyncio.sleep(EVERY)
            at.append(count[0])
            for process in world.processes():
                with contextlib.suppress(FileNotFoundError):
                    pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])  # noqa: ASYNC240
                    memory.setdefault(process.name, []).append(pages * 4096.0)
                    descriptors.setdefault(process.name, []).append(
                        len(os.listdir(f"/proc/{process.pid}/fd"))
                    )
            client = HttpConnection(world.port)
            text = (await client.ask("GET", "/-/skerry/metrics")).body.decode()
            client.close()
            for labels, value in re.findall(r"^skerry_host_leak_slope{(.*)} (\S+)$", text, re.MULTILINE):
                slopes[labels] = float(value)
        done.set()
        await asyncio.gather(*tasks)
        half = len(at) // 2
        found = {name: slope_of(values[half:], at[half:]) for name, values in memory.items()}
        print(f"{count[0]} requests; bytes a request: {found}; leak slopes: {slopes}; bad: {bad}")
        assert all(process.restarts == 0 for process in world.processes())
        assert not any(slopes.values()), slopes
        for name, values in memory.items():
            assert not grows(values[half:]) or found[name] < FEWEST_BYTES, (name, values)
        assert not any(grows(values[half:]) for values in descriptors.values()), descriptors
        assert bad == []
