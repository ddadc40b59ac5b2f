"""UniAttribute: values by name, without an IDL file."""

from __future__ import annotations

import pytest

from skerry.tars.errors import DecodeError, EncodeError
from skerry.tars.wire.tup import UniAttribute, ValueCodec, decode_attributes, encode_attributes
from skerry.tars.wire.types import INT, STRING, Member, Type, zero_of


def value(kind: Type) -> ValueCodec:
    return ValueCodec(Member(0, "value", "value", kind, True, zero_of(kind)), "test")


@pytest.mark.parametrize("version", [2, 3])
def test_values_come_back_by_name(version: int) -> None:
    """What was put is got, in both layouts."""
    sent = UniAttribute(version)
    sent.put("n", value(INT), 7)
    sent.put("s", value(STRING), "hi")
    received = UniAttribute.decode(sent.encode(), version)
    assert (received.get("n", value(INT)), received.get("s", value(STRING))) == (7, "hi")


def test_the_layout_of_version_3() -> None:
    """As Tars.js writes it."""
    assert encode_attributes(3, [("n", "int32", b"\x00\x07")]).hex() == "08000106016e1d0000020007"


def test_type_names_of_version_2_are_not_looked_at() -> None:
    """Implementations do not agree on them."""
    body = encode_attributes(2, [("n", "undefined", b"\x00\x07")])
    assert UniAttribute.decode(body, 2).get("n", value(INT)) == 7


def test_what_is_not_there_or_of_another_type() -> None:
    """DecodeErrors name the attribute."""
    received = UniAttribute.decode(encode_attributes(3, [("n", "", b"\x06\x00")]))
    with pytest.raises(DecodeError, match="'x'"):
        received.get("x", value(INT))
    with pytest.raises(DecodeError, match="does not fit"):
        received.get("n", value(INT))
    with pytest.raises(EncodeError):
        received.put("n", value(INT), "x")


def test_an_empty_body_has_no_attributes() -> None:
    """Servers answer errors with nothing at all, or with an empty map."""
    assert decode_attributes(3, b"") == decode_attributes(2, b"") == decode_attributes(3, b"\x08\x0c") == {}


def test_two_values_under_one_name_are_refused() -> None:
    """Version 2 has exactly one."""
    with pytest.raises(DecodeError, match="2 values"):
        decode_attributes(2, _two())


def _two() -> bytes:
    one = encode_attributes(2, [("n", "a", b"\x0c")])
    return one.replace(
        b"\x18\x00\x01\x06\x01a\x1d\x00\x00\x01\x0c",
        b"\x18\x00\x02" + b"\x06\x01a\x1d\x00\x00\x01\x0c\x06\x01b\x1d\x00\x00\x01\x0c",
    )
