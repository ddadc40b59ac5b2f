"""Decisions about rules, siblings and budgets, with plain numbers for time."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.clock import Backoff
from skerry.supervision.failure import Failure
from skerry.supervision.policy import (
    Escalate,
    Intensity,
    Restart,
    RestartBudget,
    Rule,
    Strategy,
    affected,
    choose,
)


def failure(error: BaseException) -> Failure:
    return Failure.of("part", error, at=0.0)


def test_the_most_specific_class_wins_whatever_the_order() -> None:
    """K-19: not the first registered, the nearest."""
    general, near = Rule(Exception, ("general",)), Rule(ConnectionError, ("near",))
    for rules in ([general, near], [near, general]):
        assert choose(rules, failure(ConnectionResetError())) is near
        assert choose(rules, failure(ValueError())) is general


@pytest.mark.parametrize("kind", [Exception, BaseException])
def test_a_catch_all_catches_all(kind: type[BaseException]) -> None:
    """K-18: rules for Exception and BaseException match; no rule is no rule."""
    rule = Rule(kind, ("all",))
    assert choose([rule], failure(ValueError())) is rule
    assert choose([Rule(OSError, ("os",))], failure(ValueError())) is None
    assert choose([Rule(Exception, ("e",))], failure(KeyboardInterrupt())) is None


def test_ties_go_to_the_first_registered() -> None:
    """Two rules for one class: the earlier."""
    first, second = Rule(OSError, (1,)), Rule(OSError, (2,))
    assert choose([first, second], failure(OSError())) is first


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        (Strategy.ONE_FOR_ONE, ("b",)),
        (Strategy.ONE_FOR_ALL, ("a", "b", "c")),
        (Strategy.REST_FOR_ONE, ("b", "c")),
    ],
)
def test_strategies(strategy: Strategy, expected: tuple[str, ...]) -> None:
    """K-20: who is restarted with `b` of `a`, `b`, `c`."""
    assert affected(strategy, ("a", "b", "c"), "b") == expected


def test_the_first_restart_is_at_once_then_it_backs_off() -> None:
    """K-20: pauses grow; a child that had been ready starts at once again; a calm span resets."""
    budget = RestartBudget(Intensity(100, 10.0), Backoff(first=1.0, ceiling=8.0, rng=random.Random(1)))
    delays = [verdict.delay_seconds for _ in range(5) if isinstance(verdict := budget.decide(0.0), Restart)]
    assert delays[0] == 0.0
    for delay, whole in zip(delays[1:], [1.0, 2.0, 4.0, 8.0], strict=True):
        assert whole / 2 <= delay <= whole
    budget.ready()
    assert budget.decide(1.0) == Restart(0.0)
    assert budget.decide(1.0) != Restart(0.0)
    assert budget.decide(100.0) == Restart(0.0)


def test_intensity_escalates() -> None:
    """K-20: restarts within the window are bounded, ready or not; the window slides; 0 is never."""
    budget = RestartBudget(Intensity(2, 10.0))
    for now in (0.0, 1.0):
        assert isinstance(budget.decide(now), Restart)
        budget.ready()
    verdict = budget.decide(2.0)
    assert isinstance(verdict, Escalate)
    assert "2 times in 10 s" in verdict.reason
    assert isinstance(budget.decide(10.5), Restart)
    budget.forget()
    assert budget.decide(10.6) == Restart(0.0)
    assert isinstance(RestartBudget(Intensity(0, 1.0)).decide(0.0), Escalate)
    with pytest.raises(ValueError, match="intensity"):
        Intensity(-1)


@given(st.lists(st.floats(0.0, 3.0), max_size=60), st.integers(0, 5), st.floats(0.5, 5.0))
def test_no_window_ever_holds_more_than_granted(steps: list[float], restarts: int, seconds: float) -> None:
    """Over any course of failures: at most `restarts` grants in any span, and a refusal only when it is full."""
    budget, now, granted = RestartBudget(Intensity(restarts, seconds)), 0.0, list[float]()
    for step in steps:
        now += step
        recent = [at for at in granted if now - at <= seconds]
        if isinstance(budget.decide(now), Restart):
            granted.append(now)
            assert len(recent) < restarts
        else:
            assert len(recent) >= restarts
