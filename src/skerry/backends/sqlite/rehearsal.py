"""Trying on a copy what a new release would do to the tables, while another process owns the file.

A small file is copied into memory whole, so that its rows are met too; of a large one the empty tables are. Plain
functions, called in a thread of their own. Not here: the real thing (schema.py, upkeep.py).
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import apsw

from skerry.backends.sqlite.files import open_copier
from skerry.backends.sqlite.schema import Statements, prepare
from skerry.backends.sqlite.upkeep import migrate, missing
from skerry.errors import Disconnected, JournalError

SMALL_BYTES = 16 * 1024 * 1024


def rehearse(path: str, namespace: str, tables: Sequence[str], own_steps: Sequence[str]) -> None:
    """Raises what `prepare` and `migrate` would: JournalError, SettingsError. A file that is not there, or that has
    all of it already, costs nothing; one that cannot be read now is left to the real thing."""
    if not os.path.exists(path):
        return
    statements = Statements(namespace)
    try:
        copy = _copy(path, statements, tables, own_steps)
    except (apsw.Error, Disconnected):
        return
    if copy is None:
        return
    try:
        prepare(copy, statements, tables)
        migrate(copy, statements, own_steps)
    except apsw.Error as error:
        raise JournalError(f"the tables in {path} cannot be brought forward: {error}") from error
    finally:
        copy.close()


def _copy(
    path: str, statements: Statements, tables: Sequence[str], own_steps: Sequence[str]
) -> apsw.Connection | None:
    """A copy in memory of what is there; None when nothing would be done to it."""
    source = open_copier(path)
    try:
        if not missing(source, statements, tables, own_steps):
            return None
        copy = apsw.Connection(":memory:")
        _fill(copy, source, os.path.getsize(path) <= SMALL_BYTES)
        return copy
    finally:
        source.close()


def _fill(copy: apsw.Connection, source: apsw.Connection, whole: bool) -> None:
    if whole:
        with copy.backup("main", source, "main") as backup:
            backup.step(-1)
        return
    made = source.execute(
        "select sql from sqlite_schema where sql is not null and name not like 'sqlite\\_%' escape '\\'"
        " order by type = 'table' desc, rowid"
    ).fetchall()
    for (text,) in made:
        copy.execute(str(text))
    known = "select name from sqlite_schema where type = 'table' and (name glob '*__meta' or name glob '*__table')"
    for (name,) in source.execute(known).fetchall():  # how far the tables are, and which there are
        rows = source.execute(f'select * from "{name}"').fetchall()
        for row in rows:
            copy.execute(f'insert into "{name}" values ({", ".join("?" * len(row))})', row)
