"""Looks for contradictions in what is stored: `verify`. Reads everything; changes nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import apsw

from skerry.backends.sqlite.schema import Statements


def problems(connection: apsw.Connection, statements: Statements) -> list[str]:
    """What is wrong, in words; empty when all is well. One consistent view of the file."""
    connection.execute("begin")
    try:
        return list(_problems(connection, statements))
    finally:
        connection.execute("rollback")


def _problems(connection: apsw.Connection, statements: Statements) -> Iterator[str]:
    def rows(text: str) -> list[Sequence[Any]]:
        return list(connection.execute(text).fetchall())

    for (line,) in rows("pragma quick_check(10)"):
        if line != "ok":
            yield f"the file is damaged: {line}"
    [(end, floor, count, first, last)] = rows(statements["verify_events"])
    if count != end - floor or (count and (first, last) != (floor + 1, end)):
        held = f"{count} events from {first} to {last}" if count else "no event"
        yield f"events {floor + 1} to {end} should be there, there is {held}"
    for previous, pos in rows(statements["verify_gaps"]):
        yield f"events {previous + 1} to {pos - 1} are missing"
    if rows(statements["verify_last"]):
        yield f"the last event ({end}) says that more of its command follow"
    [(broken, example)] = rows(statements["verify_event_data"])
    if broken:
        yield f"{broken} events hold no valid JSON, the first at {example}"
    for table in statements.tables:
        [(ahead, broken)] = rows(statements.of("verify_rows", table))
        if ahead:
            yield f"table {table}: {ahead} rows are ahead of the journal's end {end}"
        if broken:
            yield f"table {table}: {broken} rows hold no valid JSON"
    [(ahead,)] = rows(statements["verify_outcomes"])
    if ahead:
        yield f"{ahead} outcomes are ahead of the journal's end {end}"
    for name, pos in rows(statements["verify_cursors"]):
        yield f"cursor {name} ({pos}) is ahead of the journal's end {end}"
    for name, pos in rows(statements["verify_projections"]):
        yield f"projection {name} ({pos}) is ahead of the journal's end {end}"
