"""Memory equals the journal: whatever hints are lost, doubled, late or swapped, and whenever it starts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skerry.backends.memory.journal import MemoryJournal
from skerry.clock import Deadline
from skerry.errors import DeclarationError, Disconnected, JournalError
from skerry.journal.hints import Hint, tip
from skerry.journal.journal import (
    Correction,
    Head,
    NewEvent,
    NewOutcome,
    Record,
    Status,
    StoredProjection,
    Writes,
)
from skerry.journal.projection import Projection
from skerry.journal.projector import Phase, Projector, ProjectorSettings
from skerry.journal.snapshot import Copied, SnapshotFile
from skerry.journal.table import AnyTable, Table
from skerry.messages.message import Event, MessageTypes
from skerry.messages.serializer import Serializer
from skerry.position import Position
from skerry.testing.clock import VirtualLoop, run_virtual


class Row(msgspec.Struct, frozen=True):
    value: int


class Set(Event):
    key: str
    value: int


class Gone(Event):
    key: str


numbers = Table("numbers", key=str, row=Row)


class Numbers(Projection):
    table = numbers

    def __init__(self) -> None:
        self.rows: dict[str, tuple[int, int]] = {}
        self.seen: list[int] = []

    def clear(self) -> None:
        self.rows.clear()

    def load(self, table: AnyTable, key: str, row: Row, offset: int) -> None:
        self.rows[key] = (row.value, offset)

    def dump(self) -> Iterable[tuple[AnyTable, Any, Any, int]]:
        return [(numbers, key, Row(value), offset) for key, (value, offset) in self.rows.items()]

    @Projection.applies(Set)
    def set(self, event: Set, record: Record) -> None:
        self.seen.append(record.offset)
        self.rows[event.key] = (event.value, record.offset)

    @Projection.applies(Gone)
    def gone(self, event: Gone, record: Record) -> None:
        self.seen.append(record.offset)
        self.rows.pop(event.key, None)


class Total(Projection):
    """A stored projection: it follows from events alone."""

    stored = True

    def __init__(self) -> None:
        self.total = 0

    def clear(self) -> None:
        self.total = 0

    @Projection.applies(Set)
    def add(self, event: Set, record: Record) -> None:
        self.total += event.value

    def state(self) -> bytes:
        return str(self.total).encode()

    def restore(self, state: bytes) -> None:
        self.total = int(state)


class Hints:
    """A transport's hints, told by hand."""

    def __init__(self) -> None:
        self.listeners: list[Callable[[Any], None]] = []

    def subscribe(self, listener: Callable[[Any], None]) -> Callable[[], None]:
        self.listeners.append(listener)
        return lambda: self.listeners.remove(listener)

    def tell(self, hint: Hint) -> None:
        for listener in list(self.listeners):
            listener(hint)


class World:
    """A journal, hints and projectors on virtual time."""

    def __init__(self, journal: MemoryJournal) -> None:
        self.journal, self.hints = journal, Hints()
        types = MessageTypes()
        types.add(Set)
        types.add(Gone)
        self.serializer = Serializer(types)
        self.count = 0
        self.epoch = ""

    async def write(self, *changes: tuple[str, int | None]) -> Hint:
        """One commit; returns the hint that a consumer would publish."""
        writes = Writes()
        for key, value in changes:
            self.count += 1
            event: Event = Gone(key) if value is None else Set(key, value)
            data = self.serializer.encode(event)
            writes.events.append(NewEvent(f"{self.count:032x}", key, event.message_name, 1, data, 1.0, False))
            before = len(writes.events)
            writes.puts.get("numbers", {}).pop(key, None)
            writes.deletes.get("numbers", set()).discard(key)
            if value is None:
                writes.deletes.setdefault("numbers", set()).add(key)
            else:
                writes.puts.setdefault("numbers", {})[key] = (numbers.encode(Row(value)), before)
            writes.outcomes.append(NewOutcome(f"{self.count:032x}", Status.APPLIED, before, 1))
        async with self.journal.batch([o.command_id for o in writes.outcomes], []) as (batch, _):
            base = await batch.commit(writes)
        records = [
            Record(base + n, e.command_id, e.key, e.name, e.version, e.at, e.more, msgspec.Raw(e.data))
            for n, e in enumerate(writes.events, 1)
        ]
        epoch = (await self.journal.head()).position.epoch
        return Hint(epoch, base + 1, base + len(records), records)

    def projector(
        self, *projections: Projection, reader: Any = None, warm: SnapshotFile | None = None
    ) -> Projector:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        return Projector(
            reader or self.journal, self.hints, projections, self.serializer,
            settings=ProjectorSettings(page=3), clock=loop.clock, warm=warm,
        )  # fmt: skip

    async def rows(self) -> dict[str, tuple[int, int]]:
        """What the database holds."""
        found: dict[str, tuple[int, int]] = {}
        async with self.journal.snapshot(["numbers"]) as snapshot:
            async for page in snapshot.rows("numbers"):
                found |= {key: (numbers.decode(data).value, offset) for key, data, offset in page}
        return found


