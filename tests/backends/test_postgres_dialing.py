"""Several addresses: each has its share of the time, and the one that is wanted is found."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from skerry.backends.postgres.dialing import NoneAnswered, first_of
from skerry.backends.postgres.journal import PostgresJournal
from skerry.backends.postgres.role import Need, role_of
from skerry.backends.postgres.settings import PostgresSettings
from skerry.errors import Disconnected, SettingsError
from skerry.testing.journal_samples import THINGS, decide, put
from skerry.testing.services import PrivatePostgres, own, private_postgres, private_standby, require

SLOW = PostgresSettings(connect_seconds=60.0)
"""Who waits for a silent host as long as it may does not get through these tests."""
Attempt = Callable[[], Awaitable[str]]


@pytest.fixture(scope="module")
def server() -> Iterator[PrivatePostgres]:
    require("postgresql")
    with private_postgres() as server:
        yield server


@pytest.fixture(scope="module")
def standby(server: PrivatePostgres) -> Iterator[PrivatePostgres]:
    with private_standby(server) as standby:
        yield standby


class Silent:
    """Takes connections and never says a word. `accepted` counts them."""

    def __init__(self) -> None:
        self.accepted = 0
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        with contextlib.suppress(OSError):
            while await reader.read(1000):
                pass
        writer.close()


@contextlib.asynccontextmanager
async def silent(address: str = "127.0.0.1", port: int = 0) -> AsyncIterator[Silent]:
    place = Silent()
    async with await asyncio.start_server(place.serve, address, port) as listening:
        place.port = listening.sockets[0].getsockname()[1]
        yield place


# --- the race itself


def attempts(**made: Attempt) -> list[tuple[str, Attempt]]:
    return list(made.items())


async def fails() -> str:
    raise OSError("refused")


async def never() -> str:
    await asyncio.Event().wait()
    return "never"


async def test_a_failure_lets_the_next_one_begin_at_once() -> None:
    """Nobody waits for the stagger when the answer is no."""

    async def answers() -> str:
        return "b"

    async with asyncio.timeout(60):
        assert await first_of(attempts(a=fails, b=answers), discard=_no_one, stagger_seconds=1e6) == "b"


async def test_silence_lets_the_next_one_begin_soon_and_ends_with_it() -> None:
    """The silent one is given up when another one answers; nothing of it is left."""
    ended = asyncio.Event()

    async def silent() -> str:
        try:
            return await never()
        finally:
            ended.set()

    async def answers() -> str:
        return "b"

    async with asyncio.timeout(60):
        assert await first_of(attempts(a=silent, b=answers), discard=_no_one, stagger_seconds=0.001) == "b"
    assert ended.is_set()


async def test_a_second_winner_is_discarded() -> None:
    """Two that answer in the same moment: one is taken, the other closed."""
    go, discarded = asyncio.Event(), list[str]()

    def answering(name: str) -> Attempt:
        async def answers() -> str:
            await go.wait()
            return name

        return answers

    async def last() -> str:
        go.set()
        return await never()

    made = attempts(a=answering("a"), b=answering("b"), c=last)
    async with asyncio.timeout(60):
        won = await first_of(made, discard=discarded.append, stagger_seconds=0.001)
    assert sorted([won, *discarded]) == ["a", "b"]


async def test_when_none_answers_each_ones_cause_is_told() -> None:
    """In the order in which they failed, nested ones by their own names."""

    async def nested() -> str:
        return await first_of(attempts(x=fails, y=fails), discard=_no_one)

    with pytest.raises(NoneAnswered, match="a: refused; x: refused; y: refused"):
        await first_of(attempts(a=fails, b=nested), discard=_no_one)


async def test_whoever_waits_may_be_cancelled() -> None:
    """Then nothing goes on by itself."""
    ended = asyncio.Event()

    async def silent() -> str:
        try:
            return await never()
        finally:
            ended.set()

    task = asyncio.ensure_future(first_of(attempts(a=silent), discard=_no_one))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()


def _no_one(result: str) -> None:
    raise AssertionError(f"{result} was discarded")


# --- with servers


def urls(dsn: str, *ports: int) -> str:
    """The same database, at these ports of this machine."""
    login, _, rest = dsn.partition("@")
    return f"{login}@{','.join(f'127.0.0.1:{port}' for port in ports)}/{rest.partition('/')[2]}"


@pytest.mark.service("postgresql")
@pytest.mark.parametrize("first", [True, False], ids=["silent first", "silent last"])
async def test_a_silent_host_costs_its_share_and_no_more(server: PrivatePostgres, first: bool) -> None:
    """Where it stands in the list makes no difference; the host that answered is tried first from then on."""
    dsn = server.database()
    async with silent() as hole:
        ports = (hole.port, server.port) if first else (server.port, hole.port)
        async with asyncio.timeout(30), PostgresJournal(urls(dsn, *ports), "suite", settings=SLOW) as journal:
            await journal.prepare([THINGS])
            assert await decide(journal, put(1)) == 0
            tried = hole.accepted
            assert tried <= 1
            async with journal.snapshot([THINGS]), journal.snapshot([THINGS]):
                await journal.head()  # three connections by now
            assert hole.accepted == tried


@pytest.mark.service("postgresql")
@pytest.mark.parametrize("order", [(0, 1, 2), (1, 2, 0), (2, 0, 1)])
async def test_the_primary_is_found(
    server: PrivatePostgres, standby: PrivatePostgres, order: tuple[int, ...]
) -> None:
    """Among a standby, a host that refuses and one that is silent, in any order, without `target_session_attrs`."""
    dsn = server.database()
    standby.caught_up(server)
    async with silent() as hole:
        ports = [standby.port, hole.port, server.port]
        url = urls(dsn, 1, *(ports[n] for n in order))
        async with asyncio.timeout(30), PostgresJournal(url, "suite", settings=SLOW) as journal:
            await journal.prepare([THINGS])
            assert await decide(journal, put(1)) == 0


@pytest.mark.service("postgresql")
async def test_a_standby_alone_is_no_journal(server: PrivatePostgres, standby: PrivatePostgres) -> None:
    """It is said what it is; it is not followed."""
    dsn = server.database()
    standby.caught_up(server)
    with pytest.raises(
        Disconnected, match=f"127.0.0.1:{standby.port} is a standby, and the primary is needed"
    ):
        await PostgresJournal(urls(dsn, standby.port), "suite").__aenter__()
    with pytest.raises(Disconnected, match=r"127.0.0.1:1: .*; 127.0.0.1:\d+: .* is a standby"):
        await PostgresJournal(urls(dsn, 1, standby.port), "suite").__aenter__()


@pytest.mark.service("postgresql")
async def test_a_name_with_several_addresses(
    server: PrivatePostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A silent one among them costs its share too; the one that answered comes first from then on."""
    dsn = server.database()

    async def found(*_: Any, **__: Any) -> list[Any]:
        return [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, server.port))
            for address in ("127.0.0.2", "127.0.0.3", "127.0.0.1")
        ]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", found)
    async with silent("127.0.0.2", server.port) as hole:  # nobody is at .3
        url = dsn.replace("127.0.0.1", "database.internal")
        async with asyncio.timeout(30), PostgresJournal(url, "suite", settings=SLOW) as journal:
            await journal.prepare([THINGS])
            async with journal._connections.one() as connection:
                assert role_of(connection).address == f"database.internal:{server.port} (127.0.0.1)"
            assert hole.accepted == 1
            async with journal.snapshot([THINGS]):
                await journal.head()
            assert hole.accepted == 1


