"""What operators and the application's own tables need of a PostgreSQL journal: what is missing,
migrating, erasing, contradictions.

Functions of a connection. Not here: the journal's own tables coming forward (schema.py).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import asyncpg

from skerry.backends.postgres import mirrors
from skerry.backends.postgres.faults import translated
from skerry.backends.postgres.schema import Statements, steps
from skerry.backends.statements import check_unchanged, digests, made_by, own_undone, undone
from skerry.errors import Conflict, Disconnected, JournalError

MIGRATE_SECONDS = 3600
"""How long one step of the application's migrations may take."""
_PASSING = ("08", "53", "57", "58")
"""Classes of errors that are not the fault of a step."""


async def missing(
    connection: asyncpg.Connection,
    statements: Statements,
    tables: Sequence[str],
    own_steps: Sequence[str] | None,
) -> list[str]:
    """What `prepare` and `migrate` would make, in words; `own_steps`: None when nobody knows them. Raises JournalError
    when a newer release was here, or a step was changed after it ran."""
    namespace = statements.namespace
    if not await connection.fetchval(statements["table_exists"].sql, f"{namespace}__meta"):
        there, kept, own = set[str](), dict[str, str](), 0
        found = undone(0, len(steps()), f"the journal {namespace!r}")
    else:
        version = int(await connection.fetchval(statements["version"].sql) or 0)
        found = undone(version, len(steps()), f"the journal {namespace!r}")
        there = {row[0] for row in await connection.fetch(statements["tables"].sql)}
        kept = dict(await connection.fetch(statements["own_steps"].sql))
        own = await _own_version(connection, statements)
    found += [f"table {namespace}_{table}" for table in tables if table not in there]
    return found + ([] if own_steps is None else own_undone(own, kept, own_steps))


async def migrate(connection: asyncpg.Connection, statements: Statements, own_steps: Sequence[str]) -> int:
    """Run the application's new steps in one transaction; returns how many."""
    wanted = digests(own_steps)
    kept = dict(await connection.fetch(statements["own_steps"].sql))
    check_unchanged(kept, wanted)
    if await _own_version(connection, statements) == len(own_steps) and kept.keys() >= wanted.keys():
        return 0
    async with connection.transaction():
        await connection.execute(statements["lock_schema"].sql)
        await connection.execute(statements["take_time"].sql.replace("{seconds}", str(MIGRATE_SECONDS)))
        done = await _own_version(connection, statements)
        undone(done, len(own_steps), "the application's own tables")
        for number, step in enumerate(own_steps[done:], done + 1):
            await _run(connection, step, f"step {number} of the application's own tables")
        await connection.execute(statements["set_own_version"].sql, str(len(own_steps)))
        await connection.executemany(statements["set_own_step"].sql, list(wanted.items()))
    return len(own_steps) - done


async def users(connection: asyncpg.Connection, statements: Statements) -> list[str]:
    """Consumers that hold a lease now, in words."""
    try:
        found = await connection.fetch(statements["users"].sql)
    except asyncpg.UndefinedTableError:
        return []
    return [f"{owner} works on {name}" for name, owner in found]


async def erase(connection: asyncpg.Connection, statements: Statements, script: str) -> list[str]:
    """Drop everything of the namespace, and run `script`, all or nothing; returns what was there."""
    namespace = statements.namespace
    erased: list[str] = []
    async with connection.transaction():
        await connection.execute(statements["lock_schema"].sql)
        there = await connection.fetchval(statements["table_exists"].sql, f"{namespace}__meta")
        if script and there and await _own_version(connection, statements):
            await _run(connection, script, "erase.sql of the application's own tables")
            erased.append("the application's own tables")
        erased += await mirrors.erase(connection, statements)
        names = [f"{namespace}__meta"]
        if await connection.fetchval(statements["table_exists"].sql, f"{namespace}__table"):
            rows = await connection.fetch(statements["tables"].sql)
            names = [f"{namespace}_{row[0]}" for row in rows] + names
        made = made_by(steps())
        names += [f"{namespace}{name}" for kind, name in made if kind == "table"]
        for name in names:
            if await connection.fetchval(statements["table_exists"].sql, name):
                await connection.execute(f"drop table {name}")
                erased.append(f"table {name}")
        for kind, name in made:
            if kind == "function":
                await connection.execute(f"drop function if exists {namespace}{name}")
    statements.tables = frozenset()
    return erased


async def _own_version(connection: asyncpg.Connection, statements: Statements) -> int:
    return int(await connection.fetchval(statements["own_version"].sql) or 0)


async def _run(connection: asyncpg.Connection, script: str, what: str) -> None:
    try:
        await connection.execute(script, timeout=MIGRATE_SECONDS)
    except asyncpg.PostgresError as error:
        ours = translated(error)
        if isinstance(ours, Conflict) or (isinstance(ours, Disconnected) and error.sqlstate[:2] in _PASSING):
            raise ours from error
        raise JournalError(f"{what}: {error}") from error
    if not connection.is_in_transaction():
        raise JournalError(f"{what}: it may not end the transaction that it runs in")


async def problems(connection: asyncpg.Connection, statements: Statements) -> AsyncIterator[str]:
    """`verify`: contradictions in what is stored, in words. To be run inside one repeatable read transaction."""
    end, floor, count, first, last = await connection.fetchrow(statements["verify_events"].sql)
    if count != end - floor or (count and (first, last) != (floor + 1, end)):
        held = f"{count} events from {first} to {last}" if count else "no event"
        yield f"events {floor + 1} to {end} should be there, there is {held}"
    for previous, pos in await connection.fetch(statements["verify_gaps"].sql):
        yield f"events {previous + 1} to {pos - 1} are missing"
    if await connection.fetchval(statements["verify_last"].sql):
        yield f"the last event ({end}) says that more of its command follow"
    for table in sorted(statements.tables):
        ahead = await connection.fetchval(statements.of("verify_rows", table).sql)
        if ahead:
            yield f"table {table}: {ahead} rows are ahead of the journal's end {end}"
    ahead = await connection.fetchval(statements["verify_outcomes"].sql)
    if ahead:
        yield f"{ahead} outcomes are ahead of the journal's end {end}"
    for name, pos in await connection.fetch(statements["verify_cursors"].sql):
        yield f"cursor {name} ({pos}) is ahead of the journal's end {end}"
    for name, pos in await connection.fetch(statements["verify_projections"].sql):
        yield f"projection {name} ({pos}) is ahead of the journal's end {end}"
