"""What is kept in memory: every value with the offset of its last change, and the keys in order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
from sortedcontainers import SortedList

from livekv.messages import Value, ValueDeleted, ValuePut, values
from skerry import Projection, Record
from skerry.journal.table import AnyTable


class Entry(msgspec.Struct, frozen=True, gc=False):
    """A value, and the journal offset of its last change."""

    value: str
    offset: int


class Values(Projection):
    """All values of this process. Reading is a dictionary look-up."""

    table = values

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        self._ordered: SortedList[str] = SortedList()
        self._unordered: set[str] = set()
        self._taken: tuple[str, list[tuple[str, Entry]]] | None = None

    def clear(self) -> None:
        self._taken = None
        self.entries.clear()
        self._ordered.clear()
        self._unordered.clear()

    def load(self, table: AnyTable, key: str, row: Value, offset: int) -> None:
        self._taken = None
        self.entries[key] = Entry(row.value, offset)
        self._unordered.add(key)

    def dump(self) -> Iterable[tuple[AnyTable, Any, Any, int]]:
        return ((values, key, Value(entry.value), entry.offset) for key, entry in self.entries.items())

    @Projection.applies(ValuePut)
    def put(self, event: ValuePut, record: Record) -> None:
        key = event.key
        self._taken = None
        if key not in self.entries:
            self._unordered.add(key)
        self.entries[key] = Entry(event.value, record.offset)

    @Projection.applies(ValueDeleted)
    def delete(self, event: ValueDeleted, record: Record) -> None:
        self._taken = None
        if self.entries.pop(event.key, None) is not None:
            if event.key in self._unordered:
                self._unordered.discard(event.key)
            else:
                self._ordered.discard(event.key)

    def get(self, key: str) -> Entry | None:
        return self.entries.get(key)

    def __len__(self) -> int:
        return len(self.entries)

    def items(self, prefix: str = "") -> list[tuple[str, Entry]]:
        """The values as they are now, those under `prefix`: a list that does not change any more. Who asks again
        before anything has changed gets the same one: a crowd that comes back does not take a copy each."""
        if self._taken is None or self._taken[0] != prefix:
            pairs = [(key, self.entries[key]) for key in self.ordered(prefix)] if prefix else None
            self._taken = prefix, list(self.entries.items()) if pairs is None else pairs
        return self._taken[1]

    def ordered(self, prefix: str = "", after: str = "") -> Iterator[str]:
        """Keys that begin with `prefix` and come after `after`, in code point order.

        Order costs nothing until somebody asks: keys that came since are sorted in then.
        """
        if self._unordered:
            self._ordered.update(self._unordered)
            self._unordered.clear()
        start = max(prefix, after)
        for key in self._ordered.irange(start, None, inclusive=(start != after, True)):
            if not key.startswith(prefix):
                if key > prefix:
                    return
                continue
            yield key
