"""Settings of clients are checked when they are made."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from skerry.errors import SettingsError
from skerry.tars.settings import CallOptions, ClientSettings


@pytest.mark.parametrize(
    "name", ["connect_seconds", "connections", "pending", "frame_bytes", "refresh_seconds"]
)
def test_nothing_is_zero(name: str) -> None:
    """A bound of 0 is a setting that cannot work; the error names it."""
    changes: Any = {name: 0}
    with pytest.raises(SettingsError, match=name):
        dataclasses.replace(ClientSettings(), **changes)


def test_calls_need_time_and_a_known_version() -> None:
    """No time-out of 0, no body version that nobody speaks."""
    with pytest.raises(SettingsError, match="timeout_seconds"):
        CallOptions(timeout_seconds=0)
    with pytest.raises(SettingsError, match="version"):
        CallOptions(version=4)
