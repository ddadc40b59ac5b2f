"""Fills memory anew from the journal: rows from a snapshot, stored projections from theirs and the events since.

Not here: when that has to be (projector.py), the local warm-start file (snapshot.py).
"""

from __future__ import annotations

from dataclasses import dataclass

from skerry.errors import Disconnected, JournalError, Trimmed
from skerry.journal.epochs import Epochs
from skerry.journal.journal import JournalReader, Record
from skerry.journal.memory import Memory, RowPage
from skerry.journal.projection import Projection
from skerry.journal.table import AnyTable
from skerry.position import Position


async def load(reader: JournalReader, memory: Memory, page: int, *, first: bool) -> tuple[Position, Epochs]:
    """Load everything; the position that memory then has, in the last of the journal's epochs. `page`: events read at a
    time.

    The first time nobody reads yet, and rows are taken as they come. Later they are gathered first, and memory
    changes in one step: a read never meets one that is half there, nor does a lost connection leave it so.
    Raises JournalError when the journal no longer reaches back to what a stored projection needs, Disconnected when its
    history became another one meanwhile.
    """
    tables = memory.tables()
    gathered: list[tuple[AnyTable, RowPage]] = []
    async with reader.snapshot(list(tables)) as snapshot:
        position = snapshot.position
        if first:
            memory.clear()
        for name, table in tables.items():
            async for rows in snapshot.rows(name):
                if first:
                    memory.take_rows(table, rows)
                else:
                    gathered.append((table, rows))
    epochs = Epochs.of(await reader.epochs())
    here = epochs.carry(position)
    if here is None:
        raise Disconnected(f"the journal's history is not that of {position} any more")
    histories = [await _history(reader, p, here, epochs, page) for p in memory.projections if p.stored]
    if not first:
        memory.clear()
        for table, rows in gathered:
            memory.take_rows(table, rows)
    memory.loaded(here.offset)
    for history in histories:
        memory.relive(history.projection, history.state, history.records)
    return here, epochs


@dataclass(slots=True)
class _History:
    """What a stored projection is made of: its snapshot (None: from the beginning) and the events since."""

    projection: Projection
    state: bytes | None
    records: list[Record]


async def _history(
    reader: JournalReader, projection: Projection, upto: Position, epochs: Epochs, page: int
) -> _History:
    """A stored projection's own snapshot and the events between it and `upto`."""
    name = type(projection).__name__
    stored = await reader.load_projection(name)
    fits = stored and stored.version == projection.version and epochs.carry(stored.position) is not None
    after = stored.position.offset if stored and fits else 0
    wanted = {kind.message_name for kind in projection.applied_events()}
    history = _History(projection, stored.data if stored and fits else None, [])
    try:
        while after < upto.offset:
            records = await reader.read(after, page)
            history.records += [r for r in records if r.offset <= upto.offset and r.name in wanted]
            if not records:
                break
            after = min(records[-1].offset, upto.offset)
    except Trimmed as gone:
        raise JournalError(
            f"projection {name} has to be rebuilt (version {projection.version}), but the journal no longer "
            f"reaches back: {gone}"
        ) from gone
    return history
