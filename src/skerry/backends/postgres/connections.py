"""Connections to one PostgreSQL, at most so many, and what is known of whether it is there.

A connection that failed in any way is thrown away, never mended. While the server is away, callers fail at once
with `Disconnected` and the time to wait; one of them tries again after each pause. Not here: which SQL runs.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from skerry.backends.postgres.faults import Foreign, refuses_us, translated
from skerry.backends.postgres.role import HIDDEN, ServerRole, greet
from skerry.backends.postgres.settings import PostgresSettings
from skerry.clock import Backoff
from skerry.errors import Disconnected, Overloaded, SkerryError


class _Connection(asyncpg.Connection):  # type: ignore[misc]
    """Ours are given back clean, so nothing has to be reset (it would cost a round trip each time). `role`: what it is
    connected to (`role_of`)."""

    role: ServerRole

    def get_reset_query(self) -> str:
        return ""


class Connections:
    """See the module. `name` shows in pg_stat_activity."""

    def __init__(self, dsn: str, name: str, settings: PostgresSettings) -> None:
        self._dsn, self._name, self._settings = dsn, name, settings
        self._idle: list[asyncpg.Connection] = []
        self._used: set[asyncpg.Connection] = set()
        self._free = asyncio.Semaphore(settings.connections)
        self._backoff = Backoff(settings.first_pause_seconds, settings.longest_pause_seconds)
        self._away_until = 0.0
        self._why = ""
        self._is_open = False
        self._is_hidden = False
        self.role: ServerRole | None = None
        """What the newest connection is connected to; None before the first one."""

    @property
    def is_away(self) -> bool:
        """Whether the last attempt to connect failed."""
        return self._away_until > 0

    async def open(self, *, required: bool = True) -> None:
        """Connect once, to find mistakes early. Raises SettingsError for a DSN that the server or the driver
        refuses, Disconnected when it cannot be reached and that is `required`."""
        self._free = asyncio.Semaphore(self._settings.connections)  # of this loop
        self._is_open, self._away_until = True, 0.0
        try:
            self._idle.append(await self._connect())
        except BaseException as error:
            self._is_open = False
            cause = error.__cause__ or error
            refusal = refuses_us(cause)
            if refusal is not None:
                raise refusal from cause
            if required or not isinstance(error, Disconnected):
                raise
            self._is_open = True

    async def close(self) -> None:
        """Close all, also those in use; never waits longer than `connect_seconds`."""
        self._is_open = False
        idle, self._idle = self._idle, []
        for connection in self._used:
            connection.terminate()
        for connection in idle:
            try:
                await connection.close(timeout=self._settings.connect_seconds)
            except Foreign:
                connection.terminate()

    @asynccontextmanager
    async def one(self) -> AsyncIterator[asyncpg.Connection]:
        """A connection, given back afterwards; what the driver raises inside is translated."""
        if not self._is_open:
            raise Disconnected("this journal is not open")
        try:
            async with asyncio.timeout(self._settings.turn_seconds):
                await self._free.acquire()
        except TimeoutError as error:
            raise Overloaded(f"all {self._settings.connections} connections are in use") from error
        try:
            connection = await self._take()
            self._used.add(connection)
            try:
                yield connection
            except BaseException as error:
                self._give_back(connection, isinstance(error, (asyncpg.PostgresError, SkerryError)))
                if isinstance(error, Foreign):
                    raise translated(error) from error
                raise
            self._give_back(connection, True)
        finally:
            self._free.release()

    def _give_back(self, connection: asyncpg.Connection, is_well: bool) -> None:
        self._used.discard(connection)
        if is_well and self._is_open and _is_clean(connection):
            self._idle.append(connection)
        else:
            connection.terminate()

    async def _take(self) -> asyncpg.Connection:
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_closed():
                return connection
        return await self._connect()

    async def _connect(self) -> asyncpg.Connection:
        loop = asyncio.get_running_loop()
        pause = self._away_until - loop.time()
        if pause > 0:
            raise Disconnected(self._why, retry_after_seconds=max(1.0, pause))
        settings = self._settings
        try:
            async with asyncio.timeout(settings.connect_seconds):
                connection = await asyncpg.connect(
                    self._dsn,
                    timeout=settings.connect_seconds,
                    # later than the server's own, whose answer is certain: nothing was written
                    command_timeout=settings.statement_seconds + settings.connect_seconds,
                    connection_class=_Connection,
                    server_settings={"application_name": f"skerry {self._name}"},
                )
                try:
                    connection.role = self.role = await self._greet(connection)
                except BaseException:
                    connection.terminate()
                    raise
        except (*Foreign, ValueError) as error:
            self._away_until = loop.time() + self._backoff.next()
            ours = translated(error)
            away = ours if isinstance(ours, Disconnected) else Disconnected(str(ours))
            self._why = str(away)
            raise away from error
        self._backoff.reset()
        self._away_until = 0.0
        return connection

    async def _greet(self, connection: asyncpg.Connection) -> ServerRole:
        address, settings = "", self._server_settings()
        if not self._is_hidden:
            try:
                return await greet(connection, address, settings, identity=True)
            except asyncpg.PostgresError as error:
                if error.sqlstate not in HIDDEN:
                    raise
        role = await greet(connection, address, settings, identity=False)
        self._is_hidden = True
        return role

    def _server_settings(self) -> dict[str, str]:
        def milliseconds(seconds: float) -> str:
            return str(int(seconds * 1000))

        return {
            "statement_timeout": milliseconds(self._settings.statement_seconds),
            "idle_in_transaction_session_timeout": milliseconds(self._settings.idle_transaction_seconds),
            "default_transaction_isolation": "read committed",
            "tcp_keepalives_idle": "10",
            "tcp_keepalives_interval": "5",
            "tcp_keepalives_count": "3",
            "jit": "off",
            # Plans are kept, also those made while a table was empty, when reading all of it looked cheap (batches
            # of 100 fell from 50,000 to 2,000 commands/s). Every statement of ours goes by keys.
            "enable_seqscan": "off",
        }


def _is_clean(connection: Any) -> bool:
    """Whether it may be used by somebody else: alive, and in no transaction."""
    with contextlib.suppress(asyncpg.InterfaceError):
        return not connection.is_closed() and not connection.is_in_transaction()
    return False