@asynccontextmanager
async def world() -> Any:
    async with MemoryJournal() as journal:
        await journal.prepare(["numbers"])
        yield World(journal)


def test_hints_are_applied_in_order_as_they_come() -> None:
    """The usual case: contiguous hints, applied at once, without asking the journal."""

    async def run() -> None:
        async with world() as w:
            memory = Numbers()
            projector = w.projector(memory)
            await projector.start()
            for n in range(5):
                w.hints.tell(await w.write(("a", n)))
            assert memory.rows == {"a": (4, 5)}
            assert memory.seen == [1, 2, 3, 4, 5]
            assert (projector.position.offset, projector.behind, projector.phase) == (5, 0, Phase.LIVE)
            await projector.stop()

    run_virtual(run())


def test_a_start_in_the_middle_has_no_race() -> None:
    """D-2: what is committed between subscribing, the snapshot and going live is neither missed nor doubled."""

    async def run() -> None:
        async with world() as w:
            w.hints.tell(await w.write(("a", 1), ("b", 1)))

            class Slow:
                """A reader during whose snapshot others write."""

                def __getattr__(self, name: str) -> Any:
                    return getattr(w.journal, name)

                @asynccontextmanager
                async def snapshot(self, tables: list[str]) -> Any:
                    async with w.journal.snapshot(tables) as snapshot:
                        w.hints.tell(await w.write(("a", 2), ("c", 2)))
                        yield snapshot
                        w.hints.tell(await w.write(("b", None)))

            memory = Numbers()
            projector = w.projector(memory, reader=Slow())
            await projector.start()
            w.hints.tell(await w.write(("c", 3)))

            assert memory.rows == await w.rows()
            assert memory.seen == [3, 4, 5, 6]
            await projector.stop()

    run_virtual(run())


def test_a_lost_last_hint_is_noticed_within_a_second() -> None:
    """Silence after a loss leaves no gap to see; the poll finds it."""

    async def run() -> None:
        async with world() as w:
            memory = Numbers()
            projector = w.projector(memory)
            await projector.start()
            await w.write(("a", 1))  # its hint is lost
            assert memory.rows == {}
            await asyncio.sleep(1.3)
            assert memory.rows == {"a": (1, 1)}
            await projector.stop()

    run_virtual(run())


def test_a_hint_may_overtake_the_answer_about_the_journals_end() -> None:
    """A poll whose answer is older than the hints that came meanwhile is no reason to load everything anew."""

    async def run() -> None:
        async with world() as w:
            loads: list[Position] = []

            class Slow:
                """The journal, but a commit's hint arrives while the answer about the end is on its way."""

                armed = False

                def __getattr__(self, name: str) -> Any:
                    return getattr(w.journal, name)

                async def head(self, at: int | None = None) -> Head:
                    head: Head = await w.journal.head(at)
                    if self.armed:
                        self.armed = False
                        w.hints.tell(await w.write(("a", 2)))
                    return head

            reader = Slow()
            memory = Numbers()
            projector = w.projector(memory, reader=reader)
            projector.events.on("reloaded", loads.append)
            await projector.start()
            w.hints.tell(await w.write(("a", 1)))
            reader.armed = True
            await asyncio.sleep(3.0)
            assert not reader.armed
            assert memory.seen == [1, 2]
            assert len(loads) == 1
            await projector.stop()

    run_virtual(run())


