"""Every truth on every pair of backends; the servers are private ones, shared by the tests of this directory."""

from __future__ import annotations

import sys
import uuid
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from pairworld import Pair  # type: ignore[import-not-found]

from skerry.kernel.settings import Settings


@pytest.fixture(params=["memory", "sqlite", "postgresql", "brokerless"])
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> Pair:
    """memory: + memory:, sqlite: + local:, postgresql: + amqp:, postgresql: + postgresql:, each with nothing in it."""
    return made(request.param, request, tmp_path)


@pytest.fixture(params=["sqlite", "postgresql", "brokerless"])
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> Pair:
    """A pair whose journal outlives its processes."""
    return made(request.param, request, tmp_path)


def made(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> Pair:
    quiet = {"warm_start": False, "drain": 0.5, "data": str(tmp_path)}
    match name:
        case "memory":
            return Pair("memory", Settings(journal="memory:", transport="memory:", **quiet))  # type: ignore[arg-type]
        case "sqlite":
            url = f"sqlite:///{tmp_path}/a.db"
            return Pair("sqlite", Settings(journal=url, transport="local:", **quiet))  # type: ignore[arg-type]
    postgres = request.getfixturevalue("postgresql")
    transport = "postgresql:" if name == "brokerless" else request.getfixturevalue("rabbitmq").url
    return Pair(
        name,
        Settings(
            journal=postgres.database(),
            transport=transport,
            namespace=f"t{uuid.uuid4().hex[:8]}",
            **quiet,  # type: ignore[arg-type]
        ),
    )
