"""What all tests share: services that are there or are said to be missing, and a clean process."""

from __future__ import annotations

import pytest

from skerry.testing.services import require


def pytest_runtest_setup(item: pytest.Item) -> None:
    """A test marked with a service runs only where it is installed; elsewhere it is skipped loudly (CI: it fails)."""
    for mark in item.iter_markers("service"):
        require(mark.args[0])
