"""What a writer remembers of its commits: how much, and that it then asks nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from skerry.backends.recent import NO_ROW, Recent
from skerry.backends.sqlite.journal import SqliteJournal
from skerry.journal.journal import StoredRow, Writes
from skerry.position import Position
from skerry.testing.journal_samples import THINGS, command_id, decide, event, put

HERE = Position("e", 5)


def of(key: str) -> list[tuple[str, str]]:
    return [(THINGS, key)]


def test_nothing_is_known_before_the_first_commit() -> None:
    """What was only read may have changed since."""
    recent = Recent()
    recent.read(HERE, of("k"), {(THINGS, "k"): StoredRow(b"1", 3)})
    assert recent.recall([]) is None


def test_rows_are_as_of_the_last_commit() -> None:
    """Those that were put or deleted after they were read, or read where the journal ends."""
    recent = Recent()
    read = [*of("a"), *of("b")]
    writes = Writes({THINGS: {"a": (b"1", 1), "d": (b"1", 1)}}, {THINGS: {"b"}}, [event(1)])
    recent.committed(HERE, writes, read)
    assert recent.recall(of("d")) is None
    assert recent.position == Position("e", 6)
    assert recent.recall([*of("a"), *of("b")]) == {(THINGS, "a"): StoredRow(b"1", 6), (THINGS, "b"): NO_ROW}
    assert recent.recall(of("c")) is None
    recent.read(Position("e", 6), of("c"), {})
    assert recent.recall(of("c")) == {(THINGS, "c"): NO_ROW}


@pytest.mark.parametrize("base", [Position("e", 7), Position("f", 6)], ids=["end moved", "epoch"])
def test_another_writer_makes_it_forget(base: Position) -> None:
    """A commit that does not follow the last one from here: only what it wrote itself is known afterwards."""
    recent = Recent()
    recent.committed(HERE, Writes({THINGS: {"a": (b"1", 1)}}, {}, [event(1)]), of("a"))
    recent.committed(base, Writes({THINGS: {"b": (b"2", 1)}}, {}, [event(2)]), of("b"))
    assert recent.recall(of("a")) is None
    assert recent.recall(of("b")) == {(THINGS, "b"): StoredRow(b"2", base.offset + 1)}
    assert recent.position == Position(base.epoch, base.offset + 1)


def test_a_commit_that_is_told_too_late_makes_it_forget() -> None:
    """The one after it was told of before: nobody knows which rows are the later ones."""
    recent = Recent()
    recent.committed(Position("e", 6), Writes({THINGS: {"a": (b"2", 1)}}, {}, [event(2)]))
    recent.committed(HERE, Writes({THINGS: {"a": (b"1", 1)}}, {}, [event(1)]))
    assert recent.recall([]) is None


def test_it_has_a_bound() -> None:
    """The rows that were changed longest ago make room; a row that is changed again is not counted twice."""
    recent = Recent(most_bytes=10_000)
    for number in range(200):
        base = Position("e", number)
        key = f"k{number % 100}"
        recent.committed(base, Writes({THINGS: {key: (b"x" * 100, 1)}}, {}, [event(1)]), of(key))
        recent.committed(Position("e", number + 1), Writes({THINGS: {"always": (b"x", 0)}}), of("always"))
    kept = [n for n in range(100) if recent.recall(of(f"k{n}")) is not None]
    assert kept == list(range(100 - len(kept), 100))
    assert 20 <= len(kept) <= 25
    assert recent.recall(of("always")) is not None


async def test_a_writer_that_was_the_last_one_asks_nothing(tmp_path: Path) -> None:
    """A batch whose rows were written or read before is one step of the database, not two."""
    async with SqliteJournal(str(tmp_path / "j.db"), "suite") as journal:
        await journal.prepare([THINGS])
        await decide(journal, put(1))
        jobs: list[object] = []
        run = journal._writer.run

        async def counting(job: Any, seconds: float) -> Any:
            jobs.append(job)
            return await run(job, seconds)

        journal._writer.run = counting  # type: ignore[method-assign]
        async with journal.batch([command_id(2)], of("k"), None, True) as (batch, rows):
            assert [row.offset for row in rows.values()] == [1]
            assert jobs == []
            await batch.commit(put(2))
        assert len(jobs) == 1


@pytest.mark.parametrize(
    "now", [NO_ROW, StoredRow("2", 7), StoredRow("1", 8)], ids=["gone", "data", "offset"]
)
def test_what_was_read_afterwards_is_compared(now: StoredRow) -> None:
    """A row that a batch read on its way is what is remembered, or not remembered."""
    recent = Recent()
    recent.committed(HERE, Writes({THINGS: {"a": (b"1", 2)}}, {}, [event(1), event(1)]), of("a"))
    assert recent.agrees({(THINGS, "a"): StoredRow("1", 7), (THINGS, "b"): NO_ROW})
    assert not recent.agrees({(THINGS, "a"): now})
