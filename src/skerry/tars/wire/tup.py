"""TUP bodies (versions 2 and 3): values by name instead of by number, UniAttribute in other languages.

Version 3 is a `map<string, vector<byte>>`: name to value, the value encoded at tag 0. Version 2 puts a map of one
entry in between, whose key is the name of a type; readers take that entry and never look at the name, because
implementations do not agree on it. Not for: packets; the answer of a TUP call is special (`wire/packet.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from skerry.tars.errors import DecodeError
from skerry.tars.wire.codec import DEFAULT_LIMITS, UNWRAP_SINGLE, Limits, body_codec
from skerry.tars.wire.types import BYTES, STRING, Map, Member

RETURN_NAME: Final = ""
"""The name of a return value."""

CPP_RETURN_NAME: Final = "tars_ret"
"""The name under which C++ writes the return value a second time."""

_SIMPLE: Final = Map(STRING, BYTES)
_NAMED: Final = Map(STRING, _SIMPLE)
_simple = body_codec(
    [Member(0, "attributes", "attributes", _SIMPLE, True, dict)], "UniAttribute", UNWRAP_SINGLE
)
_named = body_codec(
    [Member(0, "attributes", "attributes", _NAMED, True, dict)], "UniAttribute", UNWRAP_SINGLE
)


def encode_attributes(version: int, attributes: Iterable[tuple[str, str, bytes]]) -> bytes:
    """A body of (name, name of the type, value encoded at tag 0). The type's name is used in version 2 only."""
    if version == 3:
        return _simple.encode({name: value for name, _, value in attributes})
    return _named.encode({name: {kind: value} for name, kind, value in attributes})


def decode_attributes(version: int, body: bytes, limits: Limits = DEFAULT_LIMITS) -> Mapping[str, bytes]:
    """Name to encoded value. A body without bytes has no attributes."""
    if not body:
        return {}
    room = [limits.items]
    if version == 3:
        simple: dict[str, bytes] = _simple.decode(body, limits.depth, room)
        return simple
    named: dict[str, dict[str, bytes]] = _named.decode(body, limits.depth, room)
    found: dict[str, bytes] = {}
    for name, value in named.items():
        if len(value) != 1:
            raise DecodeError(f"{len(value)} values where one belongs,", 0, f"UniAttribute[{name!r:.40}]")
        (found[name],) = value.values()
    return found


class UniAttribute:
    """Values by name and type, for those who call without an IDL file.

    `encode` and `decode` are the body of a call; `put` and `get` its values.
    """

    def __init__(self, version: int = 3) -> None:
        self._version = version
        self._values: dict[str, tuple[str, bytes]] = {}

    def put(self, name: str, member_codec: ValueCodec, value: Any) -> None:
        """Set a value; EncodeError when it does not fit the type."""
        self._values[name] = (member_codec.type_name, member_codec.encode(value))

    def get(self, name: str, member_codec: ValueCodec) -> Any:
        """The value of this name; DecodeError when it is not there or of another type."""
        found = self._values.get(name)
        if found is None:
            raise DecodeError("is not among the attributes", 0, f"UniAttribute[{name!r:.40}]")
        return member_codec.decode(found[1])

    def encode(self) -> bytes:
        return encode_attributes(
            self._version, ((n, kind, value) for n, (kind, value) in self._values.items())
        )

    @classmethod
    def decode(cls, body: bytes, version: int = 3) -> UniAttribute:
        made = cls(version)
        made._values = {name: ("", value) for name, value in decode_attributes(version, body).items()}
        return made


class ValueCodec:
    """One value at tag 0."""

    def __init__(self, member: Member, label: str) -> None:
        self.type_name = member.type.tup_name
        at_zero = Member(0, member.name, member.attribute, member.type, True, member.default)
        self._codec = body_codec([at_zero], label, UNWRAP_SINGLE)

    def encode(self, value: Any) -> bytes:
        return self._codec.encode(value)

    def decode(self, data: bytes, limits: Limits = DEFAULT_LIMITS) -> Any:
        return self._codec.decode(data, limits.depth, [limits.items])
