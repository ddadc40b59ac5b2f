"""Events in foreign transactions on PostgreSQL: the suite against a private server, with psycopg."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from skerry.backends.postgres.journal import PostgresJournal
from skerry.bridge.emitting import emit
from skerry.errors import JournalError
from skerry.journal.journal import JournalWriter
from skerry.testing.intakes import OrderPaid, SharedIntakeSuite
from skerry.testing.journal_samples import OpenJournal
from skerry.testing.services import PrivatePostgres, private_postgres, require


@pytest.fixture(scope="module")
def server() -> Iterator[PrivatePostgres]:
    require("postgresql")
    with private_postgres(options={"max_prepared_transactions": 4}) as server:
        yield server


@pytest.mark.service("postgresql")
@pytest.mark.usefixtures("no_app_runs")
class TestPostgresIntake(SharedIntakeSuite):
    levels = ("repeatable read", "serializable")
    server: PrivatePostgres
    dsn: str
    open: list[Any]

    @pytest.fixture
    def open_journal(self, server: PrivatePostgres) -> Iterator[OpenJournal]:
        self.server, self.dsn, self.open = server, server.database(), []
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            connection.execute(
                "create table shop_order (number integer primary key, version integer not null)"
            )
        yield lambda: PostgresJournal(self.dsn, "suite")
        for connection in self.open:
            connection.close()

    def connect(self) -> Any:
        connection = psycopg.connect(self.dsn, autocommit=True)
        self.open.append(connection)
        return connection

    def begin(self, connection: Any, level: str = "") -> None:
        connection.execute(f"begin isolation level {level}" if level else "begin")

    def opening(self) -> str:
        return (
            "from skerry.backends.postgres.journal import PostgresJournal\n"
            f"journal = PostgresJournal({self.dsn!r}, 'suite')"
        )

    async def test_a_writer_needs_insert_only(self, journal: JournalWriter) -> None:
        """And cannot say that it is somebody else; without the right it is told which one."""
        user = f"writer_{self.dsn.rpartition('_')[2]}"
        database = self.dsn.rpartition("/")[2]
        self.server.query(f"create role {user} login password 'x'", database)
        place = self.dsn.partition("@")[2]
        with psycopg.connect(f"postgresql://{user}:x@{place}") as connection:
            with pytest.raises(JournalError, match="grant insert"):
                emit(OrderPaid(1), connection=connection)
            connection.rollback()
            columns = "event_id, name, version, key, data, trace"
            self.server.query(f"grant insert ({columns}) on suite__intake to {user}", database)
            emit(OrderPaid(2), connection=connection)
            connection.commit()
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(
                    "insert into suite__intake (name, data, who) values ('order_paid', '{}', 'root')"
                )
        [record] = await self.settle(journal)
        assert (record.key, record.who) == ("order-2", user)
