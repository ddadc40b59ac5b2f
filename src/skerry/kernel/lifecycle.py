"""The states of a runtime and what leads from one to another. Pure: it decides, `runtime` acts.

                 create                start                  fail
    (destroyed) --------> (created) --------> (started) ----------------> (failed)
         ^                    |               |  ^    ^                    |    |
         |                    |          stop |  |    +------ resume ------+    |
         |                    |               v  | start                        |
         |                    |            (stopped) <--------- stop -----------+
         |      destroy       |               |                                 |
         +--------------------+---------------+---------------------------------+  (and from started)

Each transition `x` is told as three events: `before_x`, `x` (the new state holds), `after_x`.
"""

from __future__ import annotations

import enum

from skerry.errors import LifecycleError


class State(enum.StrEnum):
    """Where a runtime stands."""

    CREATED = "created"
    STARTED = "started"
    STOPPED = "stopped"
    FAILED = "failed"
    """Normal work is held, the failure is being mended."""
    DESTROYED = "destroyed"


class Verb(enum.StrEnum):
    """What can be asked of a runtime."""

    CREATE = "create"
    START = "start"
    STOP = "stop"
    FAIL = "fail"
    RESUME = "resume"
    DESTROY = "destroy"


TRANSITIONS: dict[State, dict[Verb, State]] = {
    State.CREATED: {Verb.START: State.STARTED, Verb.DESTROY: State.DESTROYED},
    State.STARTED: {Verb.STOP: State.STOPPED, Verb.FAIL: State.FAILED, Verb.DESTROY: State.DESTROYED},
    State.STOPPED: {Verb.START: State.STARTED, Verb.DESTROY: State.DESTROYED},
    State.FAILED: {Verb.RESUME: State.STARTED, Verb.STOP: State.STOPPED, Verb.DESTROY: State.DESTROYED},
    State.DESTROYED: {Verb.CREATE: State.CREATED},
}
"""Everything that is possible."""


def possible(state: State) -> tuple[Verb, ...]:
    """What can be asked in that state."""
    return tuple(TRANSITIONS[state])


def after(state: State, verb: Verb) -> State:
    """The state that `verb` leads to. LifecycleError, which says what is possible, when it leads nowhere."""
    try:
        return TRANSITIONS[state][verb]
    except KeyError:
        raise LifecycleError(verb.value, state.value, tuple(possible(state))) from None


def events(verb: Verb) -> tuple[str, str, str]:
    """The names of the events of a transition, in their order."""
    return f"before_{verb.value}", verb.value, f"after_{verb.value}"