def test_a_tip_or_a_gap_is_repaired_at_once() -> None:
    """A tip ahead, a hint without records, and a hint after a missing one lead to the journal in milliseconds."""

    async def run() -> None:
        async with world() as w:
            memory = Numbers()
            projector = w.projector(memory)
            await projector.start()
            await w.write(("a", 1))
            w.hints.tell(tip((await w.journal.head()).position))
            await asyncio.sleep(0.05)
            assert memory.rows == {"a": (1, 1)}
            bare = await w.write(("a", 2))
            w.hints.tell(Hint(bare.epoch, bare.first, bare.last))
            await asyncio.sleep(0.05)
            assert memory.rows == {"a": (2, 2)}
            await w.write(("a", 3))
            w.hints.tell(await w.write(("a", 4)))
            assert memory.rows == {"a": (2, 2)}
            await asyncio.sleep(0.05)
            assert memory.rows == {"a": (4, 4)}
            assert memory.seen == [1, 2, 3, 4]
            await projector.stop()

    run_virtual(run())


def test_what_is_expected_while_the_journal_is_asked_is_asked_for_next() -> None:
    """An offset that somebody says exists is not left to the next poll because an older answer is on its way."""

    async def run() -> None:
        async with world() as w:
            loop = asyncio.get_running_loop()
            moments: list[float] = []

            class Slow:
                """The journal, but somebody writes and expects it while the answer about the end is on its way."""

                armed = False

                def __getattr__(self, name: str) -> Any:
                    return getattr(w.journal, name)

                async def head(self, at: int | None = None) -> Head:
                    head: Head = await w.journal.head(at)
                    if self.armed:
                        self.armed = False
                        await w.write(("a", 1))  # its hint is lost
                        moments.append(loop.time())
                        projector.expect(1).add_done_callback(lambda done: moments.append(loop.time()))
                    return head

            reader = Slow()
            projector = w.projector(Numbers(), reader=reader)
            await projector.start()
            reader.armed = True
            await asyncio.sleep(5.0)
            asked, answered = moments
            assert answered - asked < 0.1
            await projector.stop()

    run_virtual(run())


def test_swapped_hints_are_put_in_order_without_the_journal() -> None:
    """Hints of two consumers may cross: the later one waits for the earlier."""

    async def run() -> None:
        async with world() as w:
            memory = Numbers()
            projector = w.projector(memory)
            await projector.start()
            first, second = await w.write(("a", 1)), await w.write(("a", 2))
            w.hints.tell(second)
            w.hints.tell(first)
            assert memory.seen == [1, 2]
            await projector.stop()

    run_virtual(run())


STEPS = st.lists(
    st.tuples(
        st.lists(
            st.tuples(st.sampled_from("abcde"), st.one_of(st.none(), st.integers(0, 9))),
            min_size=1,
            max_size=4,
        ),
        st.sampled_from(["tell", "tell", "tell", "lose", "twice", "late", "bare", "trim", "epoch"]),
        st.sampled_from([0.0, 0.0, 0.01, 0.3]),
    ),
    max_size=25,
)


@settings(max_examples=60, deadline=None)
@given(STEPS, st.integers(0, 25))
def test_memory_equals_the_database_whatever_happens_to_hints(steps: list[Any], starts: int) -> None:
    """Lost, doubled, delayed, swapped and emptied hints, trims, new epochs, and a second reader that starts anywhere:
    in the end both hold exactly what the database holds, and neither applied an event twice within an epoch."""

    async def run() -> None:
        async with world() as w:
            one, two = Numbers(), Numbers()
            first, second = w.projector(one), w.projector(two)
            await first.start()
            late: list[Hint] = []
            for number, (changes, fate, pause) in enumerate(steps):
                if number == starts:
                    await second.start(wait=False)
                hint = await w.write(*changes)
                if fate == "late":
                    late.append(hint)
                elif fate == "bare":
                    w.hints.tell(Hint(hint.epoch, hint.first, hint.last))
                elif fate != "lose":
                    w.hints.tell(hint)
                    if fate == "twice":
                        w.hints.tell(hint)
                    while late:
                        w.hints.tell(late.pop())
                if fate == "trim":
                    await w.journal.trim((await w.journal.head()).position)
                if fate == "epoch":
                    await w.journal.new_epoch()
                    one.seen.clear()
                    two.seen.clear()
                await asyncio.sleep(pause)
            if starts >= len(steps):
                await second.start(wait=False)
            await asyncio.sleep(3.0)
            expected = await w.rows()
            assert one.rows == expected
            assert two.rows == expected
            for memory in (one, two):
                assert memory.seen == sorted(set(memory.seen))
            head = (await w.journal.head()).position
            assert first.position == second.position == head
            await first.stop()
            await second.stop()

    run_virtual(run())


