"""One private PostgreSQL for the bridge's tests; each takes a database of its own."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from skerry.testing.services import PrivatePostgres, private_postgres, require

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True)
def _alone(no_app_runs: None) -> None: ...


@pytest.fixture(scope="package")
def postgres() -> Iterator[PrivatePostgres]:
    require("postgresql")
    with private_postgres() as server:
        yield server


@pytest.fixture
def dsn(postgres: PrivatePostgres) -> str:
    """An empty database with a table of orders."""
    dsn = postgres.database()
    table = "create table shop_order (number integer primary key, total numeric(10, 2) not null default 0)"
    postgres.query(table, dsn.rpartition("/")[2])
    return dsn
