"""What a PostgreSQL server is, learned in the one round trip with which every connection begins.

The same statement makes the session's settings, so that a pooler in session mode needs to know none of them (as startup
parameters it refuses them). The user of a connection asks `role_of(connection)`: it holds for the connection's whole
life, as a server changes its timeline, its system identifier or its start time only with all connections lost.

    role = role_of(connection)
    role.takes_writes      # a primary that is not read-only
    role.history           # "7301234567890123456:3:1796044800000000", or "" where it cannot be read

Not here: which server is asked (dialing.py).
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import asyncpg

_COLUMNS = (
    "pg_backend_pid()",
    "pg_is_in_recovery()",
    "current_setting('transaction_read_only') = 'on'",
    "current_setting('server_version_num')",
    "(extract(epoch from pg_postmaster_start_time()) * 1000000)::bigint",
    "done.number",
)
_IDENTITY = (
    "(select system_identifier from pg_control_system())",
    # the current one: pg_control_checkpoint() has that of the last checkpoint, which a promotion does not wait for
    "case when not pg_is_in_recovery() then left(pg_walfile_name(pg_current_wal_lsn()), 8) end",
)
_SYNCHRONOUS = (
    "case current_setting('synchronous_commit') when 'remote_apply' then 'remote_apply' else 'on' end"
)
"""What the role or database says, raised to `on`: `off` and `local` lose a commit with this server, `remote_write` with
a standby whose machine fails."""
HIDDEN = ("42501", "42883", "0A000", "55000")
"""How a server says that its identity is not for us: no right, no such function, not supported, not here."""


@dataclass(frozen=True, slots=True)
class ServerRole:
    """What one connection is connected to.

    `address`: "host:port", or the path of a socket. `backend`: the process that serves the session, on the server (not
    a pooler's). `in_recovery`: a standby. `read_only`: it takes no writes from this user or database. `version`:
    `server_version_num`. `started_microseconds`: when its main process started, since 1970 by its own clock. `system`:
    the system identifier of the cluster, the same on its standbys; `timeline`: the one that is written now, which a
    promotion raises, None on a standby. These two are "" and None where a service hides them.
    """

    address: str
    backend: int
    in_recovery: bool
    read_only: bool
    version: int
    started_microseconds: int
    system: str = ""
    timeline: int | None = None

    @property
    def takes_writes(self) -> bool:
        return not (self.in_recovery or self.read_only)

    @property
    def history(self) -> str:
        """Names the run of a server in which what was committed can only be added to. Another one (promotion, restore,
        restart) may lack some of it. Empty on a standby, and where a service hides what is needed."""
        if self.timeline is None or not self.system:
            return ""
        return f"{self.system}:{self.timeline}:{self.started_microseconds}"


class Need(enum.Enum):
    """What a server has to be, to be of use."""

    WRITABLE = "writable"
    """A primary that takes writes: for a consumer."""
    PRIMARY = "primary"
    """A primary, be it read-only: for a reader. A standby may be behind what was read before, and is not
    followed."""
    ANY = "any"
    """Whatever answers, a primary that takes writes before others: for operators."""


def refused(role: ServerRole, need: Need) -> str:
    """Why a server is of no use, "" when it is."""
    if need is Need.ANY:
        return ""
    if role.in_recovery:
        return f"PostgreSQL at {role.address} is a standby, and the primary is needed"
    if role.read_only and need is Need.WRITABLE:
        return f"PostgreSQL at {role.address} is read-only: default_transaction_read_only is on"
    return ""


def greeting(settings: Mapping[str, str], *, identity: bool = True) -> str:
    """The statement that makes the settings and tells the role. COPY, as that is one round trip: a prepared statement
    takes two. `identity`: whether it asks for what some services hide."""
    made = [f"({_literal(name)}, {_literal(value)})" for name, value in settings.items()]
    rows = ", ".join([*made, f"('synchronous_commit', {_SYNCHRONOUS})"])
    columns = ", ".join(_COLUMNS + (_IDENTITY if identity else ()))
    done = (
        f"select count(set_config(name, value, false)) as number from (values {rows}) as wanted (name, value)"
    )
    return f"select {columns} from ({done}) as done"


async def greet(
    connection: asyncpg.Connection, address: str, settings: Mapping[str, str], *, identity: bool
) -> ServerRole:
    """Make the settings and look. Raises what asyncpg raises; see `HIDDEN`."""
    told = bytearray()

    async def take(data: bytes) -> None:
        told.extend(data)

    await connection.copy_from_query(greeting(settings, identity=identity), output=take)
    return read_role(address, told.decode())


def read_role(address: str, line: str) -> ServerRole:
    """From what COPY sends: one line of columns between tabs."""
    backend, recovery, read_only, version, started, _, *identity = line.rstrip("\n").split("\t")
    system, timeline = ("" if value == r"\N" else value for value in identity or ("", ""))
    return ServerRole(
        address,
        int(backend),
        recovery == "t",
        read_only == "t",
        int(version),
        int(started),
        system,
        int(timeline, 16) if timeline else None,
    )


def role_of(connection: Any) -> ServerRole:
    """What this connection of the pool (`Connections.one`) is connected to."""
    role: ServerRole = connection.role
    return role


def _literal(text: str) -> str:
    quoted = "'" + text.replace("'", "''") + "'"
    return "e" + quoted.replace("\\", "\\\\") if "\\" in text else quoted
