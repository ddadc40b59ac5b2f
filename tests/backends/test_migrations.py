"""A journal made by an earlier release is brought forward with everything in it, step by step."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from skerry.backends.postgres import schema as postgres
from skerry.backends.postgres.journal import PostgresJournal
from skerry.backends.sqlite import schema as sqlite
from skerry.backends.sqlite.journal import SqliteJournal
from skerry.errors import Disconnected
from skerry.journal.journal import JournalWriter
from skerry.testing.journal_samples import THINGS, all_records, decide, put
from skerry.testing.services import PrivatePostgres, private_postgres, require

KEPT = """
create table suite__meta (name text primary key, value text not null);
insert into suite__meta values ('version', '{version}');
insert into suite__log values ({yes}, 'older', 1, 0);
insert into suite__event (pos, command_id, key, name, version, at, more, data)
    values (1, 'c1', 'k', 'thing_put', 1, 5.0, {no}, '{{}}');
insert into suite__dead (command_id, name, version, key, body, reason, details, attempts, at, headers) values
    ('aa', 'put_thing', 1, 'k', '', 'later', '', 1, 20.0, '{{}}'),
    ('bb', 'put_thing', 1, 'k', '', 'first', '', 1, 10.0, '{{}}');
"""


async def check(journal: JournalWriter) -> None:
    """What the older release had written is there, and the journal goes on."""
    assert (await journal.head()).position.epoch == "older"
    [record] = await all_records(journal)
    assert (record.command_id, record.who, record.trace) == ("c1", "", "")
    assert {letter.reason for letter in await journal.dead_letters()} == {"first", "later"}
    assert [(epoch.number, epoch.name, epoch.began) for epoch in await journal.epochs()] == [(1, "older", 0)]
    await decide(journal, put(2))
    assert len(await journal.epochs()) == 1
    assert (await journal.head()).position.offset == 2
    assert list(await journal.verify()) == []


async def test_a_file_of_an_earlier_release(tmp_path: Path) -> None:
    """SQLite: letters are numbered in the order in which they came, the epoch is the first one that is known."""
    path = str(tmp_path / "journal.db")
    connection = apsw.Connection(path)
    connection.execute(sqlite.steps()[0].text.replace("{ns}", "suite"))
    connection.execute(KEPT.format(version=1, yes=1, no=0))
    connection.close()
    async with SqliteJournal(path, "suite") as journal:
        await journal.prepare([THINGS])
        await check(journal)
    connection = apsw.Connection(path)
    letters = connection.execute("select command_id from suite__dead order by number").fetchall()
    assert letters == [("bb",), ("aa",)]
    assert connection.execute("select number, epoch, began from suite__epoch").fetchall() == [(1, "older", 0)]
    connection.close()


@pytest.fixture(scope="module")
def server() -> Iterator[PrivatePostgres]:
    require("postgresql")
    with private_postgres() as server:
        yield server


@pytest.mark.service("postgresql")
@pytest.mark.parametrize("version", [1, 2])
async def test_a_database_of_an_earlier_release(server: PrivatePostgres, version: int) -> None:
    """PostgreSQL: before it is prepared, what is new there is told to come later; new letters follow the old ones."""
    dsn = server.database()
    database = dsn.rpartition("/")[2]
    for step in postgres.steps()[:version]:
        server.query(step.text.replace("{ns}", "suite"), database)
    server.query(KEPT.format(version=version, yes="true", no="false"), database)
    async with PostgresJournal(dsn, "suite") as journal:
        if version == 1:
            with pytest.raises(Disconnected, match="prepare it"):
                await journal.bodies.put("a.1", b"1")
        await journal.prepare([THINGS])
        await check(journal)
        await journal.bodies.put("a.1", b"1")
    server.query(
        "insert into suite__dead (command_id, name, version, key, body, reason, details, attempts, at, headers)"
        " values ('00', 'put_thing', 1, 'k', '', 'last', '', 1, 1.0, '{}')",
        database,
    )
    letters = server.query("select string_agg(command_id, ' ' order by number) from suite__dead", database)
    assert "bb aa 00" in str(letters)
    assert "1|older|0" in str(server.query("select number, epoch, began from suite__epoch", database))
