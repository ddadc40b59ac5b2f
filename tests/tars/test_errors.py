"""The errors of Tars: one branch of the tree, with plain values."""

from __future__ import annotations

import pickle

import pytest

from skerry.errors import SkerryError
from skerry.tars.errors import DecodeError, EncodeError, FrameError, IdlError, TarsError


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (DecodeError("bad", 5, "demo.User.id"), "demo.User.id: bad at byte 5"),
        (DecodeError("bad", 5), "bad at byte 5"),
        (FrameError("long", 0), "long at byte 0"),
        (EncodeError("demo.User.id", "bad"), "demo.User.id: bad"),
        (IdlError("bad", "a.tars", 3, 4, "';'"), "a.tars:3:4: bad, expected ';'"),
        (IdlError("bad", "a.tars", 3, 4), "a.tars:3:4: bad"),
    ],
)
def test_errors_say_where_and_survive_pickle(error: TarsError, text: str) -> None:
    """Every error reads well, is a SkerryError, and passes between processes with its values."""
    assert str(error) == text
    assert isinstance(error, SkerryError)
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert vars(again) == vars(error)
