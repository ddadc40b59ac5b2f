"""A journal that loses its last events: memory goes on where it may, and is never of two histories."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skerry.backends.memory.journal import MemoryJournal
from skerry.clock import Deadline
from skerry.errors import Disconnected
from skerry.journal.hints import Hint
from skerry.journal.journal import Head, NewEvent, NewOutcome, Record, Status, Writes
from skerry.journal.projection import Projection
from skerry.journal.projector import Projector, ProjectorSettings
from skerry.journal.snapshot import SnapshotFile
from skerry.journal.table import AnyTable, Table
from skerry.messages.message import Event, MessageTypes
from skerry.messages.serializer import Serializer
from skerry.position import Position
from skerry.testing.clock import VirtualLoop, run_virtual
from skerry.testing.journal_samples import MemoryStandby


class Row(msgspec.Struct, frozen=True):
    value: int


class Written(Event, frozen=True):
    key: str
    value: int


numbers = Table("numbers", key=str, row=Row)


class Numbers(Projection):
    table = numbers

    def __init__(self) -> None:
        self.rows: dict[str, tuple[int, int]] = {}

    def clear(self) -> None:
        self.rows.clear()

    def load(self, table: AnyTable, key: str, row: Row, offset: int) -> None:
        self.rows[key] = row.value, offset

    def dump(self) -> Any:
        return [(numbers, key, Row(value), offset) for key, (value, offset) in self.rows.items()]

    @Projection.applies(Written)
    def put(self, event: Written, record: Record) -> None:
        self.rows[event.key] = event.value, record.offset


@dataclass(slots=True)
class Told:
    """What a projector has said."""

    reloaded: list[Position] = field(default_factory=list)
    moved: list[Position] = field(default_factory=list)
    lost: list[tuple[Position, int]] = field(default_factory=list)


class World:
    """A journal in memory, hints, and as many projectors as are asked for, on virtual time."""

    def __init__(self, journal: MemoryJournal, stack: AsyncExitStack) -> None:
        self.journal, self._stack = journal, stack
        self.listeners: list[Callable[[Any], None]] = []
        self.count = 0
        types = MessageTypes()
        types.add(Written)
        self.serializer = Serializer(types)

    def subscribe(self, listener: Callable[[Any], None]) -> Callable[[], None]:
        self.listeners.append(listener)
        return lambda: self.listeners.remove(listener) if listener in self.listeners else None

    async def write(self, key: str, value: int, *, hint: bool = True, before: str = "") -> Hint:
        self.count += 1
        command = f"{self.count:032x}"
        data = self.serializer.encode(Written(key, value))
        event = NewEvent(command, key, Written.message_name, 1, data, 1.0, False)
        outcome = NewOutcome(command, Status.APPLIED, 1, 1)
        writes = Writes({"numbers": {key: (numbers.encode(Row(value)), 1)}}, {}, [event], [outcome])
        async with self.journal.batch([command], []) as (batch, _):
            base = await batch.commit(writes)
            epoch = batch.position.epoch
        record = Record(
            base + 1, command, key, Written.message_name, 1, 1.0, False, msgspec.Raw(bytes(event.data))
        )
        said = Hint(epoch, base + 1, base + 1, [record], before)
        if hint:
            self.tell(said)
        return said

    def tell(self, hint: Hint) -> None:
        for listener in list(self.listeners):
            listener(hint)

    async def projector(
        self, *, reader: Any = None, warm: SnapshotFile | None = None, wait: bool = True
    ) -> tuple[Projector, Numbers, Told]:
        loop, memory, told = asyncio.get_running_loop(), Numbers(), Told()
        assert isinstance(loop, VirtualLoop)
        made = Projector(
            reader or self.journal, self, [memory], self.serializer,
            settings=ProjectorSettings(page=3), clock=loop.clock, warm=warm,
        )  # fmt: skip
        made.events.on("reloaded", told.reloaded.append)
        made.events.on("moved", told.moved.append)
        made.events.on("lost", lambda position, number: told.lost.append((position, number)))
        await made.start(wait=wait)
        self._stack.push_async_callback(made.stop)
        told.reloaded.clear()
        return made, memory, told

    async def rows(self) -> dict[str, tuple[int, int]]:
        found: dict[str, tuple[int, int]] = {}
        async with self.journal.snapshot(["numbers"]) as snapshot:
            async for page in snapshot.rows("numbers"):
                found |= {key: (numbers.decode(data).value, offset) for key, data, offset in page}
        return found


def soon(seconds: float = 5.0) -> Deadline:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    return Deadline.after(seconds, loop.clock)


def on_virtual_time(run: Callable[[World], Any]) -> None:
    async def main() -> None:
        async with MemoryJournal() as journal, AsyncExitStack() as stack:
            await journal.prepare(["numbers"])
            await run(World(journal, stack))

    run_virtual(main())


def test_memory_goes_on_where_it_has_lost_nothing() -> None:
    """A new epoch of a history that has all that memory knows: nothing is loaded, events go on, and positions of the
    epoch before mean what they meant."""

    async def run(w: World) -> None:
        projector, memory, told = await w.projector()
        for number in range(5):
            await w.write(f"k{number}", number)
        old, standby = projector.position, MemoryStandby(w.journal)
        waiting = asyncio.ensure_future(projector.wait(old, soon()))
        await standby.promote()
        await w.write("k9", 9)
        await asyncio.sleep(0.1)
        assert memory.rows == await w.rows()
        assert (told.reloaded, told.lost) == ([], [])
        assert [position.offset for position in told.moved] == [5]
        new = projector.position
        assert new.offset == 6
        assert projector.carry(old) == Position(new.epoch, 5)
        assert projector.reached(old)
        assert await waiting
        assert [projector.epoch_of(offset) for offset in (1, 5, 6)] == [old.epoch, old.epoch, new.epoch]
        assert (await w.journal.epochs())[-1].lost == 0

    on_virtual_time(run)


@pytest.mark.parametrize("again", [0, 1, 3, 7])
def test_memory_of_a_lost_tail_is_loaded_anew(again: int) -> None:
    """Three events are lost, and fewer, as many or more are written before anybody asks: memory is that of the
    database, what was lost is counted and noted in the journal, positions of the lost tail are nobody's."""

    async def run(w: World) -> None:
        projector, memory, told = await w.projector()
        await w.write("a", 1)
        await w.write("b", 2)
        standby = MemoryStandby(w.journal)
        for number in range(3):
            await w.write(f"lost{number}", number)
        lost = projector.position
        await standby.promote()
        for number in range(again):
            await w.write(f"new{number}", number)
        await asyncio.sleep(3)
        assert memory.rows == await w.rows()
        assert len(told.reloaded) == 1
        assert told.lost == [(lost, 3)]
        assert projector.position == (await w.journal.head()).position
        assert projector.carry(lost) is None
        assert projector.carry(Position(lost.epoch, 2)) == Position(projector.position.epoch, 2)
        assert not projector.reached(lost)
        assert not await projector.wait(lost, soon())
        assert (await w.journal.epochs())[-1].lost == 3

    on_virtual_time(run)


