"""Where the file of a journal is, by its URL."""

from __future__ import annotations

from pathlib import Path

import pytest

from skerry.backends.sqlite.backend import sqlite_path
from skerry.errors import SettingsError


@pytest.mark.parametrize(
    ("url", "path"), [("sqlite:///x.db", Path("x.db")), ("sqlite:////var/x.db", Path("/var/x.db"))]
)
def test_paths_of_files(url: str, path: Path) -> None:
    """Three slashes are relative, four are absolute, as everywhere."""
    assert sqlite_path(url) == path


@pytest.mark.parametrize("url", ["sqlite:", "sqlite:///", "sqlite://x.db", "sqlite:x.db"])
def test_what_is_no_path(url: str) -> None:
    """The host's place is not silently a part of the path."""
    with pytest.raises(SettingsError, match="is not sqlite:///PATH"):
        sqlite_path(url)
