"""Deadlines and back-off are pure values over a clock."""

from __future__ import annotations

import random

from skerry.clock import Backoff, Deadline
from skerry.testing.clock import VirtualClock


async def test_a_deadline_counts_down_on_its_clock() -> None:
    """The remaining time follows the clock and never goes below zero."""
    clock = VirtualClock()
    deadline = Deadline.after(2.0, clock)

    await clock.advance(1.5)
    assert round(deadline.remaining(clock), 6) == 0.5
    assert not deadline.passed(clock)
    await clock.advance(1.0)

    assert deadline.remaining(clock) == 0.0
    assert deadline.passed(clock)


def test_pauses_grow_with_jitter_up_to_a_ceiling() -> None:
    """Each pause lies between half and all of a doubling value; a reset starts over; no overflow after a week."""
    backoff = Backoff(0.1, 5.0, rng=random.Random(1))

    pauses = [backoff.next() for _ in range(10)]

    for n, pause in enumerate(pauses):
        whole = min(5.0, 0.1 * 2**n)
        assert whole / 2 <= pause <= whole
    backoff.reset()
    assert backoff.next() <= 0.1
    backoff.attempts = 10_000_000
    assert backoff.next() <= 5.0