def test_a_loss_is_noticed_before_anybody_has_begun_an_epoch() -> None:
    """The promoted database ends before memory, still in the same epoch: memory is loaded at once, and what was lost is
    noted when its end is known."""

    async def run(w: World) -> None:
        projector, memory, told = await w.projector()
        await w.write("a", 1)
        standby = MemoryStandby(w.journal)
        await w.write("b", 2)
        lost = projector.position
        await standby.promote(tell=False)
        await asyncio.sleep(3)
        assert memory.rows == await w.rows() == {"a": (1, 1)}
        assert told.lost == [(lost, 1)]
        await w.journal.new_epoch("promoted", 1)
        await w.write("c", 3)
        await asyncio.sleep(3)
        assert memory.rows == await w.rows()
        assert (len(told.reloaded), len(told.moved), len(told.lost)) == (1, 1, 1)
        assert (await w.journal.epochs())[-1].lost == 1

    on_virtual_time(run)


@pytest.mark.parametrize("hinted", [True, False])
def test_a_history_that_does_not_tell_is_known_by_its_events(hinted: bool) -> None:
    """Where a database hides what it knows, the same epoch goes on with other events: the id of the event at memory's
    own offset tells, at the next hint and at the next poll."""

    async def run(w: World) -> None:
        projector, memory, told = await w.projector()
        await w.write("a", 1)
        standby = MemoryStandby(w.journal)
        await w.write("lost", 2)
        await standby.promote(tell=False)
        replaced = await w.write("new", 3, hint=False)
        assert replaced.records is not None
        if hinted:
            await w.write("more", 4, before=replaced.records[0].command_id)
            await asyncio.sleep(0.1)
        else:
            await w.write("more", 4, hint=False)
            await asyncio.sleep(3)
        assert memory.rows == await w.rows()
        assert len(told.reloaded) == 1
        assert told.lost == [(Position(projector.position.epoch, 2), 0)]

    on_virtual_time(run)


