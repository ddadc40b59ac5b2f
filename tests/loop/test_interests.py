"""Interest sets are plain values: built, counted and moved without any loop."""

from __future__ import annotations

import signal
import socket
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.errors import Overloaded
from skerry.loop.interests import PHASES, TICKS, InterestSet, Phase
from skerry.loop.timers import Timer

# What a set may hold: a queue entry, a timer, a stream or a signal.
THINGS = st.lists(st.sampled_from([*PHASES, "timer", "read", "write", "signal"]), max_size=25)


def fill(interests: InterestSet, things: list[str], start: int) -> dict[int, str]:
    """Put numbered things in; what each number is."""
    numbered = dict(enumerate(things, start))
    for number, thing in numbered.items():

        def callback(*_args: object, number: int = number) -> int:
            return number

        match thing:
            case "timer":
                interests.timers.add(Timer(1.0, callback), 0.0)
            case "read" | "write":
                interests.watch(thing, number % 3, callback)  # several on one descriptor
            case "signal":
                interests.watch("signal", signal.SIGUSR1, callback)
            case _:
                phase: Phase = next(p for p in PHASES if p == thing)
                interests.queue(phase, callback)
    return numbered


def numbers(interests: InterestSet, kinds: list[str]) -> list[int]:
    """The numbers of what is held, in order within each kind."""
    found: list[object] = []
    for phase in PHASES:
        if phase in kinds:
            found.extend(callback() for callback, _ in interests.queues[phase])
    if "timer" in kinds:
        found.extend(timer.callback() for timer in interests.timers)
    for kind in ("read", "write", "signal"):
        if kind in kinds:
            for each in interests.watched[kind].values():
                found.extend(one.callback(None) for one in each)
    return [int(str(n)) for n in found]


EVERYTHING = [*PHASES, "timer", "read", "write", "signal"]


@given(THINGS, THINGS, st.booleans())
def test_move_gives_all_and_doubles_none(ours: list[str], theirs: list[str], everything: bool) -> None:
    """After `move_to` each moved thing is at the receiver once, after its own; what does not move stays."""
    one, two = InterestSet(), InterestSet()
    mine, yours = fill(one, ours, 0), fill(two, theirs, 100)
    moved = set(EVERYTHING if everything else TICKS)
    one.move_to(two, everything=everything)
    assert Counter(numbers(one, EVERYTHING)) == Counter(n for n, t in mine.items() if t not in moved)
    for kind in EVERYTHING:
        expected = [n for n, t in yours.items() if t == kind]
        expected += [n for n, t in mine.items() if t == kind and kind in moved]
        got = numbers(two, [kind])
        if kind in ("read", "write"):  # order is kept for each descriptor
            got, expected = sorted(got), sorted(expected)
        assert got == expected


@given(THINGS, THINGS, st.booleans())
def test_swap_twice_is_nothing(ours: list[str], theirs: list[str], everything: bool) -> None:
    """K-12: `swap_with` exchanges exactly; a second one restores."""
    one, two = InterestSet(), InterestSet()
    fill(one, ours, 0)
    fill(two, theirs, 100)
    before = numbers(one, EVERYTHING), numbers(two, EVERYTHING)
    one.swap_with(two, everything=everything)
    if everything:
        assert (numbers(two, EVERYTHING), numbers(one, EVERYTHING)) == before
    else:
        assert numbers(two, list(TICKS)) == numbers_of(ours, 0)
        assert numbers(one, list(TICKS)) == numbers_of(theirs, 100)
    one.swap_with(two, everything=everything)
    assert (numbers(one, EVERYTHING), numbers(two, EVERYTHING)) == before


def numbers_of(things: list[str], start: int) -> list[int]:
    """The numbers of the queued ticks among `things`, phase by phase."""
    return [n for phase in TICKS for n, thing in enumerate(things, start) if thing == phase]


@given(THINGS, st.booleans())
def test_erase_ends_what_it_says(things: list[str], everything: bool) -> None:
    """`erase` ends ticks, or all; nothing else."""
    one = InterestSet()
    numbered = fill(one, things, 0)
    one.erase(everything=everything)
    left = [] if everything else [n for n, t in numbered.items() if t not in TICKS]
    assert sorted(numbers(one, EVERYTHING)) == left
    assert one.empty == all(numbered[n] in ("start", "stop") for n in left)


def test_handles_work_wherever_the_set_is() -> None:
    """A stream or timer that has moved is cancelled by the handle that registering gave."""
    one, two = InterestSet(), InterestSet()
    here, there = socket.socketpair()
    with here, there:
        stream, timer = one.watch("read", here, print), one.timers.add(Timer(1.0, print), 0.0)
        other = one.watch("read", here, print)
        one.move_to(two, everything=True)
        stream.cancel()
        stream.cancel()
        timer.cancel()
        assert (stream.active, other.active, timer.active) == (False, True, False)
        assert (two.count().read, two.count().timers) == (1, 0)
        one.move_to(one, everything=True)


def test_a_closed_resource_can_still_be_removed() -> None:
    """Removal is by resource; adding a closed one is a clear error and leaves nothing."""
    interests = InterestSet()
    here, there = socket.socketpair()
    there.close()
    interests.watch("read", here, print)
    here.close()
    assert interests.unwatch("read", here) == 1
    assert interests.empty
    with pytest.raises(ValueError, match="closed"):
        interests.watch("read", here, print)
    assert interests.empty


def test_a_refused_watch_leaves_nothing() -> None:
    """When the loop cannot wait for it, the registration is undone."""
    interests = InterestSet()

    def refuse(kind: str, key: int) -> None:
        raise OSError(kind)

    interests.changed = refuse
    with pytest.raises(OSError, match="read"):
        interests.watch("read", 5, print)
    assert interests.empty


def test_queues_have_a_limit() -> None:
    """Every queue has a limit; what is moved in is never refused."""
    small, other = InterestSet(limit=2), InterestSet()
    for interests in (small, other):
        for _ in range(2):
            interests.queue("tick", int)
    with pytest.raises(Overloaded, match="phase tick"):
        small.queue("tick", int)
    other.move_to(small)
    assert small.count().tick == 4
