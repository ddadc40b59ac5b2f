"""Whatever operators do to a running `skerry up`, in any order and for ten minutes: no answered write, no listener's
event and no log line is lost unannounced, and no process is left.

`make soak` (SKERRY_SOAK=1) does it for SKERRY_SOAK_SECONDS (600), SKERRY_KILL_SECONDS is another time; a plain run for
some seconds. The seed is fixed (SKERRY_KILL_SEED) and printed.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from skerry.backends.local.owner import hub_path
from skerry.backends.postgres.journal import PostgresJournal
from skerry.process import control
from skerry.process.orders import AnyOrder, Restart, Scale, Stop

sys.path.insert(0, str(Path(__file__).parent))
from trafficworld import Traffic, alive_in, embedded_journal  # type: ignore[import-not-found]
from upworld import Up, up  # type: ignore[import-not-found]

SEED = int(os.environ.get("SKERRY_KILL_SEED", "20261120"))
SECONDS = float(os.environ.get("SKERRY_KILL_SECONDS") or os.environ.get("SKERRY_SOAK_SECONDS", "600"))
PATIENCE = 600.0
"""Seconds for what takes a few, on a machine with nothing else to do."""
pytestmark = [
    pytest.mark.skipif(os.environ.get("SKERRY_SOAK") != "1", reason="minutes of operators: make soak"),
    pytest.mark.skipif(sys.platform != "linux", reason="kills and pidfds as on Linux"),
    pytest.mark.timeout(SECONDS * 2 + 2400),
]
PROGRAM = """
import asyncio, logging, os, time
from livekv import app

log = logging.getLogger("shop")
me, count = "", 0


def tick():
    global count
    count += 1
    log.info("tick %s %d", me, count)


@app.supervise(name="ticks", roles=("server", "consumer"))
async def ticks():
    global me  # of this process: what was made by the import is that of all
    me = me or f"{os.getpid()}.{time.time_ns()}"  # numbers of processes come again
    flooded = False
    while True:
        tick()
        if os.path.exists("flood") and not flooded:
            for _ in range(20_000):
                tick()
                if count % 100 == 0:
                    await asyncio.sleep(0)
        flooded = os.path.exists("flood")
        await asyncio.sleep(0.05)
"""
TICK = re.compile(r"^tick (\S+) (\d+)$")
DROPPED = re.compile(r"^(\d+) lines were not written")


@pytest.fixture(params=["embedded", "servers"])
def pair(request: pytest.FixtureRequest) -> tuple[list[str], str, str]:
    """Options of `skerry up`, the database ("" on the embedded pair), and the namespace."""
    if request.param == "embedded":
        return [], "", "livekv"
    dsn, broker = request.getfixturevalue("postgresql").database(), request.getfixturevalue("rabbitmq")
    name = f"operators{os.getpid()}"
    given = ["--journal", dsn, "--transport", broker.url, "--namespace", name, "--consumers", "2"]
    return given, dsn, name


async def test_operators_lose_nothing(tmp_path: Path, pair: tuple[list[str], str, str]) -> None:
    """On both pairs. The lines that are counted are those of the application's own logging, in every process."""
    program = tmp_path / "shop.py"
    program.write_text(PROGRAM)
    options, dsn, namespace = pair
    journal = PostgresJournal(dsn, namespace) if dsn else embedded_journal(tmp_path)
    options = ["--intensity", "1000/60", "--start-timeout", "600", *options]
    with small_disk(tmp_path / ".skerry") as disk:
        async with up(tmp_path, *options, target="shop:app") as world:
            traffic = Traffic(world, SEED, pause_seconds=0.05)
            async with traffic.running():
                done = await operate(world, program, disk, SECONDS)
            async with journal as opened:
                await traffic.verdict(opened)
        assert alive_in(tmp_path) == []
    lines, dropped = lines_of(world)
    history, connections = traffic.history, traffic.listener.connections
    print(
        f"seed {SEED}, {namespace}: {done.total()} actions in {SECONDS:g} s: {dict(done)}; "
        f"{len(history.answered)} writes, trouble {dict(history.trouble)}, listener connected {connections} times; "
        f"{lines} lines of the application, {dropped} told as not written"
    )


def lines_of(world: Up) -> tuple[int, int]:
    """How many numbered lines there are, and how many lines were told as not written. AssertionError when a line is
    missing that nobody told of, or one is twice, or out of its order."""
    numbers: dict[str, list[int]] = defaultdict(list)
    dropped = 0
    for line in world.lines:
        message = json.loads(line)["message"]  # whatever is written is one object a line
        if found := TICK.match(message):
            numbers[found[1]].append(int(found[2]))
        elif found := DROPPED.match(message):
            dropped += int(found[1])
    missing = 0
    for process, found_numbers in numbers.items():
        assert found_numbers == sorted(set(found_numbers)), f"{process} out of order"
        missing += found_numbers[-1] - len(found_numbers)
    assert missing <= dropped, f"{missing} lines are missing, {dropped} were told"
    return sum(map(len, numbers.values())), dropped


