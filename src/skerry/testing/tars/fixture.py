"""The fixture `tars_platform`: a platform of its own for each test. In `conftest.py`:

from skerry.testing.tars import tars_platform
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from skerry.testing.tars.platform import TarsPlatform


@pytest.fixture
def tars_platform() -> Iterator[TarsPlatform]:
    """A platform that is up; stopped after the test."""
    with TarsPlatform() as platform:
        yield platform
