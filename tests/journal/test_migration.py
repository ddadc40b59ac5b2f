"""The application's own migrations: what a directory means, and what it may not be."""

from __future__ import annotations

from pathlib import Path

import pytest

from skerry.backends.memory.journal import MemoryJournal
from skerry.errors import DeclarationError, SettingsError
from skerry.journal.migration import migrate, migrations_in


def directory(place: Path, *names: str) -> Path:
    for name in names:
        (place / name).write_text(f"-- {name}")
    return place


def test_files_are_steps_in_order(tmp_path: Path) -> None:
    """Numbers give the order; a file for one database stands before that for all; `erase.sql` is no step."""
    names = ("0002.sqlite.sql", "0001.sql", "0002.sql", "erase.sql")
    found = migrations_in(directory(tmp_path, *names))
    assert found.sql("sqlite") == ["-- 0001.sql", "-- 0002.sqlite.sql"]
    assert found.sql("postgresql") == ["-- 0001.sql", "-- 0002.sql"]
    assert found.erase("sqlite") == "-- erase.sql"


def test_a_step_may_be_for_one_database_only(tmp_path: Path) -> None:
    """On another one that is a setting that cannot work, named by the step."""
    found = migrations_in(directory(tmp_path, "0001.postgresql.sql"))
    assert found.sql("postgresql") == ["-- 0001.postgresql.sql"]
    with pytest.raises(SettingsError, match=r"step 1 .* not written for sqlite"):
        found.sql("sqlite")
    assert found.erase("postgresql") == ""


@pytest.mark.parametrize(
    ("names", "says"),
    [
        ((), "numbered 0001"),
        (("erase.sql",), "numbered 0001"),
        (("0001.sql", "0003.sql"), "without a gap"),
        (("0001.sql", "2.sql"), "name it NNNN.sql"),
        (("0001.mysql.sql",), "name it NNNN.sql"),
    ],
)
def test_a_directory_that_says_nothing_clear_is_refused(
    tmp_path: Path, names: tuple[str, ...], says: str
) -> None:
    """At declaration, in words: gaps, unknown names, nothing at all."""
    with pytest.raises(DeclarationError, match=says):
        migrations_in(directory(tmp_path, *names))


def test_a_directory_has_to_be_there(tmp_path: Path) -> None:
    """A wrong path is told with the path."""
    with pytest.raises(DeclarationError, match="nowhere"):
        migrations_in(tmp_path / "nowhere")


async def test_a_journal_without_tables_is_refused(tmp_path: Path) -> None:
    """memory: cannot hold tables of one's own: said as a setting; without migrations nothing is asked of it."""
    async with MemoryJournal() as journal:
        with pytest.raises(SettingsError, match="use sqlite: or postgresql:"):
            await migrate(journal, migrations_in(directory(tmp_path, "0001.sql")))
        assert await migrate(journal, None) == 0
