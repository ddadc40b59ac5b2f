"""How a SQLite journal behaves, validated once."""

from __future__ import annotations

from dataclasses import dataclass

from skerry.errors import SettingsError
from skerry.options import option, same_as


@dataclass(frozen=True, slots=True)
class SqliteSettings:
    """A journal in a file."""

    synchronous: str = same_as("durability", "FULL", becomes=str.upper)
    """FULL keeps every acknowledged commit through a power cut; NORMAL may lose the last ones."""
    open_seconds: float = option(30.0, "to open or close the file", least=0.1, most=3600.0)
    statement_seconds: float = option(30.0, "for one job, then it is interrupted", least=0.1, most=3600.0)
    turn_seconds: float = option(30.0, "that a batch waits for the one before it", least=0.1, most=3600.0)
    snapshot_seconds: float = option(
        600.0,
        "that a snapshot may take; while it is open the write-ahead log cannot shrink",
        least=1.0,
        most=86_400.0,
    )
    max_snapshots: int = option(4, "snapshots at a time", least=1, most=1000)
    checkpoint_pages: int = option(
        1000, "pages in the write-ahead log before they are moved to the file", least=1, most=1_000_000
    )
    cache_bytes: int = option(
        64 * 1024 * 1024, "of pages kept in memory by each connection", least=1, most=1 << 40
    )

    def __post_init__(self) -> None:
        if self.synchronous not in ("FULL", "NORMAL", "EXTRA"):
            raise SettingsError("synchronous", f"FULL, EXTRA or NORMAL, not {self.synchronous!r}")
        for name in ("open_seconds", "statement_seconds", "turn_seconds", "snapshot_seconds"):
            if getattr(self, name) <= 0:
                raise SettingsError(name, "more than 0 seconds")
        if self.max_snapshots < 1 or self.checkpoint_pages < 1 or self.cache_bytes < 1:
            raise SettingsError("sqlite", "max_snapshots, checkpoint_pages and cache_bytes are at least 1")
