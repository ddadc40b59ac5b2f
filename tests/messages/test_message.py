"""Messages: names, keys, validation, versions, and their bytes."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.errors import DeclarationError, InvalidMessage, UnknownMessage
from skerry.messages.envelope import Envelope, pack, unpack
from skerry.messages.message import Command, Event, MessageTypes, Query
from skerry.messages.serializer import Serializer


class RenameHTTPRoute(Command):
    key: str
    to: Annotated[str, msgspec.Meta(min_length=1)]


class Priced(Event):
    message_version: ClassVar[int] = 2
    sku: str
    cents: int

    def subject_key(self) -> str:
        return self.sku

    @classmethod
    def upcast(cls, version: int, data: dict[str, Any]) -> dict[str, Any]:
        return {"sku": data["sku"], "cents": round(data["euros"] * 100)} if version == 1 else data


class HowMany(Query[int]):
    prefix: str = ""


def serializer() -> Serializer:
    types = MessageTypes()
    for kind in (RenameHTTPRoute, Priced, HowMany):
        types.add(kind)
    return Serializer(types)


def test_a_name_is_the_class_in_snake_case() -> None:
    """Runs of capitals stay one word; a version of 1 unless declared."""
    assert RenameHTTPRoute.message_name == "rename_http_route"
    assert (HowMany.message_name, HowMany.message_version) == ("how_many", 1)
    assert (Priced.message_name, Priced.message_version) == ("priced", 2)


def test_keys_say_what_must_stay_in_order() -> None:
    """A command's partition key is its field `key`, an event's subject too, unless it says otherwise."""
    assert RenameHTTPRoute("a", "b").routing_key() == "a"
    assert Priced("x", 1).subject_key() == "x"


def test_messages_cannot_be_changed() -> None:
    """A subclass is frozen without saying so."""
    with pytest.raises(AttributeError):
        Priced("x", 1).sku = "y"  # type: ignore[misc]


def test_two_classes_of_one_name_are_refused() -> None:
    """A name means one class."""
    types = MessageTypes()
    types.add(Priced)
    other = type("Priced", (Event,), {"__annotations__": {}})

    with pytest.raises(DeclarationError, match="both named 'priced'"):
        types.add(other)


@given(st.text(), st.integers(-(2**53), 2**53))
def test_bytes_and_back(sku: str, cents: int) -> None:
    """What is encoded is decoded to an equal message."""
    one = serializer()
    event = Priced(sku, cents)
    assert one.decode("priced", 2, one.encode(event)) == event


def test_an_older_version_is_upcast() -> None:
    """Stored events of version 1 are read by today's code."""
    assert serializer().decode("priced", 1, b'{"sku":"x","euros":1.5}') == Priced("x", 150)


BROKEN = [
    ("priced", 2, b"{"),
    ("priced", 2, b'{"sku":1,"cents":1}'),
    ("priced", 2, b"\xff"),
    ("rename_http_route", 1, b'{"key":"a","to":""}'),
    ("priced", 1, b"[]"),
]


BROKEN = [
    ("priced", 2, b"{"),
    ("priced", 2, b'{"sku":1,"cents":1}'),
    ("priced", 2, b"\xff"),
    ("rename_http_route", 1, b'{"key":"a","to":""}'),
    ("priced", 1, b"[]"),
]


@pytest.mark.parametrize(("name", "version", "data"), BROKEN)
def test_what_does_not_fit_is_invalid(name: str, version: int, data: bytes) -> None:
    """Broken JSON, wrong types, bytes that are no UTF-8 and broken rules are one clear error."""
    with pytest.raises(InvalidMessage, match=name):
        serializer().decode(name, version, data)


@pytest.mark.parametrize(("name", "version"), [("nobody", 1), ("priced", 3)])
def test_what_is_not_known_is_unknown(name: str, version: int) -> None:
    """A name nobody declared, and a version from the future."""
    with pytest.raises(UnknownMessage):
        serializer().decode(name, version, b"{}")


def test_a_pack_carries_envelopes_as_they_were() -> None:
    """Packing and unpacking keeps every field; the command becomes its JSON, readable in a broker's page."""
    command = RenameHTTPRoute("schlüssel", "x")
    envelope = Envelope(
        "1" * 32, "rename_http_route", 1, "schlüssel", "me", 1.5, "h", {"trace": "t"}, command
    )

    data = pack([envelope])
    (back,) = unpack(data)

    assert b'{"key":"schl\xc3\xbcssel","to":"x"}' in data
    assert back.body is not None
    assert serializer().decode(back.name, back.version, back.body) == command
    assert (back.id, back.key, back.sender, back.sent_at, back.request_hash, dict(back.headers)) == (
        envelope.id, "schlüssel", "me", 1.5, "h", {"trace": "t"},
    )  # fmt: skip


@given(st.binary(max_size=60))
def test_bytes_that_are_no_pack_are_one_error(data: bytes) -> None:
    """Whatever a stranger publishes gives a DecodeError or envelopes, nothing else."""
    try:
        assert isinstance(unpack(data), list)
    except (msgspec.DecodeError, UnicodeDecodeError):
        pass
