"""How a PostgreSQL journal behaves, validated once. Not here: what its URL says (dsn.py)."""

from __future__ import annotations

from dataclasses import dataclass

from skerry.errors import SettingsError


@dataclass(frozen=True, slots=True)
class PostgresSettings:
    """`connections`: at most so many at a time, opened when needed. Seconds: `connect_seconds` for one host (the URL's
    `connect_timeout` comes before it), `doubt_seconds` after which a server that owes an answer is asked whether it is
    at work, `turn_seconds` to wait for a free connection, `statement_seconds` for one statement (the server ends it
    too), `idle_transaction_seconds` after which the server ends a transaction whose client says nothing (a process
    that hangs must not hold up the others), `snapshot_seconds` for a whole snapshot (while it is open, the
    server keeps old versions of rows), `first_pause_seconds` and `longest_pause_seconds` between attempts to
    connect while the server is away."""

    connections: int = 8
    connect_seconds: float = 5.0
    doubt_seconds: float = 3.0
    turn_seconds: float = 10.0
    statement_seconds: float = 30.0
    idle_transaction_seconds: float = 10.0
    snapshot_seconds: float = 600.0
    first_pause_seconds: float = 0.1
    longest_pause_seconds: float = 2.0

    def __post_init__(self) -> None:
        if self.connections < 2:
            raise SettingsError("connections", "at least 2")
        for name in self.__slots__:
            if name.endswith("_seconds") and getattr(self, name) <= 0:
                raise SettingsError(name, "more than 0 seconds")
