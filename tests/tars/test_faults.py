"""Endpoints are blocked by the rules of the preset, tried when their time has come, and opened again."""

from __future__ import annotations

from skerry.tars.faults import CLASSIC, CPP, NEVER, EndpointHealth, FaultPolicy


def test_cpp_blocks_after_one_failure_for_five_seconds() -> None:
    """TarsCpp 3.0.22: one failure in the window is enough; five seconds later one trial."""
    health = EndpointHealth(CPP)
    assert not health.blocked
    health.failed(0.0)
    assert health.blocked
    assert not health.trial_due(4.9)
    assert health.trial_due(5.0)


def test_single_failures_among_many_successes_do_not_block() -> None:
    """One failure of 101 calls is below five per cent."""
    health = EndpointHealth(FaultPolicy(minimum_failures=1, ratio=0.05, consecutive=3))
    for _ in range(100):
        health.succeeded(0.0)
    health.failed(0.0)
    assert not health.blocked


def test_classic_needs_two_failures_and_half_of_the_calls() -> None:
    """Tars.js and TarsGo: two failures and half of the calls within 60 s, or five in a row within 5 s."""
    health = EndpointHealth(CLASSIC)
    health.failed(0.0)
    assert not health.blocked
    health.failed(1.0)
    assert health.blocked
    assert not health.trial_due(30.9)
    assert health.trial_due(31.0)


def test_classic_five_in_a_row() -> None:
    """Many successes before: the ratio is fine, five failures in a row within five seconds block."""
    health = EndpointHealth(CLASSIC)
    for _ in range(100):
        health.succeeded(0.0)
    for second in range(4):
        health.failed(float(second))
    assert not health.blocked
    health.failed(4.0)
    assert health.blocked


def test_a_slow_row_does_not_block() -> None:
    """Five failures spread over more than five seconds are no row."""
    health = EndpointHealth(CLASSIC)
    for _ in range(100):
        health.succeeded(0.0)
    for second in range(0, 20, 2):
        health.failed(float(second))
    assert not health.blocked


def test_failures_of_an_old_window_are_forgotten() -> None:
    """A failure more than a window ago does not add up with one of today."""
    health = EndpointHealth(CLASSIC)
    health.failed(0.0)
    health.failed(61.0)
    assert not health.blocked


def test_no_connection_blocks_at_once() -> None:
    """Both presets: an endpoint that refuses connections is left alone at once."""
    for policy in (CPP, CLASSIC):
        health = EndpointHealth(policy)
        health.failed(0.0, connecting=True)
        assert health.blocked


def test_one_trial_only() -> None:
    """When the retry time has come one trial is due; it stays blocked until that has succeeded."""
    health = EndpointHealth(CPP)
    health.failed(0.0)
    assert health.trial_due(5.0)
    health.started()
    assert not health.trial_due(5.0)
    health.failed(6.0)
    assert not health.trial_due(10.9)
    assert health.trial_due(11.0)
    health.started()
    assert health.blocked
    health.succeeded(11.1)
    assert not health.blocked


def test_a_cancelled_trial_leaves_room_for_another() -> None:
    """A trial that was given up says nothing: another one is due."""
    health = EndpointHealth(CPP)
    health.failed(0.0)
    health.started()
    assert not health.trial_due(6.0)
    health.abandoned()
    assert health.trial_due(6.0)
    assert health.blocked


def test_a_success_opens_and_forgets() -> None:
    """After a good trial old failures do not count towards the next block."""
    health = EndpointHealth(CLASSIC)
    health.failed(0.0)
    health.failed(0.0)
    health.started()
    health.succeeded(31.0)
    health.failed(32.0)
    assert not health.blocked


def test_never_never_blocks() -> None:
    """Isolation can be turned off."""
    health = EndpointHealth(NEVER)
    for _ in range(50):
        health.failed(0.0, connecting=True)
    assert not health.blocked
