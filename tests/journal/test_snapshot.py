"""The warm-start file: what was written is what is read, and anything else is no file at all."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from skerry.backends.memory.journal import MemoryJournal
from skerry.backends.memory.transport import MemoryHub
from skerry.journal.journal import Record, Writes
from skerry.journal.projection import Projection
from skerry.journal.projector import Phase, Projector
from skerry.journal.snapshot import Copied, SnapshotFile
from skerry.journal.table import AnyTable, Table
from skerry.messages.message import Event, MessageTypes
from skerry.messages.serializer import Serializer
from skerry.position import Position
from skerry.testing.clock import run_virtual
from skerry.testing.journal_samples import applied, decide, event


class Row(msgspec.Struct, frozen=True):
    text: str


class Set(Event):
    key: str


texts: Table[str, Row] = Table("texts", key=str, row=Row)
numbers: Table[int, Row] = Table("numbers", key=int, row=Row)
ids: Table[UUID, Row] = Table("ids", key=UUID, row=Row)


class Everything(Projection):
    """Three tables of three kinds of keys."""

    tables = (texts, numbers, ids)

    def __init__(self) -> None:
        self.rows: dict[tuple[str, Any], tuple[str, int]] = {}

    def clear(self) -> None:
        self.rows.clear()

    def load(self, table: AnyTable, key: Any, row: Row, offset: int) -> None:
        self.rows[table.name, key] = (row.text, offset)

    def dump(self) -> Iterable[tuple[AnyTable, Any, Any, int]]:
        tables = {table.name: table for table in self.tables}
        return [(tables[name], key, Row(text), offset) for (name, key), (text, offset) in self.rows.items()]

    @Projection.applies(Set)
    def set(self, event: Set, record: Record) -> None:
        self.rows["texts", event.key] = ("set", record.offset)


class Newer(Everything):
    version = 2


class Total(Projection):
    stored = True

    def __init__(self) -> None:
        self.total = 0

    def clear(self) -> None:
        self.total = 0

    @Projection.applies(Set)
    def add(self, event: Set, record: Record) -> None:
        self.total += 1

    def state(self) -> bytes:
        return str(self.total).encode()

    def restore(self, state: bytes) -> None:
        self.total = int(state)


class Undumpable(Total):
    stored = False
    table = texts

    def load(self, *row: Any) -> None: ...


HERE = Copied(Position("abc", 7), "c7", (("older", 0, 0), ("abc", 6, 5)))


def filled() -> Everything:
    made = Everything()
    made.rows = {
        ("texts", ""): ("", 1),
        ("texts", "ü😀\u2028"): ("x" * 100_000, 2),
        ("numbers", -5): ("five", 3),
        ("ids", UUID(int=1)): ("one", 7),
    }
    return made


@pytest.fixture
def file(tmp_path: Path) -> SnapshotFile:
    return SnapshotFile(tmp_path / "data" / "app.server.warm")


def test_what_was_written_is_read(file: SnapshotFile) -> None:
    """Rows of every kind of key, a stored projection's state, the position and when it was known to be true."""
    total = Total()
    total.total = 9
    assert file.write(replace(HERE, known_at=1234.5), [filled(), total])
    everything, other = Everything(), Total()
    everything.rows["texts", "old"] = ("gone", 1)
    again = SnapshotFile(file.path)
    assert again.read([everything, other]) == replace(HERE, known_at=1234.5)
    assert everything.rows == filled().rows
    assert other.total == 9


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    rows=st.dictionaries(
        st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"])),
        st.tuples(st.text(st.characters(exclude_categories=["Cs"])), st.integers(0, 2**53)),
        max_size=30,
    )
)
def test_any_rows_come_back(file: SnapshotFile, rows: dict[str, tuple[str, int]]) -> None:
    """Whatever text keys and rows hold."""
    one, two = Everything(), Everything()
    one.rows = {("texts", key): value for key, value in rows.items()}
    assert file.write(HERE, [one])
    assert file.read([two]) == HERE
    assert two.rows == one.rows


def test_more_rows_than_one_page(file: SnapshotFile) -> None:
    """Pages are counted: none is lost at the seam."""
    one, two = Everything(), Everything()
    one.rows = {("numbers", n): ("x", n) for n in range(2001)}
    assert file.write(HERE, [one])
    assert file.read([two]) == HERE
    assert len(two.rows) == 2001


