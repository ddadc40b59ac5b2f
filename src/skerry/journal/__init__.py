"""What is remembered: the journal of events, the tables that follow from it, and its readers.

Names are loaded when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from skerry.faces import lazily

if TYPE_CHECKING:
    from skerry.journal.journal import JournalReader as JournalReader
    from skerry.journal.journal import JournalWriter as JournalWriter
    from skerry.journal.journal import NewEvent as NewEvent
    from skerry.journal.journal import NewOutcome as NewOutcome
    from skerry.journal.journal import Outcome as Outcome
    from skerry.journal.journal import Record as Record
    from skerry.journal.journal import Status as Status
    from skerry.journal.journal import Writes as Writes
    from skerry.journal.keyed import Entry as Entry
    from skerry.journal.keyed import KeyedProjection as KeyedProjection
    from skerry.journal.mirror import Mirror as Mirror
    from skerry.journal.projection import Projection as Projection
    from skerry.journal.projector import Projector as Projector
    from skerry.journal.reactor import Reactor as Reactor
    from skerry.journal.row_events import RowDeleted as RowDeleted
    from skerry.journal.row_events import RowPut as RowPut
    from skerry.journal.table import AnyTable as AnyTable
    from skerry.journal.table import Table as Table
    from skerry.journal.unit import Unit as Unit

_HOME = {
    "AnyTable": "skerry.journal.table",
    "Entry": "skerry.journal.keyed",
    "JournalReader": "skerry.journal.journal",
    "JournalWriter": "skerry.journal.journal",
    "KeyedProjection": "skerry.journal.keyed",
    "Mirror": "skerry.journal.mirror",
    "NewEvent": "skerry.journal.journal",
    "NewOutcome": "skerry.journal.journal",
    "Outcome": "skerry.journal.journal",
    "Projection": "skerry.journal.projection",
    "Projector": "skerry.journal.projector",
    "Reactor": "skerry.journal.reactor",
    "Record": "skerry.journal.journal",
    "RowDeleted": "skerry.journal.row_events",
    "RowPut": "skerry.journal.row_events",
    "Status": "skerry.journal.journal",
    "Table": "skerry.journal.table",
    "Unit": "skerry.journal.unit",
    "Writes": "skerry.journal.journal",
}

__all__ = sorted(_HOME)
__getattr__ = lazily(__name__, _HOME)
