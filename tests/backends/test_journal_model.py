"""Whatever is done to it, a journal in a file tells the same as the one in memory, which is the model."""

from __future__ import annotations

import random
from pathlib import Path

import msgspec
import pytest

from skerry.backends.memory.journal import MemoryJournal
from skerry.backends.sqlite.journal import SqliteJournal
from skerry.errors import Conflict, SkerryError
from skerry.journal.journal import JournalWriter, Lease, NewOutcome, Status, StoredProjection, Writes
from skerry.position import Position
from skerry.testing.clock import VirtualClock
from skerry.testing.journal_samples import (
    ODD_KEYS,
    OTHERS,
    THINGS,
    all_records,
    all_rows,
    applied,
    command_id,
    event,
    letter,
)

NAMES = ["anna", "bert", "ü'\""]
CALLS = [
    "trim", "bury", "exhume", "attempts", "advance", "forget", "acquire", "acquire", "release", "project",
    "epoch", "pass", "pass", "reopen",
]  # fmt: skip


class Put(msgspec.Struct):
    """Commands of one batch: each puts a row, deletes one, emits some events, or is rejected."""

    numbers: list[int]
    table: str
    keys: list[str]
    value: str
    deletes: set[str]
    events: int
    is_abandoned: bool


class Do(msgspec.Struct):
    """Anything that is one call."""

    name: str
    number: int
    text: str


