"""A standby that lacks the newest events is promoted while commands wait in the broker, or clients where the database
itself is the queue: real servers, whole topology.

What the database does not have any more was answered and is gone; nobody may go on as if it were there. Everything that
is asked for here is asked of every server, of one that was off meanwhile, and once more after all were restarted.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import pytest
from faultworld import SEED, SOAK, FaultWorld, Listener, Servers, until  # type: ignore[import-not-found]

from livekv.messages import Value
from skerry.backends.postgres.journal import PostgresJournal
from skerry.testing.program import HttpAnswer, HttpConnection
from skerry.testing.services import PrivatePostgres, private_postgres, private_standby, require

pytestmark = pytest.mark.timeout(600)
LONG = pytest.mark.skipif(not SOAK, reason="a soak")
WAITING = 40
"""Commands that wait in the broker while there is no database."""
_row = msgspec.json.Decoder(Value)


@dataclass(slots=True)
class Told:
    """What a client was told about a write."""

    key: str
    value: str
    etag: str
    position: str
    headers: dict[str, str] = field(default_factory=dict)


@pytest.fixture
def pair() -> Iterator[tuple[PrivatePostgres, PrivatePostgres]]:
    """A durable primary and a standby that nobody waits for."""
    require("postgresql")
    with (
        private_postgres(durable=True) as primary,
        private_standby(primary, "behind", durable=True) as standby,
    ):
        yield primary, standby


CASES = [
    (0, 1.0),
    (3, 1.0),
    pytest.param(1000, 1.0, marks=LONG),
    pytest.param(0, 25.0, marks=LONG),
    pytest.param(3, 25.0, marks=LONG),
    pytest.param(1000, 25.0, marks=LONG),
]


@pytest.mark.parametrize(("lost", "outage"), CASES)
async def test_an_asynchronous_standby_is_promoted(
    tmp_path: Path, servers: Servers, pair: tuple[PrivatePostgres, PrivatePostgres], lost: int, outage: float
) -> None:
    """Memory is the database's on every server, also on one that was off and has the lost events in its copy on disk,
    and after a restart of all. Listeners that had seen what is lost load a snapshot, others miss nothing; what is left
    keeps its tags and answers, what is lost is 412, takes effect once when it is sent again, and is named by
    `verify`."""
    async with FaultWorld(tmp_path, replace(servers, postgres=pair[0])) as world:
        world.journal_url = _hosts(*pair)
        await _promoted(world, pair, lost, outage)


@pytest.mark.parametrize(("lost", "outage"), [pytest.param(0, 1.0, marks=LONG), *CASES[1:]])
async def test_a_standby_that_is_the_queue_too_is_promoted(
    tmp_path: Path, servers: Servers, pair: tuple[PrivatePostgres, PrivatePostgres], lost: int, outage: float
) -> None:
    """The same without a broker: what is sent while there is no database is refused, and takes effect once when it is
    sent again under its key."""
    without_broker = replace(servers, postgres=pair[0], brokerless=True)
    async with FaultWorld(tmp_path, without_broker) as world:
        world.journal_url = world.transport_url = _hosts(*pair)
        await _promoted(world, pair, lost, outage)


async def _promoted(
    world: FaultWorld, pair: tuple[PrivatePostgres, PrivatePostgres], lost: int, outage: float
) -> None:
    primary, standby = pair
    await world.start(servers=3, listeners=2)
    story = Story(world, random.Random(f"{SEED}/{lost}/{outage}"))
    kept = [await story.put(f"k{n}", f"kept-{n}", key=f"kept-{n}") for n in range(20)]
    await asyncio.to_thread(standby.caught_up, primary)
    await asyncio.to_thread(standby.part)
    gone = await story.put_many(lost)
    seen = (gone or kept)[-1].position
    await asyncio.gather(*(story.reached(n, seen) for n in range(3)))
    await world.web[2].stop()  # in order: it leaves its copy
    await asyncio.to_thread(primary.kill)
    waiting = asyncio.gather(*(story.wait_with(n) for n in range(WAITING)))
    if not world.servers.brokerless:
        await waiting
    await asyncio.sleep(outage)
    await asyncio.to_thread(standby.promote)

    for location in await waiting:
        await story.concluded(location)
    world.servers = replace(world.servers, postgres=standby)
    began = time.monotonic()
    await story.equal([0, 1])
    assert time.monotonic() - began < 10.0 + outage
    await world.again(world.web[2])
    await story.equal([0, 1, 2])
    await until(story.listeners_equal, 30.0, lambda: world.report(f"listeners differ: {story.differences()}"))
    await story.check_kept(kept)
    await story.check_gone(gone)
    await story.check_named(lost)

    for program in world.web:
        await program.stop()
        await world.again(program)
    await story.equal([0, 1, 2])
    await world.verdict_of_journal()


class Story:
    """What clients do and meet in one world."""

    def __init__(self, world: FaultWorld, chance: random.Random) -> None:
        self.world, self.chance = world, chance
        self.rows: dict[str, str] = {}

    async def ask(self, on: int, method: str, path: str, body: bytes = b"", **headers: str) -> HttpAnswer:
        connection = HttpConnection(self.world.ports[on])
        try:
            async with asyncio.timeout(40):
                return await connection.ask(method, path, body, **headers)
        finally:
            connection.close()

    async def put(self, name: str, value: str, *, on: int = 0, key: str = "", **headers: str) -> Told:
        """Sent again while it is not taken, as 503 says."""
        if key:
            headers["Idempotency_Key"] = key
        async with asyncio.timeout(60):
            while True:
                answer = await self.ask(on, "PUT", f"/values/{name}", value.encode(), **headers)
                if answer.status != 503:  # not taken: this server has not found the queue again yet
                    break
                await asyncio.sleep(0.1)
        assert answer.status in (200, 202), self.world.report(f"{name}: {answer}")
        told = {n: answer.headers[n] for n in ("location", "etag", "skerry-position") if n in answer.headers}
        told["message"] = json.loads(answer.body)["message"]
        etag = told.get("etag", "").strip('"')
        return Told(name, value, etag, told.get("skerry-position", ""), told)

    async def wait_with(self, number: int) -> str:
        """Send a write while there is no database, until it is taken; where its outcome is told. The broker takes it at
        once."""
        name, body = f"/values/w{number % 25}", f"waiting-{number}".encode()
        headers = {"Prefer": "respond-async", "Idempotency_Key": f"waiting-{number}"}
        while True:
            answer = await self.ask(number % 2, "PUT", name, body, **headers)
            if answer.status in (200, 202):
                return f"/commands/{answer.headers['skerry-command']}"
            assert self.world.servers.brokerless, self.world.report(f"{name}: {answer}")
            assert (answer.status, "retry-after" in answer.headers) == (503, True), answer
            await asyncio.sleep(0.1)

    async def put_many(self, number: int) -> list[Told]:
        """Writes that will be lost, to keys old and new, some at a time; in the order of their positions."""
        found: list[Told] = []
        while len(found) < number:
            some = range(len(found), min(len(found) + 50, number))
            keys = {n: self.chance.choice([f"k{10 + n % 10}", f"lost{n % 40}"]) for n in some}
            found += await asyncio.gather(
                *(self.put(keys[n], f"gone-{n}", on=n % 2, key=f"gone-{n}") for n in some)
            )
        return sorted(found, key=lambda told: _offset(told.position))

    async def reached(self, on: int, position: str) -> None:
        answer = await self.ask(on, "GET", "/values/k0", Skerry_Position=position, Prefer="wait=30")
        assert answer.status == 200, self.world.report(f"server {on} did not reach {position}: {answer}")

    async def concluded(self, location: str) -> None:
        deadline = time.monotonic() + 60
        while True:
            answer = await self.ask(0, "GET", location)
            if answer.status == 200 and json.loads(answer.body)["status"] == "applied":
                return
            assert time.monotonic() < deadline, self.world.report(f"{location}: {answer}")
            await asyncio.sleep(0.05)

    async def equal(self, servers: list[int]) -> None:
        """Wait until these servers have what the database has; at most 40 s."""
        deadline = time.monotonic() + 40
        async with PostgresJournal(self.world.servers.postgres.dsn, self.world.namespace) as journal:
            await journal.prepare(["key_value"])
            async with journal.snapshot(["key_value"]) as snapshot:
                found: dict[str, str] = {}
                async for rows in snapshot.rows("key_value"):
                    found |= {key: _row.decode(data).value for key, data, _ in rows}
                end = snapshot.position.offset
        self.rows = dict(found)
        for number in servers:
            while True:
                memory = await self.world.memory_of(self.world.ports[number], end, 40)
                if memory == found:
                    break
                if time.monotonic() > deadline:
                    other = {k for k in memory.keys() | found.keys() if memory.get(k) != found.get(k)}
                    raise AssertionError(self.world.report(f"server {number} differs in {sorted(other)[:9]}"))
                await asyncio.sleep(0.05)

    def listeners_equal(self) -> bool:
        return all(listener.values == self.rows for listener in self.world.listeners)

    def differences(self) -> list[str]:
        return [
            f"{listener.name} at {listener.position}: {key} is {listener.values.get(key)!r}, not {self.rows.get(key)!r}"
            for listener in self.world.listeners
            for key in sorted(listener.values.keys() | self.rows.keys())
            if listener.values.get(key) != self.rows.get(key)
        ]

    async def hello(self, on: int, since: str) -> bool:
        """Whether the stream recovers somebody who comes with this position."""
        listener = Listener("asking", lambda: self.world.ports[on])
        return bool(await listener.recovers(since))

    async def check_kept(self, kept: list[Told]) -> None:
        """Tags, answers and positions of what is left."""
        for on in range(3):
            for told in self.chance.sample(kept[:10], 3):
                found = await self.ask(on, "GET", f"/values/{told.key}", If_None_Match=f'"{told.etag}"')
                assert found.status == 304, self.world.report(f"{told}: {found}")
            again = await self.put(kept[0].key, kept[0].value, on=on, key="kept-0")
            assert (again.position, again.etag) == (kept[0].position, kept[0].etag)
            assert await self.hello(on, kept[-1].position)
        first = kept[3]
        assert (await self.put(first.key, "later", If_Match=f'"{first.etag}"')).etag != first.etag
        refused = await self.ask(1, "PUT", f"/values/{first.key}", b"x", If_Match=f'"{first.etag}"')
        assert refused.status == 412

    async def check_gone(self, gone: list[Told]) -> None:
        """Tags, answers and positions of what is lost."""
        for on in range(3 if gone else 0):
            assert not await self.hello(on, gone[-1].position)
            read = await self.ask(on, "GET", "/values/k1", Skerry_Position=gone[-1].position)
            assert read.status == 200, self.world.report(f"{read}")
        for told in self.chance.sample(gone, min(5, len(gone))):
            offset = _offset(told.position)
            async with PostgresJournal(self.world.servers.postgres.dsn, self.world.namespace) as journal:
                records = await journal.read(offset - 1, 1)
            for key in {told.key, *(record.key for record in records)}:
                answer = await self.ask(0, "PUT", f"/values/{key}", b"x", If_Match=f'"{told.etag}"')
                assert answer.status == 412, self.world.report(f"{told} of {key}: {answer}")
        if gone:
            repeated = await self.put(gone[-1].key, gone[-1].value, on=1, key=f"gone-{gone[-1].value[5:]}")
            assert repeated.position != gone[-1].position
            once_more = await self.put(gone[-1].key, gone[-1].value, on=0, key=f"gone-{gone[-1].value[5:]}")
            assert once_more.position == repeated.position

    async def check_named(self, lost: int) -> None:
        """What an operator is told."""
        environ = {
            **os.environ,
            "SKERRY_JOURNAL": self.world.journal_url,
            "SKERRY_TRANSPORT": self.world.transport_url,
            "SKERRY_NAMESPACE": self.world.namespace,
        }
        command = [sys.executable, "-m", "skerry", "journal", "verify", "livekv:app"]
        running = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, env=environ)
        out = (await running.communicate())[0].decode()
        assert running.returncode == 0, out
        assert (f"lost: {lost} events that had been seen" in out) == (lost > 0), out
        metrics = [(await self.ask(on, "GET", "/metrics")).body.decode() for on in range(3)]
        for text in metrics:
            [line] = [line for line in text.splitlines() if line.startswith("skerry_journal_lost_total")]
            assert float(line.split()[-1]) == lost, line


def _hosts(*servers: PrivatePostgres) -> str:
    parts = urlsplit(servers[0].dsn)
    login = parts.netloc.rpartition("@")[0]
    return f"postgresql://{login}@{','.join(f'127.0.0.1:{s.port}' for s in servers)}{parts.path}"


def _offset(position: str) -> int:
    return int(position.partition(":")[2])
