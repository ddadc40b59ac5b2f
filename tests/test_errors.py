"""One tree of errors: its drawing is true, and errors are plain values that say something to people."""

from __future__ import annotations

import copy
import inspect
import pickle
import re

import pytest

from skerry import errors
from skerry.errors import (
    Conflict,
    DeadlineExceeded,
    Disconnected,
    Fenced,
    InvalidMessage,
    LifecycleError,
    MessageTooLarge,
    OutcomeUnknown,
    Overloaded,
    Rejected,
    SettingsError,
    SkerryError,
    Trimmed,
    Unavailable,
    UnknownMessage,
    WrongEpoch,
)

CLASSES = {
    name: kind
    for name, kind in vars(errors).items()
    if inspect.isclass(kind) and issubclass(kind, Exception) and kind.__module__ == errors.__name__
}
EXAMPLES: list[SkerryError] = [
    SettingsError("bind", "is wrong"),
    UnknownMessage("pay", 2),
    InvalidMessage("pay", "too little"),
    Rejected("no"),
    Unavailable("not now", 2.5),
    Overloaded("full"),
    Conflict("again"),
    Disconnected("away"),
    DeadlineExceeded("waiting", 1.5),
    Trimmed(1, 2),
    WrongEpoch("a", "b"),
    MessageTooLarge(10, 5),
    LifecycleError("stop", "created", ("start", "destroy")),
    LifecycleError("stop", "created", ()),
    Fenced("partition:0"),
    OutcomeUnknown("a" * 32),
]


def drawn() -> dict[str, str | None]:
    """The tree in the module's docstring: class -> its parent."""
    found: dict[str, str | None] = {}
    above: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        match = re.match(r"^((?:[│ ]   )*(?:[├└]── )?)([A-Z]\w+)(\s{2,}.*)?$", line)
        if match is None:
            continue
        depth = len(match[1]) // 4
        above[depth:] = [match[2]]
        found[match[2]] = above[depth - 1] if depth else None
    return found


def test_the_drawn_tree_is_the_tree() -> None:
    """Every error stands in the drawing, below the class that it derives from."""
    real = {name: None if kind is SkerryError else kind.__mro__[1].__name__ for name, kind in CLASSES.items()}
    assert drawn() == real


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_every_error_is_ours_and_explained(name: str) -> None:
    """One `except SkerryError` catches all, and each says what it means."""
    assert issubclass(CLASSES[name], SkerryError)
    assert CLASSES[name].__doc__


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_errors_are_values(error: SkerryError) -> None:
    """They can be copied and sent between processes, and keep their fields and their text."""
    for other in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(other) is type(error)
        assert str(other) == str(error)
        assert vars(other) == vars(error)


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_errors_speak_in_one_line(error: SkerryError) -> None:
    """For the command line and for logs."""
    assert str(error)
    assert "\n" not in str(error)


def test_what_is_unavailable_says_when_to_try_again() -> None:
    """Seconds, one by default; for all kinds of it."""
    assert Unavailable("x").retry_after_seconds == 1.0
    assert Unavailable("x", 5).retry_after_seconds == 5
    for kind in (Overloaded, Conflict, Disconnected):
        assert kind("x").retry_after_seconds == 1.0
    assert OutcomeUnknown("id").retry_after_seconds == 1.0
