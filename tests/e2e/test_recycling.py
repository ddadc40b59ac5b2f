"""Applications that misbehave, under load: their processes are replaced again and again, and no client notices."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from skerry.testing.program import HttpConnection

sys.path.insert(0, str(Path(__file__).parent))
from upworld import up  # type: ignore[import-not-found]

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="processes as on Linux"),
    pytest.mark.timeout(600),
]
LEAKING = """
from skerry import App, Response

app = App("leaking")
kept = []


@app.get("/leak")
def leak() -> Response:
    kept.append(b"x" * 1_000_000)
    return Response(b"leaked")
"""


async def test_a_leak_costs_no_request(tmp_path: Path) -> None:
    """Every request is answered while servers are replaced three times; log, `ps` and numbers tell of each."""
    (tmp_path / "leaking.py").write_text(LEAKING)
    options = ("--servers", "2", "--max-rss-soft", "160MB", "--keep-alive", "600", "--hang", "0")
    async with up(tmp_path, *options, target="leaking:app") as world:
        done = asyncio.Event()
        bad: list[object] = []

        async def load() -> None:
            client = HttpConnection(world.port)
            while not done.is_set():
                try:
                    answer = await client.ask("GET", "/leak")
                except ConnectionError as error:
                    bad.append(error)
                    continue
                if answer.status != 200:
                    bad.append(answer)
                await asyncio.sleep(0.02)
            client.close()

        tasks = [asyncio.create_task(load()) for _ in range(4)]
        await world.until(lambda: sum(process.recycled for process in world.processes()) >= 3, 300)
        done.set()
        await asyncio.gather(*tasks)
        assert bad == []
        client = HttpConnection(world.port)
        numbers = (await client.ask("GET", "/metrics")).body.decode()
        client.close()
        counted = [line for line in numbers.splitlines() if line.startswith("skerry_process_recycled_total{")]
        assert sum(float(line.split()[-1]) for line in counted) >= 3
        assert all(process.restarts == 0 for process in world.processes("server"))
        assert any("max_rss_soft" in process.recycled_for for process in world.processes())
        assert world.said("is replaced: ")
        assert await world.stop() == 0


MISBEHAVING = """
import threading

kept, never = [], threading.Event()


def application(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/leak" and len(kept) < 400:
        kept.append(b"x" * 1_000_000)
    if path == "/stuck":
        never.wait()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "2")])
    return [b"ok"]
"""


async def test_a_host_that_misbehaves_costs_no_request(tmp_path: Path) -> None:
    """The one process of `skerry host` is replaced when it has leaked too much, and again when a view never returns,
    its successor first: only the client of that view gets 503, all others keep their connections."""
    (tmp_path / "misbehaving.py").write_text(MISBEHAVING)
    limits = ("--hosts", "1", "--max-rss", "160MB", "--max-stuck", "0", "--timeout", "5")
    options = (*limits, "--keep-alive", "600", "--hang", "0")
    async with up(tmp_path, *options, target="misbehaving", command="host") as world:
        done = asyncio.Event()
        path = "/leak"
        bad: list[object] = []

        async def load() -> None:
            client = HttpConnection(world.port)
            while not done.is_set():
                try:
                    answer = await client.ask("GET", path)
                except ConnectionError as error:
                    bad.append(error)
                    continue
                if answer.status != 200:
                    bad.append(answer)
                await asyncio.sleep(0.02)
            client.close()

        tasks = [asyncio.create_task(load()) for _ in range(2)]

        def recycled_for(reason: str) -> bool:
            return any(reason in process.recycled_for for process in world.processes("host"))

        await world.until(lambda: recycled_for("host.max_rss"), 120)
        path = "/"
        unlucky = HttpConnection(world.port)
        assert (await unlucky.ask("GET", "/stuck")).status == 503
        unlucky.close()
        await world.until(lambda: recycled_for("threads of a hosted application are stuck"), 120)
        done.set()
        await asyncio.gather(*tasks)
        assert bad == []
        assert [process.restarts for process in world.processes("host")] == [0]
        assert world.said("never.wait()")
        assert await world.stop() == 0
