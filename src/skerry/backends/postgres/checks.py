"""Looks for contradictions in what is stored: `verify`. Reads everything in one view; changes nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg

from skerry.backends.postgres.schema import Statements


async def problems(connection: asyncpg.Connection, statements: Statements) -> AsyncIterator[str]:
    """What is wrong, in words. To be run inside one repeatable read transaction."""
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
