"""SQLAlchemy Core over the transaction of a batch. Needs the extra `sqlalchemy`.

    @app.handles(Book, sql=True)
    async def book(command: Book, unit: Unit) -> None:
        async with sqlalchemy_connection(unit.connection) as connection:
            await connection.execute(insert(bookings).values(room=command.room, guest=command.guest))

SQLAlchemy's `AsyncConnection` runs on the open connection and neither begins nor commits: the journal does, with
the command's own savepoint around the handler. `commit`, `rollback` and `begin_nested` of SQLAlchemy therefore
have no effect on the database's transaction. Only for PostgreSQL: SQLAlchemy's drivers for SQLite need a
connection of the sqlite3 module, and the journal's is apsw's; there, use `unit.connection` itself.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

_lent: ContextVar[_Lent | None] = ContextVar("skerry_lent_connection", default=None)


class _Lent:
    """An asyncpg connection that its borrower cannot close."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    async def close(self, *, timeout: float | None = None) -> None:
        """Nothing: it belongs to the batch."""

    def terminate(self) -> None:
        """Nothing: it belongs to the batch."""


@asynccontextmanager
async def sqlalchemy_connection(connection: Any) -> AsyncIterator[AsyncConnection]:
    """`connection`: what `unit.connection` gives. Errors are SQLAlchemy's; the command's savepoint undoes what
    was done when one leaves the handler."""
    token = _lent.set(_Lent(connection))
    try:
        async with _engine().connect() as lent:
            yield lent
    finally:
        _lent.reset(token)


@cache
def _engine() -> AsyncEngine:
    """One for the process: its dialect asks the server for its version once. It has no connection of its own."""
    return create_async_engine(
        "postgresql+asyncpg://", poolclass=NullPool, async_creator=_borrow, isolation_level="AUTOCOMMIT"
    )


async def _borrow() -> Any:
    lent = _lent.get()
    if lent is None:
        raise RuntimeError("no connection is lent here: use sqlalchemy_connection(unit.connection)")
    return lent
