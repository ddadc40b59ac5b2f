"""Settings of hosted applications that are wrong are told when they are read."""

from __future__ import annotations

import pytest

from skerry.errors import SettingsError
from skerry.hosting.settings import HostSettings


def test_directories_by_their_paths() -> None:
    """Several are separated by commas; spaces around them do not count."""
    assert HostSettings(static="/static=collected, /media=/srv/media,").directories() == {
        "/static": "collected",
        "/media": "/srv/media",
    }


@pytest.mark.parametrize("static", ["/static", "/static=", "static=collected", "=collected"])
def test_files_need_a_path_and_a_directory(static: str) -> None:
    """What is missing is not taken for the working directory."""
    with pytest.raises(SettingsError, match="PATH=DIRECTORY"):
        HostSettings(static=static)
