"""A platform for each test, and what a server says of itself."""

from __future__ import annotations

import pytest

from skerry.tars.platform.identity import Identity
from skerry.testing.tars import tars_platform

__all__ = ["tars_platform"]


@pytest.fixture
def identity() -> Identity:
    """Demo.PyServer on node n1, in no set."""
    return Identity("Demo", "PyServer", "n1")
