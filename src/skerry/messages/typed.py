"""A declared type and the proof that a value is of it: what is encoded is decoded again before anybody keeps it.

Structs do not check their fields when they are made, and everything that is read later is read strictly. So whatever
is written or sent passes here first. Strict: 1.0 is no int, None is no str; `Any` and `msgspec.Raw` are checked as far
as JSON goes. Not here: which name and version a message has (message.py), where bytes are kept.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import Any, Generic, TypeVar

import msgspec

from skerry.errors import DeclarationError, InvalidMessage
from skerry.messages.message import Message

T = TypeVar("T")
M = TypeVar("M", bound=Message)

SHOWN_CHARACTERS = 200
"""Of a value that does not fit; the rest is cut."""
MASKED = ("password", "token", "secret")
"""The value of a field with such a word in its name is never shown."""
_FAULTS = (msgspec.MsgspecError, TypeError, ValueError, OverflowError, RecursionError)
_TRIED = 1000
_PLACE = re.compile(r" - at (?:`key` in )?`(?P<path>[^`]*)`$")
_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+|\.\.\.)\]")
_SAID = re.compile(r"^(Invalid (?:enum )?value) .*?(?= - at|$)", re.DOTALL)

_encode = msgspec.json.Encoder().encode
_decode_any = msgspec.json.Decoder().decode


class Typed(Generic[T]):
    """One type. `called`: what its values are, in messages. Raises DeclarationError for a type that JSON cannot say."""

    __slots__ = ("_decode", "called")

    def __init__(self, called: str, kind: Any) -> None:
        self.called = called
        try:
            decoder = msgspec.json.Decoder(kind)
            foreign = foreign_types(kind)
        except (TypeError, NameError) as error:
            raise DeclarationError(f"{called}: {error}") from error
        if foreign:
            raise DeclarationError(
                f"{called} holds {foreign[0]}, which cannot be decoded from JSON: use a msgspec.Struct, a dataclass "
                "or plain types"
            )
        self._decode = decoder.decode

    def encode(self, value: T) -> tuple[bytes, T]:
        """The JSON of a value, and the value as everybody will read it. Raises InvalidMessage when it does not fit."""
        data = b""
        try:
            data = _encode(value)
            return data, self._decode(data)
        except _FAULTS as error:
            raise slip(self.called, value, data, error, self._decode) from None

    def decode(self, data: bytes | str) -> T:
        """Raises msgspec.DecodeError, UnicodeDecodeError."""
        return self._decode(data)  # type: ignore[no-any-return]


class Downcast(Typed[M]):
    """The same of a class of messages that is written as an older version than it reads."""

    __slots__ = ()

    def encode(self, value: M) -> tuple[bytes, M]:
        data, _ = super().encode(value)
        kind, decode = type(value), self._decode
        version, older = kind.writes_version, b""
        try:
            older = _encode(kind.downcast(version, _decode_any(data)))
            # What a reader of today makes of it has to be whole; what older readers make of it is the author's word.
            return older, decode(_encode(kind.upcast(version, _decode_any(older))))
        except (*_FAULTS, LookupError, AttributeError) as error:
            told = f"{type(error).__name__}: {error}"
            raise InvalidMessage(self.called, f"downcast to version {version}: {told}") from None


@cache
def typed(kind: type[M]) -> Typed[M]:
    """The proof for a class of messages, made once. Raises DeclarationError."""
    if not 1 <= kind.writes_version <= kind.message_version:
        raise DeclarationError(
            f"{kind.__name__}: writes_version {kind.writes_version} is not between 1 and message_version "
            f"{kind.message_version}"
        )
    return (Typed if kind.writes_version == kind.message_version else Downcast)(kind.message_name, kind)


def foreign_types(kind: Any) -> list[str]:
    """The names of classes within a type that JSON cannot say (msgspec: custom types)."""
    return [each.cls.__name__ for each in _types(msgspec.inspect.type_info(kind), set())]


def _types(info: Any, seen: set[int]) -> Iterator[msgspec.inspect.CustomType]:
    if isinstance(info, msgspec.inspect.CustomType):
        if info.cls is not object:
            yield info
        return
    if not isinstance(info, msgspec.Struct) or id(info) in seen:
        return
    seen.add(id(info))
    for name in info.__struct_fields__:
        part = getattr(info, name)
        for each in part if isinstance(part, tuple) else (part,):
            yield from _types(each, seen)


# --- what is said about a value that does not fit


def slip(called: str, value: Any, data: bytes, error: Exception, decode: Any) -> InvalidMessage:
    """The error for a value that was encoded as `data` (b"" when it could not be) and then did not fit."""
    if not data:
        field, part = _unencodable(value)
        reason = f"{error} - at `$.{field}`" if field else str(error)
        return InvalidMessage(called, reason, field=field, value=shown(part, field))
    said = str(error)
    place = _PLACE.search(said)
    steps = [name or number for name, number in _STEP.findall(place["path"])] if place else []
    try:
        names, part = _walk(value, data, steps, decode)
    except msgspec.DecodeError:  # a msgspec.Raw that is no JSON
        return InvalidMessage(called, said)
    field = ".".join(names)
    return InvalidMessage(called, _SAID.sub(r"\1", said), field=field, value=shown(part, field))


def shown(value: Any, field: str = "", most: int | None = SHOWN_CHARACTERS) -> str:
    """A value for the eyes of operators: JSON, cut, masked by the name of its field and of fields within it."""
    if _masked(field):
        return "***"
    try:
        text = _encode(_mask(msgspec.to_builtins(value, str_keys=True))).decode()
    except _FAULTS:
        return f"an object of type {type(value).__name__}"
    return text if most is None or len(text) <= most else text[:most] + "..."


def _masked(name: str) -> bool:
    lower = name.lower()
    return any(word in lower for word in MASKED)


def _mask(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: "***" if _masked(str(k)) else _mask(v) for k, v in value.items()}
    return [_mask(each) for each in value] if isinstance(value, list | tuple) else value


def _unencodable(value: Any) -> tuple[str, Any]:
    """The field that cannot be encoded, with its value; ("", value) when it is not one alone."""
    for name in getattr(value, "__struct_fields__", ()):
        part = getattr(value, name, None)
        try:
            _encode(part)
        except _FAULTS:
            return name, part
    return "", value


def _walk(value: Any, data: bytes, steps: list[str], decode: Any) -> tuple[list[str], Any]:
    """The names on the way to what does not fit, and that part of the JSON. Members of an object that are not named
    (`...`) are found by trying one after the other."""
    tree = part = _decode_any(data)
    names: list[str] = []
    for step in steps:
        if isinstance(part, dict) and step == "...":
            for key, member in list(part.items())[:_TRIED]:
                part.clear()
                part[key] = member
                try:
                    decode(_encode(tree))
                except _FAULTS:
                    break
            step = next(iter(part), "")
        names.append(_name_of(value, step))
        try:
            part = part[step] if isinstance(part, dict) else part[int(step)]
        except (LookupError, TypeError, ValueError):
            return names, part
        value = _member(value, step)
    return names, part


def _name_of(value: Any, step: str) -> str:
    """A struct that is an array in JSON has fields all the same."""
    fields = getattr(value, "__struct_fields__", ())
    return fields[int(step)] if step.isdecimal() and int(step) < len(fields) else step


def _member(value: Any, step: str) -> Any:
    if isinstance(value, dict):
        return value.get(step)
    if isinstance(value, list | tuple):
        return value[int(step)]
    return getattr(value, _name_of(value, step), None)
