"""Loading memory anew holds up nobody: counted by turns of the loop, and by what is freed in one."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, ClassVar

import msgspec
from sortedcontainers import SortedList

from skerry.backends.listeners import Listeners
from skerry.backends.memory.journal import MemoryJournal
from skerry.errors import Disconnected
from skerry.journal.disposal import FREED, emptied
from skerry.journal.journal import Correction, NewEvent, NewOutcome, Record, Status, Writes
from skerry.journal.loading import SLICE
from skerry.journal.projection import Projection
from skerry.journal.projector import Projector, ProjectorSettings
from skerry.journal.table import AnyTable, Table
from skerry.messages.message import Event, MessageTypes
from skerry.messages.serializer import Serializer
from skerry.testing.clock import run_virtual

ROWS = 7_000


class Row(msgspec.Struct, frozen=True):
    value: int


class Set(Event):
    key: str
    value: int


numbers = Table("numbers", key=str, row=Row)


class Turns:
    """Counts what is done in one turn of the loop: the most of each kind. `look` is called each time."""

    def __init__(self) -> None:
        self.now: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        self.look: Callable[[], None] = lambda: None
        self.counts = True

    def count(self, what: str) -> None:
        if not self.now:
            asyncio.get_running_loop().call_soon(self.now.clear)
        self.now[what] += 1
        self.most[what] = max(self.most[what], self.now[what])
        self.look()


class Entry:
    """One row in memory, whose end is counted too."""

    turns: ClassVar[Turns]

    def __init__(self, value: int) -> None:
        self.value = value

    def __del__(self) -> None:
        if self.turns.counts:
            self.turns.count("freed")


class Numbers(Projection):
    table = numbers

    def __init__(self) -> None:
        self.rows: dict[str, Entry] = {}
        self.ordered: SortedList[str] = SortedList()

    def clear(self) -> None:
        self.rows, self.ordered = {}, SortedList()

    def load(self, table: AnyTable, key: str, row: Row, offset: int) -> None:
        Entry.turns.count("rows")
        self._set(key, row.value)

    @Projection.applies(Set)
    def set(self, event: Set, record: Record) -> None:
        Entry.turns.count("events")
        self._set(event.key, event.value)

    def _set(self, key: str, value: int) -> None:
        if key not in self.rows:
            self.ordered.add(key)
        self.rows[key] = Entry(value)


class Sum(Projection):
    """A stored one, whose events are all read again."""

    stored = True

    def __init__(self) -> None:
        self.total = 0

    def clear(self) -> None:
        self.total = 0

    def state(self) -> bytes:
        return b"%d" % self.total

    def restore(self, state: bytes) -> None:
        self.total = int(state)

    @Projection.applies(Set)
    def add(self, event: Set, record: Record) -> None:
        Entry.turns.count("events")
        self.total += event.value


class Hints:
    def __init__(self) -> None:
        self.listeners: Listeners[[Any]] = Listeners()

    def subscribe(self, listener: Callable[[Any], None]) -> Callable[[], None]:
        return self.listeners.add(listener)


async def write(journal: MemoryJournal, first: int, number: int) -> None:
    """Rows and events, in one commit."""
    writes = Writes(puts={"numbers": {}})
    for n in range(first, first + number):
        data = msgspec.json.encode(Set(f"k{n:06}", n))
        writes.events.append(NewEvent(f"{n:032x}", f"k{n:06}", "set", 1, data, 1.0, False))
        writes.outcomes.append(NewOutcome(f"{n:032x}", Status.APPLIED, len(writes.events), 1))
        writes.puts["numbers"][f"k{n:06}"] = (numbers.encode(Row(n)), len(writes.events))
    async with journal.batch([outcome.command_id for outcome in writes.outcomes], []) as (batch, _):
        await batch.commit(writes)


@asynccontextmanager
async def following(
    *projections: Projection, reader: Any = None, spread: float = 0.0
) -> AsyncIterator[tuple[MemoryJournal, Projector, Turns]]:
    """A journal with many rows and events, and a memory of it that is live."""
    Entry.turns = turns = Turns()
    async with MemoryJournal() as journal:
        await journal.prepare(["numbers"])
        await write(journal, 0, ROWS)
        types = MessageTypes()
        types.add(Set)
        if reader is not None:
            reader.journal = journal
        projector = Projector(
            reader or journal, Hints(), projections, Serializer(types),
            settings=ProjectorSettings(spread_seconds=spread), clock=asyncio.get_running_loop().clock,  # type: ignore[attr-defined]
        )  # fmt: skip
        await projector.start()
        turns.most.clear()
        yield journal, projector, turns
        turns.counts = False
        await projector.stop()


def test_a_new_epoch_loads_and_frees_in_slices() -> None:
    """Everything is read anew and what was there is freed: at most a slice of rows, events or freed entries in one turn
    of the loop, and readers meet the whole old memory or the whole new one."""

    async def run() -> None:
        memory, total = Numbers(), Sum()
        async with following(memory, total) as (journal, _, turns):
            sizes: Counter[tuple[int, int]] = Counter()
            turns.look = lambda: sizes.update([(len(memory.rows), len(memory.ordered))])
            await journal.new_epoch("a test")
            await write(journal, ROWS, 1_500)
            await asyncio.sleep(5.0)
            turns.look = lambda: None
            assert sizes.keys() == {(ROWS, ROWS), (ROWS + 1_500, ROWS + 1_500)}
            assert total.total == sum(range(ROWS + 1_500))
            assert turns.most["rows"] == SLICE
            assert turns.most["events"] <= SLICE
            assert 0 < turns.most["freed"] <= FREED

    run_virtual(run())


def test_a_correction_fills_in_slices() -> None:
    """The same for the projections that a correction is about, while events go on to come; what it is not about is left
    alone."""

    async def run() -> None:
        memory, total = Numbers(), Sum()
        async with following(memory, total) as (journal, projector, turns):
            revived: list[str] = []
            projector.events.on("revived", lambda name, position: revived.append(name))
            change = Correction("row", "a test", "ann", table="numbers", key="k000000", data='{"value":9}')
            await journal.correct(change)
            await write(journal, ROWS, 700)
            await asyncio.sleep(5.0)
            assert revived == ["Numbers"]
            assert (memory.rows["k000000"].value, len(memory.rows)) == (9, ROWS + 700)
            assert turns.most["rows"] == SLICE
            assert 0 < turns.most["freed"] <= FREED
            assert total.total == sum(range(ROWS + 700))

    run_virtual(run())


class Reader:
    """A journal that notes when all of it is read, and breaks off at the page `breaks_at` of all snapshots."""

    journal: MemoryJournal

    def __init__(self, breaks_at: int = 0) -> None:
        self.breaks_at, self.pages = breaks_at, 0
        self.asked: list[float] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.journal, name)

    @asynccontextmanager
    async def snapshot(self, tables: list[str]) -> AsyncIterator[Any]:
        self.asked.append(asyncio.get_running_loop().time())
        async with self.journal.snapshot(tables) as real:
            yield Pages(self, real)


class Pages:
    """A snapshot of a `Reader`."""

    def __init__(self, reader: Reader, real: Any) -> None:
        self.reader, self.real, self.position = reader, real, real.position

    async def rows(self, table: str) -> AsyncIterator[Any]:
        async for page in self.real.rows(table):
            self.reader.pages += 1
            if self.reader.pages == self.reader.breaks_at:
                raise Disconnected("cut")
            yield page


def test_servers_do_not_load_at_the_same_moment() -> None:
    """Each waits for a moment of its own before it asks for all rows, the longer the more they are."""

    async def run() -> None:
        reader = Reader()
        async with following(Numbers(), reader=reader, spread=600.0) as (journal, _, _):
            most = 600.0 * ROWS / 1_000_000
            moments = []
            for _ in range(5):
                began = asyncio.get_running_loop().time()
                await journal.new_epoch("a test")
                await asyncio.sleep(most + 5.0)
                moments.append(reader.asked[-1] - began)
            assert len(reader.asked) == 6
            assert max(moments) < most + 1.5
            assert max(moments) - min(moments) > most / 20

    run_virtual(run())


def test_a_load_that_breaks_off_leaves_memory_as_it_was() -> None:
    """A connection lost in the middle: nothing of it is shown, and it begins again."""

    async def run() -> None:
        memory, reader = Numbers(), Reader(breaks_at=6)
        async with following(memory, reader=reader) as (journal, _, turns):
            seen: list[int] = []
            turns.look = lambda: seen.append(len(memory.rows))
            await journal.new_epoch("a test")
            await asyncio.sleep(5.0)
            turns.look = lambda: None
            assert set(seen) == {ROWS}
            assert reader.pages > 6
            assert len(memory.rows) == ROWS

    run_virtual(run())


def test_what_others_hold_is_left_as_it_is() -> None:
    """A list that a reader is going over keeps what it has; what nobody holds is emptied, also inside of it."""
    held = {n: [n] for n in range(3 * FREED)}
    deep = [list(range(FREED)) for _ in range(100)]
    counted = {"inner": deep}
    state: dict[str, Any] = {"held": held, "counted": counted, "small": [1, 2]}
    iterator = iter(held)
    next(iterator)
    del counted, deep
    steps = sum(1 for _ in emptied(state))
    assert state == {}
    assert len(held) == 3 * FREED
    assert sum(1 for _ in iterator) == 3 * FREED - 1
    assert steps > 100


def test_what_refers_to_itself_is_looked_into_to_a_depth_only() -> None:
    """Freeing a graph with a circle ends."""
    circle: dict[str, Any] = {}
    circle["again"] = circle
    state: dict[str, Any] = {"graph": [circle]}
    for _ in emptied(state):
        pass
    assert state == {}
    assert circle["again"] is circle
