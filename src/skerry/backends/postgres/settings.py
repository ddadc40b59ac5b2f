"""How a PostgreSQL journal behaves, validated once. Not here: what its URL says (dsn.py)."""

from __future__ import annotations

from dataclasses import dataclass

from skerry.errors import SettingsError
from skerry.options import option


@dataclass(frozen=True, slots=True)
class PostgresSettings:
    """A journal in PostgreSQL."""

    connections: int = option(8, "connections of one process, opened when needed", least=2, most=1000)
    connect_seconds: float = option(
        5.0, "to connect to one host, where the URL has no connect_timeout", least=0.1, most=600.0
    )
    doubt_seconds: float = option(
        3.0, "after which a server that owes an answer is asked whether it is at work", least=0.1, most=600.0
    )
    turn_seconds: float = option(10.0, "to wait for a free connection", least=0.1, most=600.0)
    statement_seconds: float = option(
        30.0, "for one statement; the server ends it too", least=0.1, most=3600.0
    )
    idle_transaction_seconds: float = option(
        10.0,
        "after which the server ends a transaction whose process hangs, so that it holds up nobody",
        least=0.5,
        most=3600.0,
    )
    snapshot_seconds: float = option(
        600.0, "for a whole snapshot; while it is open the server keeps old rows", least=1.0, most=86_400.0
    )
    first_pause_seconds: float = option(
        0.1, "between the first attempts to connect while the server is away", least=0.01, most=60.0
    )
    longest_pause_seconds: float = option(2.0, "between later ones, at most", least=0.01, most=600.0)

    def __post_init__(self) -> None:
        if self.connections < 2:
            raise SettingsError("connections", "at least 2")
        for name in self.__slots__:
            if name.endswith("_seconds") and getattr(self, name) <= 0:
                raise SettingsError(name, "more than 0 seconds")
