"""A servant is looked at once, and what does not fit is said at start."""

from __future__ import annotations

from typing import Any

import pytest

from skerry.errors import DeclarationError
from skerry.tars.servant import Kind, Servant, lane


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
