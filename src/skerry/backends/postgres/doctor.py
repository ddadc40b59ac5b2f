"""Looks for what is wrong with a PostgreSQL server or a user's rights, before it shows in operation; changes nothing.

Not here: what of the namespace is missing and whether its content is right (upkeep.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import asyncpg

from skerry.backends.postgres.role import ServerRole
from skerry.backends.postgres.schema import Statements, steps
from skerry.backends.statements import made_by
from skerry.bus.backend import Finding

OLDEST = 130000
"""The first version, as `server_version_num` says it, that everything here was tried on or is known to work with."""
_STANDBYS = """
select current_setting('synchronous_standby_names'), count(pid) filter (where state is distinct from 'backup'),
    case when pg_has_role('pg_read_all_stats', 'usage')
        then count(pid) filter (where sync_state in ('sync', 'quorum')) end
from pg_stat_replication as sender
where not exists (select from pg_replication_slots where active_pid = sender.pid and slot_type = 'logical')
"""
"""A plain user sees that somebody streams, though not what and how: then the last is null. A client that reads
changes by a logical slot is no standby."""
_CONNECTIONS = 50
"""Below so many a few processes of eight connections each meet the server's limit."""


async def doctor(connection: asyncpg.Connection, statements: Statements) -> list[Finding]:
    """Everything found, good news too. Raises what asyncpg raises when it cannot be asked at all."""
    told = await connection.fetchrow(statements["server"].sql)
    findings = [Finding("ok", f"PostgreSQL {told['version']} as user {told['who']}")]
    if told["number"] < OLDEST:
        findings = [Finding("error", f"PostgreSQL {told['version']}", "use PostgreSQL 13 or newer")]
    if told["standby"] or told["read_only"]:
        why = "a standby" if told["standby"] else "default_transaction_read_only is on"
        findings.append(
            Finding("error", f"PostgreSQL takes no writes here: {why}", "let SKERRY_JOURNAL name the primary")
        )
    if not told["fsync"] or not told["full_page_writes"]:
        fix = "fsync = on and full_page_writes = on in postgresql.conf"
        findings.append(
            Finding("error", "PostgreSQL does not sync: answered writes do not survive a crash", fix)
        )
    findings += await _replication(connection)
    if told["connections"] < _CONNECTIONS:
        what = f"max_connections = {told['connections']}: a process may use 8"
        findings.append(Finding("warning", what, "raise it to 8 x processes and your own, or run fewer"))
    refused = await missing_rights(connection, statements)
    if refused:
        findings.append(Finding("error", _lacking(told["who"], refused), _grant(told["who"], statements)))
    return findings


def places(hosts: Sequence[tuple[str, ServerRole | str]]) -> Iterator[Finding]:
    """What is to be said of several hosts."""
    roles = [(host, role) for host, role in hosts if isinstance(role, ServerRole)]
    writable = {(role.system, role.started_microseconds): host for host, role in roles if role.takes_writes}
    if len(writable) > 1:
        yield Finding(
            "error",
            f"{' and '.join(writable.values())} take writes, each for itself: what goes to one is not in the others",
            "stop all but the one that was promoted last, and make them its standbys",
        )
    for host, role in hosts:
        if isinstance(role, str):
            yield Finding("warning", f"{host}: {role}", "start it, or take it out of SKERRY_JOURNAL")
        else:
            what = "a standby" if role.in_recovery else "read-only" if role.read_only else "the primary"
            yield Finding("ok", f"{host} is {what}")


async def _replication(connection: asyncpg.Connection) -> list[Finding]:
    """What a failover to a standby may lose, and what a lost standby stops."""
    names, streaming, confirming = await connection.fetchrow(_STANDBYS)
    if streaming and not names:
        return [
            Finding(
                "warning",
                f"{streaming} standby{'s' if streaming > 1 else ''} without a synchronous one: "
                "a failover may lose writes that were answered 200",
                "synchronous_standby_names = 'ANY 1 (*)' in postgresql.conf, or live with it",
            )
        ]
    if names and confirming == 0:
        return [
            Finding(
                "error",
                f"no standby of synchronous_standby_names = {names} is there: commits wait for it, writes stay 202",
                "start the standby, or take its name out",
            )
        ]
    if names and streaming:
        return [Finding("ok", f"commits wait for a standby ({names})")]
    return []


async def missing_rights(connection: asyncpg.Connection, statements: Statements) -> list[str]:
    """Tables of the namespace, as far as they are there, that this user may not read and write."""
    namespace = statements.namespace
    own = [f"{namespace}{name}" for kind, name in made_by(steps()) if kind == "table"]
    refused = await connection.fetch(statements["rights"].sql, [f"{namespace}__meta", *own])
    if not refused and await connection.fetchval(statements["table_exists"].sql, f"{namespace}__table"):
        rows = [f"{namespace}_{row[0]}" for row in await connection.fetch(statements["tables"].sql)]
        refused = await connection.fetch(statements["rights"].sql, rows)
    return [row[0] for row in refused]


def _lacking(user: str, tables: list[str]) -> str:
    others = f" and {len(tables) - 1} more" if len(tables) > 1 else ""
    return f"user {user} may not read and write table {tables[0]}{others}"


def _grant(user: str, statements: Statements) -> str:
    return f"grant select, insert, update, delete on the tables of {statements.namespace!r} to {user}"


async def check_rights(connection: asyncpg.Connection, statements: Statements) -> str | None:
    """Why a consumer cannot work as this user, and what to do; None when it can."""
    refused = await missing_rights(connection, statements)
    if not refused:
        return None
    who = str(await connection.fetchval("select current_user"))
    return f"{_lacking(who, refused)}: {_grant(who, statements)}"
