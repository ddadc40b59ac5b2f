"""Limits are checked when they are made."""

from __future__ import annotations

import pytest

from skerry.errors import SettingsError
from skerry.tars.limits import AdapterLimits

NAME = "Test.Probe.ProbeObj"


def test_limits_are_checked() -> None:
    """A limit of nothing is a setting that cannot work."""
    with pytest.raises(SettingsError, match="concurrency"):
        AdapterLimits(concurrency=0)
