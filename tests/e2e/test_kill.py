"""Every child of `skerry up` is killed with -9 again and again while clients write: what was answered 200 stays.

`make soak` (SKERRY_SOAK=1) kills for a minute, as the promise says, and has random operators at work for
SKERRY_SOAK_SECONDS (600); SKERRY_KILL_SECONDS is another time for both. The seed is fixed (SKERRY_KILL_SEED) and
printed.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from skerry.backends.local.owner import hub_path
from skerry.backends.local.peer import LocalPeer
from skerry.backends.local.reader import remote_journal
from skerry.process import control
from skerry.process.orders import AnyOrder, Restart, Scale, Stop
from skerry.testing.program import HttpConnection

sys.path.insert(0, str(Path(__file__).parent))
from upworld import Up, up  # type: ignore[import-not-found]

SEED = int(os.environ.get("SKERRY_KILL_SEED", "20261120"))
SOAK = os.environ.get("SKERRY_SOAK") == "1"
"""Whether the seconds of the promise are asked for: not on any machine, however busy."""
SOAKING = pytest.mark.skipif(not SOAK, reason="minutes of operators: make soak")
SECONDS = {
    "kills": float(os.environ.get("SKERRY_KILL_SECONDS", "60" if SOAK else "8")),
    "operators": float(os.environ.get("SKERRY_KILL_SECONDS") or os.environ.get("SKERRY_SOAK_SECONDS", "600")),
}
WRITERS = 16
pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="kills and pidfds as on Linux"),
    pytest.mark.timeout(max(SECONDS.values()) * 2 + 600),
]


@dataclass
class History:
    """What clients were told. `answered`: key -> value of writes that got 200; `asked`: of all that were tried."""

    answered: dict[str, str] = field(default_factory=dict)
    asked: dict[str, str] = field(default_factory=dict)
    moments: list[float] = field(default_factory=list)
    trouble: Counter[str] = field(default_factory=Counter)


async def write(world: Up, number: int, history: History, stop: asyncio.Event) -> None:
    """One client: each write has an idempotency key and is repeated until it is answered."""
    client, n = HttpConnection(world.port), 0
    while not stop.is_set():
        n += 1
        key, value = f"w{number}-{n}", f"{number}:{n}"
        history.asked[key] = value
        while True:
            try:
                async with asyncio.timeout(30):
                    answer = await client.ask(
                        "PUT", f"/values/{key}", value.encode(), Idempotency_Key=f"{SEED}-{key}"
                    )
            except (ConnectionError, TimeoutError) as error:
                history.trouble[type(error).__name__] += 1
                await asyncio.sleep(0.01)
                continue
            if answer.status in (200, 202):  # 202: durable, though not seen here in time
                history.answered[key] = value
                history.moments.append(time.monotonic())
                break
            history.trouble[f"{answer.status} {answer.body[:120]!r}"] += 1
            assert answer.status == 503, answer
            await asyncio.sleep(0.05)
    client.close()


class Listener:
    """A resuming listener of events (SSE): its own copy of the values, made from what it heard."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.values: dict[str, str] = {}
        self.position = ""
        self.connections = 0
        self.last = ""

    async def run(self) -> None:
        while True:
            try:
                await self._listen()
            except (OSError, asyncio.IncompleteReadError, ConnectionError):
                await asyncio.sleep(0.02)

    async def _listen(self) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        since = f"?since={self.position}" if self.position else "?snapshot=1"
        try:
            writer.write(
                f"GET /events{since} HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n".encode()
            )
            status = await reader.readline()
            if b" 200 " not in status:
                raise ConnectionError(status.decode())
            self.connections += 1
            while await reader.readline() != b"\r\n":
                pass
            rest = b""
            while size := int(await reader.readline() or b"0", 16):
                rest += (await reader.readexactly(size + 2))[:-2]
                *lines, rest = rest.split(b"\n")
                for line in lines:
                    if line.startswith(b"data:"):
                        self.last = line[:200].decode()
                        self._take(json.loads(line[5:]))
        finally:
            writer.close()

    def difference(self, stored: dict[str, str]) -> str:
        missing, odd = stored.keys() - self.values.keys(), self.values.keys() - stored.keys()
        return (
            f"missing {len(missing)} {sorted(missing)[:5]}, too many {len(odd)} {sorted(odd)[:5]}, at {self.position}, "
            f"connected {self.connections} times, last heard {self.last}"
        )

    def _take(self, frame: dict[str, Any]) -> None:
        match frame:
            case {"type": "hello", "recovered": False} if self.position:
                self.values.clear()
                self.position = ""
                raise ConnectionError("a snapshot is needed")
            case {"type": "snapshot", "values": values}:
                for each in values:
                    self._take(each | {"position": ""})
            case {"type": "snapshot_end" | "hello" | "caught_up", "position": position}:
                self.position = position if frame["type"] != "hello" else self.position
            case {"type": "domain_event", "event": "value_deleted", "key": key, "position": position}:
                self.values.pop(key, None)
                self.position = position or self.position
            case {"type": "domain_event", "key": key, "value": value, "position": position}:
                self.values[key] = value
                self.position = position or self.position
            case _:
                pass


