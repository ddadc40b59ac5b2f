"""Fills a memory from the journal: rows from a snapshot, stored projections from theirs and the events since.

In slices, between which the loop turns: a process that loads a million rows anew goes on answering. One that is read is
not filled itself, but a second one beside it (memory.py). Python's search for cycles stands still meanwhile: it would
look at everything that is loaded again and again.

Not here: when that has to be (projector.py), the local warm-start file (snapshot.py).
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from skerry.errors import Disconnected, JournalError, Trimmed
from skerry.journal.correcting import read_correction
from skerry.journal.epochs import Epochs
from skerry.journal.journal import JournalReader, Record
from skerry.journal.memory import History, Memory, RowPage, tables_of
from skerry.journal.mirror import transactions_of
from skerry.journal.projection import Projection
from skerry.position import Position

SLICE = 500
"""Rows, or events, in one turn of the loop, at most."""
SLICE_BYTES = 256 * 1024
"""Of these rows, at most, unless a single one is larger."""
_MANY = 100_000
"""So many rows stay: they are no longer searched for cycles."""


@dataclass(frozen=True, slots=True)
class Filled:
    """A memory that has everything as of a position, which is in the last of these epochs."""

    memory: Memory
    position: Position
    epochs: Epochs


class Loader:
    """Reads a journal. `page`: events read at a time."""

    def __init__(self, reader: JournalReader, page: int) -> None:
        self._reader, self._page = reader, page
        self.rows = 0
        """Rows of the largest load."""

    async def fill(self, memory: Memory) -> Filled:
        """Fill this memory, which nobody reads, with everything. Raises Disconnected when the journal's history became
        another one meanwhile."""
        tables = tables_of(memory.projections)
        count = 0
        with _unsearched():
            async with self._reader.snapshot(list(tables)) as snapshot:
                position = snapshot.position
                memory.clear()
                for name, table in tables.items():
                    async for rows in snapshot.rows(name):
                        count += len(rows)
                        for part in _sliced(rows):
                            memory.take_rows(table, part)
                            await asyncio.sleep(0)
                seen = transactions_of(snapshot)
            here, epochs = await self._placed(position)
            histories = [await self._history(p, here, epochs) for p in memory.projections if p.stored]
            memory.loaded(here.offset, seen)
            for history in histories:
                if memory.restore(history):
                    for at in range(0, len(history.records), SLICE):
                        memory.feed([history.projection], history.records[at : at + SLICE])
                        await asyncio.sleep(0)
            self.rows = max(self.rows, count)
            if count > _MANY:
                gc.freeze()
        return Filled(memory, here, epochs)

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


def _sliced(rows: RowPage) -> Iterator[RowPage]:
    """Parts of at most `SLICE` rows and about `SLICE_BYTES`."""
    begin = size = 0
    for number, (key, data, _) in enumerate(rows):
        needs = len(key) + len(data)
        if number > begin and (number - begin >= SLICE or size + needs > SLICE_BYTES):
            yield rows[begin:number]
            begin, size = number, 0
        size += needs
    yield rows[begin:] if begin else rows


@contextmanager
def _unsearched() -> Iterator[None]:
    """No search for cycles while much is made that stays."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
