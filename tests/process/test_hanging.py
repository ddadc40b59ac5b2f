"""Noticing a loop that does not run; with real processes in test_runner.py."""

from __future__ import annotations

import time
from typing import Any

import pytest

from skerry.process.child import Child, Spec
from skerry.process.hanging import HangWatch


def child(beat_ago: float | None, age: float = 10_000.0, hang_seconds: float = 0.0) -> Child:
    made = Child(
        Spec("a", "x", [], hang_seconds=hang_seconds), lambda *a: None, lambda *a: None, lambda c: None
    )
    made.started_at = time.monotonic() - age
    made.last_beat = None if beat_ago is None else time.monotonic() - beat_ago
    return made


def watch(*children: Child, hang_seconds: float = 1000.0) -> tuple[HangWatch, list[tuple[Any, float]]]:
    hung: list[tuple[Any, float]] = []
    made = HangWatch(lambda: children, lambda c, s: hung.append((c, s)), hang_seconds, 6000.0)
    for _ in range(2):  # whoever is found silent is looked at again
        made.start()
        made.stop()
    return made, hung


async def test_the_silent_are_told_once() -> None:
    """A beat that is too long ago; a start that says nothing for longer; the others are left alone."""
    silent, mute, fresh, starting = child(1001.0), child(None, 6001.0), child(100.0), child(None, 500.0)
    made, hung = watch(silent, mute, fresh, starting)
    assert hung == [(silent, 1000.0), (mute, 6000.0)]
    made.start()
    made.stop()
    assert len(hung) == 2


async def test_zero_means_never() -> None:
    """For a debugger."""
    assert watch(child(100_000.0), hang_seconds=0.0)[1] == []


async def test_some_are_noticed_earlier() -> None:
    """A balancer, on which every new connection waits; never later than the others, and never when nobody is."""
    quick, patient = child(3.0, hang_seconds=2.0), child(3.0)
    assert watch(quick, patient)[1] == [(quick, 2.0)]
    assert watch(child(3.0, hang_seconds=2000.0))[1] == []
    assert watch(child(3.0, hang_seconds=2.0), hang_seconds=0.0)[1] == []


async def test_what_was_said_meanwhile_counts() -> None:
    """Found silent at one look, heard before the next: nothing happens."""
    child_ = child(1001.0)
    hung: list[Child] = []
    made = HangWatch(lambda: [child_], lambda c, s: hung.append(c), 1000.0, 6000.0)
    for _ in range(3):
        made.start()
        made.stop()
        child_.last_beat = time.monotonic()
    assert hung == []


@pytest.mark.parametrize("beat_ago", [11.0, None])
async def test_a_runner_that_slept_blames_nobody(beat_ago: float | None) -> None:
    """After SIGSTOP of the whole tree, a frozen container or Ctrl-Z everybody looks silent, and is given a new start;
    those too that have not said anything yet."""
    sleeper = child(beat_ago, age=61.0)
    made = HangWatch(lambda: [sleeper], lambda c, s: None, 10.0, 60.0)
    made._looked_at = time.monotonic() - 30.0
    for _ in range(3):
        made.start()
        made.stop()
    assert not sleeper.hung
