"""Mirrors in PostgreSQL: the triggers that leave changed rows in the intake, and the SQL that reads a whole table.

The triggers run with the rights of the account that writes to the table (never SECURITY DEFINER), which needs INSERT on
the intake: it is granted to those who may write. Rows go through `to_jsonb`, of which only the columns of the mirror
are taken, by name: a column that is renamed or dropped breaks no writer, it is null from then on, and memory says so if
that does not fit. The same expression reads the table, so that what is loaded and what is told never differ. Triggers
are made by `skerry infra create` only.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg

from skerry.backends.postgres.schema import Statements
from skerry.errors import Conflict, SettingsError
from skerry.journal.mirror import Mirrored
from skerry.journal.row_events import DELETED, PUT

LOCK_SECONDS, ATTEMPTS, PAUSE_SECONDS = 2, 10, 1.0
"""How long making a trigger may wait for the table, how often that is tried, and the pause between. Everybody who comes
meanwhile waits too, so it is short."""
COLUMNS = ("source", "name", "key", "data")
"""What triggers write of a row of the intake."""
_CHANGED = """
declare
    v_old jsonb := to_jsonb(old);
    v_new jsonb := to_jsonb(new);
begin
    if tg_op = 'DELETE' or tg_op = 'UPDATE' and {old_key} is distinct from {new_key} then
        {insert} values ({deleted});
    end if;
    if tg_op <> 'DELETE' then
        {insert} values ({put});
    end if;
    return null;
end
"""
_TRUNCATED = """
begin
    execute format({text}, tg_relid::regclass);
    return null;
end
"""


@dataclass(frozen=True, slots=True)
class Needed:
    """A thing that a mirror needs. `what`: in words; `sql`: what makes it. `kind`: "function", with its `body`;
    "trigger" on `table`; "grant" to the role `name`; "stray": one that has to go."""

    kind: str
    name: str
    what: str
    sql: str
    table: str = ""
    body: str = ""


# --- rows as JSON


def literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def quoted(name: str) -> str:
    """A table's name, perhaps with a schema, as SQL takes it."""
    return ".".join('"' + part.replace('"', '""') + '"' for part in name.split("."))


def _value(mirror: Mirrored, column: str, row: str) -> str:
    name = literal(column)
    if column in mirror.binary:  # PostgreSQL's JSON has \x and hexadecimal digits, ours base64
        return f"translate(encode(decode(substr({row} ->> {name}, 3), 'hex'), 'base64'), e'\\n', '')"
    return f"{row} -> {name}"


def _key_json(mirror: Mirrored, row: str) -> str:
    values = [_value(mirror, column, row) for column in mirror.key]
    return values[0] if len(values) == 1 else f"jsonb_build_array({', '.join(values)})"


def _key_text(mirror: Mirrored, row: str) -> str:
    """The key as events have it (`Record.key`), from the jsonb `row`."""
    if len(mirror.key) == 1:
        return f"({row} ->> {literal(mirror.key[0])})"
    return f"({_key_json(mirror, row)})::text"


def _row_json(mirror: Mirrored, row: str) -> str:
    """At most 50 columns in one call, as a function takes 100 arguments."""
    pairs = [f"{literal(column)}, {_value(mirror, column, row)}" for column in mirror.columns]
    parts = [f"jsonb_build_object({', '.join(pairs[at : at + 50])})" for at in range(0, len(pairs), 50)]
    return " || ".join(parts)


def reading(mirror: Mirrored) -> str:
    """Every row: (key text, JSON)."""
    return (
        f"select {_key_text(mirror, 'it')}, ({_row_json(mirror, 'it')})::text "
        f"from (select to_jsonb(present) as it from {quoted(mirror.table)} as present) as found"
    )


# --- what has to be there


def _bounded(name: str) -> str:
    """A name within PostgreSQL's 63 bytes."""
    return name if len(name) <= 60 else f"{name[:50]}_{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def _left(mirror: Mirrored, name: str, row: str, *more: str) -> str:
    """The values of a row of the intake."""
    told = ["'table'", literal(mirror.table), "'key'", _key_json(mirror, row), *more]
    key, event = _key_text(mirror, row), literal(f"{name}.{mirror.name}")
    return f"{literal(mirror.name)}, {event}, {key}, jsonb_build_object({', '.join(told)})::text"


def _function(name: str, body: str, mirror: Mirrored) -> Needed:
    sql = f"create or replace function {name}() returns trigger language plpgsql as $skerry${body}$skerry$"
    return Needed("function", name, f"function {name} of the mirror of {mirror.table}", sql, body=body)


def _trigger(name: str, when: str, table: str, function: str) -> Needed:
    sql = f"drop trigger if exists {name} on {table}; create trigger {name} {when} on {table} "
    each = "row" if when.startswith("after") else "statement"
    shown = table.replace('"', "")
    return Needed(
        "trigger",
        name,
        f"trigger {name} on {shown}",
        f"{sql}for each {each} execute function {function}()",
        table,
    )


