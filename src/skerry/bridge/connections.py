"""The application's own connections: Django's, SQLAlchemy's, psycopg's, asyncpg's, sqlite3's, spoken to alike.

None of them is imported here: a connection that is given says by its class what it is. All methods that talk to the
database are coroutines; those of a connection for threads never wait, so `at_once` runs them without a loop.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Coroutine, Sequence
from functools import cache
from importlib import import_module
from typing import Any, Protocol, TypeVar
from weakref import WeakKeyDictionary

from skerry.errors import DeclarationError

T = TypeVar("T")
logger = logging.getLogger("skerry.bridge")
_IDLE = 0
"""libpq's PQTRANS_IDLE: connected, and in no transaction."""


class Connection(Protocol):
    """`database`: "postgresql", "sqlite" or another one. `is_async`: whether its methods have to be awaited. `whose`:
    the object that lives as long as what was given. `is_apsw`: whether it uses the SQLite library that the journal uses
    too."""

    database: str
    is_async: bool
    whose: Any
    is_apsw: bool

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open, or is opened by the next statement and waits for a commit."""
        ...

    async def write_out(self) -> None:
        """Write what the application has changed and only holds so far (a session of SQLAlchemy)."""
        ...

    async def execute(self, sql: str, values: Sequence[Any]) -> None:
        """`sql` has `?` for its parameters."""
        ...

    async def fetch_value(self, sql: str) -> Any: ...

    def on_commit(self, call: Callable[[], None]) -> bool:
        """Have `call` called when the transaction is committed, never when it is rolled back (a savepoint around it
        included). False when this kind of connection does not tell."""
        ...


def at_once(work: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that never waits."""
    try:
        work.send(None)
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]
    work.close()
    raise RuntimeError("this connection has to be awaited")


def connection_of(using: str | None, session: Any, connection: Any) -> Connection:
    """What was given. Raises DeclarationError for nothing, too much, or something that is not known."""
    given = (using is not None) + (session is not None) + (connection is not None)
    if given > 1:
        raise DeclarationError("emit takes one of using=, session= and connection=")
    if not given:
        if not _django_is_used():
            raise DeclarationError(
                "emit has to know the transaction: using= (Django), session= (SQLAlchemy) or connection= (psycopg, "
                "asyncpg, sqlite3)"
            )
        using = "default"
    if using is not None:
        return DjangoConnection(import_module("django.db").connections[using])
    found = connection if session is None else session
    kind: Any = type(found)
    return _kind_of(kind)(found)


@cache
def _kind_of(given: Any) -> Callable[[Any], Connection]:
    """What makes a Connection of an object of this class. Raises DeclarationError for a class that is not known."""
    for kind in given.__mro__:
        match kind.__module__.partition(".")[0], kind.__name__:
            case "sqlalchemy", "AsyncSession" | "async_scoped_session":
                return AsyncSessionConnection
            case "sqlalchemy", "Session":
                return SessionConnection
            case "sqlalchemy", "scoped_session":
                return lambda registry: SessionConnection(registry())
            case "sqlalchemy", "AsyncConnection":
                return AsyncEngineConnection
            case "sqlalchemy", "Connection":
                return EngineConnection
            case "psycopg" | "psycopg_pool", "AsyncConnection":
                return AsyncPsycopgConnection
            case ("psycopg", "Connection") | ("psycopg2", "connection"):
                return PsycopgConnection
            case "asyncpg", "Connection" | "PoolConnectionProxy":
                return AsyncpgConnection
            case "apsw", "Connection":
                return ApswConnection
            case "sqlite3", "Connection":
                return SqliteConnection
            case "django", "BaseDatabaseWrapper":
                return DjangoConnection
    raise DeclarationError(f"emit does not know {given.__module__}.{given.__name__}")


def _django_is_used() -> bool:
    conf = sys.modules.get("django.conf")
    return conf is not None and bool(conf.settings.configured)


@cache
def _percent(sql: str) -> str:
    return sql.replace("?", "%s")


@cache
def _numbered(sql: str) -> str:
    parts = sql.split("?")
    return "".join(f"{part}${number}" for number, part in enumerate(parts[:-1], 1)) + parts[-1]


