"""Restart budgets of processes."""

from __future__ import annotations

import pytest

from skerry.process.restarts import RestartSettings, budget_of
from skerry.supervision.policy import Escalate, Intensity, Restart


def test_the_first_restart_is_at_once_and_pauses_grow_for_the_young() -> None:
    """A process that was ready and dies young again and again waits longer each time, up to the limit."""
    budget = budget_of(RestartSettings(Intensity(100, 1000.0), longest_pause=1.0))
    budget.ever_ready = True
    pauses = []
    for second in range(8):
        budget.lived(0.2, was_ready=True)
        verdict = budget.decide(float(second))
        assert isinstance(verdict, Restart)
        pauses.append(verdict.delay_seconds)
    assert pauses[0] == 0.0
    assert 0.05 <= pauses[1] <= 0.1
    assert 0.5 <= pauses[-1] <= 1.0


def test_a_life_of_some_length_resets_the_pauses() -> None:
    """A process that worked for a while is restarted without a pause, however often others fell before it."""
    budget = budget_of(RestartSettings(Intensity(100, 1000.0)))
    budget.ever_ready = True
    for second in range(5):
        budget.decide(float(second))
    budget.lived(5.0, was_ready=True)
    assert budget.decide(6.0) == Restart(0.0)


def test_intensity_counts_within_its_span_only() -> None:
    """Ten restarts within a minute are allowed, the next one is not; slower ones go on for ever."""
    budget = budget_of(RestartSettings())
    budget.ever_ready = True
    assert all(isinstance(budget.decide(n * 5.0), Restart) for n in range(10))
    assert isinstance(budget.decide(59.0), Escalate)
    slow = budget_of(RestartSettings())
    slow.ever_ready = True
    assert all(isinstance(slow.decide(n * 6.1), Restart) for n in range(200))


@pytest.mark.parametrize("lives", [0.3, 1.0, 2.5, 5.0])
def test_a_crash_loop_ends(lives: float) -> None:
    """The product's own pauses do not keep a process that dies again and again from reaching the intensity: neither one
    that dies young, after longer and longer pauses, nor one that works for some seconds each time."""
    budget, now, restarts = budget_of(RestartSettings()), 0.0, 0
    budget.ever_ready = True
    while True:
        now += lives
        budget.lived(lives, was_ready=True)
        match budget.decide(now):
            case Restart(pause):
                now, restarts = now + pause, restarts + 1
                assert restarts <= 10
            case Escalate(reason):
                assert "10 times in 60 s" in reason
                return


def test_a_process_that_was_never_ready_gets_few_tries() -> None:
    """Its configuration is more likely wrong than its luck."""
    budget = budget_of(RestartSettings(first_tries=3))
    assert isinstance(budget.decide(0.0), Restart)
    assert isinstance(budget.decide(100.0), Restart)
    verdict = budget.decide(200.0)
    assert isinstance(verdict, Escalate)
    assert "never ready in 3 tries" in verdict.reason
