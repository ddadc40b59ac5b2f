"""What a process does when too many threads of what it hosts are stuck."""

from __future__ import annotations

from skerry.roles.exhaustion import FURTHER_STUCK, STUCK, Exhaustion


def test_without_a_runner_it_ends() -> None:
    """At once, with exit code 1: whoever has started it starts it again."""
    ended: list[tuple[int, str]] = []
    exhaustion = Exhaustion(lambda code, message: ended.append((code, message)))
    assert exhaustion.gauges() == {}
    exhaustion()
    assert ended == [(1, STUCK)]


def test_under_a_runner_it_asks_for_a_successor() -> None:
    """And ends only when none has come while many more got stuck."""
    ended: list[tuple[int, str]] = []
    exhaustion = Exhaustion(lambda code, message: ended.append((code, message)), supervised=True)
    for _ in range(FURTHER_STUCK):
        exhaustion()
    assert (exhaustion.gauges(), ended) == ({"exhausted": STUCK}, [])
    exhaustion()
    assert ended == [(1, STUCK)]
