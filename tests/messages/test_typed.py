"""A value is of its declared type before anybody keeps it; what does not fit is named, shown and masked."""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec
import pytest

from skerry.errors import DeclarationError, InvalidMessage
from skerry.messages.message import Command, result_of
from skerry.messages.typed import Typed, shown, typed


class Line(msgspec.Struct, array_like=True):
    sku: str
    amount: int


class Order(Command[int]):
    key: str
    lines: tuple[Line, ...] = ()
    notes: dict[str, int] = msgspec.field(default_factory=dict)
    token: str = ""


class Renamed(Command):
    """Reads version 2 (`cents`), writes version 1 (`euros`)."""

    message_version: ClassVar[int] = 2
    writes_version: ClassVar[int] = 1
    cents: int

    @classmethod
    def upcast(cls, version: int, data: dict[str, Any]) -> dict[str, Any]:
        return {"cents": data["euros"] * 100}

    @classmethod
    def downcast(cls, version: int, data: dict[str, Any]) -> dict[str, Any]:
        return {"euros": data["cents"] // 100}


def fault(value: Any) -> InvalidMessage:
    kind: Any = type(value)
    with pytest.raises(InvalidMessage) as caught:
        typed(kind).encode(value)
    return caught.value


def test_what_fits_is_given_back_as_it_will_be_read() -> None:
    """The bytes, and the value that they are decoded to."""
    data, value = typed(Order).encode(Order("a", (Line("x", 1),), {"n": 2}))
    assert msgspec.json.decode(data, type=Order) == value == Order("a", (Line("x", 1),), {"n": 2})


@pytest.mark.parametrize(
    ("order", "field", "part"),
    [
        (Order("a", (Line("x", 1), Line("y", 1.5))), "lines.1.amount", "1.5"),  # type: ignore[arg-type]
        (Order("a", notes={"good": 1, "bad": "no"}), "notes.bad", '"no"'),  # type: ignore[dict-item]
        (Order(None), "key", "null"),  # type: ignore[arg-type]
        (Order("a", token=7), "token", "***"),  # type: ignore[arg-type]
        (Order(object()), "key", "an object of type object"),  # type: ignore[arg-type]
    ],
)
def test_what_does_not_fit_is_found(order: Order, field: str, part: str) -> None:
    """The way to the field, by names, and its value, masked where the name says so."""
    error = fault(order)
    assert error.field == field
    assert error.value == part


def test_values_are_cut_for_operators_and_masked_within() -> None:
    """200 characters; secrets in fields of any depth are stars."""
    assert shown("x" * 300) == '"' + "x" * 199 + "..."
    assert shown({"user": {"password": "p", "name": "n"}}) == '{"user":{"password":"***","name":"n"}}'
    assert shown("p", "api_token") == "***"


def test_a_message_is_written_in_its_older_version() -> None:
    """`downcast` makes the bytes, and `upcast` has to make something whole of them again."""
    data, value = typed(Renamed).encode(Renamed(350))
    assert data == b'{"euros":3}'
    assert value == Renamed(300)


def test_a_downcast_that_loses_what_is_needed_is_refused() -> None:
    """Before anything is sent: the exception is named."""

    class Broken(Renamed):
        message_version: ClassVar[int] = 2
        writes_version: ClassVar[int] = 1

        @classmethod
        def downcast(cls, version: int, data: dict[str, Any]) -> dict[str, Any]:
            return {}

    assert "KeyError" in str(fault(Broken(100)))


@pytest.mark.parametrize("kind", [set[complex], dict[str, type]])
def test_types_that_json_cannot_say_are_refused_at_start(kind: Any) -> None:
    """With the name of the class, and what to use instead."""
    with pytest.raises(DeclarationError, match="which cannot be decoded from JSON"):
        Typed("a row", kind)


def test_versions_have_to_make_sense() -> None:
    """What is written cannot be newer than what is read."""

    class Ahead(Command):
        writes_version: ClassVar[int] = 2

    with pytest.raises(DeclarationError, match="is not between 1 and message_version 1"):
        typed(Ahead)


def test_the_result_of_a_command() -> None:
    """The R of `Command[R]`, None of a plain command."""
    assert result_of(Order) is int
    assert result_of(Renamed) in (None, Any)
