"""How a SQLite journal behaves, validated once."""

from __future__ import annotations

from dataclasses import dataclass

from skerry.errors import SettingsError


@dataclass(frozen=True, slots=True)
class SqliteSettings:
    """`synchronous`: FULL keeps every acknowledged commit through a power cut; NORMAL may lose the last ones.
    Seconds: `open_seconds` to open or close, `statement_seconds` for one job (then it is interrupted),
    `turn_seconds` that a batch waits for the one before it, `snapshot_seconds` that a snapshot may take (while it
    is open, the write-ahead log cannot shrink). `max_snapshots` at a time. `checkpoint_pages`: pages in the
    write-ahead log before the writer moves them to the file."""

    synchronous: str = "FULL"
    open_seconds: float = 30.0
    statement_seconds: float = 30.0
    turn_seconds: float = 30.0
    snapshot_seconds: float = 600.0
    max_snapshots: int = 4
    checkpoint_pages: int = 1000
    cache_bytes: int = 64 * 1024 * 1024

    def __post_init__(self) -> None:
        if self.synchronous not in ("FULL", "NORMAL", "EXTRA"):
            raise SettingsError("synchronous", f"FULL, EXTRA or NORMAL, not {self.synchronous!r}")
        for name in ("open_seconds", "statement_seconds", "turn_seconds", "snapshot_seconds"):
            if getattr(self, name) <= 0:
                raise SettingsError(name, "more than 0 seconds")
        if self.max_snapshots < 1 or self.checkpoint_pages < 1 or self.cache_bytes < 1:
            raise SettingsError("sqlite", "max_snapshots, checkpoint_pages and cache_bytes are at least 1")
