"""An application that leaks, under load: its servers are replaced again and again, and no client notices."""

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