class Flaky:
    """A reader that is away until told."""

    def __init__(self, journal: MemoryJournal) -> None:
        self.journal, self.away = journal, False

    def __getattr__(self, name: str) -> Any:
        if self.away and name in ("head", "read", "snapshot"):
            raise Disconnected("the database is away")
        return getattr(self.journal, name)


def test_reads_go_on_while_the_database_is_away() -> None:
    """Hints still apply; what is missed meanwhile is repaired when it is back; staleness is known."""

    async def run() -> None:
        async with world() as w:
            reader, memory = Flaky(w.journal), Numbers()
            projector = w.projector(memory, reader=reader)
            await projector.start()
            reader.away = True
            w.hints.tell(await w.write(("a", 1)))
            await w.write(("a", 2))
            w.hints.tell(await w.write(("a", 3)))
            await asyncio.sleep(10)
            assert memory.rows == {"a": (1, 1)}
            assert projector.behind == 2
            assert projector.stale_seconds >= 10
            reader.away = False
            await asyncio.sleep(6)
            assert memory.rows == {"a": (3, 3)}
            assert projector.stale_seconds < 2
            await projector.stop()

    run_virtual(run())


def test_a_warm_start_serves_at_once_and_then_catches_up(tmp_path: Path) -> None:
    """With the database away a copy on disk is served, marked stale; with it back memory becomes equal."""

    async def run() -> None:
        async with world() as w:
            file = SnapshotFile(tmp_path / "warm")
            first = w.projector(Numbers(), warm=file)
            await first.start()
            w.hints.tell(await w.write(("a", 1), ("b", 2)))
            await first.stop()
            await w.write(("a", 3))

            reader, memory = Flaky(w.journal), Numbers()
            reader.away = True
            second = w.projector(memory, reader=reader, warm=file)
            await second.start(wait=False)
            assert memory.rows == {"a": (1, 1), "b": (2, 2)}
            assert second.phase is Phase.CATCHING_UP
            reader.away = False
            await second.live()
            assert memory.rows == {"a": (3, 3), "b": (2, 2)}
            await second.stop()

    run_virtual(run())


def test_a_disk_that_takes_no_copy_does_not_spoil_the_stop(tmp_path: Path) -> None:
    """The warm-start file is a convenience: what went wrong is told, and the stop is complete."""

    async def run() -> None:
        async with world() as w:
            (tmp_path / "data").write_text("a file where the directory belongs")
            projector = w.projector(Numbers(), warm=SnapshotFile(tmp_path / "data" / "warm"))
            told: list[tuple[str, object]] = []
            projector.events.on("failure", lambda name, record, error: told.append((name, type(error))))
            await projector.start()
            w.hints.tell(await w.write(("a", 1)))
            await projector.stop()
            assert projector.phase is Phase.STOPPED
            assert told == [("the local copy of memory", FileExistsError)]

    run_virtual(run())


