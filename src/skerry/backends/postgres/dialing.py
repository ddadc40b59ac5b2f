"""Finding the primary among several addresses: each is tried for its share of the time, none waits for another's.

The hosts of the URL are tried in their order, those that worked last first, and each one's addresses likewise. The next
begins when the one before it failed, or after a quarter of a second without an answer (RFC 8305, section 5), so that a
silent address costs that much and no more. The first session that is wanted wins; the others are closed. Sockets are
made here, so that they notice a silent network, and so that a name may have several addresses.

Not here: what is done with a session (connections.py), what a URL says (dsn.py).
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from random import shuffle
from typing import Any, TypeVar

import asyncpg

from skerry.backends.postgres.dsn import Dsn, Host, Silence
from skerry.backends.postgres.role import HIDDEN, Need, ServerRole, greet, refused
from skerry.backends.postgres.session import Session
from skerry.errors import SkerryError

T = TypeVar("T")
STAGGER_SECONDS = 0.25
_MOST_ADDRESSES = 16
_DRIVER = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
FAILS = (*_DRIVER, OSError, TimeoutError, ValueError, SkerryError)
"""What an attempt to connect may raise."""


class NoneAnswered(Exception):
    """No attempt succeeded. `errors`: by what was tried, in the order of the failures."""

    def __init__(self, errors: Sequence[tuple[str, Exception]]) -> None:
        super().__init__("; ".join(f"{where}: {error}" for where, error in errors))
        self.errors = errors


async def first_of(
    attempts: Sequence[tuple[str, Callable[[], Awaitable[T]]]],
    discard: Callable[[T], None],
    stagger_seconds: float = STAGGER_SECONDS,
) -> T:
    """The first result, of attempts that begin one after the other. A second result goes to `discard`. Raises
    NoneAnswered; nothing is left running."""
    waiting = list(attempts)
    running: dict[asyncio.Task[T], str] = {}
    errors: list[tuple[str, Exception]] = []
    winner: asyncio.Task[T] | None = None
    try:
        while winner is None and (waiting or running):
            if waiting:
                where, attempt = waiting.pop(0)
                running[asyncio.ensure_future(_awaited(attempt))] = where
            done, _ = await asyncio.wait(
                running, timeout=stagger_seconds if waiting else None, return_when=asyncio.FIRST_COMPLETED
            )
            for task in done:
                error = task.exception()
                if error is None:
                    winner = winner or task
                    continue
                where = running.pop(task)
                if not isinstance(error, (*FAILS, NoneAnswered)):
                    raise error
                errors += error.errors if isinstance(error, NoneAnswered) else [(where, error)]
        if winner is None:
            raise NoneAnswered(errors)
        return winner.result()
    finally:
        await _end([task for task in running if task is not winner], discard)


async def _awaited(attempt: Callable[[], Awaitable[T]]) -> T:
    return await attempt()


async def _end(tasks: list[asyncio.Task[T]], discard: Callable[[T], None]) -> None:
    def dispose(task: asyncio.Task[T]) -> None:
        if not task.cancelled() and task.exception() is None:
            discard(task.result())

    for task in tasks:
        task.add_done_callback(dispose)
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)


@dataclass(frozen=True, slots=True)
class Wanted:
    """`name`: shown in pg_stat_activity. `settings`: made in the session. `connect_seconds`: for one host.
    `command_seconds`: for one statement, where nothing else is said."""

    name: str
    settings: dict[str, str]
    connect_seconds: float
    command_seconds: float


class NotWanted(SkerryError):
    """A server answered that is not the one that is looked for: a standby, as a rule."""


class Dialer:
    """Connects to whichever server of a URL is wanted, and remembers which one that was."""

    def __init__(self, dsn: Dsn, wanted: Wanted) -> None:
        self._dsn, self._wanted = dsn, wanted
        self._seconds = dsn.connect_seconds or wanted.connect_seconds
        self._last: tuple[Host, Any] | None = None
        self._is_hidden = False

    async def connect(self, need: Need) -> Session:
        """Raises NoneAnswered within a quarter of a second for each host and the time for one."""
        if not self._dsn.hosts:
            return await first_of([("PostgreSQL", partial(self._by_driver, need))], _close)
        hosts = list(self._dsn.hosts)
        if self._dsn.shuffled:
            shuffle(hosts)
        hosts.sort(key=lambda host: self._last is None or host != self._last[0])
        return await first_of([(str(host), partial(self._to_host, need, host)) for host in hosts], _close)

    async def look(self) -> list[tuple[Host, ServerRole | NoneAnswered]]:
        """What each host is, or why it is not known."""

        async def one(host: Host) -> tuple[Host, ServerRole | NoneAnswered]:
            try:
                session = await first_of([(str(host), partial(self._to_host, Need.ANY, host))], _close)
            except NoneAnswered as error:
                return host, error
            session.terminate()
            return host, session.role

        last = self._last
        try:
            return list(await asyncio.gather(*(one(host) for host in self._dsn.hosts)))
        finally:
            self._last = last

    async def _to_host(self, need: Need, host: Host) -> Session:
        async with asyncio.timeout(self._seconds):
            if host.is_socket:
                return await self._to(need, host, None)
            found = await _addresses(host)
            found.sort(key=lambda address: (host, address) != self._last)
            ways = [
                (_shown(host, address), partial(self._to, need, host, address))
                for address in found[:_MOST_ADDRESSES]
            ]
            return await first_of(ways, _close)

    async def _to(self, need: Need, host: Host, address: Any) -> Session:
        road = None if address is None else _Road(asyncio.get_running_loop(), address, self._dsn.silence)
        session = await self._driver(host=[host.name], port=[host.port], loop=road)
        try:
            await self._greet(session, need, str(host) if address is None else _shown(host, address))
        except BaseException:
            session.terminate()
            raise
        self._last = (host, address)
        return session

    async def _by_driver(self, need: Need) -> Session:
        """A service file names the host: the driver reads it."""
        async with asyncio.timeout(self._seconds):
            session = await self._driver()
            try:
                await self._greet(session, need, "the host of the service file")
            except BaseException:
                session.terminate()
                raise
            return session

    async def _driver(self, **where: Any) -> Session:
        wanted = self._wanted
        session: Session = await asyncpg.connect(
            self._dsn.url,
            user=self._dsn.user,
            password=self._dsn.password,
            timeout=self._seconds,
            command_timeout=wanted.command_seconds,
            connection_class=Session,
            target_session_attrs="any",
            server_settings={"application_name": f"skerry {wanted.name}"},
            **where,
        )
        session.heed_warnings()
        return session

    async def _greet(self, session: Session, need: Need, address: str) -> None:
        settings = {**self._dsn.settings, **self._wanted.settings}
        session.role = await self._look(session, address, settings)
        why = refused(session.role, need)
        if why:
            raise NotWanted(why)

    async def _look(self, session: Session, address: str, settings: dict[str, str]) -> ServerRole:
        if not self._is_hidden:
            try:
                return await greet(session, address, settings, identity=True)
            except asyncpg.PostgresError as error:
                if error.sqlstate not in HIDDEN:
                    raise
        role = await greet(session, address, settings, identity=False)
        self._is_hidden = True
        return role


def _close(session: Session) -> None:
    session.terminate()


async def _addresses(host: Host) -> list[Any]:
    """What a name stands for, as (family, socket address). Raises OSError."""
    found = await asyncio.get_running_loop().getaddrinfo(
        host.address or host.name, host.port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP
    )
    return list(dict.fromkeys((family, address) for family, _, _, _, address in found))


def _shown(host: Host, address: Any) -> str:
    number = address[1][0]
    return str(host) if number == host.name else f"{host} ({number})"


class _Road:
    """The loop, as the driver sees it: its connections lead to one address, which was looked up before, by sockets of
    ours. The name stays what the driver was given, for TLS."""

    def __init__(self, loop: asyncio.AbstractEventLoop, address: Any, silence: Silence) -> None:
        self._loop = loop
        self._family, self._address = address
        self._silence = silence

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)

    async def create_connection(
        self, factory: Any, host: str, port: int, *, ssl: Any = None, **_: Any
    ) -> Any:
        made = socket.socket(self._family, socket.SOCK_STREAM)
        try:
            made.setblocking(False)
            heed_silence(made, self._silence)
            await self._loop.sock_connect(made, self._address)
            name = host if ssl else None
            return await self._loop.create_connection(factory, sock=made, ssl=ssl, server_hostname=name)
        except BaseException:
            made.close()
            raise


def heed_silence(made: socket.socket, silence: Silence) -> None:
    """Let the system end a TCP connection whose other end is silent."""
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, int(silence.probes))
    options = {
        "TCP_KEEPIDLE": silence.idle_seconds,
        "TCP_KEEPINTVL": silence.interval_seconds,
        "TCP_KEEPCNT": silence.count,
        "TCP_USER_TIMEOUT": int(silence.unacknowledged_seconds * 1000),
    }
    for name, value in options.items():
        if hasattr(socket, name):  # Linux has all of them
            made.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
