"""SQLAlchemy Core works inside a batch's transaction, and cannot end it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from skerry.backends.postgres.journal import PostgresJournal
from skerry.backends.postgres.sqlalchemy import sqlalchemy_connection
from skerry.journal.journal import Batch
from skerry.testing.journal_samples import THINGS, all_records, command_id, put
from skerry.testing.services import PrivatePostgres, private_postgres, require

pytestmark = pytest.mark.service("postgresql")
bookings = sa.Table(
    "booking",
    sa.MetaData(),
    sa.Column("room", sa.Text, primary_key=True),
    sa.Column("guest", sa.Text, nullable=False),
    sa.Column("extras", sa.JSON),
)


@pytest.fixture(scope="module")
def server() -> Iterator[PrivatePostgres]:
    require("postgresql")
    with private_postgres() as server:
        yield server


@pytest.fixture
async def journal(server: PrivatePostgres) -> AsyncIterator[PostgresJournal]:
    dsn = server.database()
    server.query(
        "create table booking (room text primary key, guest text not null, extras json)",
        dsn.rpartition("/")[2],
    )
    async with PostgresJournal(dsn, "suite") as journal:
        await journal.prepare([THINGS])
        yield journal


async def book(batch: Batch, room: str, guest: str) -> None:
    async with batch.savepoint(), sqlalchemy_connection(batch.connection()) as connection:
        await connection.execute(sa.insert(bookings).values(room=room, guest=guest, extras={"bed": 2}))


async def rooms(journal: PostgresJournal) -> list[str]:
    async with (
        journal.batch([], []) as (batch, _),
        batch.savepoint(),
        sqlalchemy_connection(batch.connection()) as connection,
    ):
        found = await connection.execute(sa.select(bookings.c.room).order_by(bookings.c.room))
        names = [str(room) for room in found.scalars()]
    assert len(set(names)) == len(names)
    return names


async def test_core_statements_commit_with_the_batch(journal: PostgresJournal) -> None:
    """Inserted by SQLAlchemy in two commands, durable with the batch's commit, with the event that tells of it."""
    async with journal.batch([command_id(1)], []) as (batch, _):
        await book(batch, "1", "Ann")
        await book(batch, "2", "Bob")
        async with batch.savepoint(), sqlalchemy_connection(batch.connection()) as connection:
            row = (await connection.execute(sa.select(bookings).where(bookings.c.room == "2"))).one()
            assert (row.guest, row.extras) == ("Bob", {"bed": 2})
        await batch.commit(put(1))
    assert await rooms(journal) == ["1", "2"]
    assert len(await all_records(journal)) == 1


async def test_a_failed_command_is_undone_alone(journal: PostgresJournal) -> None:
    """An IntegrityError undoes its own command; what SQLAlchemy calls commit or rollback ends nothing."""
    async with journal.batch([command_id(1)], []) as (batch, _):
        await book(batch, "1", "Ann")
        with pytest.raises(IntegrityError):
            await book(batch, "1", "Bob")
        async with batch.savepoint(), sqlalchemy_connection(batch.connection()) as connection:
            await connection.execute(sa.insert(bookings).values(room="2", guest="Cem"))
            await connection.rollback()
            await connection.commit()
        await batch.commit(put(1))
    assert await rooms(journal) == ["1", "2"]


async def test_an_abandoned_batch_leaves_nothing(journal: PostgresJournal) -> None:
    """Left without commit, what SQLAlchemy wrote is gone, whatever it was told."""
    async with journal.batch([command_id(1)], []) as (batch, _):
        await book(batch, "1", "Ann")
        async with batch.savepoint(), sqlalchemy_connection(batch.connection()) as connection:
            await connection.commit()
    assert await rooms(journal) == []