async def kill(world: Up, seconds: float) -> list[tuple[float, str]]:
    """About once a second one child, the next one in a shuffled round, until the time is over."""
    rng = random.Random(SEED)
    kills: list[tuple[float, str]] = []
    end = time.monotonic() + seconds
    names: list[str] = []
    while time.monotonic() < end:
        if not names:
            names = [p.name for p in world.processes()]
            rng.shuffle(names)
        name = names.pop()
        [victim] = [p for p in world.processes() if p.name == name]
        if victim.pid:
            os.kill(victim.pid, signal.SIGKILL)
            kills.append((time.monotonic(), name))
        await asyncio.sleep(rng.uniform(0.8, 1.2))
    return kills


async def everything(client: HttpConnection, position: str) -> dict[str, str]:
    """All values as the server of this connection shows them, once it has come to `position`."""
    found: dict[str, str] = {}
    after = ""
    async with asyncio.timeout(90):
        while after is not None:
            answer = await client.ask("GET", f"/values?limit=1000&after={after}", Skerry_Position=position)
            if answer.status == 503:
                continue
            assert answer.status == 200, answer
            page = json.loads(answer.body)
            found.update({each["key"]: each["value"] for each in page["values"]})
            after = page["next"]
    return found


async def operate(world: Up, program: Path, seconds: float) -> list[tuple[float, str]]:
    """What operators do and suffer, in any order: replacements, of broken code too, kills, pauses of one process and of
    all, more and fewer servers, one that is stopped for a while or restarted, directories that are cleared away,
    a full disk. Ends with everything replaced by good code."""
    rng = random.Random(SEED)
    done: list[tuple[float, str]] = []
    good, end = program.read_text(), time.monotonic() + seconds  # noqa: ASYNC240 - a few bytes
    directory = control.runner_directory(world.pid)
    disk = Disk(world.directory / ".skerry")
    actions = [
        "roll",
        "broken",
        "kill",
        "pause",
        "pause all",
        "clear",
        "clear hub",
        "scale",
        "stop",
        "restart",
    ]
    while time.monotonic() < end:
        action = rng.choice([*actions, "full disk"] if disk.is_own else actions)
        everybody = {p.name: p.pid for p in world.processes() if p.pid}
        name = rng.choice(sorted(everybody))
        done.append((time.monotonic(), action))
        match action:
            case "roll":
                world.send_signal(signal.SIGHUP)
            case "broken":
                program.write_text(good + rng.choice(BROKEN))  # noqa: ASYNC240
                before = len(world.lines)
                world.send_signal(signal.SIGHUP)
                await world.until(lambda: came_to_nothing(world.lines[before:]))  # noqa: B023
                program.write_text(good)  # noqa: ASYNC240
            case "kill":
                os.kill(everybody[name], signal.SIGKILL)
            case "pause":
                await pause([everybody[name]], rng.uniform(0.2, 1.5))
            case "pause all":
                await pause([*everybody.values(), world.pid], rng.uniform(0.2, 3.0))
            case "clear":
                shutil.rmtree(directory)
                await world.until(directory.exists)
            case "clear hub":
                hub = hub_path(world.directory / ".skerry" / "livekv.db")
                shutil.rmtree(hub.parent, ignore_errors=True)
                await world.until(hub.exists)
            case "scale":
                await order(world, Scale("server", rng.randint(2, 4)))
            case "restart":
                await order(world, Restart(name))
            case "stop":
                await order(world, Stop(name))
                await asyncio.sleep(rng.uniform(0.0, 2.0))
                await order(world, Restart(name))
            case "full disk":
                with disk.full():
                    await asyncio.sleep(rng.uniform(0.2, 3.0))
        await asyncio.sleep(rng.uniform(0.2, 1.5))
    before = len(world.lines)
    world.send_signal(signal.SIGHUP)
    await world.until(lambda: any("every process was replaced" in line for line in world.lines[before:]))
    return done


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
                file.write(bytes(65536))
                file.flush()
        try:
            yield
        finally:
            self._filler.unlink()