async def operate(world: Up, program: Path, disk: Disk, seconds: float) -> Counter[str]:
    """What operators do and suffer, in any order: replacements, of broken code too, kills, pauses of one process and of
    all, more and fewer servers, one that is stopped for a while or restarted, directories that are cleared away,
    a full disk, a log that nobody reads, and more log than anybody can read. Ends with everything replaced by good
    code."""
    rng = random.Random(SEED)
    done: Counter[str] = Counter()
    good, end = program.read_text(), time.monotonic() + seconds  # noqa: ASYNC240 - a few bytes
    directory = control.runner_directory(world.pid)
    hub = hub_path(world.directory / ".skerry" / "livekv.db")
    actions = [
        "roll",
        "broken",
        "kill",
        "pause",
        "pause all",
        "clear",
        "scale",
        "stop",
        "restart",
        "no reader",
        "flood",
    ]
    actions += ["full disk"] if disk.is_own else []
    actions += ["clear hub"] if hub.exists() else []
    while time.monotonic() < end:
        action = rng.choice(actions)
        everybody = {p.name: p.pid for p in world.processes() if p.pid}
        name = rng.choice(sorted(everybody))
        done[action] += 1
        match action:
            case "roll":
                world.send_signal(signal.SIGHUP)
            case "broken":
                program.write_text(good + rng.choice(BROKEN))  # noqa: ASYNC240
                before = len(world.lines)
                world.send_signal(signal.SIGHUP)
                await world.until(lambda: came_to_nothing(world.lines[before:]), PATIENCE)  # noqa: B023
                program.write_text(good)  # noqa: ASYNC240
            case "kill":
                os.kill(everybody[name], signal.SIGKILL)
            case "pause":
                await pause([everybody[name]], rng.uniform(0.2, 1.5))
            case "pause all":
                await pause([*everybody.values(), world.pid], rng.uniform(0.2, 3.0))
            case "clear":
                shutil.rmtree(directory)
                await world.until(directory.exists, PATIENCE)
            case "clear hub":
                shutil.rmtree(hub.parent, ignore_errors=True)
                await world.until(hub.exists, PATIENCE)
            case "scale":
                await order(world, Scale("server", rng.randint(2, 4)))
            case "restart":
                await order(world, Restart(name))
            case "stop":
                await order(world, Stop(name))
                await asyncio.sleep(rng.uniform(0.0, 2.0))
                await order(world, Restart(name))
            case "no reader":
                await unread(world, rng.uniform(0.2, 4.0))
            case "flood":
                flood = world.directory / "flood"
                flood.touch()
                await unread(world, rng.uniform(0.2, 4.0))
                flood.unlink()
            case "full disk":
                with disk.full():
                    await asyncio.sleep(rng.uniform(0.2, 3.0))
        await asyncio.sleep(rng.uniform(0.2, 1.5))
    while True:  # until a replacement goes through: on a busy machine one may come to nothing
        before = len(world.lines)
        world.send_signal(signal.SIGHUP)
        await world.until(lambda: replaced_or_not(world.lines[before:]), PATIENCE)  # noqa: B023
        if any("every process was replaced" in line for line in world.lines[before:]):
            return done


async def unread(world: Up, seconds: float) -> None:
    """Nobody reads what it writes."""
    world.hearing.clear()
    await asyncio.sleep(seconds)
    world.hearing.set()


class Disk:
    """The file system of the application's data. `is_own`: it is a small one of this test, which may be filled."""

    def __init__(self, path: Path) -> None:
        self._path, self._filler = path, path / "filler"
        self.is_own = path.is_mount()

    @contextlib.contextmanager
    def full(self) -> Iterator[None]:
        """Not a byte is left on it."""
        with self._filler.open("wb") as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(1 << 20))
                file.flush()
        try:
            yield
        finally:
            self._filler.unlink()


@contextlib.contextmanager
def small_disk(path: Path) -> Iterator[Disk]:
    """Have a file system of 512 MiB there, where this may be done; else the one that is there."""
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=512m,mode=0700", "tmpfs", str(path)]
    mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    try:
        yield Disk(path)
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", str(path)], check=True)


async def order(world: Up, wish: AnyOrder) -> None:
    """Give it, and wait for what becomes of it; one that cannot be carried out just now is no fault."""
    outcome = await asyncio.to_thread(control.order, world.pid, wish, lambda text: None)
    assert outcome.code in (0, 1, 2), outcome


def replaced_or_not(lines: list[str]) -> bool:
    return came_to_nothing(lines) or any("every process was replaced" in line for line in lines)


def came_to_nothing(lines: list[str]) -> bool:
    return any("stays as it is" in line or "the one before it works again" in line for line in lines)


async def pause(pids: list[int], seconds: float) -> None:
    for number in (signal.SIGSTOP, signal.SIGCONT):
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        if number == signal.SIGSTOP:
            await asyncio.sleep(seconds)


BROKEN = (
    "import nowhere_at_all\n",
    "from skerry import Event\n@app.on(Event)\ndef heard(event: Event, nothing: Ellipsis.__class__) -> None: ...\n",
    "from skerry.roles.consumer import ConsumerRole\n"
    "async def start(self): raise RuntimeError\n"
    "ConsumerRole.start = start\n",
)
