"""Beside the owner's lock: how an application that has its tables in the journal's file numbers an event itself.

SQLite lets one transaction write at a time, so nothing is gained by an intake: the journal's end is raised and the
event written in the application's own transaction, by its own connection. The owner's lock (`ownership.py`) is not
asked: what the owner has decided on meanwhile is refused when it commits, and decided again. The file stays the owner's
in everything else; only these two statements are for guests.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from skerry.backends.sqlite.ownership import TWO_LIBRARIES, owned_here
from skerry.backends.storable import checked_namespace
from skerry.journal.intake import Leaving


class SqliteDoor:
    """See `skerry.journal.intake.Door`."""

    is_numbered = True
    wrote = ""

    def __init__(self, namespace: str) -> None:
        self._namespace = checked_namespace(namespace)

    def statements(self, leaving: Leaving) -> Sequence[tuple[str, Sequence[Any]]]:
        """Two, as SQLite has no statement that does both. The first one takes the file's write lock."""
        values = (leaving.id, leaving.key, leaving.name, leaving.version, leaving.data, leaving.trace)
        return [
            (f"update {self._namespace}__log set pos = pos + 1", ()),
            (
                f"insert into {self._namespace}__event "
                "(pos, command_id, key, name, version, at, more, data, who, trace) "
                "select pos, ?, ?, ?, ?, (julianday('now') - 2440587.5) * 86400.0, 0, ?, '', ? "
                f"from {self._namespace}__log",
                values,
            ),
        ]

    @property
    def asks(self) -> str:
        """The file, in a process that owns one."""
        return "select file from pragma_database_list where name = 'main'" if owned_here() else ""

    def refused(self, found: Any) -> str:
        """A connection from before this process owned the file; later ones are not opened at all."""
        return TWO_LIBRARIES if os.path.realpath(str(found)) in owned_here() else ""

    def explained(self, error: BaseException) -> str:
        text = str(error)
        if (
            f"no such table: {self._namespace}__" in text
            or f"no such table: main.{self._namespace}__" in text
        ):
            return (
                f"this file has no journal {self._namespace!r}: the application's tables have to be in the journal's "
                "file (SKERRY_JOURNAL=sqlite:///PATH), and the journal prepared (start a consumer, or skerry infra "
                "create)"
            )
        return ""