_STYLES: dict[str, Callable[[str], str]] = {
    "format": _percent,
    "pyformat": _percent,
    "numeric_dollar": _numbered,
    "qmark": str,
}
"""`?` in the way of a driver (PEP 249, paramstyle)."""


class DjangoConnection:
    is_async = is_apsw = False

    def __init__(self, wrapper: Any) -> None:
        self._wrapper = self.whose = wrapper
        self.database: str = wrapper.vendor

    @property
    def in_transaction(self) -> bool:
        return bool(self._wrapper.in_atomic_block) or not self._wrapper.get_autocommit()

    async def write_out(self) -> None:
        return

    async def execute(self, sql: str, values: Sequence[Any]) -> None:
        with self._wrapper.cursor() as cursor:
            cursor.execute(_percent(sql), values)

    async def fetch_value(self, sql: str) -> Any:
        with self._wrapper.cursor() as cursor:
            cursor.execute(sql)
            return cursor.fetchone()[0]

    def on_commit(self, call: Callable[[], None]) -> bool:
        if not self._wrapper.in_atomic_block:
            return False  # autocommit is off: Django does not see the commit
        self._wrapper.on_commit(call, robust=True)
        return True


class ApswConnection:
    """apsw, whose SQLite is the journal's own: the one for a process that owns the file."""

    database, is_async, is_apsw = "sqlite", False, True

    def __init__(self, connection: Any) -> None:
        self._connection = self.whose = connection

    @property
    def in_transaction(self) -> bool:
        return bool(self._connection.in_transaction)

    async def write_out(self) -> None:
        return

    async def execute(self, sql: str, values: Sequence[Any]) -> None:
        self._connection.execute(sql, tuple(values))

    async def fetch_value(self, sql: str) -> Any:
        return self._connection.execute(sql).fetchall()[0][0]

    def on_commit(self, call: Callable[[], None]) -> bool:
        return False


class SqliteConnection:
    """sqlite3 begins a transaction by itself before it writes, unless its isolation_level is None."""

    database, is_async, is_apsw = "sqlite", False, False

    def __init__(self, connection: Any) -> None:
        self._connection = self.whose = connection

    @property
    def in_transaction(self) -> bool:
        return bool(self._connection.in_transaction) or self._connection.isolation_level is not None

    async def write_out(self) -> None:
        return

    async def execute(self, sql: str, values: Sequence[Any]) -> None:
        self._connection.execute(sql, values)

    async def fetch_value(self, sql: str) -> Any:
        return self._connection.execute(sql).fetchone()[0]

    def on_commit(self, call: Callable[[], None]) -> bool:
        return False


class PsycopgConnection:
    """psycopg 3, or 2: both begin a transaction by themselves unless autocommit is on."""

    database, is_async, is_apsw = "postgresql", False, False

    def __init__(self, connection: Any) -> None:
        self._connection = self.whose = connection

    @property
    def in_transaction(self) -> bool:
        return not self._connection.autocommit or int(self._connection.info.transaction_status) != _IDLE

    async def write_out(self) -> None:
        return

    async def execute(self, sql: str, values: Sequence[Any]) -> None:
        with self._connection.cursor() as cursor:
            cursor.execute(_percent(sql), values)

    async def fetch_value(self, sql: str) -> Any:
        with self._connection.cursor(**_tuples(self._connection)) as cursor:
            cursor.execute(sql)
            return cursor.fetchone()[0]

    def on_commit(self, call: Callable[[], None]) -> bool:
        return False


class AsyncPsycopgConnection(PsycopgConnection):
    is_async = True

    async def execute(self, sql: str, values: Sequence[Any]) -> None:
        async with self._connection.cursor() as cursor:
            await cursor.execute(_percent(sql), values)

    async def fetch_value(self, sql: str) -> Any:
        async with self._connection.cursor(**_tuples(self._connection)) as cursor:
            await cursor.execute(sql)
            return (await cursor.fetchone())[0]


def _tuples(connection: Any) -> dict[str, Any]:
    """What makes a cursor of psycopg 3 give plain rows, whatever the connection is set to."""
    if not hasattr(connection, "row_factory"):
        return {}
    return {"row_factory": import_module("psycopg.rows").tuple_row}


