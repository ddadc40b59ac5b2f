"""The types of the wire: scalars, vectors, maps, enums and structs, as plain descriptions.

Said once per declared type and then compiled (`wire/codec.py`); no value is ever encoded by walking
these descriptions. Not for: Python classes (`wire/declare.py`), IDL text (`idl/`).
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias


@dataclass(frozen=True, slots=True)
class Scalar:
    """A type without parts. `low` and `high` bound the integers; `width` is the widest integer on the wire.

    The wire knows signed integers only: an unsigned one travels as the next wider signed one.
    """

    name: str
    tup_name: str
    low: int = 0
    high: int = 0
    width: int = 0

    @property
    def is_integer(self) -> bool:
        return self.width > 0

    def __str__(self) -> str:
        return self.name


BOOL: Final = Scalar("bool", "bool")
BYTE: Final = Scalar("byte", "char", -(2**7), 2**7 - 1, 1)
SHORT: Final = Scalar("short", "short", -(2**15), 2**15 - 1, 2)
INT: Final = Scalar("int", "int32", -(2**31), 2**31 - 1, 4)
LONG: Final = Scalar("long", "int64", -(2**63), 2**63 - 1, 8)
UNSIGNED_BYTE: Final = Scalar("unsigned byte", "short", 0, 2**8 - 1, 2)
UNSIGNED_SHORT: Final = Scalar("unsigned short", "int32", 0, 2**16 - 1, 4)
UNSIGNED_INT: Final = Scalar("unsigned int", "int64", 0, 2**32 - 1, 8)
FLOAT: Final = Scalar("float", "float")
DOUBLE: Final = Scalar("double", "double")
STRING: Final = Scalar("string", "string")


class TarsEnum(enum.IntEnum):
    """An enum of the IDL. A number that this program does not know yet becomes a member `UNKNOWN_<n>`
    that is equal to the number, so that a newer peer does not break an older reader."""

    @classmethod
    def _missing_(cls, value: object) -> TarsEnum | None:
        if not isinstance(value, int) or not INT.low <= value <= INT.high:
            return None
        unknown = int.__new__(cls, value)
        unknown._name_ = f"UNKNOWN_{value}"
        unknown._value_ = int(value)
        return unknown


@dataclass(frozen=True, slots=True)
class EnumType:
    """An enum travels as an int."""

    cls: type[TarsEnum]

    @property
    def name(self) -> str:
        return self.cls.__name__

    @property
    def tup_name(self) -> str:
        return "int32"

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class Vector:
    """`vector<T>`: a list in Python; `vector<byte>` is `bytes`, and a SimpleList on the wire."""

    element: Type

    @property
    def is_bytes(self) -> bool:
        return self.element is BYTE

    @property
    def name(self) -> str:
        return f"vector<{self.element.name}>"

    @property
    def tup_name(self) -> str:
        return f"list<{self.element.tup_name}>"

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class Map:
    """`map<K, V>`: a dict in Python; order is that of insertion."""

    key: Type
    value: Type

    @property
    def name(self) -> str:
        return f"map<{self.key.name}, {self.value.name}>"

    @property
    def tup_name(self) -> str:
        return f"map<{self.key.tup_name},{self.value.tup_name}>"

    def __str__(self) -> str:
        return self.name


BYTES: Final = Vector(BYTE)

_ABSENT: Final = object()


@dataclass(frozen=True, slots=True)
class Member:
    """One member of a struct, or one parameter of a function.

    `attribute` is the name in Python; it differs from `name` for words that Python reserves.
    `default` is called for a fresh value when an optional member is not on the wire.
    """

    tag: int
    name: str
    attribute: str
    type: Type
    required: bool
    default: Callable[[], Any]
    constant: Any = _ABSENT

    @property
    def has_constant(self) -> bool:
        """Whether the default is one unchanging value, `constant`."""
        return self.constant is not _ABSENT


class StructType:
    """A struct: its members in ascending tag order and the class that holds them.

    Compared by identity. `members` is filled once, right after creation, because a struct may contain
    vectors of itself.
    """

    __slots__ = ("cls", "compiled", "members", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self.cls: type[Any] = object
        self.members: tuple[Member, ...] = ()
        self.compiled: Any = None  # wire/codec.py keeps the generated functions here

    @property
    def tup_name(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return f"<StructType {self.name}>"

    def __str__(self) -> str:
        return self.name


Type: TypeAlias = Scalar | EnumType | Vector | Map | StructType


def zero_of(kind: Type) -> Callable[[], Any]:
    """What makes a value of this type when the IDL names no default: 0, "", empty, `Struct()`; of an enum its first
    member, as in the readers that TarsCpp generates, whatever its number."""
    match kind:
        case Scalar():
            zero: Any = {"bool": False, "float": 0.0, "double": 0.0, "string": ""}.get(kind.name, 0)
            return lambda: zero
        case EnumType():
            first = next(iter(kind.cls))
            return lambda: first
        case Vector():
            return bytes if kind.is_bytes else list
        case Map():
            return dict
        case StructType():
            return lambda: kind.cls()


def is_mutable(kind: Type) -> bool:
    """Whether two holders must not share one value of this type."""
    return isinstance(kind, (Map, StructType)) or (isinstance(kind, Vector) and not kind.is_bytes)
