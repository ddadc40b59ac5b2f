"""JSON bodies (version 5): `{"parameter": value}` and back.

A struct is an object, a map an object with its keys as texts (of a struct or vector: its JSON text), `vector<byte>` an
array of signed numbers, an enum a number, as C++ writes them. Numbers have no exponent, which TarsCpp would not read;
NaN and infinity are refused. A return value is called `tars_ret`. Rare enough to walk the types instead
of generating code. Not for: HTTP or JSON-RPC.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, NoReturn

import msgspec

from skerry.tars.errors import DecodeError, EncodeError
from skerry.tars.wire.codec import Limits
from skerry.tars.wire.decoder import hashable
from skerry.tars.wire.types import (
    BOOL,
    DOUBLE,
    FLOAT,
    STRING,
    EnumType,
    Map,
    Member,
    Scalar,
    StructType,
    Type,
    Vector,
)

RETURN_NAME = "tars_ret"
_MISSING = object()


def encode_json(members: Sequence[Member], values: Sequence[Any], label: str) -> bytes:
    """An object with one entry per member; the member without a name is the return value and stands last."""
    whole: dict[str, Any] = {}
    for member, value in zip(members, values, strict=True):
        if member.name:
            whole[member.name] = _to_plain(member.type, value, f"{label}.{member.name}")
    for member, value in zip(members, values, strict=True):
        if not member.name:
            whole[RETURN_NAME] = _to_plain(member.type, value, f"{label}.{RETURN_NAME}")
    return _written(whole, label)


def decode_json(members: Sequence[Member], data: bytes, label: str, limits: Limits) -> tuple[Any, ...]:
    """The values of the members, in their order."""
    try:
        whole = _read(bytes(data).decode("utf-8"), label)
    except UnicodeDecodeError as error:
        raise DecodeError("JSON is not UTF-8", error.start, label) from None
    if not isinstance(whole, dict):
        raise DecodeError("the body is not a JSON object", 0, label)
    reader = _Reader(limits)
    return tuple(
        reader.member(
            member, whole, member.name or RETURN_NAME, f"{label}.{member.name or RETURN_NAME}", limits.depth
        )
        for member in members
    )


def _written(plain: Any, path: str) -> bytes:
    try:
        return msgspec.json.encode(plain)
    except (ValueError, RecursionError) as error:  # UnicodeEncodeError is a ValueError
        raise EncodeError(path, f"cannot be JSON: {error}") from error


def _read(text: str, path: str) -> Any:
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise DecodeError(f"malformed JSON: {error.msg},", error.pos, path) from None
    except (ValueError, RecursionError) as error:
        raise DecodeError(f"unacceptable JSON: {error},", 0, path) from None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _to_plain(kind: Type, value: Any, path: str) -> Any:
    match kind:
        case Scalar():
            return _scalar_to_plain(kind, value, path)
        case EnumType():
            return int(value) if isinstance(value, int) else _unfit("an enum member", value, path)
        case Vector() if kind.is_bytes:
            if not isinstance(value, (bytes, bytearray, memoryview)):
                _unfit("bytes", value, path)
            return [n - ((n & 128) << 1) for n in bytes(value)]
        case Vector():
            if not isinstance(value, (list, tuple)):
                _unfit("a list", value, path)
            return [_to_plain(kind.element, item, f"{path}[{i}]") for i, item in enumerate(value)]
        case Map():
            if not isinstance(value, dict):
                _unfit("a dict", value, path)
            return {
                _key_to_text(kind.key, key, path): _to_plain(kind.value, item, f"{path}[{key!r:.40}]")
                for key, item in value.items()
            }
        case StructType():
            if not isinstance(value, kind.cls):
                _unfit(kind.name, value, path)
            return {
                m.name: _to_plain(m.type, getattr(value, m.attribute), f"{path}.{m.name}")
                for m in kind.members
            }


def _scalar_to_plain(kind: Scalar, value: Any, path: str) -> Any:
    if kind is STRING:
        return value if isinstance(value, str) else _unfit("str", value, path)
    if kind is BOOL:
        return bool(value) if value in (False, True) else _unfit("bool", value, path)
    if kind.is_integer:
        if not isinstance(value, int):
            _unfit("int", value, path)
        if not kind.low <= value <= kind.high:
            raise EncodeError(path, f"{value} is not in {kind.low}..{kind.high} ({kind.name})")
        return int(value)
    return _number(float(value), path) if isinstance(value, (int, float)) else _unfit("float", value, path)


def _number(value: float, path: str) -> float | msgspec.Raw:
    """A number as JSON; written out where Python would use an exponent."""
    if not math.isfinite(value):
        raise EncodeError(path, f"{value} cannot be JSON")
    text = repr(value)
    return value if "e" not in text else msgspec.Raw(format(Decimal(text), "f").encode())


def _key_to_text(kind: Type, key: Any, path: str) -> str:
    there = f"{path} key {key!r:.40}"
    plain = _to_plain(kind, key, there)
    if kind is STRING:
        return str(plain)
    return _written(int(plain) if isinstance(plain, bool) else plain, there).decode()


def _unfit(what: str, value: object, path: str) -> NoReturn:
    raise EncodeError(path, f"expected {what}, got {type(value).__name__}")


class _Reader:
    """Turns plain values to typed ones, within limits."""

    def __init__(self, limits: Limits) -> None:
        self._room = limits.items

    def member(self, member: Member, whole: Mapping[str, Any], name: str, path: str, left: int) -> Any:
        node = whole.get(name, _MISSING)
        if node is not _MISSING:
            return self._value(member.type, node, path, left)
        if member.required:
            raise DecodeError("is missing from the JSON object", 0, path)
        return member.default()

    def _value(self, kind: Type, node: Any, path: str, left: int) -> Any:
        if left < 1:
            raise DecodeError("values are nested too deeply", 0, path)
        match kind:
            case Scalar():
                return _scalar(kind, node, path)
            case EnumType():
                return kind.cls(_integer(node, -(2**31), 2**31 - 1, path))
            case Vector():
                self._claim(node, list, "an array", path)
                if kind.is_bytes:
                    return bytes([_integer(item, -128, 255, path) & 255 for item in node])
                return [
                    self._value(kind.element, item, f"{path}[{i}]", left - 1) for i, item in enumerate(node)
                ]
            case Map():
                self._claim(node, dict, "an object", path)
                return {
                    self._key(kind.key, key, path, left - 1): self._value(
                        kind.value, item, f"{path}[{key!r:.40}]", left - 1
                    )
                    for key, item in node.items()
                }
            case StructType():
                if not isinstance(node, dict):
                    raise DecodeError(f"expected an object, got {type(node).__name__}", 0, path)
                value = object.__new__(kind.cls)
                for m in kind.members:
                    setattr(value, m.attribute, self.member(m, node, m.name, f"{path}.{m.name}", left - 1))
                return value

    def _key(self, kind: Type, text: str, path: str, left: int) -> Any:
        """A key of a map from its text: a text as it is, anything else as JSON."""
        if kind is STRING:
            return text
        there = f"{path} key"
        if isinstance(kind, (Scalar, EnumType)):
            try:
                number: int | float = float(text) if kind in (FLOAT, DOUBLE) else int(text)
            except ValueError:
                raise DecodeError(f"the key {text!r:.40} is no {kind.name}", 0, path) from None
            return self._value(kind, number, there, left)
        return hashable(self._value(kind, _read(text, there), there, left))

    def _claim(self, node: Any, plain: type, what: str, path: str) -> None:
        if not isinstance(node, plain):
            raise DecodeError(f"expected {what}, got {type(node).__name__}", 0, path)
        self._room -= len(node)  # type: ignore[arg-type]
        if self._room < 0:
            raise DecodeError("more items than the limit", 0, path)


def _integer(node: Any, low: int, high: int, path: str) -> int:
    if not isinstance(node, int):
        raise DecodeError(f"expected an integer, got {type(node).__name__}", 0, path)
    if not low <= node <= high:
        raise DecodeError(f"{node} is not in {low}..{high}", 0, path)
    return int(node)


def _scalar(kind: Scalar, node: Any, path: str) -> Any:
    if kind is STRING:
        if not isinstance(node, str):
            raise DecodeError(f"expected a string, got {type(node).__name__}", 0, path)
        return node
    if kind is BOOL:
        return bool(_integer(node, -(2**63), 2**63 - 1, path))
    if kind.is_integer:
        return _integer(node, kind.low, kind.high, path)
    if not isinstance(node, (int, float)):
        raise DecodeError(f"expected a number, got {type(node).__name__}", 0, path)
    try:
        number = float(node)
    except OverflowError:
        raise DecodeError(f"a number out of range of {kind.name}", 0, path) from None
    if not math.isfinite(number) or (kind is FLOAT and abs(number) >= 3.4028235677973366e38):
        raise DecodeError(f"{number!r} is out of range of {kind.name}", 0, path)
    return number