class AsyncpgConnection:
    database, is_async, is_apsw = "postgresql", True, False

    def __init__(self, connection: Any) -> None:
        self._connection = self.whose = connection

    @property
    def in_transaction(self) -> bool:
        return bool(self._connection.is_in_transaction())

    async def write_out(self) -> None:
        return

    async def execute(self, sql: str, values: Sequence[Any]) -> None:
        await self._connection.execute(_numbered(sql), *values)

    async def fetch_value(self, sql: str) -> Any:
        return await self._connection.fetchval(sql)

    def on_commit(self, call: Callable[[], None]) -> bool:
        return False


class EngineConnection:
    """A `Connection` of SQLAlchemy's core."""

    is_async = is_apsw = False

    def __init__(self, connection: Any) -> None:
        self._connection = self.whose = connection
        self.database: str = connection.dialect.name
        self._style = _STYLES[connection.dialect.paramstyle]

    @property
    def in_transaction(self) -> bool:
        return bool(self._connection.in_transaction())

    async def write_out(self) -> None:
        return

    async def execute(self, sql: str, values: Sequence[Any]) -> None:
        self._connection.exec_driver_sql(self._style(sql), tuple(values))

    async def fetch_value(self, sql: str) -> Any:
        return self._connection.exec_driver_sql(sql).scalar()

    def on_commit(self, call: Callable[[], None]) -> bool:
        return False


class SessionConnection:
    """A `Session` of SQLAlchemy's ORM."""

    is_async = is_apsw = False

    def __init__(self, session: Any) -> None:
        self._session = self.whose = session
        self.database: str = session.get_bind().dialect.name

    @property
    def in_transaction(self) -> bool:
        return bool(self._session.in_transaction())

    async def write_out(self) -> None:
        self._session.flush()

    async def execute(self, sql: str, values: Sequence[Any]) -> None:
        await EngineConnection(self._session.connection()).execute(sql, values)

    async def fetch_value(self, sql: str) -> Any:
        return await EngineConnection(self._session.connection()).fetch_value(sql)

    def on_commit(self, call: Callable[[], None]) -> bool:
        found = _commits.get(self._session)
        if found is None:
            found = _commits[self._session] = _Commits(self._session)
        found.add(self._session, call)
        return True


class _Commits:
    """What is to be called after the commits of one session, as long as it lives: when the outermost transaction is
    committed, and no savepoint around it was rolled back."""

    def __init__(self, session: Any) -> None:
        self._waiting: list[tuple[list[Any], Callable[[], None]]] = []
        events = import_module("sqlalchemy.event")  # listeners cannot leave while they are called: these stay
        events.listen(session, "after_commit", self._committed)
        events.listen(session, "after_soft_rollback", self._rolled_back)

    def add(self, session: Any, call: Callable[[], None]) -> None:
        around: list[Any] = []
        transaction = session.get_nested_transaction() or session.get_transaction()
        while transaction is not None:
            around.append(transaction)
            transaction = transaction.parent
        self._waiting.append((around, call))

    def _committed(self, session: Any) -> None:
        if session.get_nested_transaction() is not None:
            return  # a savepoint was released
        waiting, self._waiting = self._waiting, []
        for _, call in waiting:
            try:
                call()
            except Exception:
                logger.exception("what was to be done after the commit failed")

    def _rolled_back(self, session: Any, transaction: Any) -> None:
        self._waiting = [each for each in self._waiting if transaction not in each[0]]


_commits: WeakKeyDictionary[Any, _Commits] = WeakKeyDictionary()


class AsyncSessionConnection(SessionConnection):
    is_async = True

    def __init__(self, session: Any) -> None:
        self._async = session() if hasattr(session, "registry") else session
        super().__init__(self._async.sync_session)

    async def write_out(self) -> None:
        await self._async.flush()

    async def execute(self, sql: str, values: Sequence[Any]) -> None:
        await AsyncEngineConnection(await self._async.connection()).execute(sql, values)

    async def fetch_value(self, sql: str) -> Any:
        return await AsyncEngineConnection(await self._async.connection()).fetch_value(sql)


class AsyncEngineConnection(EngineConnection):
    is_async = True

    async def execute(self, sql: str, values: Sequence[Any]) -> None:
        await self._connection.exec_driver_sql(self._style(sql), tuple(values))

    async def fetch_value(self, sql: str) -> Any:
        return (await self._connection.exec_driver_sql(sql)).scalar()
