"""What a writer remembers of its own commits, so that a batch can be opened without asking the database.

The journal's end after the last commit from here, and rows as they were then: those that batches have read, missing
ones included, as many as `MOST_BYTES` hold. Nothing of it is trusted: what is decided on it is checked when it is
written, and refused when anybody else was there (decision 0053). Not here: that check.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from skerry.errors import Conflict
from skerry.journal.journal import StoredRow, Writes
from skerry.position import Position

Place = tuple[str, str]
MOST_BYTES = 16 * 1024 * 1024
"""Of keys and rows, with what Python needs for each of them."""
_ROW_BYTES = 300
"""That need, about."""
NO_ROW = StoredRow(b"", 0)


class Recent:
    """What one process has last committed and seen. `position`: the journal's end after it; None: nothing is known.
    `dropped`: how many rows had to make room for others."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self.position: Position | None = None
        self.dropped = 0
        self._most_bytes = most_bytes
        self._bytes = 0
        self._rows: dict[Place, StoredRow] = {}  # in order of their last change

    def forget(self) -> None:
        """Something was refused, failed or changed in another way: ask next time."""
        self.position = None
        self._rows.clear()
        self._bytes = 0

    def recall(self, places: Iterable[Place]) -> dict[Place, StoredRow] | None:
        """These rows, `NO_ROW` where there is none; None when one of them is not remembered."""
        if self.position is None:
            return None
        rows, found = self._rows, dict[Place, StoredRow]()
        for place in places:
            row = rows.get(place)
            if row is None:
                return None
            found[place] = row
        return found

    def holds(self, rows: Mapping[Place, StoredRow]) -> bool:
        """Whether these, which were recalled, are still what is remembered."""
        kept = self._rows
        return self.position is not None and all(kept.get(place) is row for place, row in rows.items())

    def agrees(self, rows: Mapping[Place, StoredRow]) -> bool:
        """Whether nothing else is remembered of these, which were read from the database."""
        return all(place not in self._rows or _same(self._rows[place], row) for place, row in rows.items())

    def read(self, position: Position, places: Iterable[Place], rows: Mapping[Place, StoredRow]) -> None:
        """These places were read, at `position`."""
        if position != self.position:
            return
        for place in places:
            self._keep(place, rows.get(place, NO_ROW))
        self._make_room()

    def committed(self, base: Position, writes: Writes, read: Collection[Place] = ()) -> None:
        """This was written from here, durably, after the event at `base`, by a batch that had read these places. Rows
        that are written and never read need no memory."""
        before = self.position
        if before is not None and before != base:
            self.forget()
            if before.epoch == base.epoch and before.offset > base.offset:
                return  # of one that was committed later it has been told already
        self.position = Position(base.epoch, base.offset + len(writes.events))
        for table, puts in writes.puts.items():
            for key, (data, events_before) in puts.items():
                if (table, key) in read or (table, key) in self._rows:
                    self._keep((table, key), StoredRow(data, base.offset + events_before))
        for table, deletes in writes.deletes.items():
            for key in deletes:
                if (table, key) in read or (table, key) in self._rows:
                    self._keep((table, key), NO_ROW)
        self._make_room()

    def _keep(self, place: Place, row: StoredRow) -> None:
        old = self._rows.pop(place, None)
        if old is not None:
            self._bytes -= _size(place, old)
        self._rows[place] = row
        self._bytes += _size(place, row)

    def _make_room(self) -> None:
        while self._bytes > self._most_bytes:
            place = next(iter(self._rows))
            self._bytes -= _size(place, self._rows.pop(place))
            self.dropped += 1


def existing(rows: Mapping[Place, StoredRow]) -> dict[Place, StoredRow]:
    """Recalled rows, without those that are not there."""
    return {place: row for place, row in rows.items() if row is not NO_ROW}


def check_decided(claims: Collection[str], writes: Writes) -> None:
    """Of a batch that was opened without asking whether its claims were decided before: each has to get an outcome, as
    that is what the database compares. Raises Conflict."""
    if len(writes.outcomes) != len(claims):
        raise Conflict("not all of these commands are decided now: ask whether they were before")


def _same(one: StoredRow, other: StoredRow) -> bool:
    return one.offset == other.offset and _bytes(one.data) == _bytes(other.data)


def _bytes(data: bytes | str) -> bytes:
    return data.encode() if isinstance(data, str) else data


def _size(place: Place, row: StoredRow) -> int:
    return _ROW_BYTES + len(place[1]) + len(row.data)
