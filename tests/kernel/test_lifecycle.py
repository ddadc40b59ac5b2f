"""Which transitions there are."""

from __future__ import annotations

import pytest

from skerry.errors import LifecycleError
from skerry.kernel.lifecycle import State, Verb, after, events, possible


@pytest.mark.parametrize(
    ("path", "end"),
    [
        (["start", "stop", "start", "fail", "resume", "destroy", "create"], State.CREATED),
        (["start", "fail", "stop", "destroy"], State.DESTROYED),
        (["start", "fail", "destroy"], State.DESTROYED),
        (["destroy"], State.DESTROYED),
    ],
)
def test_paths(path: list[str], end: State) -> None:
    """What leads where."""
    state = State.CREATED
    for verb in path:
        state = after(state, Verb(verb))
    assert state is end


def test_the_impossible_says_what_is_possible() -> None:
    """Every pair of state and verb either leads somewhere or is an error that names the possible verbs."""
    refused = 0
    for state in State:
        for verb in Verb:
            if verb in possible(state):
                assert after(state, verb) in State
            else:
                refused += 1
                with pytest.raises(LifecycleError) as caught:
                    after(state, verb)
                assert caught.value.possible == tuple(possible(state))
                assert f"cannot {verb} while {state}; possible now: " in str(caught.value)
    assert refused == 30 - 11


def test_every_state_can_be_left_and_destroyed_is_the_only_end() -> None:
    """From everywhere `destroy` is at most one step away."""
    assert all(Verb.DESTROY in possible(state) for state in State if state is not State.DESTROYED)
    assert possible(State.DESTROYED) == (Verb.CREATE,)
    assert events(Verb.FAIL) == ("before_fail", "fail", "after_fail")
