"""Connections to one PostgreSQL, at most so many, and what is known of whether it is there.

A connection that failed in any way is thrown away, never mended, and with it those that rest: what made one useless (a
switchover, a silent network) has reached the others. Only servers are taken that can do what is needed; which of
several that is, dialing.py finds out. While none is there, callers fail at once with `Disconnected` and the time to
wait; one of them tries again after each pause. Not here: which SQL runs.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from skerry.backends.postgres.dialing import Dialer, NoneAnswered, NotWanted, Wanted
from skerry.backends.postgres.dsn import read_dsn
from skerry.backends.postgres.faults import Foreign, is_over, refusal, translated
from skerry.backends.postgres.role import Need, ServerRole
from skerry.backends.postgres.session import Session
from skerry.backends.postgres.settings import PostgresSettings
from skerry.backends.postgres.silence import SilenceWatch
from skerry.clock import Backoff
from skerry.errors import Disconnected, Overloaded, SettingsError, SkerryError

_POOLED = (
    "a pooler gives each transaction another connection: use its session mode (PgBouncer: pool_mode = session), "
    "or connect to PostgreSQL itself"
)


class Connections:
    """See the module. `name` shows in pg_stat_activity."""

    def __init__(
        self, dsn: str, name: str, settings: PostgresSettings, *, need: Need = Need.WRITABLE
    ) -> None:
        self._url, self._name, self._settings, self._need = dsn, name, settings, need
        self._idle: list[Session] = []
        self._used: set[Session] = set()
        self._free = asyncio.Semaphore(settings.connections)
        self._backoff = Backoff(settings.first_pause_seconds, settings.longest_pause_seconds)
        self._dialer: Dialer | None = None
        self._watch = SilenceWatch(self._used, self._dial, settings.doubt_seconds, settings.connect_seconds)
        self._away_until = 0.0
        self._why = ""
        self._is_open = False
        self._met_unwanted = False
        self.role: ServerRole | None = None
        """What the newest connection is connected to; None before the first one."""

    @property
    def is_away(self) -> bool:
        """Whether the last attempt to connect failed."""
        return self._away_until > 0

    @property
    def read_only(self) -> bool:
        """Whether writes are not to be had: only standbys answered last, or a primary that is read-only."""
        if self.is_away:
            return self._met_unwanted
        return self.role is not None and not self.role.takes_writes

    async def open(self, *, required: bool = True) -> None:
        """Connect once, to find mistakes early. Raises SettingsError for a DSN that the server or the driver
        refuses, or that leads to a pooler in transaction mode, Disconnected when no server of use can be reached and
        that is `required`."""
        dsn = read_dsn(self._url)
        if dsn.writable and self._need is Need.PRIMARY:
            self._need = Need.WRITABLE
        settings = self._settings
        self._dialer = Dialer(
            dsn,
            Wanted(
                self._name,
                session_settings(settings),
                settings.connect_seconds,
                # later than the server's own, whose answer is certain: nothing was written
                settings.statement_seconds + settings.connect_seconds,
            ),
        )
        self._free = asyncio.Semaphore(settings.connections)  # of this loop
        self._is_open, self._away_until = True, 0.0
        try:
            session = await self._connect()
            self._idle.append(session)
            await self._check_pooler(session)
        except BaseException as error:
            self._is_open = False
            await self._throw_away_idle()
            found = refusal(error.__cause__.errors) if isinstance(error.__cause__, NoneAnswered) else None
            if found is not None:
                raise found from error
            if required or not isinstance(error, Disconnected):
                raise
            self._is_open = True

    async def close(self) -> None:
        """Close all, also those in use; never waits longer than `connect_seconds`."""
        self._is_open = False
        await self._watch.end()
        for session in self._used:
            session.terminate()
        await self._throw_away_idle()

    async def _throw_away_idle(self) -> None:
        idle, self._idle = self._idle, []
        for session in idle:
            try:
                await session.close(timeout=self._settings.connect_seconds)
            except Foreign:
                session.terminate()

    @asynccontextmanager
    async def one(self) -> AsyncIterator[Session]:
        """A connection, given back afterwards; what the driver raises inside is translated."""
        if not self._is_open:
            raise Disconnected("this journal is not open")
        try:
            async with asyncio.timeout(self._settings.turn_seconds):
                await self._free.acquire()
        except TimeoutError as error:
            raise Overloaded(f"all {self._settings.connections} connections are in use") from error
        try:
            session = await self._take()
            self._used.add(session)
            self._watch.begin()
            try:
                yield session
            except BaseException as error:
                self._give_back(session, error)
                if session.lost and not isinstance(error, (SkerryError, asyncio.CancelledError)):
                    raise Disconnected(session.lost) from error
                if isinstance(error, Foreign):
                    raise translated(error) from error
                raise
            self._give_back(session, None)
        finally:
            self._free.release()

    def doubt(self, session: Session, error: BaseException) -> None:
        """A user met `error` on a connection and goes on with it for now: it is not to be used again."""
        if is_over(error):
            session.give_up(str(error))

    def _give_back(self, session: Session, error: BaseException | None) -> None:
        self._used.discard(session)
        cause = error.__cause__ if isinstance(error, SkerryError) and error.__cause__ is not None else error
        if cause is not None and (
            is_over(cause) or not isinstance(cause, (asyncpg.PostgresError, SkerryError))
        ):
            session.terminate()
        # One that takes no writes is not kept: how else would it be noticed that its server takes them again.
        if self._is_open and session.role.takes_writes and _is_clean(session):
            self._idle.append(session)
            return
        session.terminate()
        if cause is not None and is_over(cause):
            for other in self._idle:  # the same has happened to them, as likely as not
                other.terminate()
            self._idle.clear()

    async def _take(self) -> Session:
        while self._idle:
            session = self._idle.pop()
            if session.is_closed():
                continue
            if not session.became_read_only:
                return session
            session.terminate()
        return await self._connect()

    async def _dial(self) -> Session:
        if self._dialer is None:
            raise Disconnected("this journal is not open")
        if self._need is not Need.ANY:
            return await self._dialer.connect(self._need)
        try:
            return await self._dialer.connect(Need.WRITABLE)
        except NoneAnswered as error:
            if not any(isinstance(cause, NotWanted) for _, cause in error.errors):
                raise
            return await self._dialer.connect(Need.ANY)

    async def _connect(self) -> Session:
        loop = asyncio.get_running_loop()
        pause = self._away_until - loop.time()
        if pause > 0:
            raise Disconnected(self._why, retry_after_seconds=max(1.0, pause))
        try:
            session = await self._dial()
            if self._is_shared(session):
                session.terminate()
                raise NoneAnswered([(session.role.address, SettingsError("SKERRY_JOURNAL", _POOLED))])
        except NoneAnswered as error:
            self._away_until = loop.time() + self._backoff.next()
            self._why = _told(error)
            self._met_unwanted = any(isinstance(cause, NotWanted) for _, cause in error.errors)
            raise Disconnected(self._why) from error
        self._backoff.reset()
        self._away_until = 0.0
        self.role = session.role
        return session

    async def hosts(self) -> list[tuple[str, ServerRole | str]]:
        """What each host of the URL is, or why that is not known; empty when it is one."""
        found = [] if self._dialer is None else await self._dialer.look()
        told = [(str(host), _told(role) if isinstance(role, NoneAnswered) else role) for host, role in found]
        return told if len(told) > 1 else []

    # --- poolers

    async def _check_pooler(self, session: Session) -> None:
        """Behind a pooler a second connection tells whether each has a server's process to itself. Raises
        Disconnected with the refusal as its cause."""
        if not _is_pooled(session):
            return
        try:
            second = await self._connect()
        except Disconnected as error:
            if isinstance(error.__cause__, NoneAnswered) and refusal(error.__cause__.errors) is not None:
                raise
            return  # its pool is full: nothing is known
        self._idle.append(second)

    def _is_shared(self, session: Session) -> bool:
        """Whether another session of ours, which is open, is served by the same process: a pooler lends it."""
        if not _is_pooled(session):
            return False
        mine = (session.role.backend, session.role.started_microseconds)
        others = [other for other in (*self._idle, *self._used) if not other.is_closed()]
        return any((other.role.backend, other.role.started_microseconds) == mine for other in others)


def session_settings(settings: PostgresSettings) -> dict[str, str]:
    """What every session of ours has."""

    def milliseconds(seconds: float) -> str:
        return str(int(seconds * 1000))

    return {
        "statement_timeout": milliseconds(settings.statement_seconds),
        "idle_in_transaction_session_timeout": milliseconds(settings.idle_transaction_seconds),
        "default_transaction_isolation": "read committed",
        "tcp_keepalives_idle": "10",
        "tcp_keepalives_interval": "5",
        "tcp_keepalives_count": "3",
        "jit": "off",
        # Plans are kept, also those made while a table was empty, when reading all of it looked cheap (batches
        # of 100 fell from 50,000 to 2,000 commands/s). Every statement of ours goes by keys.
        "enable_seqscan": "off",
        # And they serve whatever the parameters are: planning a flush anew each time takes as long as running it (on
        # one machine 0.3 of 1.3 ms of a commit), which PostgreSQL goes on with where arrays are short.
        "plan_cache_mode": "force_generic_plan",
    }


def _is_pooled(session: Session) -> bool:
    """Whether another process answered than the one that serves the session."""
    return bool(session.get_server_pid() != session.role.backend)


def _told(error: NoneAnswered) -> str:
    """Why there is no connection: of one host its cause, of several each one's."""
    told = {where: str(translated(cause)) for where, cause in error.errors}
    if len(told) == 1:
        return next(iter(told.values()))
    return "no PostgreSQL is of use: " + "; ".join(f"{where}: {why}" for where, why in told.items())


def _is_clean(session: Session) -> bool:
    """Whether it may be used by somebody else: alive, and in no transaction."""
    with contextlib.suppress(asyncpg.InterfaceError):
        return not session.is_closed() and not session.is_in_transaction()
    return False
