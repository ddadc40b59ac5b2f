"""Declared state: a table is a name, a type of key and a type of row. What is put is checked against both."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Generic, TypeVar
from uuid import UUID

import msgspec

from skerry.errors import DeclarationError, InvalidMessage
from skerry.journal.row_events import K, Row, RowDeleted, RowPut, row_events
from skerry.messages.typed import Typed, shown

E = TypeVar("E")
_NAME = re.compile(r"[a-z][a-z0-9_]{0,40}")


class Table(Generic[K, Row]):
    """Rows by key. `row` is a msgspec struct (or any type that msgspec encodes as JSON).

    Keys are stored as text (`str`, `int` and `UUID` become their text) and listed in code point order of it.
    `renamed_from`: the name that this table had before; its rows are taken over by the consumer's start.
    `emits`: each row that a command has changed is told by an event, `table.Put` (`RowPut`: `key`, `row`) or
    `table.Deleted` (`RowDeleted`: `key`), after the events that the command emits itself; for listeners, reactors,
    renderers and a `KeyedProjection`.
    """

    def __init__(
        self, name: str, *, key: type[K], row: type[Row], renamed_from: str = "", emits: bool = False
    ) -> None:
        if not _NAME.fullmatch(name):
            raise DeclarationError(f"table name {name!r}: lower case letters, digits and _, at most 41")
        if key not in (str, int, UUID):
            raise DeclarationError(f"table {name}: key must be str, int or UUID, not {key!r}")
        if renamed_from and (renamed_from == name or not _NAME.fullmatch(renamed_from)):
            raise DeclarationError(f"table {name}: it cannot have been named {renamed_from!r}")
        self.name, self.renamed_from = name, renamed_from
        self.key: type[K] = key
        self.row: type[Row] = row
        self._typed: Typed[Row] = Typed(f"table {name}: its row {_called(row)}", row)
        self._encode = msgspec.json.Encoder().encode
        self.emits = emits
        self.puts: tuple[type[RowPut[K, Row]], ...] = ()
        self.deletes: tuple[type[RowDeleted[K, Row]], ...] = ()
        for each in [name, *filter(None, [renamed_from])] if emits else []:
            put, deleted = row_events(each, key, row)
            self.puts, self.deletes = (*self.puts, put), (*self.deletes, deleted)

    @property
    def Put(self) -> type[RowPut[K, Row]]:  # noqa: N802 - it is a class
        """The event that a row was put. Raises DeclarationError for a table without events."""
        return self._told(self.puts)

    @property
    def Deleted(self) -> type[RowDeleted[K, Row]]:  # noqa: N802 - it is a class
        """The event that a row was deleted. Raises DeclarationError for a table without events."""
        return self._told(self.deletes)

    def _told(self, kinds: tuple[E, ...]) -> E:
        """The first of them: the others are of the table's former name."""
        if not kinds:
            raise DeclarationError(f"table {self.name} has no events: say Table(..., emits=True)")
        return kinds[0]

    def __repr__(self) -> str:
        return f"Table({self.name!r})"

    def key_text(self, key: K) -> str:
        """The key as stored. Raises TypeError for a key of another type, InvalidMessage for text that no database
        keeps."""
        kind = self.key
        if (
            type(key) is not kind
        ):  # True is an int, and an enumeration's str() is its name: neither would come back
            if not isinstance(key, kind) or isinstance(key, bool):
                raise TypeError(f"table {self.name}: key {key!r} is not {kind.__name__}")
            return self.key_text(_plain[kind](key))
        text = str(key)
        if "\x00" in text:
            raise InvalidMessage(self.name, "a key with U+0000 cannot be stored")
        if not text.isascii():
            try:
                text.encode()
            except UnicodeEncodeError as error:
                raise InvalidMessage(self.name, f"a key that is not valid Unicode: {error.reason}") from error
        return text

    def key_of(self, text: str) -> K:
        """The key that a text stands for, as on a command line. Raises ValueError for another text."""
        key: Any = self.key  # a constrained type variable does not say that it takes text
        return key(text)  # type: ignore[no-any-return]

    def encode(self, row: Row) -> bytes:
        """JSON of a row that is known to fit, as one that was decoded. See `checked`."""
        return self._encode(row)

    def checked(self, key: K, row: Row) -> tuple[bytes, Row]:
        """The JSON of a new row, and the row as it will be read. Raises InvalidMessage with field and value
        when it does not fit its declared type."""
        try:
            return self._typed.encode(row)
        except InvalidMessage as error:
            called = f"table {self.name}, row {shown(key)} ({_called(self.row)})"
            raise InvalidMessage(called, error.reason, field=error.field, value=error.value) from None

    def decode(self, data: bytes | str) -> Row:
        """Raises InvalidMessage when the stored JSON does not fit the declared row."""
        try:
            return self._typed.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            hint = "; a field that was added needs a default" if "missing required" in str(error) else ""
            what = f"stored row does not fit {_called(self.row)}: {error}{hint}"
            raise InvalidMessage(self.name, what) from error


def _called(row: Any) -> str:
    return getattr(row, "__name__", None) or str(row)


_plain: dict[Any, Callable[[Any], Any]] = {
    str: str.__str__,
    int: int.__int__,
    UUID: lambda key: UUID(int=key.int),
}
"""The same key without its subclass."""

AnyTable = Table[Any, Any]