async def needed(
    connection: asyncpg.Connection, statements: Statements, mirror: Mirrored, schema: str
) -> list[Needed]:
    """All of it. `schema`: the journal's. Raises SettingsError for a table that is not there, or is none."""

    async def rows(name: str, **values: Any) -> list[Any]:
        statement = statements[name]
        return list(await connection.fetch(statement.sql, *statement.arguments(values)))

    table, namespace = quoted(mirror.table), statements.namespace
    [(kind,)] = await rows("relation_kind", table=table)
    if kind not in ("r", "p"):
        what = "is no table" if kind else "is not in the journal's database"
        raise SettingsError("journal", f"app.mirror({mirror.table!r}): {mirror.table} {what}")
    insert = f"insert into {quoted(schema)}.{namespace}__intake ({', '.join(COLUMNS)})"
    changed = _bounded(f"{namespace}__mirror_{mirror.name}")
    truncated = _bounded(f"{namespace}__truncated_{mirror.name}")
    body = _CHANGED.format(
        insert=insert, old_key=_key_text(mirror, "v_old"), new_key=_key_text(mirror, "v_new"),
        deleted=_left(mirror, DELETED, "v_old"), put=_left(mirror, PUT, "v_new", "'row'", _row_json(mirror, "v_new")),
    )  # fmt: skip
    values = _left(mirror, DELETED, "it").replace("%", "%%")
    gone = f"{insert} select {values} from (select to_jsonb(present) as it from only %s as present) as gone"
    found = [
        _function(changed, body, mirror),
        _function(truncated, _TRUNCATED.format(text=literal(gone)), mirror),
        _trigger(f"{namespace}__mirror", "after insert or update or delete", table, changed),
    ]
    # A TRUNCATE of a partitioned table fires the triggers of its partitions, and so does one of a partition alone.
    leaves = [row[0] for row in await rows("partitions", table=table)] if kind == "p" else [table]
    found += [_trigger(f"{namespace}__truncated", "before truncate", leaf, truncated) for leaf in leaves]
    for [who] in await rows("writers", table=table):
        sql = f"grant insert ({', '.join(COLUMNS)}) on {quoted(schema)}.{namespace}__intake to {who}"
        found.append(Needed("grant", who, f"right of {who} to leave changes of {mirror.table}", sql))
    return found


async def undone(
    connection: asyncpg.Connection, statements: Statements, mirrors: Sequence[Mirrored]
) -> list[tuple[Mirrored, Needed]]:
    """What is missing or different."""
    found: list[tuple[Mirrored, Needed]] = []
    functions: set[str] = set()
    intake = f"{statements.namespace}__intake"
    schema = await connection.fetchval(
        statements["schema_of"].sql, intake
    )  # the first one, if it is made yet
    for mirror in mirrors:
        for each in await needed(connection, statements, mirror, schema):
            match each.kind:
                case "function":
                    functions.add(each.name)
                    body = await connection.fetchval(statements["function_body"].sql, each.name)
                    is_there = body == each.body
                case "trigger":
                    is_there = await connection.fetchval(statements["has_trigger"].sql, each.table, each.name)
                case _:
                    is_there = await connection.fetchval(
                        statements["may_insert"].sql, each.name, intake, COLUMNS
                    )
            if not is_there:
                found.append((mirror, each))
    return found + await _strays(connection, statements, functions)


async def _strays(
    connection: asyncpg.Connection, statements: Statements, functions: Collection[str]
) -> list[tuple[Mirrored, Needed]]:
    """Triggers of mirrors that are not declared any more: what they leave would be dead letters."""
    found: list[tuple[Mirrored, Needed]] = []
    names = _trigger_names(statements.namespace)
    for name, table, function in await connection.fetch(statements["mirror_triggers"].sql, names):
        if function not in functions:
            what = f"the end of trigger {name} on {table}, of a mirror that is not declared,"
            needed = Needed("stray", name, what, f"drop trigger {name} on {table}", table)
            found.append((Mirrored(table, table, (), ()), needed))
    return found


def _trigger_names(namespace: str) -> list[str]:
    return [f"{namespace}__mirror", f"{namespace}__truncated"]


async def make(
    connection: asyncpg.Connection, statements: Statements, mirrors: Sequence[Mirrored]
) -> list[str]:
    """Make what is missing; in words what was made. Raises Conflict for a table that is in use for too long."""
    made: list[str] = []
    for mirror, each in await undone(connection, statements, mirrors):
        for attempt in range(1, ATTEMPTS + 1):
            try:
                async with connection.transaction():
                    await connection.execute(f"set local lock_timeout = '{LOCK_SECONDS}s'")
                    await connection.execute(each.sql)
                break
            except asyncpg.LockNotAvailableError as error:
                if attempt == ATTEMPTS:
                    raise Conflict(
                        f"{mirror.table} was in use for too long ({ATTEMPTS} times {LOCK_SECONDS} s): end the "
                        "transactions that hold it, then repeat"
                    ) from error
                await asyncio.sleep(PAUSE_SECONDS)
        made.append(each.what)
    return made


async def erase(connection: asyncpg.Connection, statements: Statements) -> list[str]:
    """Drop the triggers and functions of all mirrors of the namespace, declared or not; in words."""
    erased: list[str] = []
    namespace = statements.namespace
    names = _trigger_names(namespace)
    for name, table, _ in await connection.fetch(statements["mirror_triggers"].sql, names):
        await connection.execute(f"drop trigger {name} on {table}")
        erased.append(f"trigger {name} on {table}")
    for [function] in await connection.fetch(
        statements["mirror_functions"].sql, [f"{name}_" for name in names]
    ):
        await connection.execute(f"drop function {function}")
        erased.append(f"function {function}")
    return erased