@pytest.mark.service("postgresql")
async def test_sockets_notice_a_silent_network(server: PrivatePostgres) -> None:
    """Probes after seconds of rest, and an end to what is not acknowledged; the URL may say other numbers."""
    dsn = server.database()

    async def options(url: str) -> list[int]:
        async with PostgresJournal(url, "suite") as journal, journal._connections.one() as connection:
            made = connection._transport.get_extra_info("socket")
            names = ("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT", "TCP_USER_TIMEOUT")
            found = [made.getsockopt(socket.IPPROTO_TCP, getattr(socket, name)) for name in names]
            return [made.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE), *found]

    assert await options(dsn) == [1, 3, 2, 3, 8000]
    assert await options(dsn + "?keepalives_idle=9&keepalives_count=4&tcp_user_timeout=5000") == [
        1,
        9,
        2,
        4,
        5000,
    ]
    assert (await options(dsn + "?keepalives=0"))[0] == 0


# --- mistakes


@pytest.mark.service("postgresql")
@pytest.mark.parametrize(
    ("query", "why"),
    [
        ("sslmode=require", "rejected SSL upgrade: the server speaks no TLS"),
        ("nosuchsetting=1", 'unrecognized configuration parameter "nosuchsetting"'),
        ("work_mem=plenty", 'invalid value for parameter "work_mem"'),
        ("shared_buffers=1GB", 'parameter "shared_buffers" cannot be changed'),
    ],
)
async def test_what_waiting_does_not_mend_ends_the_start(
    server: PrivatePostgres, query: str, why: str
) -> None:
    """Also of a process that would start without its database; with several hosts, when all of them refuse."""
    dsn = server.database()
    for url in (f"{dsn}?{query}", f"{urls(dsn, server.port, server.port)}?{query}"):
        for required in (True, False):
            with pytest.raises(SettingsError, match=f"SKERRY_JOURNAL: .*{why}"):
                await PostgresJournal(url, "suite", required=required).__aenter__()
    with pytest.raises(Disconnected):  # the one that is away may be of another opinion
        await PostgresJournal(f"{urls(dsn, 1, server.port)}?{query}", "suite").__aenter__()


