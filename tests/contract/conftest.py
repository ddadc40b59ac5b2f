"""One `skerry run` and one `skerry up` for all tests of the contract: they look, each with keys of its own."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from contractworld import Running, skerry  # type: ignore[import-not-found]


@pytest.fixture(scope="session")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """`skerry run livekv:app`: one process."""
    with skerry(tmp_path_factory.mktemp("alone"), "run", "livekv:app", "--bind", "127.0.0.1:0") as running:
        yield running


@pytest.fixture(scope="session")
def together(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """`skerry up livekv:app`: a balancer, three servers, a consumer."""
    with skerry(tmp_path_factory.mktemp("together"), "up", "livekv:app", "--bind", "127.0.0.1:0") as running:
        yield running
