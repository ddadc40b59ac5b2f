"""`skerry doctor` and the rights of a user, on PostgreSQL: what would show in operation is said before."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from skerry.backends.postgres.journal import PostgresJournal
from skerry.backends.postgres.role import Need
from skerry.errors import JournalError, SettingsError
from skerry.testing.journal_samples import THINGS
from skerry.testing.services import (
    PrivatePostgres,
    postgres_program,
    private_postgres,
    private_standby,
    require,
)

pytestmark = pytest.mark.service("postgresql")


@pytest.fixture(scope="module")
def server() -> Iterator[PrivatePostgres]:
    require("postgresql")
    with private_postgres(durable=True) as server:
        yield server


def as_reader(server: PrivatePostgres, dsn: str) -> str:
    """The same database, as a user who may read the tables that are there, and nothing else."""
    database = dsn.rpartition("/")[2].partition("?")[0]
    server.query("drop role if exists reader")
    server.query("create role reader login password 'x'")
    server.query("grant select on all tables in schema public to reader", database)
    return f"postgresql://reader:x@{dsn.rpartition('@')[2]}"


async def wrong(dsn: str) -> list[tuple[str, str]]:
    async with PostgresJournal(dsn, "shop", need=Need.ANY) as journal:
        return [(found.level, found.what) for found in await journal.examine() if found.level != "ok"]


async def test_a_sound_server_is_said_to_be_so(server: PrivatePostgres) -> None:
    """Version and user; nothing wrong, before the tables are there and after."""
    dsn = server.database()
    async with PostgresJournal(dsn, "shop") as journal:
        assert await wrong(dsn) == []
        await journal.prepare([THINGS])
        [good] = await journal.examine()
        assert good.what.startswith("PostgreSQL ")
        assert " as user " in good.what


async def test_missing_rights_are_found_and_end_a_consumers_start(server: PrivatePostgres) -> None:
    """Reading goes well, and every lease and commit would be refused: once a second, for ever."""
    dsn = server.database()
    async with PostgresJournal(dsn, "shop") as journal:
        await journal.prepare([THINGS])
    reader = as_reader(server, dsn)
    try:
        [(level, what)] = await wrong(reader)
        assert (level, what.startswith("user reader may not read and write table shop__")) == ("error", True)
        async with PostgresJournal(reader, "shop") as journal:
            assert (await journal.head()).position.offset == 0
            with pytest.raises(
                SettingsError, match=r"grant select, insert, update, delete on the tables of 'shop'"
            ):
                await journal.prepare([THINGS])
        database = dsn.rpartition("/")[2].partition("?")[0]
        server.query("grant all on all tables in schema public to reader", database)
        server.query(f"revoke update on shop_{THINGS} from reader", database)
        assert await wrong(reader) == [("error", f"user reader may not read and write table shop_{THINGS}")]
    finally:
        server.query("drop owned by reader", dsn.rpartition("/")[2].partition("?")[0])
        server.query("drop role reader")


async def test_a_server_that_takes_no_writes(server: PrivatePostgres) -> None:
    """A standby after a failover, or a user that may only read: its fix is another URL."""
    dsn = server.database()
    server.query(
        "alter database "
        + dsn.rpartition("/")[2].partition("?")[0]
        + " set default_transaction_read_only = on"
    )
    assert await wrong(dsn) == [
        ("error", "PostgreSQL takes no writes here: default_transaction_read_only is on"),
    ]


async def test_a_server_that_loses_answered_writes() -> None:
    """fsync off, and few connections."""
    require("postgresql")
    with private_postgres(options={"max_connections": 20}) as fast:
        assert [what.partition(":")[0] for _, what in await wrong(fast.dsn)] == [
            "PostgreSQL does not sync",
            "max_connections = 20",
        ]


async def test_an_older_release_does_not_decide_on_newer_tables(server: PrivatePostgres) -> None:
    """Its consumer refuses to start: what it does not know it would not keep right."""
    dsn = server.database()
    async with PostgresJournal(dsn, "shop") as journal:
        await journal.prepare([THINGS])
        server.query(
            "update shop__meta set value = '99' where name = 'version'",
            dsn.rpartition("/")[2].partition("?")[0],
        )
        with pytest.raises(JournalError, match=r"newer Skerry \(version 99"):
            await journal.prepare([THINGS])


@contextmanager
def reader_of_changes(server: PrivatePostgres) -> Iterator[None]:
    """As those that carry changes to another system."""
    program = postgres_program("pg_recvlogical")
    assert program is not None
    server.query("select pg_create_logical_replication_slot('changes', 'test_decoding')")
    command = [
        program,
        "-h",
        str(server.directory),
        "-p",
        str(server.port),
        "-U",
        "postgres",
        "-d",
        "postgres",
    ]
    reader = subprocess.Popen([*command, "--slot", "changes", "--start", "-f", "/dev/null"])
    try:
        server._wait_for("select exists (select from pg_stat_replication)")
        yield
    finally:
        reader.terminate()
        reader.wait(30)


async def test_what_a_failover_may_lose() -> None:
    """A standby that nobody waits for; one that is waited for; one that is waited for and away. A plain user is told
    as well, as far as it can be seen. Whoever reads changes by a logical slot is no standby."""
    require("postgresql")
    with (
        private_postgres(durable=True, options={"wal_level": "logical"}) as primary,
        reader_of_changes(primary),
    ):
        primary.query("create role plain login password 'x'")
        primary.query("grant create on schema public to plain")
        plain = f"postgresql://plain:x@{primary.dsn.rpartition('@')[2]}"
        assert await wrong(primary.dsn) == []
        with private_standby(primary, "near", durable=True) as standby:
            for dsn in (primary.dsn, plain):
                assert await wrong(dsn) == [
                    (
                        "warning",
                        "1 standby without a synchronous one: a failover may lose writes that were answered 200",
                    )
                ]
            primary.query("alter system set synchronous_standby_names = 'near'")
            primary.query("select pg_reload_conf()")
            primary._wait_for("select exists (select from pg_stat_replication where sync_state = 'sync')")
            async with PostgresJournal(plain, "shop") as journal:
                assert "commits wait for a standby (near)" in [
                    found.what for found in await journal.examine()
                ]
            assert await wrong(primary.dsn) == []
            standby.part()
            primary._wait_for("select not exists (select from pg_stat_replication where sync_state = 'sync')")
            [(level, what)] = await wrong(primary.dsn)
            assert (level, what.partition(":")[0]) == (
                "error",
                "no standby of synchronous_standby_names = near is there",
            )
            async with PostgresJournal(standby.dsn, "shop", need=Need.ANY) as journal:
                assert [found.what for found in await journal.examine() if found.level == "error"] == [
                    "PostgreSQL takes no writes here: a standby"
                ]


async def test_each_of_several_hosts_is_told() -> None:
    """Primary, standby, one that is away; and two that take writes, which nobody notices otherwise."""
    require("postgresql")
    with private_postgres(durable=True) as primary, private_standby(primary, "near", durable=True) as standby:
        login, _, rest = primary.dsn.partition("@")
        here = f"127.0.0.1:{primary.port}"
        other = f"127.0.0.1:{standby.port}"
        url = f"{login}@127.0.0.1:1,{other},{here}/{rest.partition('/')[2]}"
        async with PostgresJournal(url, "shop") as journal:
            told = [(found.level, found.what) for found in await journal.examine()][-3:]
            assert told[1:] == [("ok", f"{other} is a standby"), ("ok", f"{here} is the primary")]
            assert (told[0][0], told[0][1].partition(" ")[0]) == ("warning", "127.0.0.1:1:")
            standby.promote()
            [error] = [found.what for found in await journal.examine() if found.level == "error"]
            assert error.startswith(f"{other} and {here} take writes, each for itself")
