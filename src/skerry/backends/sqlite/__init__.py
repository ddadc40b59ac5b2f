"""The journal in one SQLite file: durable, embedded, owned by one process at a time.

Names are loaded when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from skerry.faces import lazily

if TYPE_CHECKING:
    from skerry.backends.sqlite.journal import SqliteJournal as SqliteJournal

_HOME = {
    "SqliteJournal": "skerry.backends.sqlite.journal",
}

__all__ = sorted(_HOME)
__getattr__ = lazily(__name__, _HOME)
