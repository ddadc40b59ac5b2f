"""The benchmarks say what they lack, and what they cannot count is no figure."""

from __future__ import annotations

import pytest
from benchmarks import __main__ as program
from benchmarks.http_get import answered
from benchmarks.needs import NEEDS, Need, missing


def test_what_is_missing_is_named_with_what_is_left_out() -> None:
    """Only for those that are asked for."""
    needs = [Need("this", lambda: False, ("one", "two"), "half of it"), Need("that", lambda: True, ("one",))]
    assert missing(["one", "three"], needs) == ["MISSING: this; half of it of one will not be measured"]
    assert missing(["three"], needs) == []


def test_needs_are_of_benchmarks_that_there_are() -> None:
    """A name that is misspelt would hide that something is missing."""
    assert {name for need in NEEDS for name in need.benchmarks} <= set(program.NAMES)


@pytest.mark.parametrize(
    "told", ["  0 requests in 1.00s, 0.00B read", "unable to connect", "  3 requests in 1.00s\n  Non-2xx: 3"]
)
def test_a_round_without_answers_is_no_figure(told: str) -> None:
    """A server that did not answer while it was loaded ends the benchmark with words."""
    with pytest.raises(ValueError, match=r"."):
        answered(told)
    assert answered("  12 requests in 1.00s, 1.00KB read") == 12
