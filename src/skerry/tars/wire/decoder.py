"""Generates the Python text of decoders.

One function per struct, nested container and parameter list. Each member is a chain over the head byte, likely forms
first, written inline; unlikely ways (unknown members, missing ones, malformed bytes) call `wire/reader.py`.
A `while 1` around the chain lets it try again after unknown members were passed over.

The generated functions take `b` (bytes), `p` (offset), `e` (length), `left` (levels of nesting that are
allowed) and `room` (a list with one number: items that may still be made or passed over), and return the value and the
offset behind it. Not for: running the text (`wire/codec.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from skerry.tars.wire import reader
from skerry.tars.wire.source import Source
from skerry.tars.wire.types import (
    BOOL,
    DOUBLE,
    FLOAT,
    INT,
    STRING,
    EnumType,
    Map,
    Member,
    Scalar,
    StructType,
    Type,
    Vector,
)

Store = Callable[[str], str]
"""Turns an expression into the statement that keeps its value."""

_INTEGERS = ((reader.INT8, 1), (reader.ZERO, 0), (reader.INT16, 2), (reader.INT32, 4), (reader.INT64, 8))


def accepted_kinds(kind: Type) -> frozenset[int]:
    """The wire kinds that a reader of this type understands."""
    match kind:
        case EnumType():
            return accepted_kinds(INT)
        case Vector():
            return frozenset({reader.LIST, reader.SIMPLE_LIST} if kind.is_bytes else {reader.LIST})
        case Map():
            return frozenset({reader.MAP})
        case StructType():
            return frozenset({reader.STRUCT_BEGIN})
    if kind.is_integer:
        return frozenset(k for k, _ in _INTEGERS)
    if kind is BOOL:
        return frozenset({reader.INT8, reader.ZERO})
    if kind is STRING:
        return frozenset({reader.STRING1, reader.STRING4})
    return frozenset({reader.FLOAT, reader.ZERO} | ({reader.DOUBLE} if kind is DOUBLE else set()))


class DecoderSource:
    """Writes decoders into generated text."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def struct(self, kind: StructType, name: str) -> None:
        """`name(b, p, e, left, room) -> (value, p)`; p is behind StructBegin, then behind StructEnd."""
        source, label = self._source, repr(kind.name)
        cls = source.constant(kind.cls, "C")
        source.line(f"def {name}(b, p, e, left, room):")
        source.line(f" if left < 1: raise too_deep(p, {label})")
        source.line(f" o = new({cls})")
        source.line(" try:")
        for member in kind.members:
            self._member(member, f"{kind.name}.{member.name}", _assign(f"o.{member.attribute}"), bare=False)
        source.line("  if b[p] == 11: return o, p + 1")
        source.line("  return o, skip_members(b, p, e, left, room)")
        self._on_truncation(label)

    def body(self, members: Sequence[Member], name: str, label: str, result: str) -> None:
        """`name(b, left, room) -> result`, an expression over x0, x1, ...: members up to the end."""
        source, text = self._source, repr(label)
        source.line(f"def {name}(b, left, room):")
        source.line(" if b.__class__ is not bytes: b = bytes(b)")
        source.line(" p = 0; e = len(b)")
        source.line(" try:")
        for index, member in enumerate(members):
            self._member(member, f"{label}.{member.name}", _assign(f"x{index}"), bare=True)
        source.line("  if p < e: skip_rest(b, p, e, left, room)")
        self._on_truncation(text)
        source.line(f" except RecursionError: raise too_deep(p, {text}) from None")
        source.line(f" return {result}")

    def container(self, kind: Vector | Map, name: str) -> None:
        """`name(b, p, e, left, room) -> (value, p)`; p is behind the head of the container."""
        source, label = self._source, repr(str(kind))
        source.line(f"def {name}(b, p, e, left, room):")
        source.line(" try:")
        self._items(kind, 0, str(kind), _assign("o"), "  ")
        source.line("  return o, p")
        self._on_truncation(label)

    def _on_truncation(self, label: str) -> None:
        self._source.line(f" except (IndexError, StructError): raise truncated(p, e, {label}) from None")

    def _member(self, member: Member, where: str, store: Store, *, bare: bool) -> None:
        """The chain for one member, and what happens when it is not there."""
        source = self._source
        source.line("  while 1:")
        source.line("   h = b[p] if p < e else 11" if bare else "   h = b[p]")
        optional = None if member.required else member
        self._chain(member.type, member.tag, where, store, "   ", optional, inline=True)
        source.line("   break")

    def _required(self, kind: Type, tag: int, where: str, store: Store, indent: str) -> None:
        """The chain for an item of a container: it is there or the bytes are wrong."""
        self._source.line(f"{indent}while 1:")
        self._source.line(f"{indent} h = b[p]")
        self._chain(kind, tag, where, store, indent + " ", None, inline=False)
        self._source.line(f"{indent} break")

    def _chain(
        self,
        kind: Type,
        tag: int,
        where: str,
        store: Store,
        indent: str,
        optional: Member | None,
        *,
        inline: bool,
    ) -> None:
        source = self._source
        text = repr(where)
        at = 1 if tag < 15 else 2
        if at == 2:
            source.line(f"{indent}if h < 240 or b[p + 1] != {tag}: h = -1")
        self._kinds(kind, tag, at, where, store, indent, inline)
        kinds = source.constant(accepted_kinds(kind), "K")
        arguments = f"b, p, e, {tag}, {kinds}, left, room, {text}"
        if optional is None:
            source.line(f"{indent}else:")
            source.line(f"{indent} p = seek_required({arguments})")
            source.line(f"{indent} continue")
            return
        default = (
            repr(optional.constant)
            if _is_literal(optional)
            else f"{source.constant(optional.default, 'D')}()"
        )
        if tag < 14:
            source.line(f"{indent}elif h == 11 or h >= {(tag + 1) << 4}: {store(default)}")
        source.line(f"{indent}else:")
        source.line(f"{indent} f, p = seek({arguments})")
        source.line(f"{indent} if f: continue")
        source.line(f"{indent} {store(default)}")

    def _kinds(
        self, kind: Type, tag: int, at: int, where: str, store: Store, indent: str, inline: bool
    ) -> None:
        """`if h == ...: ... elif h == ...: ...` over the accepted kinds; payload at `p + at`.

        Containers of members are read inline, those inside of containers by a function of their own.
        """
        match kind:
            case Scalar() if kind.is_integer:
                self._integer(kind, tag, at, where, store, indent)
            case EnumType():
                known = self._source.constant(dict(kind.cls._value2member_map_), "V")
                cls = self._source.constant(kind.cls, "C")
                self._integer(
                    INT,
                    tag,
                    at,
                    where,
                    lambda x: store(f"{known}[v] if (v := {x}) in {known} else {cls}(v)"),
                    indent,
                )
            case Scalar():
                self._plain(kind, tag, at, where, store, indent)
            case Vector() if kind.is_bytes:
                self._bytes(kind, tag, at, where, store, indent)
            case Vector() | Map():
                start = _head(tag, reader.MAP if isinstance(kind, Map) else reader.LIST)
                self._source.line(f"{indent}if h == {start}:")
                if inline:
                    self._items(kind, at, where, store, indent + " ")
                else:
                    decode = self._source.container_decoder(kind)
                    self._source.line(f"{indent} w, p = {decode}(b, p + {at}, e, left, room)")
                    self._source.line(f"{indent} {store('w')}")
            case StructType():
                decode = self._source.struct_decoder(kind)
                self._source.line(f"{indent}if h == {_head(tag, reader.STRUCT_BEGIN)}:")
                self._source.line(f"{indent} w, p = {decode}(b, p + {at}, e, left - 1, room)")
                self._source.line(f"{indent} {store('w')}")

    def _integer(self, kind: Scalar, tag: int, at: int, where: str, store: Store, indent: str) -> None:
        line, word = self._source.line, "if"
        for wire, width in _INTEGERS:
            line(f"{indent}{word} h == {_head(tag, wire)}:")
            word = "elif"
            if width == 0:
                line(f"{indent} {store('0')}; p += {at}")
                continue
            low, high = -(1 << (8 * width - 1)), (1 << (8 * width - 1)) - 1
            value = f"S8[b[p + {at}]]" if width == 1 else f"U{width * 8}(b, p + {at})[0]"
            if low < kind.low or high > kind.high:
                line(f"{indent} v = {value}")
                limits = (
                    f"{max(low, kind.low)} <= v" if high <= kind.high else f"{kind.low} <= v <= {kind.high}"
                )
                line(
                    f"{indent} if not {limits}: raise out_of_range(v, {kind.low}, {kind.high}, p, {where!r})"
                )
                value = "v"
            line(f"{indent} {store(value)}; p += {at + width}")

    def _plain(self, kind: Scalar, tag: int, at: int, where: str, store: Store, indent: str) -> None:
        line = self._source.line
        if kind is BOOL:
            line(f"{indent}if h == {_head(tag, reader.INT8)}: {store(f'b[p + {at}] != 0')}; p += {at + 1}")
            line(f"{indent}elif h == {_head(tag, reader.ZERO)}: {store('False')}; p += {at}")
        elif kind is STRING:
            text = "b[p:q].decode('utf-8', 'surrogateescape')"
            for word, wire, size, width in (
                ("if", reader.STRING1, f"b[p + {at}]", 1),
                ("elif", reader.STRING4, f"UL(b, p + {at})[0]", 4),
            ):
                line(f"{indent}{word} h == {_head(tag, wire)}:")
                line(f"{indent} q = p + {at + width} + {size}")
                line(f"{indent} if q > e: raise truncated(p, e, {where!r})")
                line(f"{indent} p += {at + width}; {store(text)}; p = q")
        else:
            assert kind in (FLOAT, DOUBLE)
            if kind is DOUBLE:
                line(
                    f"{indent}if h == {_head(tag, reader.DOUBLE)}: {store(f'UD(b, p + {at})[0]')}; p += {at + 8}"
                )
            word = "elif" if kind is DOUBLE else "if"
            line(
                f"{indent}{word} h == {_head(tag, reader.FLOAT)}: {store(f'UF(b, p + {at})[0]')}; p += {at + 4}"
            )
            line(f"{indent}elif h == {_head(tag, reader.ZERO)}: {store('0.0')}; p += {at}")

    def _bytes(self, kind: Vector, tag: int, at: int, where: str, store: Store, indent: str) -> None:
        """SimpleList; or a List of bytes, which C++ also reads."""
        line = self._source.line
        line(f"{indent}if h == {_head(tag, reader.SIMPLE_LIST)}:")
        line(f"{indent} if b[p + {at}] != 0: raise DecodeError('a SimpleList holds Int8', p, {where!r})")
        self._size(at + 1, where, indent + " ")
        line(f"{indent} q = p + n")
        line(f"{indent} if q > e: raise truncated(p, e, {where!r})")
        line(f"{indent} {store('b[p:q]')}; p = q")
        items = self._source.container_decoder(Vector(_SIGNED))
        line(f"{indent}elif h == {_head(tag, reader.LIST)}:")
        line(f"{indent} w, p = {items}(b, p + {at}, e, left, room)")
        line(f"{indent} {store('bytes([i & 255 for i in w])')}")

    def _size(self, at: int, where: str, indent: str) -> None:
        """`n` = the size at `p + at`, `p` = behind it."""
        line = self._source.line
        line(f"{indent}if b[p + {at}] == 0 and b[p + {at + 1}] < 128: n = b[p + {at + 1}]; p += {at + 2}")
        line(f"{indent}elif b[p + {at}] == 12: n = 0; p += {at + 1}")
        line(f"{indent}else: n, p = read_size(b, p + {at}, e, {where!r})")

    def _items(self, kind: Vector | Map, at: int, where: str, store: Store, indent: str) -> None:
        """The size at `p + at` and the items."""
        line = self._source.line
        self._size(at, where, indent)
        line(f"{indent}if n:")
        line(f"{indent} room[0] -= n")
        line(f"{indent} if n > e - p or room[0] < 0: raise too_many(n, p, {where!r})")
        if isinstance(kind, Map):
            line(f"{indent} m = {{}}")
            line(f"{indent} for _ in range(n):")
            self._required(kind.key, 0, f"{where}[key]", _assign("k"), indent + "  ")
            if isinstance(kind.key, Vector) and not kind.key.is_bytes:
                line(f"{indent}  k = {self._source.constant(hashable, 'F')}(k)")
            self._required(kind.value, 1, f"{where}[]", _assign("m[k]"), indent + "  ")
            line(f"{indent} {store('m')}")
            line(f"{indent}else: {store('{}')}")
        else:
            line(f"{indent} m = []; add = m.append")
            line(f"{indent} for _ in range(n):")
            self._required(kind.element, 0, f"{where}[]", lambda x: f"add({x})", indent + "  ")
            line(f"{indent} {store('m')}")
            line(f"{indent}else: {store('[]')}")


class _Signed(Scalar):
    """A byte that is read as an item of a List, not as part of a SimpleList."""


_SIGNED = _Signed("byte", "char", -128, 127, 1)


def hashable(value: object) -> object:
    """A list that serves as a key: a tuple, all the way down."""
    return tuple(hashable(item) for item in value) if isinstance(value, list) else value


def _head(tag: int, kind: int) -> int:
    """The head byte; for tags from 15 on the first of the two."""
    return (min(tag, 15) << 4) | kind


def _assign(target: str) -> Store:
    return lambda expression: f"{target} = {expression}"


def _is_literal(member: Member) -> bool:
    return member.has_constant and type(member.constant) in (int, str, bytes, bool)
