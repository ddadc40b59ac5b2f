"""Due times, grids and held time, with plain numbers for a clock."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from skerry.loop.timers import Timer, Timers


def nothing() -> None:
    """A callback."""


def fire(timers: Timers, now: float) -> list[Timer]:
    mark, fired = timers.mark(), list[Timer]()
    while (timer := timers.pop_due(now, mark)) is not None:
        fired.append(timer)
    return fired


def running(now: float = 0.0) -> Timers:
    timers = Timers()
    timers.run(now)
    return timers


@pytest.mark.parametrize(
    ("interval", "periodic"), [(-1.0, False), (float("nan"), False), (float("inf"), True), (0.0, True)]
)
def test_impossible_intervals_are_refused(interval: float, periodic: bool) -> None:
    """Nothing is clamped in silence."""
    with pytest.raises(ValueError, match="finite"):
        Timer(interval, nothing, periodic=periodic)


def test_never_early_and_in_order() -> None:
    """K-8: due counts from when it was added; equal due times keep the order of adding."""
    timers = running(100.0)
    late, first, second = (timers.add(Timer(s, nothing), 100.25) for s in (0.5, 0.25, 0.25))
    assert fire(timers, 100.4999) == []
    assert fire(timers, 100.5) == [first, second]
    assert not first.active
    assert fire(timers, 101.0) == [late]
    assert len(timers) == 0


def test_a_periodic_timer_keeps_its_grid_and_skips_what_it_missed() -> None:
    """K-8: no drift by work, no burst after a stall, no call off the grid."""
    timers = running()
    timer = timers.add(Timer(0.05, nothing, periodic=True), 0.0)
    assert fire(timers, 0.05) == [timer]
    timers.done(timer, 0.17)  # its callback took 0.12 s
    assert timers.next_due() == pytest.approx(0.20)
    assert fire(timers, 0.19) == []
    assert fire(timers, 0.201) == [timer]
    assert timers.next_due() == pytest.approx(0.25)
    assert timer.missed == 2
    assert fire(timers, 1000.0) == [timer]
    assert timers.next_due() == pytest.approx(1000.05)


@example(0.001, [0.0625, 2.0, 0.0625])  # a point of the grid that rounds to the other side
@given(st.floats(0.001, 10.0), st.lists(st.floats(0.0, 50.0), min_size=1, max_size=30))
def test_every_call_of_a_grid_is_on_time_or_late_but_never_early(interval: float, steps: list[float]) -> None:
    """Over any course of time: the next due time is always ahead, on the grid, and no call comes before its point."""
    timers, now, calls = running(), 0.0, 0
    timer = timers.add(Timer(interval, nothing, periodic=True), 0.0)
    for step in steps:
        due = timers.next_due()
        assert due is not None
        now += step
        fired = fire(timers, now)
        assert bool(fired) == (due <= now)
        calls += len(fired)
        following = timers.next_due()
        assert following is not None
        assert following > now or not fired
        assert abs(following / interval - round(following / interval)) < 1e-6
    assert calls + timer.missed == round((timers.next_due() or 0) / interval) - 1


def test_cancel_works_everywhere() -> None:
    """Before, after, twice, and for the one that is due next."""
    timers = running()
    one, two = timers.add(Timer(1, nothing), 0), timers.add(Timer(2, nothing), 0)
    told: list[int] = []
    timers.changed = lambda: told.append(1)
    one.cancel()
    one.cancel()
    assert (one.active, two.active, len(timers), len(told)) == (False, True, 1, 1)
    assert timers.next_due() == 2
    assert fire(timers, 5.0) == [two]
    two.cancel()
    assert len(told) == 1


def test_cancelled_timers_do_not_pile_up() -> None:
    """A hundred thousand time-outs that never fire leave a short heap."""
    timers = running()
    keep = timers.add(Timer(9.0, nothing), 0.0)
    for _ in range(100_000):
        timers.add(Timer(5.0, nothing), 0.0).cancel()
    assert len(timers._heap) <= 66
    assert list(timers) == [keep]


def test_a_timer_added_by_a_callback_waits_for_the_next_round() -> None:
    """A chain of zero-second timers cannot keep the loop from anything else."""
    timers = running()
    timers.add(Timer(0.0, nothing), 0.0)
    mark = timers.mark()
    assert timers.pop_due(0.0, mark) is not None
    timers.add(Timer(0.0, nothing), 0.0)
    assert timers.pop_due(0.0, mark) is None
    assert len(fire(timers, 0.0)) == 1


def test_held_time_does_not_count() -> None:
    """What remains is kept while held, whatever the clock does; late ones are due at once, not earlier."""
    timers = running(10.0)
    late, one = timers.add(Timer(1.0, nothing), 10.0), timers.add(Timer(5.0, nothing), 10.0)
    timers.hold(12.0)
    assert [timers.remaining(t, 0.0) for t in (late, one)] == [0.0, 3.0]
    timers.run(1000.0)
    assert fire(timers, 1000.0) == [late]
    assert fire(timers, 1002.9) == []
    assert fire(timers, 1003.0) == [one]


@given(st.lists(st.tuples(st.booleans(), st.floats(0.001, 9.0)), max_size=20))
def test_moving_loses_and_doubles_nothing(added: list[tuple[bool, float]]) -> None:
    """Timers of two sets, merged: each once, in order of what remains, the receiver's first among equals."""
    left, right = Timers(), Timers()
    made = [(left if to_left else right).add(Timer(s, nothing), 0.0) for to_left, s in added]
    left.move_to(right)
    assert len(left) == 0
    assert sorted(map(id, right)) == sorted(map(id, made))
    keys = [right.remaining(t, 0.0) for t in right]
    assert keys == sorted(keys)
    for timer in made:
        timer.cancel()
    assert len(right) == 0
