"""What is known of a server from the first round trip of a connection."""

from __future__ import annotations

from collections.abc import Iterator

import asyncpg
import pytest

from skerry.backends.postgres.journal import PostgresJournal
from skerry.backends.postgres.role import ServerRole, read_role, role_of
from skerry.testing.services import PrivatePostgres, private_postgres, require

pytestmark = pytest.mark.service("postgresql")


@pytest.fixture(scope="module")
def server() -> Iterator[PrivatePostgres]:
    require("postgresql")
    with private_postgres() as server:
        yield server


async def looked(dsn: str) -> ServerRole:
    async with PostgresJournal(dsn, "suite") as journal, journal._connections.one() as connection:
        assert journal._connections.role == role_of(connection)
        assert await connection.fetchval("select pg_backend_pid()") == role_of(connection).backend
        return role_of(connection)


async def test_a_connection_knows_what_it_is_connected_to(server: PrivatePostgres) -> None:
    """System identifier, timeline and start time name the run of a server; a restart is another one."""
    dsn = server.database()
    before = await looked(dsn)
    assert before.takes_writes
    system = server.query("select system_identifier from pg_control_system()")
    assert (before.system, before.timeline) == (system, 1)
    assert (await looked(dsn)).history == before.history
    server.stop()
    server.start()
    after = await looked(dsn)
    assert (after.system, after.timeline) == (before.system, before.timeline)
    assert after.history != before.history != ""


async def test_an_identity_that_is_hidden_is_empty(server: PrivatePostgres) -> None:
    """Where a service keeps these functions to itself the journal works all the same, without a history."""
    dsn = server.database()
    name = dsn.rpartition("/")[2]
    server.query("create role hidden login password 'x'")
    for function in ("pg_control_system()", "pg_current_wal_lsn()", "pg_walfile_name(pg_lsn)"):
        server.query(f"revoke execute on function {function} from public", name)
    role = await looked(f"postgresql://hidden:x@{dsn.rpartition('@')[2]}")
    assert (role.system, role.timeline, role.history, role.takes_writes) == ("", None, "", True)
    assert role.started_microseconds > 0


async def test_settings_are_made_after_connecting(server: PrivatePostgres) -> None:
    """All of them hold in the session, though none is a startup parameter; a weaker `synchronous_commit` of the role is
    raised, a stronger one stays."""
    dsn = server.database()
    name = dsn.rpartition("/")[2]
    for said, held in (
        ("off", "on"),
        ("local", "on"),
        ("remote_write", "on"),
        ("remote_apply", "remote_apply"),
    ):
        server.query(f'alter database "{name}" set synchronous_commit = {said}')
        async with PostgresJournal(dsn, "suite") as journal, journal._connections.one() as connection:
            assert await connection.fetchval("show synchronous_commit") == held
            assert await connection.fetchval("show statement_timeout") == "30s"
            assert await connection.fetchval("show enable_seqscan") == "off"
            assert await connection.fetchval("show plan_cache_mode") == "force_generic_plan"
    plain = await asyncpg.connect(dsn)
    assert await plain.fetchval("show statement_timeout") == "0"
    await plain.close()


def test_a_standby_has_no_timeline_of_its_own() -> None:
    """It follows another one's, which may change at any time."""
    role = read_role("h:1", "7\tt\tt\t150020\t1796049213086085\t3\t7713972624323457761\t\\N\n")
    assert role == ServerRole("h:1", 7, True, True, 150020, 1796049213086085, "7713972624323457761", None)
    assert (role.takes_writes, role.history) == (False, "")
