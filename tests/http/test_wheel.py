"""Everybody's turn comes once a period, and whoever was due is looked at again after the grace."""

from __future__ import annotations

import pytest

from skerry.http.wheel import Wheel


def test_each_member_is_due_once_a_turn_and_checked_after_the_grace() -> None:
    """Over two turns: due twice, checked `grace` ticks after each."""
    wheel: Wheel[str] = Wheel(slots=10, grace=3)
    wheel.add("a")
    due, checked = [], []
    for tick in range(20):
        now, asked = wheel.tick()
        due += [tick] * len(now)
        checked += [tick] * len(asked)
    assert len(due) == 2
    assert due[1] - due[0] == 10
    assert {tick + 3 for tick in due} <= {*checked, due[1] + 3}
    assert due[0] >= 4, "not before half a turn"


def test_members_that_leave_are_not_due() -> None:
    """Removing is by slot; removing twice harms nobody."""
    wheel: Wheel[str] = Wheel(slots=4, grace=1)
    slot = wheel.add("a")
    wheel.remove("a", slot)
    wheel.remove("a", slot)
    assert len(wheel) == 0
    assert [wheel.tick() for _ in range(8)] == [([], [])] * 8


def test_a_grace_beyond_the_turn_is_refused() -> None:
    """Somebody would be asked again before the answer was waited for."""
    with pytest.raises(ValueError, match="grace"):
        Wheel[str](slots=5, grace=5)
