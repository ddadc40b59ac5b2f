"""What a new release would do to the tables is tried on a copy, while another process owns the file."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from skerry.backends.sqlite import rehearsal
from skerry.backends.sqlite.journal import SqliteJournal
from skerry.errors import JournalError

STEP = (
    "create table things (id integer primary key, name text); insert into things (name) values ('a'), ('a')"
)


@pytest.fixture
async def owned(tmp_path: Path) -> AsyncIterator[SqliteJournal]:
    """A journal that is open for writing, with one step of the application's own."""
    async with SqliteJournal(str(tmp_path / "x.db"), "shop") as journal:
        await journal.prepare(["orders"])
        await journal.migrate([STEP])
        yield journal


async def test_nothing_is_done_to_the_file(owned: SqliteJournal) -> None:
    """A step that would go through does not go through yet; one that would not says which and why."""
    waiting = SqliteJournal(owned.path, "shop")
    await waiting.rehearse(["orders", "parts"], [STEP, "alter table things add column size integer"])
    with pytest.raises(JournalError, match=r"step 2 .*syntax error"):
        await waiting.rehearse(["orders"], [STEP, "create tabel other (id integer)"])
    assert await owned.missing(["orders"], [STEP]) == []
    await SqliteJournal(owned.path + ".nothing", "shop").rehearse(["orders"], [STEP])


async def test_rows_are_met_where_the_file_is_small(
    owned: SqliteJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step that the present rows do not allow is found out; in a large file only what the tables do not allow is."""
    waiting = SqliteJournal(owned.path, "shop")
    unique = [STEP, "create unique index names on things (name)"]
    with pytest.raises(JournalError, match=r"step 2 .*UNIQUE"):
        await waiting.rehearse(["orders"], unique)
    monkeypatch.setattr(rehearsal, "SMALL_BYTES", 0)
    await waiting.rehearse(["orders"], unique)
    with pytest.raises(JournalError, match=r"step 2 .*already exists"):
        await waiting.rehearse(["orders"], [STEP, "create table things (id integer)"])


async def test_what_cannot_be_looked_at_is_left_to_the_real_thing(tmp_path: Path) -> None:
    """No database at that path: whoever opens it for writing will say so."""
    (tmp_path / "x.db").write_text("no database")
    await SqliteJournal(str(tmp_path / "x.db"), "shop").rehearse(["orders"], [])
