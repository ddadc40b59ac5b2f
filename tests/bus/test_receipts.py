"""What a receipt's `value` is: what the handler returned, of the type that the command says."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from skerry import App, Command, Event, Receipt, Rejected, SkerryError, Unit
from skerry.errors import InvalidMessage
from skerry.journal.journal import Status
from skerry.messages.message import result_of
from skerry.testing.app import running


class Price(msgspec.Struct, frozen=True):
    cents: int


class Quote(Command[Price]):
    key: str


class QuoteAgain(Quote):
    pass


class Plain(Command):
    key: str


class Quoted(Event):
    key: str


def shop() -> App:
    app = App("receipts")

    @app.handles(Quote)
    def quote(command: Quote, unit: Unit) -> Price:
        if command.key == "nothing":
            raise Rejected("there is no such thing")
        unit.emit(Quoted(command.key))
        return Price(3)

    @app.handles()
    def again(command: QuoteAgain, unit: Unit):  # type: ignore[no-untyped-def]
        return {"cents": 4}

    @app.handles(Plain)
    def plain(command: Plain, unit: Unit) -> None:
        unit.emit(Quoted(command.key))

    return app


async def test_the_value_is_of_the_type_that_the_command_says() -> None:
    """A struct comes back as a struct, whatever the handler's own annotation says; the bytes stay what they were."""
    async with running(shop()) as world:
        receipt = await world.commands.send(Quote("tea"), id="a" * 32)
        assert (receipt.value, receipt.result) == (Price(3), b'{"cents":3}')
        again = await world.commands.send(Quote("tea"), id="a" * 32)
        assert again == receipt
        assert again.value == Price(3)
        assert (await world.commands.send(QuoteAgain("tea"))).value == Price(4)


async def test_a_command_that_says_nothing_has_no_value() -> None:
    """`Command` without parameters is as before: applied, its value is None."""
    async with running(shop()) as world:
        receipt: Receipt[Any] = await world.commands.send(Plain("tea"))
        assert receipt.applied
        assert receipt.value is None


async def test_what_was_not_applied_has_no_value() -> None:
    """A rejected or pending command returned nothing: asking for its value is an error that says so."""
    async with running(shop()) as world:
        receipt = await world.commands.send(Quote("nothing"))
        with pytest.raises(SkerryError, match="is rejected, not applied"):
            _ = receipt.value
    with pytest.raises(SkerryError, match="is pending, not applied"):
        _ = Receipt("b" * 32, Status.PENDING).value


def test_a_result_of_another_type_is_no_value() -> None:
    """A result that an older release stored, and that does not fit any more, is told and not passed on."""
    stored: Receipt[Price] = Receipt("c" * 32, Status.APPLIED, result=b'{"euros":3}', result_type=Price)
    with pytest.raises(InvalidMessage, match="missing required field `cents`"):
        _ = stored.value


def test_what_a_command_says_about_its_result() -> None:
    """Inherited, too; Any where nothing is said."""
    assert [result_of(each) for each in (Quote, QuoteAgain, Plain)] == [Price, Price, Any]
