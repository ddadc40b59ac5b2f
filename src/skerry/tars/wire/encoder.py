"""Generates the Python text of encoders.

One function per struct, container and parameter list; each joins its pieces in one go. A piece is an expression:
the common case is a table look-up, the rest a call. Nothing is checked twice: a value of the wrong type
makes an expression raise, and the caller then asks `wire/explain.py` where the fault is.

Not for: running the text (`wire/codec.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct
from typing import Any

from skerry.tars.wire import reader, writer
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

_UTF8 = "{}.encode('utf-8', 'surrogateescape')"
_PLAIN_BYTES = "s if (s := {}).__class__ is bytes else bytes_of(s)"


class EncoderSource:
    """Writes encoders into generated text."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def struct(self, kind: StructType, name: str) -> None:
        """`name(o) -> bytes`: all members, then StructEnd."""
        source = self._source
        cls = source.constant(kind.cls, "C")
        pieces = [p for m in kind.members for p in self._member(m, f"o.{m.attribute}")]
        source.line(f"def {name}(o):")
        source.line(
            f" if o.__class__ is not {cls} and not isinstance(o, {cls}): raise TypeError({kind.name!r})"
        )
        source.line(
            f" return join(({', '.join([*pieces, source.constant(writer.head(0, reader.STRUCT_END), 'E')])},))"
        )

    def body(self, members: Sequence[Member], name: str, label: str) -> None:
        """`name(x0, x1, ...) -> bytes`: members side by side, as in packets and bodies."""
        source = self._source
        arguments = ", ".join(f"x{i}" for i in range(len(members)))
        pieces = [p for i, m in enumerate(members) for p in self._pieces(m.type, m.tag, f"x{i}")]
        explain = source.constant(source.explainer(members, label), "X")
        source.line(f"def {name}({arguments}):")
        if not pieces:
            source.line(" return b''")
            return
        source.line(" try:")
        source.line(f"  return join(({', '.join(pieces)},))")
        source.line(" except FAULTS as fault:")
        source.line(f"  raise {explain}(({arguments},), fault) from fault")

    def container(self, kind: Vector | Map, name: str) -> None:
        """`name(x) -> bytes`: the number of items and the items, without the head of the container."""
        source = self._source
        sizes = source.constant(writer.small_sizes(b""), "N")
        wide = source.constant(writer.wide_size(b""), "W")
        source.line(f"def {name}(x):")
        plain, check = ("dict", "dict_of") if isinstance(kind, Map) else ("list", "list_of")
        source.line(f" if x.__class__ is not {plain}: x = {check}(x)")
        source.line(" n = len(x)")
        count = f"{sizes}[n] if n < 128 else {wide}(n)"
        if isinstance(kind, Map):
            pieces = self._pieces(kind.key, 0, "k") + self._pieces(kind.value, 1, "i")
            loop = "for k, i in x.items()"
        else:
            pieces = self._pieces(kind.element, 0, "i")
            loop = "for i in x"
            if len(pieces) == 1 and ":=" not in pieces[0]:
                source.line(f" return join(({count}, *[{pieces[0]} {loop}]))")
                return
        source.line(f" out = [{count}]")
        source.line(f" {loop}: out += ({', '.join(pieces)},)")
        source.line(" return join(out)")

    def _member(self, member: Member, value: str) -> list[str]:
        """A member of a struct. An optional one that equals its default stays off the wire, as TarsCpp does; a struct,
        which would have to be compared whole, is always written."""
        kind = member.type
        pieces = self._pieces(kind, member.tag, value)
        if member.required or isinstance(kind, StructType):
            return pieces
        default, constant = member.default(), self._source.constant
        if isinstance(kind, (Vector, Map)):
            if default:
                return pieces  # written by hand: the reader's default may be another one
            if isinstance(kind, Vector) and kind.is_bytes:
                return [f"(b'' if not (s := ({_PLAIN_BYTES.format(value)})) else {pieces[0]})", "s"]
            none = constant(writer.small_sizes(b"")[0], "Z")
            return [f"(b'' if (s := {pieces[1]}) == {none} else {pieces[0]})", f"(b'' if s == {none} else s)"]
        if kind is STRING:
            text = constant(_utf8(default), "D")
            return [
                f"(b'' if (s := {_UTF8.format(value)}) == {text} else {pieces[0]})",
                f"(b'' if s == {text} else s)",
            ]
        encoded = constant(_encoded(INT if isinstance(kind, EnumType) else kind, member.tag, default), "D")
        return [f"(b'' if (w := {pieces[0]}) == {encoded} else w)"]

    def _pieces(self, kind: Type, tag: int, value: str) -> list[str]:
        """Expressions whose values, joined, are the encoded value."""
        source = self._source
        match kind:
            case Scalar():
                return self._scalar(kind, tag, value)
            case EnumType():
                return self._scalar(INT, tag, value)
            case Vector() if kind.is_bytes:
                prefix = writer.simple_list_prefix(tag)
                sizes = source.constant(writer.small_sizes(prefix), "N")
                wide = source.constant(writer.wide_size(prefix), "W")
                plain = _PLAIN_BYTES.format(value)
                return [f"({sizes}[n] if (n := len(s := ({plain}))) < 128 else {wide}(n))", "s"]
            case Vector() | Map():
                start = reader.MAP if isinstance(kind, Map) else reader.LIST
                return [
                    source.constant(writer.head(tag, start), "H"),
                    f"{source.container_encoder(kind)}({value})",
                ]
            case StructType():
                begin = source.constant(writer.head(tag, reader.STRUCT_BEGIN), "H")
                return [begin, f"{source.struct_encoder(kind)}({value})"]

    def _scalar(self, kind: Scalar, tag: int, value: str) -> list[str]:
        source = self._source
        if kind.is_integer:
            small = source.constant(writer.small_integers(tag), "T")
            wide = source.constant(writer.wide_integer(tag, kind.low, kind.high), "W")
            low = max(kind.low, -128)
            if value.isidentifier():
                return [f"({small}[{value}] if {low} <= {value} <= 127 else {wide}({value}))"]
            return [f"({small}[v] if {low} <= (v := {value}) <= 127 else {wide}(v))"]
        if kind is STRING:
            short = source.constant(writer.short_strings(tag), "S")
            long = source.constant(writer.long_string(tag), "W")
            text = _UTF8.format(value)
            return [f"({short}[n] if (n := len(s := {text})) < 256 else {long}(n))", "s"]
        if kind is BOOL:
            false, true = writer.small_integers(tag)[:2]
            return [f"{source.constant({False: false, True: true}, 'B')}[{value}]"]
        start, form = (
            (writer.head(tag, reader.FLOAT), "f") if kind is FLOAT else (writer.head(tag, reader.DOUBLE), "d")
        )
        assert kind in (FLOAT, DOUBLE)
        pack = source.constant(Struct(f">{len(start)}s{form}").pack, "P")
        return [f"{pack}({source.constant(start, 'H')}, {value})"]


def _encoded(kind: Scalar, tag: int, value: Any) -> bytes:
    """A bool or number as it stands on the wire."""
    if kind is FLOAT or kind is DOUBLE:
        start, form = (reader.FLOAT, "f") if kind is FLOAT else (reader.DOUBLE, "d")
        return writer.head(tag, start) + Struct(f">{form}").pack(value)
    number = int(value)
    if -128 <= number <= 127:
        return writer.small_integers(tag)[number]
    return writer.wide_integer(tag, kind.low, kind.high)(number)


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
