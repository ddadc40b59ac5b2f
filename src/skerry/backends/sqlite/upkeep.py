"""What operators and the application's own tables need of a SQLite journal: what is missing, migrating,
erasing, contradictions.

Plain functions of a connection, called in its thread. Not here: the journal's own tables coming forward (schema.py).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

import apsw

from skerry.backends.sqlite.connection import transaction
from skerry.backends.sqlite.schema import Statements, steps
from skerry.backends.sqlite.sql import run
from skerry.backends.statements import digests, made_by, own_undone, undone
from skerry.errors import JournalError

MIGRATE_SECONDS = 3600.0
"""How long the application's migrations may take."""


def missing(
    connection: apsw.Connection,
    statements: Statements,
    tables: Sequence[str],
    own_steps: Sequence[str] | None,
) -> list[str]:
    """What `prepare` and `migrate` would make, in words; `own_steps`: None when nobody knows them. Raises JournalError
    when a newer release was here, or a step was changed after it ran."""
    namespace = statements.namespace
    version, own, kept, there = 0, 0, dict[str, str](), set[str]()
    if f"{namespace}__meta" in _names(connection, statements):
        version, own = (
            _number(connection, statements["version"]),
            _number(connection, statements["own_version"]),
        )
        kept = _own_steps(connection, statements)
        there = {str(name) for (name,) in connection.execute(statements["tables"])}
    found = undone(version, len(steps()), f"the journal {namespace!r}")
    found += [f"table {namespace}_{table}" for table in tables if table not in there]
    return found + ([] if own_steps is None else own_undone(own, kept, own_steps))


def migrate(connection: apsw.Connection, statements: Statements, own_steps: Sequence[str]) -> int:
    """Run the application's new steps in one transaction; returns how many."""
    with transaction(connection):
        done = _number(connection, statements["own_version"])
        own_undone(done, _own_steps(connection, statements), own_steps)
        for number, step in enumerate(own_steps[done:], done + 1):
            _run(connection, step, f"step {number} of the application's own tables")
        connection.execute(statements["set_own_version"], (str(len(own_steps)),))
        for name, digest in digests(own_steps).items():
            connection.execute(statements["set_own_step"], (name, digest))
    return len(own_steps) - done


def _own_steps(connection: apsw.Connection, statements: Statements) -> dict[str, str]:
    """Digests of the steps that ran, by name."""
    return {str(name): str(value) for name, value in connection.execute(statements["own_steps"]).fetchall()}


def erase(connection: apsw.Connection, statements: Statements, script: str, path: str) -> list[str]:
    """Remove everything of the namespace, and run `script`; the file too, unless somebody else's tables are in it.
    Returns what was there."""
    namespace = statements.namespace
    erased: list[str] = []
    connection.execute(f"drop view if exists temp.{namespace}__flush")
    with transaction(connection):
        there = f"{namespace}__meta" in _names(connection, statements)
        if script and there and _number(connection, statements["own_version"]):
            _run(connection, script, "erase.sql of the application's own tables")
            erased.append("the application's own tables")
        names = [f"{namespace}__meta", *(namespace + name for _, name in made_by(steps()))]
        if there:
            names = [f"{namespace}_{name}" for (name,) in connection.execute(statements["tables"])] + names
        found = _names(connection, statements)
        names = [name for name in names if name in found]
        others = sorted(found.difference(names))
        if others:
            for name in names:
                connection.execute(f"drop table {name}")
    erased += [f"table {name}" for name in names]
    statements.tables = ()
    if others:
        return [*erased, f"(the file {path} is kept: {', '.join(others)} are in it)"]
    for end in ("", "-wal", "-shm", ".lock"):
        with suppress(FileNotFoundError):
            os.unlink(os.path.realpath(path) + end)
    return [*erased, f"file {path}"]


def _names(connection: apsw.Connection, statements: Statements) -> set[str]:
    """The tables of the file. (`Connection.table_exists` does not see what another connection has made.)"""
    return {str(name) for (name,) in connection.execute(statements["all_tables"])}


def _number(connection: apsw.Connection, text: str) -> int:
    found = connection.execute(text).fetchall()
    return int(str(found[0][0])) if found else 0


def _run(connection: apsw.Connection, script: str, what: str) -> None:
    try:
        run(connection, script, (), [])
    except (apsw.SQLError, apsw.ConstraintError, JournalError) as error:
        raise JournalError(f"{what}: {error}") from error


def problems(connection: apsw.Connection, statements: Statements) -> list[str]:
    """`verify`: contradictions in what is stored, in words; empty when all is well. One consistent view of the file."""
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
