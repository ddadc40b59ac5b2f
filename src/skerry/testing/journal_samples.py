"""What the journal suites write and read with: commands, events, letters, odd keys, and a consumer's patience.

Not tests; a backend's own tests may use them too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from copy import deepcopy

import msgspec

from skerry.backends.memory.journal import MemoryJournal
from skerry.errors import Conflict
from skerry.journal.journal import (
    DeadLetter,
    JournalReader,
    JournalWriter,
    Lease,
    NewEvent,
    NewOutcome,
    Outcome,
    Record,
    Status,
    Writes,
)

OpenJournal = Callable[[], AbstractAsyncContextManager[JournalWriter]]
THINGS, OTHERS = "thing", "other_thing"
DAY = 24 * 3600.0

ODD_KEYS = [
    "", " ", "a", "A", "ä", "a\u0308", "Z", "z", "aa", "a b", "a/b", "a%b", "a%2Fb", "_", "%", "'", '"', "\\", "''; --",
    "<b>", "\n", "\t", "\x01", "\x7f", "ß", "ss", "İ", "ı", "Ω", "\u2126", "日本語", "\uffff", "\ue000",
    "\U0001f600", "\U0001f600\U0001f3fd", "\U0010ffff", "null", "0", "00", "[1]", "{}", "k" * 512, "é" * 256,
    "😀" * 128,
]  # fmt: skip


def command_id(number: int) -> str:
    return f"{number:032x}"


def event(
    number: int, key: str = "k", more: bool = False, data: bytes | None = None, at: float = 5.0
) -> NewEvent:
    """An event of the `number`th command."""
    body = data if data is not None else msgspec.json.encode({"number": number})
    return NewEvent(command_id(number), key, "thing_put", 1, body, at, more)


def applied(number: int, before: int, events: int = 1) -> NewOutcome:
    return NewOutcome(command_id(number), Status.APPLIED, before, events)


def letter(number: int, reason: str = "no such thing") -> DeadLetter:
    body = bytes(range(256))
    return DeadLetter(
        command_id(number),
        "put_thing",
        2,
        "k",
        body,
        reason,
        "Traceback ...\n'\"%",
        3,
        1_700_000_000.5,
        {"trace": "ü"},
    )


def put(number: int, key: str = "k", value: str = "") -> Writes:
    """One command that puts a row and says so."""
    data = msgspec.json.encode({"value": value, "by": number})
    return Writes(puts={THINGS: {key: (data, 1)}}, events=[event(number, key)], outcomes=[applied(number, 1)])


async def decide(journal: JournalWriter, writes: Writes, lease: Lease | None = None) -> int | None:
    """Commit these writes once, as a consumer does: again after a conflict; None when they were known."""
    claims = [outcome.command_id for outcome in writes.outcomes]
    keys = [(table, key) for table, rows in writes.puts.items() for key in rows]
    while True:
        try:
            async with journal.batch(claims, keys, lease) as (batch, _):
                return None if batch.known else await batch.commit(writes)
        except Conflict:
            continue


class MemoryStandby:
    """What a standby of a journal in memory has received when it is made; `promote` makes the journal that: what was
    written since is lost."""

    def __init__(self, journal: MemoryJournal) -> None:
        self._journal, self._kept = journal, {name: deepcopy(vars(journal)[name]) for name in _DATA}

    async def promote(self, *, tell: bool = True) -> None:
        """`tell`: as a database that says so, of which a new epoch begins with the next thing that is written."""
        vars(self._journal).update(deepcopy(self._kept))
        if tell:
            await self._journal.new_epoch("promoted", (await self._journal.head()).position.offset)


_DATA = ("_epochs", "_floor", "_trimmed_id", "_records", "_tables", "_outcomes", "_cursors", "_projections")


async def all_rows(reader: JournalReader, table: str = THINGS) -> dict[str, tuple[bytes, int]]:
    found: dict[str, tuple[bytes, int]] = {}
    async with reader.snapshot([table]) as snapshot:
        async for page in snapshot.rows(table):
            found.update((key, (as_bytes(data), offset)) for key, data, offset in page)
    return found


async def all_records(reader: JournalReader) -> list[Record]:
    found: list[Record] = []
    while records := await reader.read(found[-1].offset if found else 0, 1000):
        found.extend(records)
    return found


def as_bytes(data: bytes | str) -> bytes:
    return data.encode() if isinstance(data, str) else data


def comparable(outcome: Outcome | None) -> Mapping[str, object]:
    assert outcome is not None
    fields = msgspec.structs.asdict(outcome)
    fields["result"] = None if outcome.result is None else bytes(outcome.result)
    return fields
