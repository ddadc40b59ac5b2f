"""What is kept in memory: every value with the offset of its last change, and the keys in order."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator
from typing import Any

from sortedcontainers import SortedList

from livekv.messages import Value, ValueDeleted, ValuePut, values
from livekv.view import Entry, View
from skerry import Projection, Record
from skerry.journal import AnyTable


class Values(Projection):
    """All values of this process. Reading is a dictionary look-up; a new key is put in its order as it comes, so that
    nobody who asks for a list ever pays for sorting."""

    table = values

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        # Not emptied but left: a view that is still being read keeps what it was made of.
        self.entries: dict[str, Entry] = {}
        self._ordered: SortedList[str] = SortedList()
        self._views: list[weakref.ref[View]] = []

    def load(self, table: AnyTable, key: str, row: Value, offset: int) -> None:
        self._set(key, Entry(row.value, offset))

    def dump(self) -> Iterable[tuple[AnyTable, Any, Any, int]]:
        return ((values, key, Value(entry.value), entry.offset) for key, entry in self.entries.items())

    @Projection.applies(ValuePut)
    def put(self, event: ValuePut, record: Record) -> None:
        self._set(event.key, Entry(event.value, record.offset))

    @Projection.applies(ValueDeleted)
    def delete(self, event: ValueDeleted, record: Record) -> None:
        entry = self.entries.pop(event.key, None)
        if entry is not None:
            self._ordered.remove(event.key)
            for view in self._read():
                view.deleting(event.key, entry)

    def get(self, key: str) -> Entry | None:
        return self.entries.get(key)

    def __len__(self) -> int:
        return len(self.entries)

    def items(self, prefix: str = "") -> View:
        """The pairs under `prefix` as they are now, however long the reading takes and whatever happens meanwhile."""
        view = View(self.entries, self._ordered, prefix)
        self._views.append(weakref.ref(view, self._views.remove))
        return view

    def ordered(self, prefix: str = "", after: str = "") -> Iterator[str]:
        """Keys that begin with `prefix` and come after `after`, in code point order."""
        start = max(prefix, after)
        for key in self._ordered.irange(start, None, inclusive=(start != after, True)):
            if not key.startswith(prefix):
                return
            yield key

    def _set(self, key: str, entry: Entry) -> None:
        entries = self.entries
        if self._views:
            for view in self._read():
                view.changing(key, entries.get(key))
        if key not in entries:
            self._ordered.add(key)
        entries[key] = entry

    def _read(self) -> list[View]:
        """The views that somebody still reads."""
        return [view for reference in tuple(self._views) if (view := reference()) is not None]
