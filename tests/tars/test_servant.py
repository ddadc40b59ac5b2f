"""A servant is looked at once, and what does not fit is said at start."""

from __future__ import annotations

from typing import Any

import pytest

import skerry.tars
from skerry.errors import DeclarationError
from skerry.tars.call import Call
from skerry.tars.communicator import Communicator
from skerry.tars.servant import Kind, Servant, lane
from skerry.tars.server import Server


def test_how_each_function_is_run(make_servant: Any) -> None:
    """Coroutines are tasks, plain functions threads, marked ones the lane."""
    servant = Servant.of("A.B.C", make_servant())
    kinds = {name: method.kind for name, method in servant.methods.items()}
    assert kinds["echo"] is Kind.TASK
    assert kinds["thread"] is Kind.THREAD
    assert kinds["lane"] is Kind.LANE
    assert servant.needs_threads


def test_missing_functions_are_named(probe: Any) -> None:
    """A servant that leaves functions out is refused with their names."""

    class Half(probe):  # type: ignore[misc]
        async def echo(self, text: str) -> str:
            return text

    with pytest.raises(DeclarationError, match=r"Half lacks .*divide"):
        Servant.of("A.B.C", Half())


def test_not_a_servant() -> None:
    """Something that derives from no interface is refused."""
    with pytest.raises(DeclarationError, match="does not derive from an interface"):
        Servant.of("A.B.C", object())


def test_a_class_instead_of_an_instance(make_servant: Any) -> None:
    """The usual slip gets a clear word."""
    with pytest.raises(DeclarationError, match="pass an instance"):
        Servant.of("A.B.C", make_servant)


def test_lane_is_for_plain_functions() -> None:
    """A coroutine cannot be in the lane."""

    async def coroutine() -> None: ...

    with pytest.raises(DeclarationError, match="plain functions"):
        lane(coroutine)


demo: Any = skerry.tars.load_text("""
module Demo { interface Shop { string find(string item); string plain(string item); string lane(); }; };
""").Demo


class Stock:
    """A service."""

    def left(self, item: str) -> str:
        return f"{len(item)} of {item}"


class ShopServant(demo.Shop):  # type: ignore[misc]
    """Every kind of function, with what they need beyond their interface."""

    async def find(self, item: str, stock: Stock, call: Call) -> str:
        return f"{stock.left(item)} by {call.function}"

    def plain(self, item: str, call: Call, *, stock: Stock) -> str:
        return f"{stock.left(item)} by {call.function}"

    @lane
    def lane(self, stock: Stock | None = None) -> str:
        return "none" if stock is None else stock.left("lane")


async def test_functions_take_services_as_handlers_do() -> None:
    """By their type, behind the interface's parameters; the call being served as well, however the function runs."""
    server, address = Server(), "Demo.Shop.ShopObj@tcp -h 127.0.0.1 -p 0 -t 60000"
    server.add(ShopServant(), address, resolve={Stock: Stock()}.__getitem__)
    async with server, Communicator(timeout_seconds=60) as communicator:
        shop = communicator.proxy(demo.Shop, server.address("Demo.Shop.ShopObj"))
        assert await shop.find("apples") == "6 of apples by find"
        assert await shop.plain("tea") == "3 of tea by plain"
        assert await shop.lane() == "4 of lane"


def test_what_nothing_fills_is_told_as_everywhere() -> None:
    """Before anything is served, with the sentence of the one injector; what has a default keeps it."""
    told = "ShopServant.find: nothing fills parameter stock: there is no service Stock, and it is not one of"
    with pytest.raises(DeclarationError, match=told):
        Servant.of("Demo.Shop.ShopObj", ShopServant())

    class Modest(ShopServant):
        async def find(self, item: str) -> str:  # type: ignore[override]
            return item

        def plain(self, item: str) -> str:  # type: ignore[override]
            return item

    assert Servant.of("Demo.Shop.ShopObj", Modest()).methods["lane"].call() == "none"
