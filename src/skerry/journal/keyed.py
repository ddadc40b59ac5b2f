"""Keyed projections: the rows of one table in memory, as a mapping that loads and follows by itself.

Not here: which events there are and when they come (projector.py), projections of any other form (projection.py).
"""

from __future__ import annotations

from collections.abc import Callable, ItemsView, Iterable, Iterator, Mapping, ValuesView
from functools import partial
from threading import get_ident
from types import NoneType
from typing import Any, ClassVar, Generic, TypeVar, get_args, get_type_hints

import msgspec

from skerry.errors import DeclarationError
from skerry.journal.journal import Record
from skerry.journal.projection import Apply, Projection, marked
from skerry.journal.row_events import K, Row, RowDeleted, RowPut
from skerry.journal.table import AnyTable, Table
from skerry.messages.message import Event

E = TypeVar("E", bound=Event)
R = TypeVar("R")
Self_ = TypeVar("Self_")


class Entry(msgspec.Struct, Generic[Row], frozen=True, gc=False):
    """A row and the offset of its last change in the journal."""

    row: Row
    offset: int


class Puts(Generic[E]):
    """What `KeyedProjection.puts(Event)` gives: a decorator for a method `(self, event) -> row`. It returns the method
    itself."""

    def __init__(self, event: type[E]) -> None:
        self._event = event

    def __call__(self, method: Callable[[Self_, E], R]) -> Callable[[Self_, E], R]:
        method.__skerry_puts__ = (self._event,)  # type: ignore[attr-defined]
        return method


