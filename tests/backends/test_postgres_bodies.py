"""Bodies of large commands in PostgreSQL: kept until decided, then forgotten."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from skerry.backends.postgres.bodies import ORPHAN_SECONDS
from skerry.backends.postgres.journal import PostgresJournal
from skerry.errors import InvalidMessage
from skerry.position import Position
from skerry.testing.journal_samples import THINGS, command_id, decide, put
from skerry.testing.services import PrivatePostgres, private_postgres, require

pytestmark = pytest.mark.service("postgresql")
MEGABYTE = bytes(range(256)) * 4096


@pytest.fixture(scope="module")
def server() -> Iterator[PrivatePostgres]:
    require("postgresql")
    with private_postgres() as server:
        yield server


@asynccontextmanager
async def opened(dsn: str) -> AsyncIterator[PostgresJournal]:
    async with PostgresJournal(dsn, "suite") as journal:
        await journal.prepare([THINGS])
        yield journal


async def test_bytes_come_back_for_every_process(server: PrivatePostgres) -> None:
    """What one process put another one gets, to the byte; the same key again is no error; removed, it is gone."""
    dsn = server.database()
    async with opened(dsn) as here, opened(dsn) as there:
        await here.bodies.put("a.1", MEGABYTE)
        await there.bodies.put("a.1", MEGABYTE)
        await here.bodies.put("a.2", b"\x00")
        assert await there.bodies.get("a.1") == MEGABYTE
        await there.bodies.remove(["a.1", "never.there"])
        assert await here.bodies.get("a.1") is None
        assert await here.bodies.get("a.2") == b"\x00"


async def test_trimming_forgets_what_was_decided(server: PrivatePostgres) -> None:
    """Whose command has an outcome goes with the next trim a minute later; one that waits stays, however long its
    consumers are away, up to a month."""
    dsn = server.database()

    def pass_time(seconds: float) -> None:
        """The time is the database's."""
        server.query(f"update suite__body set at = at - {seconds}", dsn.rpartition("/")[2])

    async with opened(dsn) as journal:
        decided, waiting = f"{command_id(1)}.x", f"{command_id(2)}.x"
        await journal.bodies.put(decided, b"1")
        await journal.bodies.put(waiting, b"2")
        await decide(journal, put(1))
        floor = Position((await journal.head()).position.epoch, 0)
        await journal.trim(floor)
        assert await journal.bodies.get(decided) == b"1", "it may be on its way again: a retried dead letter"
        pass_time(61)
        await journal.trim(floor)
        assert await journal.bodies.get(decided) is None
        pass_time(ORPHAN_SECONDS - 100)
        await journal.trim(floor)
        assert await journal.bodies.get(waiting) == b"2"
        pass_time(100)
        await journal.trim(floor)
        assert await journal.bodies.get(waiting) is None


async def test_what_cannot_be_a_key_is_refused(server: PrivatePostgres) -> None:
    """Text that PostgreSQL cannot hold is an invalid message, as everywhere."""
    async with opened(server.database()) as journal:
        with pytest.raises(InvalidMessage):
            await journal.bodies.put("a\x00", b"")