def test_the_event_at_the_floor_tells_too() -> None:
    """Memory stands at the last event that was trimmed, which is another one now."""

    async def run(w: World) -> None:
        _, memory, told = await w.projector()
        await w.write("a", 1)
        standby = MemoryStandby(w.journal)
        await w.write("lost", 2)
        await standby.promote(tell=False)
        await w.write("new", 3, hint=False)
        await w.journal.trim((await w.journal.head()).position)
        await asyncio.sleep(3)
        assert memory.rows == await w.rows()
        assert len(told.lost) == 1

    on_virtual_time(run)


@pytest.mark.parametrize("lost", [0, 2])
def test_a_copy_on_disk_does_not_bring_a_lost_history_back(tmp_path: Path, lost: int) -> None:
    """A server that was stopped before the failover and started after it keeps its copy only where all of it is part of
    the history."""

    async def run(w: World) -> None:
        warm = SnapshotFile(tmp_path / "copy")
        projector, _, _ = await w.projector(warm=warm)
        await w.write("a", 1)
        standby = MemoryStandby(w.journal)
        for number in range(lost):
            await w.write(f"lost{number}", number)
        await projector.stop()
        await standby.promote()
        for number in range(5):
            await w.write(f"new{number}", number)
        again, memory, told = await w.projector(warm=SnapshotFile(tmp_path / "copy"))
        assert memory.rows == await w.rows()
        assert len(told.lost) == (lost > 0)
        first = (await w.journal.epochs())[0].name
        assert again.epoch_of(1) == first  # as servers say that were there all the time
        await again.stop()
        third, memory, told = await w.projector(warm=SnapshotFile(tmp_path / "copy"))
        assert (memory.rows, told.lost) == (await w.rows(), [])
        assert third.epoch_of(1) == first

    on_virtual_time(run)


def test_who_waits_for_a_lost_position_is_told() -> None:
    """And who waits for one that the history has, or that comes in the next epoch, is not."""

    async def run(w: World) -> None:
        projector, _, _ = await w.projector()
        await w.write("a", 1)
        epoch, standby = projector.position.epoch, MemoryStandby(w.journal)
        await w.write("b", 2, hint=False)
        kept, lost = projector.when(1), projector.when(5)
        await standby.promote()
        hint = await w.write("c", 3, hint=False)
        coming, never = projector.reach(hint.position), projector.reach(Position("never", 1))
        assert not coming.done()
        await asyncio.sleep(3)
        assert [kept.result(), lost.result(), coming.result(), never.result()] == [True, False, True, False]
        assert not await projector.reach(Position(epoch, 2))
        assert await projector.reach(Position(epoch, 1))

    on_virtual_time(run)


def test_a_standby_that_is_behind_takes_nothing_from_memory() -> None:
    """What it lacks is not lost, in memory's epoch or in one that it has not heard of."""

    class Standby:
        """Reads a copy from before."""

        def __init__(self, journal: MemoryJournal) -> None:
            self.journal = journal
            self.copy: MemoryJournal | None = None

        def __getattr__(self, name: str) -> Any:
            return getattr(self.copy or self.journal, name)

        async def head(self, at: int | None = None) -> Head:
            head = await (self.copy or self.journal).head(at)
            return Head(head.position, head.floor, head.command_id, self.copy is not None)

    async def run(w: World) -> None:
        reader: Any = Standby(w.journal)
        projector, memory, told = await w.projector(reader=reader)
        await w.write("a", 1)
        behind = MemoryStandby(w.journal)
        reader.copy = MemoryJournal()
        behind._journal = reader.copy
        await behind.promote(tell=False)
        await w.write("b", 2)
        assert projector.position.offset == 2
        await asyncio.sleep(5)
        assert (told.reloaded, told.lost) == ([], [])
        await w.journal.new_epoch("asked for", 2)
        reader.copy, copy = None, reader.copy
        await asyncio.sleep(20)
        assert len(told.moved) == 1
        reader.copy = copy
        await asyncio.sleep(5)
        assert (told.reloaded, told.lost) == ([], [])
        assert memory.rows == await w.rows()

    on_virtual_time(run)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["write", "write", "write", "copy", "promote", "hide", "trim", "restart", "away"]),
        st.sampled_from("abc"),
        st.booleans(),
        st.sampled_from([0.0, 0.01, 0.6, 3.0]),
    ),
    max_size=30,
)


