"""The tables of a namespace in PostgreSQL, and the statements that run on them.

A `Statement` is SQL with numbered parameters and their names in order. `prepare` brings a database forward, under
a lock that all who prepare the same namespace take. Not here: when.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import asyncpg

from skerry.backends.statements import Migration, migrations, named_statements
from skerry.backends.storable import checked_namespace, checked_table, new_epoch_name
from skerry.errors import Disconnected, JournalError, SettingsError

_PACKAGE = "skerry.backends.postgres"
_WORD = re.compile(r"\$([a-z][a-z0-9_]*)")


@cache
def _texts() -> Mapping[str, str]:
    return named_statements(_PACKAGE)


@cache
def steps() -> Sequence[Migration]:
    """The journal's own migrations."""
    return migrations(_PACKAGE)


@dataclass(frozen=True, slots=True)
class Statement:
    """SQL as PostgreSQL takes it, and the names of $1, $2, ..."""

    sql: str
    names: tuple[str, ...]

    def arguments(self, values: Mapping[str, Any]) -> list[Any]:
        """The values in the order of the parameters. Raises KeyError when one is missing."""
        return [values[name] for name in self.names]


def compiled(text: str) -> Statement:
    """Number the $words of a statement in order of their first appearance."""
    names: dict[str, int] = {}
    sql = _WORD.sub(lambda word: f"${names.setdefault(word[1], len(names) + 1)}", text)
    return Statement(sql, tuple(names))


@dataclass(frozen=True, slots=True)
class Shape:
    """Which parts a flush has."""

    has_events: bool
    has_outcomes: bool
    has_dead: bool
    has_moved: bool
    puts: tuple[str, ...]
    deletes: tuple[str, ...]


class Statements:
    """The statements of one namespace: `statements["head"]`; those put together for tables by methods."""

    def __init__(self, namespace: str) -> None:
        self.namespace = checked_namespace(namespace)
        self.tables: frozenset[str] = frozenset()
        self._made: dict[Any, Statement] = {}

    def text(self, name: str) -> str:
        return _texts()[name].replace("{ns}", self.namespace)

    def __getitem__(self, name: str) -> Statement:
        made = self._made.get(name)
        if made is None:
            made = self._made[name] = compiled(self.text(name).replace("{dead}", self.text("flush_dead")))
        return made

    def of(self, name: str, table: str) -> Statement:
        """A statement on one table. Raises Disconnected when nobody has prepared that table."""
        made = self._made.get((name, table))
        if made is None:
            self.known(table)
            made = self._made[name, table] = compiled(self.text(name).replace("{table}", table))
        return made

    def known(self, table: str) -> None:
        if table not in self.tables:
            raise Disconnected(f"the journal {self.namespace!r} has no table {table!r} yet")

    def over(self, name: str, tables: tuple[str, ...]) -> Statement:
        """`open` or `load` with its rows of these tables; kinds are numbered from 2."""
        made = self._made.get((name, tables))
        if made is None:
            rows = "\n".join(
                self.text(f"{name}_rows").replace("{table}", table).replace("{number}", str(number))
                for number, table in enumerate(tables, 2)
            )
            if name == "load":
                rows = rows.replace("\nselect ", "\nunion all select ")
            made = self._made[name, tables] = compiled(self.text(name).replace("{rows}", rows))
        return made

    def flush(self, shape: Shape) -> Statement:
        """The one statement that writes batches of this shape."""
        made = self._made.get(shape)
        if made is None:
            parts = [self.text("flush_asked")]
            wanted = {"events": shape.has_events, "outcomes": shape.has_outcomes, "dead": shape.has_dead}
            wanted["moved"] = shape.has_moved
            parts += [self.text(f"flush_{name}") for name, is_wanted in wanted.items() if is_wanted]
            parts += [self.text("flush_puts").replace("{table}", table) for table in shape.puts]
            parts += [self.text("flush_deletes").replace("{table}", table) for table in shape.deletes]
            text = self.text("flush_and_move" if shape.has_moved else "flush")
            made = self._made[shape] = compiled(text.replace("{parts}", ",\n".join(parts)))
        return made


async def load_tables(connection: asyncpg.Connection, statements: Statements) -> None:
    """Learn which tables there are. Raises Disconnected when the namespace is not there yet."""
    try:
        found = await connection.fetch(statements["tables"].sql)
    except asyncpg.UndefinedTableError as error:
        what = f"the journal {statements.namespace!r} is not there yet"
        raise Disconnected(f"{what}: prepare it (start a consumer, or skerry infra create)") from error
    statements.tables = frozenset(row[0] for row in found)


async def prepare(connection: asyncpg.Connection, statements: Statements, tables: Sequence[str]) -> None:
    """Bring the namespace to the newest version and create what tables are missing, all or nothing. Nothing is
    locked when there is nothing to do. Raises JournalError when a newer release was here."""
    try:
        await load_tables(connection, statements)
        is_other = await _version(connection, statements) != len(steps())
    except Disconnected:
        is_other = True
    if is_other or not statements.tables.issuperset(tables):
        async with connection.transaction():
            await connection.execute(statements["lock_schema"].sql)
            await _migrate(connection, statements, tables)
        await load_tables(connection, statements)


async def _migrate(connection: asyncpg.Connection, statements: Statements, tables: Sequence[str]) -> None:
    await connection.execute(statements["create_meta"].sql)
    version = await _version(connection, statements)
    if version > len(steps()):
        raise JournalError(
            f"the journal {statements.namespace!r} was made by a newer Skerry (version {version} of its tables, "
            f"this one knows {len(steps())})"
        )
    for step in steps()[version:]:
        await connection.execute(step.text.replace("{ns}", statements.namespace))
        await connection.execute(statements["set_version"].sql, str(step.number))
    await connection.execute(statements["first_position"].sql, new_epoch_name())
    there = {row[0] for row in await connection.fetch(statements["tables"].sql)}
    for table in dict.fromkeys(tables):
        if table not in there:
            await _create(connection, statements, checked_table(table))


async def rename(connection: asyncpg.Connection, statements: Statements, old: str, new: str) -> bool:
    """Give the rows of one table to another one that is there and empty."""
    async with connection.transaction():
        await connection.execute(statements["lock_schema"].sql)
        there = {row[0] for row in await connection.fetch(statements["tables"].sql)}
        has_rows = statements.text("has_rows").replace("{table}", new)
        if not {old, new} <= there or await connection.fetchval(has_rows):
            return False
        text = statements.text("rename_table").replace("{old}", old).replace("{new}", new)
        await connection.execute(text)
    statements.tables = statements.tables - {old}
    await load_tables(connection, statements)
    return True


async def _version(connection: asyncpg.Connection, statements: Statements) -> int:
    return int(await connection.fetchval(statements["version"].sql) or 0)


async def _create(connection: asyncpg.Connection, statements: Statements, table: str) -> None:
    name = f"{statements.namespace}_{table}"
    if await connection.fetchval(statements["table_exists"].sql, name):
        raise SettingsError(
            "SKERRY_NAMESPACE",
            f"the table {name} belongs to somebody else: choose another namespace than {statements.namespace!r}",
        )
    await connection.execute(statements.text("create_table").replace("{table}", table))
    await connection.execute(statements["add_table"].sql, table)