def test_every_cut_is_noticed(file: SnapshotFile) -> None:
    """A file that ends early, anywhere, is not read: never a memory with a part of the rows."""
    one = Everything()
    one.rows = {("numbers", n): ("x", n) for n in range(1500)}
    file.write(HERE, [one, Total()])
    whole = file.path.read_bytes()
    for size in [*range(0, len(whole), max(1, len(whole) // 150)), len(whole) - 1]:
        file.path.write_bytes(whole[:size])
        assert file.read([Everything(), Total()]) is None, size
    file.path.write_bytes(whole)
    assert file.read([Everything(), Total()]) == HERE


def test_every_changed_byte_is_noticed_or_harmless(file: SnapshotFile) -> None:
    """A file that was damaged never raises, and never gives rows other than those that were written."""
    one = filled()
    one.rows["texts", "ü😀\u2028"] = ("short", 2)
    file.write(HERE, [one])
    whole = file.path.read_bytes()
    for place in range(len(whole)):
        for flip in (0x01, 0x80):
            damaged = bytearray(whole)
            damaged[place] ^= flip
            file.path.write_bytes(damaged)
            found = Everything()
            position = file.read([found])
            assert position is None or (position == HERE and found.rows == one.rows), (place, flip)


@pytest.mark.parametrize(
    "content", [b"", b"\x00", b"\x00\x00\x00\x00", b"\xff" * 100, b"not a snapshot at all" * 10]
)
def test_what_is_no_snapshot(file: SnapshotFile, content: bytes) -> None:
    """Any bytes: no memory, no error, no gigabytes asked for."""
    file.path.parent.mkdir()
    file.path.write_bytes(content)
    assert file.read([Everything()]) is None


def test_what_is_not_there(file: SnapshotFile) -> None:
    """The first start: nothing, quietly; a directory in its place too."""
    assert file.read([Everything()]) is None
    file.path.mkdir(parents=True)
    assert file.read([Everything()]) is None


def test_other_versions_of_projections_do_not_fit(file: SnapshotFile) -> None:
    """A changed version, another set of projections, a table that is gone: loaded anew from the journal."""
    file.write(HERE, [filled()])
    newer = type("Everything", (Newer,), {})()
    assert file.read([newer]) is None
    assert file.read([Everything(), Total()]) is None
    assert file.read([Total()]) is None
    assert file.read([Everything()]) == HERE


def test_a_row_that_does_not_fit_its_type_any_more(file: SnapshotFile) -> None:
    """The row's type was changed without a new version: the copy is not trusted."""

    class Other(msgspec.Struct):
        number: int

    file.write(HERE, [filled()])
    changed = type(
        "Everything", (Everything,), {"tables": (Table("texts", key=str, row=Other), numbers, ids)}
    )()
    assert file.read([changed]) is None


def test_a_projection_that_cannot_be_dumped_means_no_file(file: SnapshotFile) -> None:
    """And an old one stays as it is, with nothing left beside it."""
    file.write(HERE, [filled()])
    before = file.path.read_bytes()
    assert not file.write(Copied(Position("abc", 8)), [filled(), Undumpable()])
    assert file.path.read_bytes() == before
    assert os.listdir(file.path.parent) == [file.path.name]


def test_a_write_that_fails_leaves_the_old_one(file: SnapshotFile) -> None:
    """Half a file never stands in its place."""

    class Failing(Everything):
        def dump(self) -> Iterable[tuple[AnyTable, Any, Any, int]]:
            yield from list(super().dump())[:2]
            raise RuntimeError("in the middle")

    file.write(HERE, [filled()])
    failing = type("Everything", (Failing,), {})()
    failing.rows = filled().rows
    with pytest.raises(RuntimeError):
        file.write(Copied(Position("abc", 8)), [failing])
    assert file.read([Everything()]) == HERE
    assert os.listdir(file.path.parent) == [file.path.name]


def test_nobody_else_may_read_it(file: SnapshotFile) -> None:
    """It holds what the database holds."""
    file.write(HERE, [filled()])
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.path.parent.stat().st_mode) == 0o700


def test_a_stop_in_the_middle_of_a_load_writes_no_copy(file: SnapshotFile) -> None:
    """A new epoch is being loaded when the process ends: half of its rows are not written as the old position's."""

    async def main() -> None:
        async with MemoryJournal() as journal:
            await journal.prepare(["texts", "numbers", "ids"])
            hub = MemoryHub().endpoint("one")
            await hub.start()
            types = MessageTypes()
            types.add(Set)
            gate = asyncio.Event()
            gate.set()
            real = journal.snapshot

            class Rows:
                def __init__(self, snapshot: Any) -> None:
                    self.position = snapshot.position

                async def rows(self, table: str) -> Any:
                    await gate.wait()
                    nothing: list[Any] = []
                    for page in nothing:
                        yield page

            @asynccontextmanager
            async def slow(tables: Any) -> Any:
                async with real(tables) as snapshot:
                    yield Rows(snapshot)

            journal.snapshot = slow  # type: ignore[method-assign]
            await decide(journal, Writes(events=[event(1)], outcomes=[applied(1, 1)]))
            projector = Projector(journal, hub, [Everything()], Serializer(types), warm=file)
            await projector.start()
            gate.clear()
            await journal.new_epoch()
            while projector.phase is not Phase.LOADING:  # noqa: ASYNC110 - virtual time
                await asyncio.sleep(0.1)
            await projector.stop()
            assert not file.path.exists()
            await hub.stop()

    run_virtual(main())