@settings(max_examples=60, deadline=None)
@given(STEPS)
def test_memory_is_the_databases_whatever_is_lost(steps: Sequence[tuple[str, str, bool, float]]) -> None:
    """Promotions of older and newer standbys, told and hidden, with and without hints, outages, trims and restarts from
    the copy on disk: memory is that of the database in the end, and an offset is named alike by every server."""

    async def run(w: World, directory: Path) -> None:
        class Away:
            away = False

            def __getattr__(self, name: str) -> Any:
                if Away.away:
                    raise Disconnected("away")
                return getattr(w.journal, name)

        warm = SnapshotFile(directory / "copy")
        projector, memory, _ = await w.projector(reader=Away(), warm=warm)
        standby = MemoryStandby(w.journal)
        for number, (what, key, hint, pause) in enumerate(steps):
            match what:
                case "write":
                    await w.write(key, number, hint=hint)
                case "copy":
                    standby = MemoryStandby(w.journal)
                case "promote" | "hide":
                    await standby.promote(tell=what == "promote")
                    await w.write(key, number, hint=hint)
                case "trim":
                    await w.journal.trim((await w.journal.head()).position)
                case "restart":
                    Away.away = False
                    await projector.stop()
                    projector, memory, _ = await w.projector(reader=Away(), warm=warm)
                case "away":
                    Away.away = not Away.away
            await asyncio.sleep(pause)
        Away.away = False
        await w.write("end", 0, hint=False)
        await asyncio.sleep(15)
        assert memory.rows == await w.rows()
        assert projector.position == (await w.journal.head()).position
        other, _, _ = await w.projector()
        names = [projector.epoch_of(record.offset) for record in await all_records_kept(w.journal)]
        assert names == [other.epoch_of(record.offset) for record in await all_records_kept(w.journal)]

    async def all_records_kept(journal: MemoryJournal) -> Sequence[Record]:
        floor = (await journal.head()).floor
        return await journal.read(floor, 1000)

    with tempfile.TemporaryDirectory() as directory:
        on_virtual_time(lambda w: run(w, Path(directory)))


def test_an_epoch_that_another_server_met_first_is_asked_about() -> None:
    """A client brings a position of an epoch of which no hint has come here: it is waited for, also while the database
    is away; one that nobody knows is found out, and however many are invented, the journal is asked five times a
    second."""

    class Counting:
        asked, away = 0, False

        def __init__(self, journal: MemoryJournal) -> None:
            self.journal = journal

        def __getattr__(self, name: str) -> Any:
            return getattr(self.journal, name)

        async def head(self, at: int | None = None) -> Head:
            if Counting.away:
                raise Disconnected("away")
            Counting.asked += 1
            return await self.journal.head(at)

    async def run(w: World) -> None:
        projector, _, told = await w.projector(reader=Counting(w.journal))
        await w.write("a", 1)
        await w.journal.new_epoch("promoted", 1)
        hint = await w.write("b", 2, hint=False)
        assert await projector.wait(hint.position, soon())
        assert projector.position == hint.position
        assert (len(told.moved), told.reloaded) == (1, [])
        Counting.away = True
        await asyncio.sleep(3)
        await w.journal.new_epoch("promoted", 2)
        hint = await w.write("c", 3, hint=False)
        waiting = asyncio.ensure_future(projector.wait(hint.position, soon(60)))
        await asyncio.sleep(2)
        assert not waiting.done()
        Counting.away = False
        assert await waiting
        Counting.asked = 0
        for number in range(100):
            await asyncio.gather(*(projector.wait(Position(f"x{number}", n), soon(0.02)) for n in range(9)))
        assert Counting.asked <= 12
        assert not await projector.wait(Position("invented", 1), soon())

    on_virtual_time(run)
