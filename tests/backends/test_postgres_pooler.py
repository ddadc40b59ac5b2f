"""A journal behind PgBouncer: session mode works as it comes, other modes are refused with what to do."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from skerry.backends.postgres.journal import PostgresJournal
from skerry.backends.postgres.role import role_of
from skerry.errors import SettingsError
from skerry.testing.journal_samples import THINGS, decide, put
from skerry.testing.pooler import PrivatePooler, private_pooler
from skerry.testing.services import PrivatePostgres, private_postgres, require

pytestmark = pytest.mark.service("pgbouncer")


@pytest.fixture(scope="module")
def server() -> Iterator[PrivatePostgres]:
    require("pgbouncer")
    with private_postgres() as server:
        yield server


@pytest.fixture(scope="module")
def pooler(server: PrivatePostgres) -> Iterator[PrivatePooler]:
    """In session mode, with no setting of its own."""
    with private_pooler(server) as pooler:
        yield pooler


async def test_session_mode_works_as_it_comes(server: PrivatePostgres, pooler: PrivatePooler) -> None:
    """Nothing has to be set for us there: what a session needs is made after connecting, what the URL says too. The
    role is the server's, not the pooler's, and a session keeps its server's process."""
    dsn = pooler.through(server.database()) + "?search_path=public&connect_timeout=5"
    async with PostgresJournal(dsn, "suite") as journal:
        await journal.prepare([THINGS])
        for number in range(20):
            assert await decide(journal, put(number)) == number
        await asyncio.gather(*(decide(journal, put(100 + number, f"k{number}")) for number in range(20)))
        assert await journal.verify() == []
        async with journal._connections.one() as one, journal._connections.one() as other:
            for connection in (one, other):
                assert await connection.fetchval("show statement_timeout") == "30s"
                assert await connection.fetchval("show enable_seqscan") == "off"
                assert await connection.fetchval("show plan_cache_mode") == "force_generic_plan"
                assert await connection.fetchval("select pg_backend_pid()") == role_of(connection).backend
                assert role_of(connection).history != ""


@pytest.mark.parametrize("mode", ["transaction", "statement"])
async def test_other_modes_are_refused(server: PrivatePostgres, mode: str) -> None:
    """Prepared statements and settings would be another session's now and then. It ends the start, of a process that
    could start without its database too."""
    with private_pooler(server, mode) as pooler:
        for required in (True, False):
            with pytest.raises(
                SettingsError, match=r"SKERRY_JOURNAL: a pooler gives each transaction .* session mode"
            ):
                await PostgresJournal(
                    pooler.through(server.database()), "suite", required=required
                ).__aenter__()


async def test_what_a_pooler_does_not_take_is_said(server: PrivatePostgres, pooler: PrivatePooler) -> None:
    """`options` is refused by it, and there is another way to say the same."""
    dsn = pooler.through(server.database())
    with pytest.raises(SettingsError, match=r"unsupported startup parameter.*name the settings one by one"):
        await PostgresJournal(f"{dsn}?options=-c%20jit%3Doff", "suite").__aenter__()
    with pytest.raises(SettingsError, match='unrecognized configuration parameter "nosuch"'):
        await PostgresJournal(f"{dsn}?nosuch=1", "suite").__aenter__()


async def test_a_pool_of_one_is_enough_to_start(server: PrivatePostgres) -> None:
    """The second connection that would tell the mode has to wait there: nothing is known, and the start goes on."""
    with private_pooler(server, options={"default_pool_size": 1}) as pooler:
        url = pooler.through(server.database()) + "?connect_timeout=2"
        async with PostgresJournal(url, "suite") as journal:
            await journal.prepare([THINGS])
            assert await decide(journal, put(1)) == 0
