"""Files that were imported are compared with those on disk, in directories of any size."""

from __future__ import annotations

from pathlib import Path

import pytest

from skerry.process.freshness import Freshness


def test_a_file_of_the_application_that_changes_is_told(tmp_path: Path) -> None:
    """Written, added, or taken away since before the import, whether it is a module or is read by one."""
    (tmp_path / "shop.py").write_text("one")
    (tmp_path / "prices.json").write_text("{}")
    freshness = Freshness([tmp_path])
    freshness.imported()
    assert freshness.changed() == []
    (tmp_path / "prices.json").write_text("{ }")
    (tmp_path / "new.py").write_text("")
    (tmp_path / "shop.py").unlink()
    assert [Path(each).name for each in freshness.changed()] == ["new.py", "prices.json", "shop.py"]


def test_a_directory_that_is_too_large_is_not_walked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It costs nothing at each start of a process; one that has grown too large since counts as changed."""
    monkeypatch.setattr("skerry.process.freshness.MOST_DIRECTORIES", 3)
    small, large = tmp_path / "small", tmp_path / "large"
    for directory in (small, *(large / str(number) for number in range(3))):
        directory.mkdir(parents=True)
    freshness = Freshness([small, large])
    (large / "0" / "a.py").write_text("")
    assert freshness.changed() == []
    for number in range(3):
        (small / str(number)).mkdir()
    assert freshness.changed() == [str(small)]
