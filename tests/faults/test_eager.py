"""An application that has its tasks begin eagerly (Python 3.12 and newer): everything works as without.

Tasks of `asyncio.eager_task_factory` may have ended before whoever made them has their name. On 3.11 there is no such
thing, and no test here.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from skerry.testing.program import HttpConnection

sys.path.insert(0, str(Path(__file__).parents[1] / "e2e"))
from upworld import up  # type: ignore[import-not-found]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="signals as on Linux")
EAGER = """
import asyncio, pathlib
from livekv import app

class Eager:
    def start(self) -> None:
        asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)

    def stop(self) -> None: ...

runs = []

@app.supervise()
async def fails_at_once() -> None:
    runs.append(1)
    if len(runs) < 4:
        raise ConnectionError("not yet")
    print("works now", flush=True)
    await asyncio.Event().wait()

app.plug(Eager())
"""

if sys.version_info >= (3, 12):

    async def test_eager_tasks_change_nothing(tmp_path: Path) -> None:
        """Writes and reads are answered, also after each child was killed; a part that fails at once, again and again,
        is started again; a replacement and the end go through."""
        (tmp_path / "shop.py").write_text(EAGER)
        async with up(tmp_path, "--servers", "1", target="shop:app") as world:
            await world.until(lambda: world.said("works now"))
            client = HttpConnection(world.port)
            assert (await client.ask("PUT", "/values/a", b"1")).status == 200
            for role in ("consumer", "server"):
                [victim] = world.processes(role)
                os.kill(victim.pid, signal.SIGKILL)
                await world.until(lambda role=role: [p.restarts for p in world.processes(role)] == [1])
                await world.all_ready()
            client = HttpConnection(world.port)
            assert (await client.ask("PUT", "/values/a", b"2", Prefer="wait=30")).status == 200
            world.send_signal(signal.SIGHUP)
            await world.until(lambda: world.said("every process was replaced"))
            assert (await client.ask("GET", "/values/a")).status == 200
            client.close()
            assert await world.stop(signal.SIGTERM) == 0