def steps(rng: random.Random, count: int) -> list[Put | Do]:
    """A run of steps, more than half of them batches, on few ids and keys so that they meet."""

    def some_keys(most: int) -> list[str]:
        return rng.sample(ODD_KEYS[:12], rng.randint(0, most))

    made: list[Put | Do] = []
    for n in range(count):
        if rng.random() < 0.55:
            numbers = rng.sample(range(n // 3 + 4), rng.randint(0, 4))
            value = "".join(rng.choice("aä'\"%\\\x00\U0001f600") for _ in range(4))
            table, events, is_abandoned = rng.choice([THINGS, OTHERS]), rng.randint(0, 2), rng.random() < 0.1
            made.append(Put(numbers, table, some_keys(4), value, set(some_keys(2)), events, is_abandoned))
        else:
            made.append(Do(rng.choice(CALLS), rng.randrange(n // 2 + 6), rng.choice(NAMES)))
    return made


class Side:
    """One of the two journals, with what its caller holds. `recalls`: first opens each batch on what it remembers."""

    def __init__(self, journal: JournalWriter, *, recalls: bool = False) -> None:
        self.journal, self.recalls = journal, recalls
        self.leases: dict[str, Lease] = {}

    async def put(self, step: Put, *, recall: bool = False) -> object:
        claims = [command_id(n) for n in step.numbers]
        wanted = [(step.table, key) for key in dict.fromkeys([*step.keys, *step.deletes])]
        async with self.journal.batch(claims, wanted, self.leases.get("anna"), recall) as (batch, rows):
            seen = sorted((place, bytes_of(row.data), row.offset) for place, row in rows.items())
            known = sorted((c, o.status, o.offset, o.events) for c, o in batch.known.items())
            writes = Writes()
            for number in step.numbers:
                if command_id(number) in batch.known:
                    continue
                if number % 5 == 4:
                    before = len(writes.events)
                    writes.outcomes.append(
                        NewOutcome(
                            command_id(number), Status.REJECTED, before, reason=step.value.replace("\x00", "")
                        )
                    )
                    continue
                writes.events += [event(number, more=n < step.events - 1) for n in range(step.events)]
                writes.outcomes.append(applied(number, len(writes.events), step.events))
            data = msgspec.json.encode(step.value)
            puts = {key: (data, len(writes.events)) for key in step.keys if key not in step.deletes}
            if writes.events:
                writes.puts[step.table] = {**puts}
                writes.deletes[step.table] = set(step.deletes)
            base = None if step.is_abandoned else await batch.commit(writes)
        return seen, known, base

    async def do(self, step: Do) -> object:
        journal, number, text = self.journal, step.number, step.text
        head = await journal.head()
        position = Position(head.position.epoch, number)
        match step.name:
            case "trim":
                return await journal.trim(position)
            case "bury":
                await journal.bury(letter(number, text))
            case "exhume":
                return await journal.exhume(command_id(number))
            case "attempts":
                return await journal.attempts([command_id(number), command_id(number + 1)])
            case "advance":
                await journal.advance(text, position)
            case "forget":
                await journal.forget(text)
            case "acquire":
                lease = await journal.acquire("p", text, 10.0)
                if lease is not None:
                    self.leases[text] = lease
                return lease
            case "release":
                lease = self.leases.pop(text, None)
                if lease is not None:
                    await journal.release(lease)
            case "project":
                await journal.save_projection(StoredProjection(text, number % 2, position, text.encode()))
            case "epoch":
                return (await journal.new_epoch()).offset
        return None

    async def step(self, step: Put | Do) -> object:
        """The answer, or the kind of the error."""
        if self.recalls and isinstance(step, Put) and not step.is_abandoned:
            try:
                return await self.put(step, recall=True)
            except Conflict:
                pass
            except SkerryError as error:
                return type(error).__name__
        try:
            return await (self.put(step) if isinstance(step, Put) else self.do(step))
        except SkerryError as error:
            return type(error).__name__

    async def state(self) -> object:
        """Everything that can be asked, without the epoch's name."""
        journal = self.journal
        head = await journal.head()
        outcomes = [await journal.outcome(command_id(n)) for n in range(50)]
        records = []
        if head.floor == 0:
            records = [(r.offset, r.command_id, r.more, bytes(r.data)) for r in await all_records(journal)]
        cursors = [await journal.cursor(name) for name in ("anna", "bert", "ü'\"")]
        stored = [await journal.load_projection(name) for name in ("anna", "bert", "ü'\"")]
        return (
            head.position.offset,
            head.floor,
            records,
            [await all_rows(journal, table) for table in (THINGS, OTHERS)],
            [o and (o.status, o.offset, o.events, o.reason) for o in outcomes],
            list(await journal.dead_letters()),
            [c and (c.offset, c.epoch == head.position.epoch) for c in cursors],
            [s and (s.version, s.position.offset, s.data) for s in stored],
        )


def bytes_of(data: bytes | str) -> bytes:
    return data.encode() if isinstance(data, str) else data


@pytest.mark.parametrize("recalls", [False, True], ids=["asks", "recalls"])
@pytest.mark.parametrize("seed", range(12))
async def test_a_file_tells_what_memory_tells(tmp_path: Path, seed: int, recalls: bool) -> None:
    """Any run of batches, trims, letters, leases, cursors, epochs and reopenings: every answer and the whole state
    are the same on both, also when the one in the file opens batches on what it remembers."""
    clock = VirtualClock()
    path = str(tmp_path / "j.db")
    model = Side(MemoryJournal("model", clock=clock))
    journal = SqliteJournal(path, "model", clock=clock)
    await journal.__aenter__()
    real = Side(journal, recalls=recalls)
    try:
        for side in (model, real):
            await side.journal.prepare([THINGS, OTHERS])
        for number, step in enumerate(steps(random.Random(seed), 120)):
            if isinstance(step, Do) and step.name == "pass":
                await clock.advance(step.number)
            elif isinstance(step, Do) and step.name == "reopen":
                await journal.__aexit__(None, None, None)
                journal = SqliteJournal(path, "model", clock=clock)
                await journal.__aenter__()
                real.journal = journal
            else:
                assert await real.step(step) == await model.step(step), (number, step)
        assert await real.state() == await model.state()
        # The steps may set cursors ahead of the end, which both have to notice alike.
        assert len(await real.journal.verify()) == len(await model.journal.verify())
    finally:
        await journal.__aexit__(None, None, None)
