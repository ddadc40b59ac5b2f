"""A failure keeps everything, crosses processes as plain values, and matches rules on either side."""

from __future__ import annotations

import json

import pytest

from skerry.errors import Overloaded, SkerryError, Unavailable
from skerry.supervision.failure import MOST_TRACEBACK, Failure, leaves


def fail(error: Exception) -> Failure:
    try:
        raise error
    except Exception as caught:
        return Failure.of("part", caught, at=5.0)


def test_it_keeps_the_whole_traceback() -> None:
    """K-22: class, message and trace, causes included."""
    try:
        try:
            raise KeyError("first")
        except KeyError as first:
            raise OSError("second") from first
    except OSError as error:
        failure = Failure.of("part", error, at=5.0)
    assert (failure.kind, failure.message, failure.at) == ("builtins:OSError", "second", 5.0)
    assert "KeyError: 'first'" in failure.traceback
    assert "test_it_keeps_the_whole_traceback" in failure.traceback
    assert str(failure) == "part: OSError: second"


def test_it_crosses_processes_as_plain_values() -> None:
    """Through JSON and back it is equal, with its cause; the exception itself stays where it was."""
    failure = Failure.of("parent", RuntimeError("up"), at=6.0, cause=fail(ValueError("x")))
    arrived = Failure.from_wire(json.loads(json.dumps(failure.to_wire())))
    assert arrived == failure
    assert arrived.error is None
    assert (arrived.origin.component, arrived.origin.message) == ("part", "x")


def test_rules_match_on_both_sides() -> None:
    """The distance to a class is the same for a local failure and for one that arrived."""
    failure = fail(Overloaded("full"))
    arrived = Failure.from_wire(failure.to_wire())
    for one in (failure, arrived):
        distances = [
            one.distance(k) for k in (Overloaded, Unavailable, SkerryError, Exception, BaseException, OSError)
        ]
        assert distances == [0, 1, 2, 3, 4, None]


@pytest.mark.parametrize(
    "change",
    [{"kinds": []}, {"kinds": [1]}, {"at": "now"}, {"traceback": None}, {"cause": 3}, {"kinds": "os:system"}],
)
def test_nonsense_is_refused(change: dict[str, object]) -> None:
    """K-24: what arrives is checked, and nothing in it is ever instantiated."""
    with pytest.raises(ValueError, match="not a failure"):
        Failure.from_wire({**fail(ValueError("x")).to_wire(), **change})


def test_endless_causes_are_refused() -> None:
    """A chain of causes deeper than any tree of supervisors is no failure."""
    wire = fail(ValueError("x")).to_wire()
    for _ in range(50):
        wire = {**wire, "cause": wire}
    with pytest.raises(ValueError, match="not a failure"):
        Failure.from_wire(wire)


def test_a_huge_traceback_is_shortened_in_the_middle() -> None:
    """Begin and end stay; the size is bounded."""
    failure = fail(ValueError("x" * 200_000))
    assert len(failure.traceback) <= MOST_TRACEBACK
    assert failure.traceback.startswith("Traceback")
    assert "characters left out" in failure.traceback


def test_groups_are_taken_apart() -> None:
    """Every single error of nested groups, in order; a kept group stays whole."""
    one, two, three = ValueError(1), KeyError(2), OSError(3)
    group = ExceptionGroup("a", [one, ExceptionGroup("b", [two, three])])
    assert leaves(group) == [one, two, three]
    assert leaves(group, lambda error: True) == [group]
