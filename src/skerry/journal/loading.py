"""Fills memory anew from the journal: rows from a snapshot, stored projections from theirs and the events since.

Not here: when that has to be (projector.py), the local warm-start file (snapshot.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from skerry.errors import Disconnected, JournalError, Trimmed
from skerry.journal.correcting import read_correction
from skerry.journal.epochs import Epochs
from skerry.journal.journal import JournalReader, Record
from skerry.journal.memory import History, Memory, Refill, RowPage, tables_of
from skerry.journal.mirror import transactions_of
from skerry.journal.projection import Projection
from skerry.journal.table import AnyTable
from skerry.position import Position


class Loader:
    """Reads a journal for one memory. `page`: events read at a time."""

    def __init__(self, reader: JournalReader, memory: Memory, page: int) -> None:
        self._reader, self._memory, self._page = reader, memory, page

    async def load(self, *, first: bool) -> tuple[Position, Epochs]:
        """Load everything; the position that memory then has, in the last of the journal's epochs.

        The first time nobody reads yet, and rows are taken as they come. Later they are gathered first, and memory
        changes in one step: a read never meets one that is half there, nor does a lost connection leave it so.
        Raises JournalError when the journal no longer reaches back to what a stored projection needs, Disconnected
        when its history became another one meanwhile.
        """
        tables = self._memory.tables()
        gathered: list[tuple[AnyTable, RowPage]] = []
        async with self._reader.snapshot(list(tables)) as snapshot:
            position = snapshot.position
            if first:
                self._memory.clear()
            for name, table in tables.items():
                async for rows in snapshot.rows(name):
                    if first:
                        self._memory.take_rows(table, rows)
                    else:
                        gathered.append((table, rows))
            seen = transactions_of(snapshot)
        here, epochs = await self._placed(position)
        histories = [await self._history(p, here, epochs) for p in self._memory.projections if p.stored]
        if not first:
            self._memory.clear()
            for table, rows in gathered:
                self._memory.take_rows(table, rows)
        self._memory.loaded(here.offset, seen)
        for history in histories:
            if history.gap:
                raise JournalError(history.gap)
            self._memory.relive(history)
        return here, epochs

    async def gather(self, projections: Sequence[Projection]) -> Refill:
        """What these projections can be filled anew with, as of one position, while memory goes on as it is."""
        tables = tables_of(projections)
        rows: list[tuple[AnyTable, RowPage]] = []
        async with self._reader.snapshot(list(tables)) as snapshot:
            position = snapshot.position
            for name, table in tables.items():
                rows += [(table, taken) async for taken in snapshot.rows(name)]
            seen = transactions_of(snapshot)
        here, epochs = await self._placed(position)
        histories = [await self._history(p, here, epochs) for p in projections if p.stored]
        return Refill(here, rows, histories, seen)

    async def more(self, after: int) -> Sequence[Record]:
        """The next page of events, which are known to be there."""
        records = await self._reader.read(after, self._page)
        if not records:
            raise JournalError(f"the journal has nothing after {after} any more")
        return records

    async def _placed(self, position: Position) -> tuple[Position, Epochs]:
        """Where a snapshot's position lies in the last of the journal's epochs."""
        epochs = Epochs.of(await self._reader.epochs())
        here = epochs.carry(position)
        if here is None:
            raise Disconnected(f"the journal's history is not that of {position} any more")
        return here, epochs

    async def _history(self, projection: Projection, upto: Position, epochs: Epochs) -> History:
        """A stored projection's own snapshot and the events between it and `upto`; from the beginning when the snapshot
        is of other code or another history, or has an event in it that was corrected since."""
        name = type(projection).__name__
        stored = await self._reader.load_projection(name)
        wanted = {kind.message_name for kind in projection.applied_events()}
        if stored and stored.version == projection.version and epochs.carry(stored.position) is not None:
            history = History(projection, stored.data, [])
            with suppress(Trimmed):  # never by our own trim
                if await self._read_on(history, stored.position.offset, upto.offset, wanted):
                    return history
        history = History(projection, None, [])
        try:
            await self._read_on(history, 0, upto.offset, wanted)
        except Trimmed as gone:
            history.gap = (
                f"projection {name} has to be rebuilt (version {projection.version}), but the journal no longer "
                f"reaches back: {gone}"
            )
        return history

    async def _read_on(self, history: History, after: int, upto: int, wanted: set[str]) -> bool:
        """Add the events after an offset; False when one of them corrects what lies before."""
        begin = after
        while after < upto:
            records = await self._reader.read(after, self._page)
            if not records:
                break
            for record in records:
                if record.offset > upto:
                    break
                if record.name in wanted:
                    history.records.append(record)
                corrected = read_correction(record)
                if corrected is not None and 0 < corrected.offset <= begin and corrected.event in wanted:
                    return False
            after = min(records[-1].offset, upto)
        return True
