"""Nothing answered 200 is lost, and nothing takes effect twice, however often the process is killed with -9.

`SKERRY_SOAK=1` writes 100,000 keys instead of some thousands. Moments of the kills come from a fixed seed
(`SKERRY_SOAK_SEED`), counted in answered writes, so that a slow machine is killed at the same places.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import pytest

from livekv.messages import Value, values
from skerry.backends.sqlite.journal import SqliteJournal
from skerry.journal.journal import Record
from skerry.testing.program import HttpConnection, Program, call

SOAK = os.environ.get("SKERRY_SOAK") == "1"
SEED = int(os.environ.get("SKERRY_SOAK_SEED", "20261120"))
WRITES = 100_000 if SOAK else 6_000
KILLS = 12 if SOAK else 4
CLIENTS = 64
pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL"),
    pytest.mark.timeout(1800 if SOAK else 900),
]


@dataclass(frozen=True, slots=True)
class Answered:
    """What a client was told when it got its 200."""

    command: str
    position: str


@dataclass
class Story:
    """What clients asked for, what they were told, and what went wrong on the way."""

    port: int = 0
    up: asyncio.Event = field(default_factory=asyncio.Event)
    answered: dict[str, Answered] = field(default_factory=dict)
    trouble: Counter[str] = field(default_factory=Counter)
    repeated: dict[str, float] = field(default_factory=dict)
    """Keys that were tried again, and when the try began that was answered."""
    waits: list[float] = field(default_factory=list)


def value_of(key: str) -> str:
    return f"value of {key}"


async def put(story: Story, connection: HttpConnection, key: str) -> Answered | None:
    """One try. None when it has to be repeated; AssertionError for an answer that nobody promised."""
    try:
        async with asyncio.timeout(30):
            answer = await connection.ask(
                "PUT",
                f"/values/{quote(key, safe='')}",
                value_of(key).encode(),
                Idempotency_Key=f"write {key}",
            )
    except (ConnectionError, TimeoutError) as error:
        story.trouble[type(error).__name__] += 1
        return None
    if answer.status == 200:
        assert json.loads(answer.body) == {"key": key, "value": value_of(key), "message": "OK"}
        return Answered(answer.headers["skerry-command"], answer.headers["skerry-position"])
    assert answer.status == 503, answer
    assert answer.headers["retry-after"]
    story.trouble["503"] += 1
    return None


async def write(story: Story, keys: list[str]) -> None:
    """One client: every key until it is answered 200, always under the same idempotency key."""
    connection, port = HttpConnection(0), 0
    for key in keys:
        started = time.monotonic()
        while key not in story.answered:
            await story.up.wait()
            if port != story.port:
                connection.close()
                port = story.port
                connection = HttpConnection(port)
            tried = time.time()
            told = await put(story, connection, key)
            if told is None:
                story.repeated[key] = tried
                await asyncio.sleep(0.01)
            else:
                story.answered[key] = told
                if key in story.repeated:
                    story.repeated[key] = tried
        story.waits.append(time.monotonic() - started)
    connection.close()


async def kill_and_restart(story: Story, program: Program, rng: random.Random) -> list[int]:
    """Kill the process at random numbers of answered writes, start it again on another port. The numbers."""
    moments = sorted(rng.sample(range(WRITES // 20, WRITES - WRITES // 20), KILLS))
    for moment in moments:
        while len(story.answered) < moment:  # noqa: ASYNC110 - the writers' progress
            await asyncio.sleep(0.001)
        story.up.clear()
        await program.kill()
        await program.start()
        story.port = await program.listening()
        story.up.set()
    return moments


async def events_of(journal: SqliteJournal) -> list[Record]:
    found: list[Record] = []
    while page := await journal.read(found[-1].offset if found else 0, 2000):
        found += page
    return found


async def rows_of(journal: SqliteJournal) -> dict[str, tuple[str, int]]:
    found: dict[str, tuple[str, int]] = {}
    async with journal.snapshot(["key_value"]) as snapshot:
        async for page in snapshot.rows("key_value"):
            for key, data, offset in page:
                row: Value = values.decode(data)
                found[key] = row.value, offset
    return found


async def memory_of(port: int) -> dict[str, str]:
    """All values as the server shows them, page by page."""
    connection, found, after = HttpConnection(port), dict[str, str](), ""
    while True:
        answer = await connection.ask("GET", f"/values?limit=1000&after={quote(after, safe='')}")
        page = json.loads(answer.body)
        found |= {pair["key"]: pair["value"] for pair in page["values"]}
        if page["next"] is None:
            connection.close()
            return found
        after = page["next"]


async def test_killed_again_and_again(tmp_path: Path) -> None:
    """64 clients write distinct keys while the process is killed with -9 and restarted: every write answered 200 is
    there at the position it was told, each took effect once, positions run 1..n without a gap, `skerry journal
    verify` says ok, and memory equals the database before and after another start."""
    rng, story = random.Random(SEED), Story()
    keys = [f"key {n} / %{rng.randrange(1000)} ü" for n in range(WRITES)]
    program = Program(tmp_path, "run", "livekv:app", "--bind", "127.0.0.1:0")
    started = time.monotonic()
    async with program:
        story.port = await program.listening()
        story.up.set()
        async with asyncio.TaskGroup() as group:
            killing = group.create_task(kill_and_restart(story, program, rng))
            for number in range(CLIENTS):
                group.create_task(write(story, keys[number::CLIENTS]))
        seconds = time.monotonic() - started
        verified = await call(tmp_path, "journal", "verify", "livekv:app")
        assert (verified.code, verified.error) == (0, ""), verified
        assert verified.out.startswith("ok: ")
        before = await memory_of(story.port)
        await program.kill()

    async with SqliteJournal(str(tmp_path / ".skerry" / "livekv.db"), "livekv") as journal:
        head = await journal.head()
        events = await events_of(journal)
        rows = await rows_of(journal)
    epoch = head.position.epoch
    assert set(keys) == set(story.answered)
    assert [event.offset for event in events] == list(range(1, WRITES + 1))
    assert set(Counter(event.command_id for event in events).values()) == {1}
    assert set(Counter(event.key for event in events).values()) == {1}
    told = {event.key: Answered(event.command_id, f"{epoch}:{event.offset}") for event in events}
    assert story.answered == told
    assert rows == {event.key: (value_of(event.key), event.offset) for event in events}
    assert before == {key: value for key, (value, _) in rows.items()}
    # Some (where the kill fell between commit and answer) got the answer of the first try when they asked again.
    at = {event.key: event.at for event in events}
    known = sum(at[key] < tried for key, tried in story.repeated.items())

    async with program:
        assert await memory_of(await program.listening()) == before
        assert await program.stop() == 0
    waits = sorted(story.waits)
    print(
        f"seed {SEED}: {WRITES} writes by {CLIENTS} clients, killed at {killing.result()}, {seconds:.1f} s, "
        f"{WRITES / seconds:.0f} writes/s with all restarts, median {waits[len(waits) // 2] * 1000:.1f} ms, "
        f"longest {waits[-1]:.2f} s, trouble {dict(story.trouble)}, "
        f"{len(story.repeated)} writes repeated, {known} of them had taken effect before"
    )