def test_a_damaged_or_foreign_warm_file_is_ignored(tmp_path: Path) -> None:
    """The file is a cache: cut, scribbled or of another version, it is as if it were not there."""
    path = tmp_path / "warm"
    memory = Numbers()
    memory.rows = {f"k{n}": (n, n) for n in range(2500)}
    assert SnapshotFile(path).write(Copied(Position("e", 9), "c9"), [memory])
    again = Numbers()
    assert SnapshotFile(path).read([again]) == Copied(Position("e", 9), "c9", (("e", 0, 0),))
    assert again.rows == memory.rows
    whole = path.read_bytes()

    class Newer(Numbers):
        version = 2

    Newer.__name__ = "Numbers"
    assert SnapshotFile(path).read([Newer()]) is None
    for damaged in (
        whole[:-5],
        whole[: len(whole) // 2],
        b"",
        b"\xff" * 100,
        whole[:4] + b"\xc1" + whole[5:],
    ):
        path.write_bytes(damaged)
        assert SnapshotFile(path).read([Numbers()]) is None


def test_nothing_stays_of_a_copy_that_is_damaged(tmp_path: Path) -> None:
    """Its first half was loaded before that was found: memory is the database's all the same."""
    path = tmp_path / "warm"
    copied = Numbers()
    copied.rows = {f"gone{n}": (n, n) for n in range(2500)}
    assert SnapshotFile(path).write(Copied(Position("e", 9), "c9"), [copied])
    path.write_bytes(path.read_bytes()[:-5])

    async def run() -> None:
        async with world() as w:
            await w.write(("a", 1))
            memory = Numbers()
            projector = w.projector(memory, warm=SnapshotFile(path))
            await projector.start()
            assert memory.rows == await w.rows()
            await projector.stop()

    run_virtual(run())


def test_waiting_for_a_position_ends_in_time() -> None:
    """Reached: True as soon as memory is there, by asking the journal at once; not reached, or another epoch: False."""

    async def run() -> None:
        async with world() as w:
            loop = asyncio.get_running_loop()
            projector = w.projector(Numbers())
            await projector.start()
            clock = loop.clock  # type: ignore[attr-defined]
            await w.write(("a", 1))  # no hint
            here = (await w.journal.head()).position
            before = loop.time()
            assert await projector.wait(here, Deadline.after(2.0, clock))
            assert loop.time() - before < 0.1
            assert not await projector.wait(Position(here.epoch, 99), Deadline.after(0.5, clock))
            assert not await projector.wait(Position("other", 1), Deadline.after(5.0, clock))
            assert loop.time() - before < 1.0
            await projector.stop()

    run_virtual(run())


def test_a_projection_that_cannot_apply_an_event_is_reported_and_others_go_on() -> None:
    """D-6: one failing listener does not end reception; readiness can name it."""

    class Broken(Projection):
        table = numbers

        def clear(self) -> None: ...
        def load(self, table: AnyTable, key: str, row: Row, offset: int) -> None: ...

        @Projection.applies(Set)
        def set(self, event: Set, record: Record) -> None:
            raise RuntimeError("no")

    async def run() -> None:
        async with world() as w:
            memory = Numbers()
            projector = w.projector(Broken(), memory)
            failures: list[Any] = []
            projector.events.on("failure", lambda *args: failures.append(args))
            await projector.start()
            for n in range(3):
                w.hints.tell(await w.write(("a", n)))
            assert memory.rows == {"a": (2, 3)}
            assert [(name, record.offset) for name, record, _ in failures] == [("Broken", 1)]
            assert str(projector.stopped["Broken"]).startswith("event 1 (set): RuntimeError")
            assert (projector.position.offset, projector.held, projector.behind) == (3, 0, 3)
            assert not projector.shows(f"{2:032x}", 2)
            await projector.stop()

    run_virtual(run())


def test_a_stored_projection_goes_on_from_its_own_snapshot() -> None:
    """Its snapshot and the events since give its state; a new version is rebuilt, or says that it cannot be."""

    async def run() -> None:
        async with world() as w:
            for n in range(1, 6):
                await w.write(("a", n))
            head = (await w.journal.head()).position
            await w.journal.save_projection(StoredProjection("Total", 1, Position(head.epoch, 3), b"6"))
            await w.journal.trim(Position(head.epoch, 3))
            total = Total()
            projector = w.projector(total)
            await projector.start()
            assert total.total == 15
            await projector.stop()

            class Newer(Total):
                version = 2

            Newer.__name__ = "Total"
            with pytest.raises(JournalError, match="no longer reaches back"):
                await w.projector(Newer()).start()

    run_virtual(run())


def test_projections_that_contradict_themselves_are_refused() -> None:
    """Found when they are declared, not when the first event comes."""

    class Nothing(Projection):
        table = numbers

    class Both(Numbers):
        stored = True

    class Twice(Numbers):
        @Projection.applies(Set)
        def again(self, event: Set, record: Record) -> None: ...

    for kind, words in ((Nothing, "applies no event"), (Both, "choose one"), (Twice, "both apply")):
        with pytest.raises(DeclarationError, match=words):
            kind.applied_events()


def test_a_start_fails_loudly_without_a_warm_file() -> None:
    """A broken reader ends `start`, and does not leave a server that answers 404 to everything."""

    class Dead:
        async def head(self, at: int | None = None) -> Head:
            raise ValueError("not a journal")

        def snapshot(self, tables: list[str]) -> Any:
            raise ValueError("not a journal")

    async def run() -> None:
        async with world() as w:
            projector = w.projector(Numbers(), reader=Dead())
            with pytest.raises(ValueError, match="not a journal"):
                await projector.start()

    run_virtual(run())


def test_a_reload_is_never_seen_half_done() -> None:
    """While a restored database is being read, reads meet the old memory; a connection lost in between leaves it."""

    async def run() -> None:
        async with world() as w:
            await w.write(*((f"k{n}", n) for n in range(50)))
            memory = Numbers()
            seen: list[int] = []

            class Watching:
                """A reader that looks at memory between the pages of a snapshot, and breaks once."""

                broken = False

                def __getattr__(self, name: str) -> Any:
                    return getattr(w.journal, name)

                @asynccontextmanager
                async def snapshot(self, tables: list[str]) -> Any:
                    async with w.journal.snapshot(tables) as real:

                        class Pages:
                            position = real.position

                            async def rows(self, table: str) -> Any:
                                async for page in real.rows(table):
                                    for row in page:
                                        seen.append(len(memory.rows))
                                        yield [row]
                                        if (
                                            not Watching.broken
                                            and projector.position.offset
                                            and len(seen) > 20
                                        ):
                                            Watching.broken = True
                                            raise Disconnected("cut")

                        yield Pages()

            projector = w.projector(memory, reader=Watching())
            await projector.start()
            seen.clear()
            await w.journal.new_epoch()
            await w.write(("new", 1))
            await asyncio.sleep(8)
            assert memory.rows == await w.rows()
            assert set(seen) == {50}
            assert Watching.broken
            await projector.stop()

    run_virtual(run())


class Careful(Numbers):
    """Refuses the value 7."""

    @Projection.applies(Set)
    def set(self, event: Set, record: Record) -> None:
        if event.value == 7:
            raise RuntimeError("no")
        super().set(event, record)


class Sum(Total):
    """Refuses the value 7."""

    @Projection.applies(Set)
    def add(self, event: Set, record: Record) -> None:
        if event.value == 7:
            raise RuntimeError("no")
        super().add(event, record)


async def put_row(w: World, key: str, data: bytes) -> None:
    """A row as nobody's handler would have written it."""
    async with w.journal.batch([], []) as (batch, _):
        await batch.commit(Writes(puts={"numbers": {key: (data, 0)}}))


def test_a_bad_row_stops_one_projection_and_nothing_else() -> None:
    """The start goes on; table, key and cure are told once; a corrected row brings the projection back by itself."""

    async def run() -> None:
        async with world() as w:
            for n in range(1, 4):
                await w.write((f"k{n}", n))
            await put_row(w, "k2", b'{"value":"two"}')
            memory, total = Numbers(), Total()
            projector = w.projector(memory, total)
            failures: list[Any] = []
            revived: list[str] = []
            projector.events.on("failure", lambda *told: failures.append(told))
            projector.events.on("revived", lambda name, position: revived.append(name))
            await projector.start()
            assert total.total == 6
            told = projector.stopped["Numbers"]
            assert told.where == "row 'k2' of table numbers"
            assert "skerry row put" in told.cure
            assert len(failures) == 1
            w.hints.tell(await w.write(("k4", 4)))
            assert (total.total, "k4" in memory.rows) == (10, False)
            assert not projector.shows(f"{4:032x}", 4)

            await w.journal.correct(Correction("row", "a slip", "ann", "numbers", "k2", data='{"value":22}'))
            await asyncio.sleep(1.3)
            assert (projector.stopped, revived) == ({}, ["Numbers"])
            assert memory.rows == await w.rows()
            assert projector.shows(f"{4:032x}", 4)
            w.hints.tell(await w.write(("k5", 5)))
            assert memory.rows == await w.rows()
            await projector.stop()

    run_virtual(run())


def test_a_skipped_or_amended_event_brings_projections_back() -> None:
    """Row-backed ones load their rows anew, stored ones are rebuilt, also when an event that had been applied is
    corrected, and when the snapshot that a stored one has in the database is older than the correction."""

    async def run() -> None:
        async with world() as w:
            memory, total = Careful(), Sum()
            projector = w.projector(memory, total)
            await projector.start()
            for n in (1, 7, 3):
                w.hints.tell(await w.write((f"k{n}", n)))
            assert set(projector.stopped) == {"Careful", "Sum"}
            epoch = projector.position.epoch
            await w.journal.save_projection(StoredProjection("Sum", 1, Position(epoch, 1), b"1"))

            await w.journal.correct(Correction("event", "no seven", "ann", offset=2))
            await asyncio.sleep(1.3)
            assert projector.stopped == {}
            assert (memory.rows, total.total) == (await w.rows(), 4)

            await w.journal.save_projection(StoredProjection("Sum", 1, projector.position, b"4"))
            mended = '{"key":"k1","value":10}'
            await w.journal.correct(Correction("event", "ten", "ann", offset=1, data=mended))
            await asyncio.sleep(1.3)
            assert (projector.stopped, total.total) == ({}, 13)
            await projector.stop()

            late = Sum()
            second = w.projector(late)
            await second.start()
            assert late.total == 13
            await second.stop()

    run_virtual(run())


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["write", "write", "lost", "row", "skip", "amend", "pause"]),
            st.integers(0, 4),
            st.sampled_from([1, 2, 7]),
        ),
        max_size=30,
    )
)
def test_corrections_and_writes_in_any_order_end_in_what_is_stored(steps: list[Any]) -> None:
    """However corrections, writes and lost hints fall together, memory that follows again equals what it would be if
    it were loaded now, and nothing that cannot be applied is shown."""

    async def run() -> None:
        async with world() as w:
            memory, total = Careful(), Sum()
            projector = w.projector(memory, total)
            await projector.start()
            for kind, key, value in steps:
                end = (await w.journal.head()).position.offset
                match kind:
                    case "write":
                        w.hints.tell(await w.write((f"k{key}", value)))
                    case "lost":
                        await w.write((f"k{key}", value))
                    case "row":
                        row = f'{{"value":{value}}}'
                        await w.journal.correct(Correction("row", "", "", "numbers", f"k{key}", data=row))
                    case "skip" | "amend" if end > key:
                        new = None if kind == "skip" else f'{{"key":"k{key}","value":{value}}}'
                        with suppress(JournalError):  # of a correction, which stays
                            await w.journal.correct(Correction("event", "", "", offset=end - key, data=new))
                    case _:
                        await asyncio.sleep(0.7)
            await asyncio.sleep(8)
            there, sums = Numbers(), Sum()
            now = w.projector(there, sums)
            await now.start()
            if "Careful" not in projector.stopped:
                assert memory.rows == there.rows
            assert ("Sum" in projector.stopped) == ("Sum" in now.stopped)
            if "Sum" not in now.stopped:
                assert total.total == sums.total
            for each in (projector, now):
                await each.stop()

    run_virtual(run())


def test_started_again_it_is_live_when_it_has_caught_up_again() -> None:
    """Not before: what it had when it was stopped is as old as that."""

    async def run() -> None:
        async with world() as w:
            there = asyncio.Event()
            there.set()

            class Held:
                """A reader whose snapshots wait."""

                def __getattr__(self, name: str) -> Any:
                    return getattr(w.journal, name)

                @asynccontextmanager
                async def snapshot(self, tables: list[str]) -> Any:
                    await there.wait()
                    async with w.journal.snapshot(tables) as snapshot:
                        yield snapshot

            projector = w.projector(Numbers(), reader=Held())
            await projector.start()
            await projector.stop()
            await w.write(("a", 1))
            there.clear()
            await projector.start(wait=False)
            live = asyncio.ensure_future(projector.live())
            await asyncio.sleep(3)
            assert not live.done()
            there.set()
            await live
            assert projector.position.offset == 1
            await projector.stop()

    run_virtual(run())
