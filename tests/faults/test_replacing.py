"""A replacement that fails never costs service: whatever is wrong with the new code, and whenever that comes out, every
write is answered meanwhile, the old code goes on, and the mended application replaces it."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from faultworld import Servers  # type: ignore[import-not-found]

from skerry.process.tree import ProcessStatus
from skerry.testing.program import HttpConnection

sys.path.insert(0, str(Path(__file__).parents[1] / "e2e"))
from upworld import Up, up  # type: ignore[import-not-found]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="signals as on Linux")
GOOD = "from livekv import app\n"
BETTER = GOOD + "# and better\n"
HANDLES = """
from skerry import Command, Unit

class Oops(Command, frozen=True):
    key: str

class Thing:
    pass

@app.handles(Oops)
def oops(command: Oops, unit: Unit, thing: Thing) -> None:
    pass
"""
RAISES = """
@app.service()
def thing() -> Thing:
    raise RuntimeError("no thing today")
"""
MIGRATES = """
import pathlib
here = pathlib.Path(__file__).with_name("migrations")
here.mkdir(exist_ok=True)
(here / "0001.sql").write_text("create table things (id integer primary key); create tabel nonsense;")
app.migrations(here)
"""
DIES_WAITING = """
import os
from skerry.process.worker import Worker
said = Worker.state
def state(self, name, reasons=None):
    said(self, name, reasons)
    if name == "standby":
        os._exit(3)
Worker.state = state
"""
DIES_AS_OWNER = """
from skerry.roles.consumer import ConsumerRole
async def start(self):
    raise RuntimeError("not this time")
ConsumerRole.start = start
"""
SERVER_FAILS = """
from skerry.roles.server import ServerRole
async def start(self):
    raise RuntimeError("no server today")
ServerRole.start = start
"""
WRONG = {
    "a parameter that nothing fills": GOOD + HANDLES,
    "an import that fails": GOOD + "import nowhere_at_all\n",
    "a migration that fails": GOOD + MIGRATES,
    "a service that cannot be made": GOOD + HANDLES + RAISES,
    "a death when everything was opened": GOOD + DIES_AS_OWNER,
}


class Writes:
    """One write after another, each answered with what it did."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.answered = 0
        self.refused: list[object] = []

    async def run(self) -> None:
        client = HttpConnection(self._port)
        while True:
            answer = await client.ask("PUT", "/values/k", str(self.answered).encode())
            if answer.status not in (200, 202):
                self.refused.append(answer)
            self.answered += 1
            await asyncio.sleep(0.01)


@asynccontextmanager
async def writing(world: Up) -> AsyncIterator[Writes]:
    writes = Writes(world.port)
    task = asyncio.create_task(writes.run())
    try:
        yield writes
    finally:
        task.cancel()
        await asyncio.wait({task})
    assert task.cancelled(), task.exception()
    assert writes.refused == []


def child(world: Up, role: str) -> ProcessStatus:
    found: list[ProcessStatus] = world.processes(role)
    assert len(found) == 1
    return found[0]


async def replaced(world: Up, program: Path, text: str, *said: str) -> None:
    """Replace every process by what `text` makes of them, and wait until the runner says how that ended."""
    program.write_text(text)  # noqa: ASYNC240 - a few bytes
    before = len(world.lines)
    world.send_signal(signal.SIGHUP)
    await world.until(lambda: any(each in line for line in world.lines[before:] for each in said))


async def all_of_it(world: Up, program: Path, wrong: dict[str, str]) -> None:
    """One mistake after another, then one that only servers make, which the mended application finishes and, a second
    time, the old one takes back."""
    code, consumer = child(world, "consumer").code, child(world, "consumer").pid
    assert len(code) == 12
    assert child(world, "server").code == code
    async with writing(world) as writes:
        for text in wrong.values():
            await replaced(world, program, text, "consumer-1 stays as it is", "the one before it works again")
            await world.all_ready()
            seen = writes.answered
            await world.until(lambda: writes.answered > seen + 3)  # noqa: B023 - called at once
            assert (child(world, "consumer").pid, child(world, "consumer").code) == (consumer, code)
            assert not world.status().halfway
        await replaced(world, program, GOOD + SERVER_FAILS, "stopped halfway")
        assert "consumer-1 new, balancer, server-1 as before" in world.status().halfway
        assert child(world, "server").code == code
        assert child(world, "consumer").code not in ("", code)
        await replaced(world, program, BETTER, "every process was replaced")
        assert world.status().halfway == ""
        assert child(world, "server").code == child(world, "consumer").code != code
    await replaced(world, program, GOOD + SERVER_FAILS, "stopped halfway")
    better = child(world, "server").code
    program.write_text(BETTER)  # noqa: ASYNC240
    os.kill(child(world, "consumer").pid, signal.SIGKILL)
    await world.until(lambda: child(world, "consumer").code == better)  # started with the files as they are
    await world.all_ready()
    await replaced(world, program, BETTER, "every process was replaced")  # the old files take it back
    assert (child(world, "consumer").code, world.status().halfway) == (better, "")


async def test_on_the_embedded_pair(tmp_path: Path) -> None:
    """One process owns the file: its successor stands by for it, and has to give it back when it fails."""
    program = tmp_path / "shop.py"
    program.write_text(GOOD)
    async with up(tmp_path, "--servers", "1", target="shop:app") as world:
        await all_of_it(world, program, WRONG | {"a death on standby": GOOD + DIES_WAITING})


async def test_on_rabbitmq_and_postgresql(tmp_path: Path, servers: Servers) -> None:
    """Old and new work beside each other until the new one is ready."""
    program = tmp_path / "shop.py"
    program.write_text(GOOD)
    options = ["--servers", "1", "--namespace", "replacing", "--lease", "1"]
    options += ["--journal", servers.postgres.dsn, "--transport", servers.broker.url]
    async with up(tmp_path, *options, target="shop:app") as world:
        await all_of_it(world, program, WRONG)