@contextlib.contextmanager
def small_disk(path: Path) -> Iterator[None]:
    """Have a file system of 64 MiB there, where this may be done; else the one that is there."""
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m,mode=0700", "tmpfs", str(path)]
    mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    try:
        yield
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", str(path)], check=True)


async def order(world: Up, wish: AnyOrder) -> None:
    """Give it, and wait for what becomes of it; one that cannot be carried out just now is no fault."""
    outcome = await asyncio.to_thread(control.order, world.pid, wish, lambda text: None)
    assert outcome.code in (0, 1, 2), outcome


def alive_in(directory: Path) -> list[str]:
    """Processes that work in that directory."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and (entry / "cwd").readlink() == directory:
                found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode())
    return found


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


@pytest.mark.parametrize("faults", ["kills", pytest.param("operators", marks=SOAKING)])
async def test_nothing_answered_is_lost(tmp_path: Path, faults: str) -> None:
    """No write answered 200 is missing, each took effect once, the journal verifies, all servers and a resuming
    listener end equal to the database, and service comes back quickly after each kill."""
    program = tmp_path / "shop.py"
    program.write_text("from livekv import app\n")
    # A minute of kills is far more than is taken for a crash loop.
    disk = small_disk(tmp_path / ".skerry") if faults == "operators" else contextlib.nullcontext()
    with disk:
        async with up(tmp_path, "--intensity", "1000/60", target="shop:app") as world:
            await nothing_is_lost(tmp_path, world, program, faults)
        assert alive_in(tmp_path) == []


async def nothing_is_lost(tmp_path: Path, world: Up, program: Path, faults: str) -> None:
    """See above."""
    history, stop, listener = History(), asyncio.Event(), Listener(world.port)
    listening = asyncio.create_task(listener.run())
    writers = [asyncio.create_task(write(world, number, history, stop)) for number in range(WRITERS)]
    seconds = SECONDS[faults]
    kills = await (kill(world, seconds) if faults == "kills" else operate(world, program, seconds))
    await world.all_ready()
    stop.set()
    await asyncio.gather(*writers)

    path = hub_path(tmp_path / ".skerry" / "livekv.db")
    peer = LocalPeer(path, "test")
    await peer.start()
    journal = remote_journal(peer)
    assert await journal.verify() == []
    head = await journal.head()
    effects: Counter[str] = Counter()
    after = 0
    while records := await journal.read(after, 1000):
        effects.update(record.key for record in records)
        after = records[-1].offset
    assert after == head.position.offset
    await peer.stop()

    assert set(effects.values()) == {1}
    assert history.answered.keys() <= effects.keys() <= history.asked.keys()
    stored = {key: history.asked[key] for key in effects}
    clients = [HttpConnection(world.port) for _ in range(6)]  # all at once: two on each server
    for client in clients:
        assert await everything(client, str(head.position)) == stored
    try:
        await world.until(lambda: listener.values == stored)
    except AssertionError:
        pytest.fail(f"the listener is not equal: {listener.difference(stored)}, journal at {head.position}")
    listening.cancel()

    silences, excess = late(kills if faults == "kills" else [], history.moments)
    if faults == "operators":
        print(f"done: {dict(Counter(what for _, what in kills))}")
    print(
        f"seed {SEED}: {len(kills)} of them in {seconds:g} s, {len(history.answered)} writes, trouble "
        f"{dict(history.trouble)}, listener connected {listener.connections} times, longest silence: "
        + ", ".join(f"{role} {seconds:.2f} s" for role, seconds in sorted(silences.items()))
    )
    assert excess < slack() or not SOAK or faults != "kills"
    for client in clients:
        client.close()


ALLOWED = {"server": 1.0, "balancer": 2.0, "consumer": 2.0}
"""Seconds from a kill until writes are answered again."""


def late(kills: list[tuple[float, str]], moments: list[float]) -> tuple[dict[str, float], float]:
    """By role the longest silence that a kill began, and how much longer than promised any silence was.

    A silence in which several were killed may last as long as the last of them allows.
    """
    silences: dict[str, float] = {}
    excess = -max(ALLOWED.values())
    for begin, end in pairwise(moments):
        inside = [(at, name.partition("-")[0]) for at, name in kills if begin - 0.05 <= at < end]
        if inside:
            first, role = inside[0]
            silences[role] = max(silences.get(role, 0.0), end - max(first, begin))
            # Somebody who was killed shortly before may still be on the way back.
            recent = [(at, name.partition("-")[0]) for at, name in kills if begin - 2.0 <= at < end]
            excess = max(excess, end - max(at + ALLOWED[role] for at, role in recent))
    return silences, excess


def slack() -> float:
    """Seconds more than promised that a test machine may take: it may have less to give than a server has."""
    return 0.5 * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
