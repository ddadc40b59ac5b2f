"""Positions parse, print and compare within one epoch only."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.position import Position


@given(st.from_regex(r"[a-z0-9]{1,64}", fullmatch=True), st.integers(0, 10**18 - 1))
def test_what_is_printed_is_parsed(epoch: str, offset: int) -> None:
    """Printing and parsing are inverse."""
    assert Position.parse(str(Position(epoch, offset))) == Position(epoch, offset)


WRONG = [
    "",
    ":",
    "a:",
    ":1",
    "a:-1",
    "a:1.5",
    "a:١",
    "a b:1",
    "a:1 ",
    "é:1",
    "a:" + "9" * 19,
    "a" * 65 + ":1",
]


@pytest.mark.parametrize("text", WRONG)
def test_anything_else_is_refused(text: str) -> None:
    """What is no position is a ValueError, digits of other scripts and absurd sizes included."""
    with pytest.raises(ValueError, match="position"):
        Position.parse(text)


def test_positions_of_different_epochs_never_match() -> None:
    """A reader of one history has not reached a position of another, however high it stands."""
    assert Position("a", 3).reached_by(Position("a", 3))
    assert Position("a", 3).reached_by(Position("a", 4))
    assert not Position("a", 3).reached_by(Position("a", 2))
    assert not Position("a", 3).reached_by(Position("b", 9))
