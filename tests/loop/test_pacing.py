"""Periodic work happens together: at whole multiples of its period."""

from __future__ import annotations

import asyncio

import pytest

from skerry.loop.pacing import call_in_step


class Clock(asyncio.SelectorEventLoop):
    """A loop whose time stands still, and what it was asked for."""

    def __init__(self, now: float) -> None:
        super().__init__()
        self.now = now

    def time(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("now", "seconds", "due"),
    [(10.3, 1.0, 11.0), (10.3, 0.5, 10.5), (11.0, 1.0, 12.0), (10.96, 1.0, 12.0), (10.94, 1.0, 11.0)],
)
def test_work_of_one_period_is_due_together(now: float, seconds: float, due: float) -> None:
    """The next multiple; a timer that came a little early counts as the one that was due."""
    loop = Clock(now)
    try:
        handle = call_in_step(loop, seconds, lambda: None)
        assert handle.when() == pytest.approx(due)
    finally:
        loop.close()
