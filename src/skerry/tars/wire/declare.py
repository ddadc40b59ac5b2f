"""How Python says what a `.tars` file says: decorators for structs, interfaces and their functions.

`skerry tars generate` writes modules in these words, the loader applies them at run time, and one may write
them by hand:

    @struct("demo.User", key=("id",))
    class User(Struct):
        id: int = member(0, INT, required=True, default=0)
        tags: list[str] = member(1, Vector(STRING), default_factory=list)

    @interface("demo.Users")
    class Users:
        @function(INT, parameter("user", User), out("id", INT), result=AddResult)
        async def add(self, user: User) -> AddResult:
            raise NotImplementedError

Structs are dataclasses with slots: equality, repr, `dataclasses.replace`, pattern matching. They are not frozen, as
in every other language; do not change one while it is a key.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Final, TypeAlias, TypeVar, dataclass_transform

from skerry.errors import DeclarationError
from skerry.tars.wire.codec import DEFAULT_LIMITS, Limits, decode_struct, encode_struct
from skerry.tars.wire.interface import INTERFACE_ATTRIBUTE, Function, Interface, Parameter
from skerry.tars.wire.types import (
    BOOL,
    BYTE,
    BYTES,
    DOUBLE,
    FLOAT,
    INT,
    LONG,
    SHORT,
    STRING,
    UNSIGNED_BYTE,
    UNSIGNED_INT,
    UNSIGNED_SHORT,
    EnumType,
    Map,
    Member,
    Scalar,
    StructType,
    TarsEnum,
    Type,
    Vector,
    is_mutable,
    zero_of,
)

__all__ = [
    "BOOL",
    "BYTE",
    "BYTES",
    "DOUBLE",
    "FLOAT",
    "INT",
    "LONG",
    "SELF",
    "SHORT",
    "STRING",
    "UNSIGNED_BYTE",
    "UNSIGNED_INT",
    "UNSIGNED_SHORT",
    "Struct",
    "TarsEnum",
    "decode",
    "encode",
    "function",
    "interface",
    "map_of",
    "member",
    "out",
    "parameter",
    "struct",
    "vector_of",
]

_METADATA: Final = "skerry.tars"
_FUNCTION_ATTRIBUTE: Final = "__tars_function__"


class Struct:
    """The base class of all structs. `__tars_struct__` describes it to the codec."""

    __slots__ = ()
    __tars_struct__: ClassVar[StructType]


SELF: Final = StructType("SELF")
"""Stands for the struct that is being declared: `vector_of(SELF)`."""

TypeLike: TypeAlias = Type | type[Struct] | type[TarsEnum]
S = TypeVar("S", bound=Struct)
T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])


def type_of(like: TypeLike) -> Type:
    """The wire type of a struct class or enum class; a type is its own."""
    if isinstance(like, (Scalar, EnumType, Vector, Map, StructType)):
        return like
    if isinstance(like, type):
        if issubclass(like, TarsEnum):
            return EnumType(like)
        if hasattr(like, "__tars_struct__"):
            return like.__tars_struct__
    raise DeclarationError(f"{like!r} is no Tars type")


def vector_of(element: TypeLike) -> Vector:
    """`vector<element>`: a list; `vector_of(BYTE)` is bytes."""
    return Vector(type_of(element))


def map_of(key: TypeLike, value: TypeLike) -> Map:
    """`map<key, value>`: a dict. A struct that serves as key becomes hashable, a vector is a tuple there."""
    key_type = type_of(key)
    _make_hashable(key_type)
    return Map(key_type, type_of(value))


def _make_hashable(kind: Type) -> None:
    match kind:
        case Map():
            raise DeclarationError(f"{kind} cannot be the key of a map")
        case Vector():
            _make_hashable(kind.element)
        case StructType() if kind is SELF:
            raise DeclarationError("a struct cannot be the key of a map within itself")
        case StructType() if kind.cls.__hash__ is None:
            kind.cls.__hash__ = _hash_over(kind.members)


def _hash_over(members: Sequence[Member]) -> Callable[[Any], int]:
    """A hash of those members that have one; equal structs have equal members, so equal hashes."""
    plain = [m for m in members if not is_mutable(m.type) or isinstance(m.type, StructType)]
    for part in plain:
        _make_hashable(part.type)
    names = tuple(m.attribute for m in plain)
    return lambda value: hash(tuple([getattr(value, name) for name in names]))


def member(
    tag: int,
    kind: TypeLike,
    *,
    required: bool = False,
    default: Any = dataclasses.MISSING,
    default_factory: Any = dataclasses.MISSING,
    name: str = "",
) -> Any:
    """A member of a struct. `name` is that of the IDL, where Python needs another one.

    Without a default it is the zero of its type, which then has to be said to type checkers another way.
    """
    wire = type_of(kind)
    if default is dataclasses.MISSING and default_factory is dataclasses.MISSING:
        zero = zero_of(wire)
        if is_mutable(wire):
            default_factory = zero
        else:
            default = zero()
    metadata = {_METADATA: (tag, wire, required, name)}
    if default_factory is not dataclasses.MISSING:
        return dataclasses.field(default_factory=default_factory, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


@dataclass_transform(field_specifiers=(member,))
def struct(name: str, *, key: Sequence[str] | None = None) -> Callable[[type[S]], type[S]]:
    """Declare a struct: `name` is `module.Struct`, `key` the members that make up its hash (`key[...]`)."""

    def declare(cls: type[S]) -> type[S]:
        made = dataclasses.dataclass(slots=True)(cls)
        kind = StructType(name)
        kind.cls = made
        members = [_member(field, kind) for field in dataclasses.fields(made)]  # type: ignore[arg-type]
        members.sort(key=lambda m: m.tag)
        tags = [m.tag for m in members]
        if len(set(tags)) != len(tags) or not all(0 <= tag <= 255 for tag in tags):
            raise DeclarationError(f"{name}: tags are 0 to 255 and used once, these are {tags}")
        kind.members = tuple(members)
        made.__tars_struct__ = kind
        if key is not None:
            if unknown := set(key) - {m.attribute for m in members}:
                raise DeclarationError(f"{name}: key has no members {', '.join(sorted(unknown))}")
            made.__hash__ = _hash_over([m for m in members if m.attribute in key])  # type: ignore[method-assign, assignment]
        return made

    return declare


def _member(field: dataclasses.Field[Any], kind: StructType) -> Member:
    try:
        tag, wire, required, name = field.metadata[_METADATA]
    except KeyError:
        raise DeclarationError(f"{kind.name}.{field.name}: declare it with member(...)") from None
    wire = _with_self(wire, kind)
    name = name or field.name
    if field.default_factory is not dataclasses.MISSING:
        return Member(tag, name, field.name, wire, required, field.default_factory)
    constant = field.default
    return Member(tag, name, field.name, wire, required, lambda: constant, constant)


def _with_self(wire: Type, kind: StructType) -> Type:
    match wire:
        case Vector():
            return Vector(_with_self(wire.element, kind))
        case Map():
            return Map(wire.key, _with_self(wire.value, kind))
        case StructType() if wire is SELF:
            return kind
    return wire


def parameter(name: str, kind: TypeLike, *, python_name: str = "", routekey: bool = False) -> Parameter:
    """An in parameter; its number is its place. `routekey`: its value chooses the server in hashed calls."""
    return Parameter(0, name, python_name or name, type_of(kind), routekey=routekey)


def out(name: str, kind: TypeLike, *, python_name: str = "") -> Parameter:
    """An out parameter: part of the result, not of the arguments."""
    return Parameter(0, name, python_name or name, type_of(kind), out=True)


def function(
    returns: TypeLike | None,
    *parameters: Parameter,
    result: type[tuple[Any, ...]] | None = None,
    name: str = "",
) -> Callable[[F], F]:
    """Declare a function of an interface. `returns` None is void; `result` is the named tuple of a function with
    out parameters; `name` that of the IDL, where Python needs another one."""

    def declare(method: F) -> F:
        numbered = [dataclasses.replace(p, number=i) for i, p in enumerate(parameters, 1)]
        if (result is not None) != any(p.out for p in numbered):
            raise DeclarationError(f"{method.__name__}: out parameters and `result` go together")
        wire = None if returns is None else type_of(returns)
        declared = (
            name or method.__name__,
            method.__name__,
            wire,
            numbered,
            result,
            inspect.getdoc(method) or "",
        )
        setattr(method, _FUNCTION_ATTRIBUTE, declared)
        return method

    return declare


def interface(name: str) -> Callable[[type[T]], type[T]]:
    """Declare an interface: `name` is `module.Interface`."""

    def declare(cls: type[T]) -> type[T]:
        functions: dict[str, Function] = {}
        for value in vars(cls).values():
            if declared := getattr(value, _FUNCTION_ATTRIBUTE, None):
                functions[declared[0]] = Function(name, *declared)
        setattr(cls, INTERFACE_ATTRIBUTE, Interface(name, functions, inspect.getdoc(cls) or ""))
        return cls

    return declare


def encode(value: Struct) -> bytes:
    """A struct as bytes: its members side by side, as C++ `writeTo` leaves them. EncodeError when one does not fit."""
    return encode_struct(value.__tars_struct__, value)


def decode(cls: type[S], data: bytes, limits: Limits = DEFAULT_LIMITS) -> S:
    """The opposite of `encode`. Unknown members are ignored; DecodeError when the bytes are malformed."""
    value: S = decode_struct(cls.__tars_struct__, data, limits)
    return value
