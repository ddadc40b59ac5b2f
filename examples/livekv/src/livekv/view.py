"""The values as they were at one moment, read a few at a time while memory moves on.

Nothing is copied when a view is made: a change of a value tells the views what it was, and a view remembers that
until it has read past the key. What is kept in memory, and when it changes, is `values`'s.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Final

import msgspec
from sortedcontainers import SortedList

STEP = 256
"""Keys looked up at a time; between two steps memory may change."""


class Entry(msgspec.Struct, frozen=True, gc=False):
    """A value, and the journal offset of its last change."""

    value: str
    offset: int


_UNCHANGED: Final = Entry("", -1)


class View:
    """The pairs whose key begins with `prefix`, in code point order of the keys. To be iterated over once."""

    def __init__(self, entries: dict[str, Entry], ordered: SortedList[str], prefix: str) -> None:
        self._entries, self._ordered, self._prefix = entries, ordered, prefix
        self._place = ""  # what is up to here has been read
        self._whole = False
        self._before: dict[str, Entry | None] = {}
        self._deleted: SortedList[str] = SortedList()

    def changing(self, key: str, entry: Entry | None) -> None:
        """`key` is about to be put; it was `entry` (None: there was none)."""
        if key > self._place and key.startswith(self._prefix) and not self._whole:
            self._before.setdefault(key, entry)

    def deleting(self, key: str, entry: Entry) -> None:
        """`key` is about to go; it was `entry`."""
        self.changing(key, entry)
        if self._before.get(key) is not None:
            self._deleted.add(key)

    def __iter__(self) -> Iterator[tuple[str, Entry]]:
        while not self._whole:
            yield from self._step()

    def _step(self) -> list[tuple[str, Entry]]:
        place, prefix, before = self._place, self._prefix, self._before
        keys = list(islice(self._ordered.irange(place or prefix, inclusive=(not place, True)), STEP))
        if len(keys) < STEP or not keys[-1].startswith(prefix):
            keys = [key for key in keys if key.startswith(prefix)]
            self._whole = True
        else:
            self._place = keys[-1]
        if self._deleted:
            end = None if self._whole else self._place
            gone = self._deleted.irange(place, end, inclusive=(False, True))
            keys = sorted({*keys, *gone})  # one that was deleted may be there again
        if not before:
            return [(key, self._entries[key]) for key in keys]
        found = []
        for key in keys:
            entry = before.pop(key, _UNCHANGED)
            if entry is _UNCHANGED:
                entry = self._entries[key]
            if entry is not None:
                found.append((key, entry))
        return found
