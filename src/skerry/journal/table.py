"""Declared state: a table is a name, a type of key and a type of row."""

from __future__ import annotations

import re
from typing import Any, Generic, TypeVar
from uuid import UUID

import msgspec

from skerry.errors import DeclarationError, InvalidMessage

K = TypeVar("K", str, int, UUID)
Row = TypeVar("Row")
_NAME = re.compile(r"[a-z][a-z0-9_]{0,40}")


class Table(Generic[K, Row]):
    """Rows by key. `row` is a msgspec struct (or any type that msgspec encodes as JSON).

    Keys are stored as text (`str`, `int` and `UUID` become their text) and listed in code point order of it.
    """

    def __init__(self, name: str, *, key: type[K], row: type[Row]) -> None:
        if not _NAME.fullmatch(name):
            raise DeclarationError(f"table name {name!r}: lower case letters, digits and _, at most 41")
        if key not in (str, int, UUID):
            raise DeclarationError(f"table {name}: key must be str, int or UUID, not {key!r}")
        self.name = name
        self.key: type[K] = key
        self.row: type[Row] = row
        self._encode = msgspec.json.Encoder().encode
        self._decode = msgspec.json.Decoder(row).decode

    def __repr__(self) -> str:
        return f"Table({self.name!r})"

    def key_text(self, key: K) -> str:
        """The key as stored. Raises TypeError for a key of another type, InvalidMessage for one with NUL."""
        if not isinstance(key, self.key):
            raise TypeError(f"table {self.name}: key {key!r} is not {self.key.__name__}")
        text = str(key)
        if "\x00" in text:
            raise InvalidMessage(self.name, "a key with U+0000 cannot be stored")
        return text

    def key_of(self, text: str) -> K:
        key: Any = self.key  # a constrained type variable does not say that it takes text
        return key(text)  # type: ignore[no-any-return]

    def encode(self, row: Row) -> bytes:
        return self._encode(row)

    def decode(self, data: bytes | str) -> Row:
        """Raises InvalidMessage when what is stored does not fit the declared row."""
        try:
            return self._decode(data)
        except (msgspec.DecodeError, msgspec.ValidationError) as error:
            hint = "; a field that was added needs a default" if "missing required" in str(error) else ""
            what = f"stored row does not fit {self.row.__name__}: {error}{hint}"
            raise InvalidMessage(self.name, what) from error


AnyTable = Table[Any, Any]