async def test_what_the_driver_refuses_ends_the_start_wherever_the_servers_are() -> None:
    """It is wrong for a server that is away too."""
    with pytest.raises(SettingsError, match=r"SKERRY_JOURNAL: .*sslmode"):
        await PostgresJournal("postgresql://127.0.0.1:1/x?sslmode=sometimes", "suite").__aenter__()


@pytest.mark.service("postgresql")
async def test_parameters_that_libpq_knows_are_taken(server: PrivatePostgres) -> None:
    """Of the network and of the server; those of the server hold in the session, ours come before them."""
    dsn = server.database() + (
        "?connect_timeout=5&keepalives=1&keepalives_idle=30&application_name=mine&options=-c%20lock_timeout%3D7s"
        "&work_mem=5MB&jit=on&gssencmode=disable&target_session_attrs=read-write"
    )
    async with PostgresJournal(dsn, "suite") as journal, journal._connections.one() as connection:
        shown = [await connection.fetchval(f"show {name}") for name in ("work_mem", "jit", "lock_timeout")]
        assert shown == ["5MB", "off", "7s"]


@pytest.mark.service("postgresql")
async def test_operators_reach_what_is_there(server: PrivatePostgres, standby: PrivatePostgres) -> None:
    """The primary among others; a standby when there is nothing else, where writing says why it does not work."""
    dsn = server.database()
    async with PostgresJournal(dsn, "suite") as journal:
        await journal.prepare([THINGS])
        await decide(journal, put(1))
    standby.caught_up(server)
    for ports, at in (((standby.port, server.port), server.port), ((standby.port,), standby.port)):
        async with PostgresJournal(urls(dsn, *ports), "suite", need=Need.ANY) as journal:
            assert (await journal.head()).position.offset == 1
            assert journal._connections.role is not None
            assert journal._connections.role.address == f"127.0.0.1:{at}"
            if at == standby.port:
                with pytest.raises(Disconnected, match="read-only"):
                    await journal.new_epoch()


# --- TLS


@pytest.fixture(scope="module")
def encrypted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[PrivatePostgres, Path]]:
    """A server that speaks TLS as database.internal, and its certificate."""
    require("postgresql")
    directory = tmp_path_factory.mktemp("tls")
    certificate, key = directory / "server.crt", directory / "server.key"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=database.internal",
         "-addext", "subjectAltName=DNS:database.internal", "-keyout", str(key), "-out", str(certificate)],
        check=True, capture_output=True,
    )  # fmt: skip
    with private_postgres() as server:
        for name in (certificate, key):
            placed = server.directory / "data" / name.name
            placed.write_bytes(name.read_bytes())
            placed.chmod(0o600)
            own(placed)
        server.query("alter system set ssl = on")
        server.query("select pg_reload_conf()")
        yield server, certificate


@pytest.mark.service("postgresql")
@pytest.mark.service("openssl")
async def test_tls_goes_by_the_name_whatever_the_address(
    encrypted: tuple[PrivatePostgres, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name with several addresses is verified as that name; another name, and a certificate that nobody vouches for,
    end the start."""
    server, certificate = encrypted
    dsn = server.database()

    numbers = [2, 1]

    async def found(*_: Any, **__: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (f"127.0.0.{n}", server.port)) for n in numbers]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", found)
    named = dsn.replace("127.0.0.1", "database.internal")
    verified = f"sslmode=verify-full&sslrootcert={certificate}"
    async with silent("127.0.0.2", server.port):
        for query in (verified, "sslmode=require", ""):
            async with (
                asyncio.timeout(30),
                PostgresJournal(f"{named}?{query}" if query else named, "suite", settings=SLOW) as journal,
                journal._connections.one() as connection,
            ):
                used = "select ssl from pg_stat_ssl where pid = pg_backend_pid()"
                assert await connection.fetchval(used) is True
    numbers.remove(2)
    for wrong in (f"{dsn.replace('127.0.0.1', 'other.internal')}?{verified}", f"{dsn}?{verified}"):
        with pytest.raises(SettingsError, match=r"SKERRY_JOURNAL: .*certificate"):
            await PostgresJournal(wrong, "suite").__aenter__()