class KeyedProjection(Projection[K, Row], Mapping[K, Row]):
    """The rows of `table` by key: `values[key]`, `values.get(key)`, `for key in values`.

        @app.projection
        class Values(KeyedProjection[str, Value]):
            table = values

    It is kept fresh by the table's own events (`Table(..., emits=True)`, or a mirror); where a table emits none, by
    events of the application: a method under `@KeyedProjection.puts(ValuePut)` gives the row that an event leads to
    (None: there is no row any more), and `deletes` lists events after which there is none. Their key is the event's
    `subject_key()`.

    Override `changed`, and `clear` with it, to keep an index in step. `entries`: key -> row and offset of its last
    change; a new dict after each load.

    It is written by the loop's thread only, and may be read from any: one key at no cost, and what goes over all rows
    (a loop, `keys`, `values`, `items`) over a copy that is made in one step. In the loop's thread nothing is copied.
    """

    table: Table[K, Row]
    deletes: ClassVar[tuple[type[Event], ...]] = ()
    _is_watched: ClassVar[bool] = False
    _thread = 0

    def __init__(self) -> None:
        self.entries: dict[K, Entry[Row]] = {}
        self._thread = get_ident()

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls._is_watched = cls.changed is not KeyedProjection.changed

    @staticmethod
    def puts(event: type[E], /) -> Puts[E]:
        """Mark a method `(self, event) -> row` that returns the row after an event."""
        return Puts(event)

    # --- reading

    def __getitem__(self, key: K) -> Row:
        return self.entries[key].row

    def __contains__(self, key: object) -> bool:
        return key in self.entries

    def __iter__(self) -> Iterator[K]:
        return iter(self.entries if get_ident() == self._thread else list(self.entries))

    def __len__(self) -> int:
        return len(self.entries)

    def values(self) -> ValuesView[Row]:
        return super().values() if get_ident() == self._thread else self._copied().values()

    def items(self) -> ItemsView[K, Row]:
        return super().items() if get_ident() == self._thread else self._copied().items()

    def _copied(self) -> dict[K, Row]:
        """The rows of one moment: a dict is copied in one step."""
        return {key: entry.row for key, entry in self.entries.copy().items()}

    __eq__, __hash__ = object.__eq__, object.__hash__

    def offset(self, key: K) -> int:
        """The journal offset of the row's last change, as `HttpReads.row` and `etag` take it; 0 when there is no row.

        A command stores its rows under its last event. Where it emits several, let that of `puts` be the last one, or
        a server that is started anew knows the row by another offset.
        """
        entry = self.entries.get(key)
        return entry.offset if entry is not None else 0

    # --- changing: for subclasses with events of their own (`Projection.applies`)

    def set_row(self, key: K, row: Row, offset: int) -> None:
        """Insert or replace a row. `offset`: of its change, `record.offset`."""
        if self._is_watched:
            before = self.entries.get(key)
            self.changed(key, before.row if before is not None else None, row)
        self.entries[key] = Entry(row, offset)

    def remove_row(self, key: K) -> None:
        """Remove a row; nothing happens when there is none."""
        before = self.entries.pop(key, None)
        if before is not None and self._is_watched:
            self.changed(key, before.row, None)

    def changed(self, key: K, before: Row | None, after: Row | None) -> None:
        """Called for each row that is inserted (`before` is None), changed, or deleted (`after` is None),
        also while rows are loaded."""

    # --- as a projection

    def clear(self) -> None:
        self.entries = {}

    def load(self, table: Table[K, Row], key: K, row: Row, offset: int) -> None:
        self.set_row(key, row, offset)

    def dump(self) -> Iterable[tuple[AnyTable, Any, Any, int]]:
        table: AnyTable = self.table
        return ((table, key, entry.row, entry.offset) for key, entry in self.entries.items())

    def appliers(self) -> dict[type[Event], Apply]:
        found = super().appliers()
        for event, method in marked(type(self), "__skerry_puts__").items():
            found[event] = partial(self._put, getattr(self, method))
        return found

    def _put(self, row_of: Callable[[Any], Row | None], event: Event, record: Record) -> None:
        row = row_of(event)
        if row is None:
            self._deleted(event, record)
        else:
            self.set_row(self.table.key_of(event.subject_key()), row, record.offset)

    def _deleted(self, event: Event, record: Record) -> None:
        self.remove_row(self.table.key_of(event.subject_key()))

    def _row_put(self, event: RowPut[K, Row], record: Record) -> None:
        self.set_row(event.key, event.row, record.offset)

    def _row_deleted(self, event: RowDeleted[K, Row], record: Record) -> None:
        self.remove_row(event.key)

    @classmethod
    def check_declaration(cls) -> None:
        tables = cls.source_tables()
        if len(tables) != 1 or cls.stored or cls.ephemeral:
            raise DeclarationError(f"{cls.__name__} keeps the rows of one table: say table = ... in it")
        super().check_declaration()
        for method in marked(cls, "__skerry_puts__").values():
            given = get_type_hints(getattr(cls, method)).get("return", tables[0].row)
            if given is not NoneType and given != tables[0].row and tables[0].row not in get_args(given):
                row = getattr(tables[0].row, "__name__", tables[0].row)
                raise DeclarationError(
                    f"{cls.__name__}.{method} must give a row of {tables[0]}, {row}, or None"
                )

    @classmethod
    def declared_events(cls) -> dict[type[Event], str]:
        own = {**marked(cls, "__skerry_puts__"), **dict.fromkeys(cls.deletes, "_deleted")}
        followed: dict[type[Event], str] = {}
        for table in cls.source_tables():
            followed |= dict.fromkeys(table.puts, "_row_put") | dict.fromkeys(table.deletes, "_row_deleted")
        if own and followed:
            raise DeclarationError(
                f"{cls.__name__} follows the events of its table: leave out {', '.join(e.__name__ for e in own)}, or "
                "emits=True of the table"
            )
        if not own and not followed:
            raise DeclarationError(
                f"nothing keeps {cls.__name__} fresh: say Table(..., emits=True), or mark a method with "
                "@KeyedProjection.puts(Event)"
            )
        return {**super().declared_events(), **own, **followed}

    @classmethod
    def called_with(cls) -> dict[str, int]:
        return super().called_with() | dict.fromkeys(marked(cls, "__skerry_puts__").values(), 1)
