"""Says which part of a value does not fit its type, after encoding failed.

Walks value and type side by side, slowly; encoders are fast because they leave this to here.
"""

from __future__ import annotations

from collections.abc import Sequence

from skerry.tars.errors import EncodeError
from skerry.tars.wire.types import (
    BOOL,
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

_FLOAT_MAX = 3.4028235677973366e38
"""From here on rounding to single precision is infinite."""


def explain_members(members: Sequence[Member], label: str, values: Sequence[object]) -> EncodeError | None:
    """The first member whose value does not fit, or None when all do."""
    for member, value in zip(members, values, strict=True):
        if error := explain(member.type, value, f"{label}.{member.name}", 100):
            return error
    return None


def explain(kind: Type, value: object, path: str, left: int) -> EncodeError | None:
    """What is wrong with `value`, or None. `left` levels of nesting are looked at."""
    if left == 0:
        return EncodeError(path, "values are nested too deeply")
    match kind:
        case Scalar():
            problem = _scalar(kind, value)
            return EncodeError(path, problem) if problem else None
        case EnumType():
            return explain(Scalar(kind.name, "", -(2**31), 2**31 - 1, 4), value, path, left)
        case Vector() if kind.is_bytes:
            return (
                None if isinstance(value, (bytes, bytearray, memoryview)) else _expected("bytes", value, path)
            )
        case Vector():
            if not isinstance(value, (list, tuple)):
                return _expected("a list", value, path)
            parts = ((kind.element, item, f"{path}[{i}]") for i, item in enumerate(value))
            return next((e for k, v, p in parts if (e := explain(k, v, p, left - 1))), None)
        case Map():
            if not isinstance(value, dict):
                return _expected("a dict", value, path)
            for key, item in value.items():
                error = explain(kind.key, key, f"{path} key {key!r:.40}", left - 1)
                error = error or explain(kind.value, item, f"{path}[{key!r:.40}]", left - 1)
                if error:
                    return error
            return None
        case StructType():
            return _struct(kind, value, path, left)


def _struct(kind: StructType, value: object, path: str, left: int) -> EncodeError | None:
    if not isinstance(value, kind.cls):
        return _expected(kind.name, value, path)
    for member in kind.members:
        if not hasattr(value, member.attribute):
            return EncodeError(f"{path}.{member.name}", "is not set")
        if error := explain(member.type, getattr(value, member.attribute), f"{path}.{member.name}", left - 1):
            return error
    return None


def _expected(what: str, value: object, path: str) -> EncodeError:
    return EncodeError(path, f"expected {what}, got {type(value).__name__}")


def _scalar(kind: Scalar, value: object) -> str:
    """What is wrong, or an empty text."""
    if kind is STRING:
        if not isinstance(value, str):
            return f"expected str, got {type(value).__name__}"
        try:
            value.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError as error:
            return f"the text cannot be UTF-8: {error.reason} at index {error.start}"
        return ""
    if kind is BOOL:
        return "" if value in (False, True) else f"expected bool, got {type(value).__name__} {value!r:.40}"
    if kind.is_integer:
        if not hasattr(value, "__index__"):
            return f"expected int, got {type(value).__name__}"
        number = int(value.__index__())
        return (
            ""
            if kind.low <= number <= kind.high
            else f"{number} is not in {kind.low}..{kind.high} ({kind.name})"
        )
    if not isinstance(value, (int, float)):
        return f"expected float, got {type(value).__name__}"
    try:
        real = float(value)
    except OverflowError:
        return (
            f"an int of {value.bit_length()} bits is no {kind.name}"
            if isinstance(value, int)
            else "out of range"
        )
    too_big = kind is FLOAT and _FLOAT_MAX <= abs(real) < float("inf")
    return f"{real!r} is no float: single precision ends at 3.4e38" if too_big else ""
