"""The Prefer field is read as RFC 7240 says."""

from __future__ import annotations

import pytest

from skerry.http.headers import Headers
from skerry.http.prefer import Prefer


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, Prefer()), ("wait=5", Prefer(5.0)), ("respond-async", Prefer(None, True)),
        ("respond-async, wait=10", Prefer(10.0, True)), ('Wait="3"; x=y', Prefer(3.0)), ("wait=2, wait=9", Prefer(2.0)),
        ("wait=soon", Prefer()), ("wait=-1", Prefer()), ("return=minimal", Prefer()), ("wait=99999999999", Prefer()),
    ],
)  # fmt: skip
def test_reading(value: str | None, expected: Prefer) -> None:
    """What is understood counts, the first of a name wins, the rest is ignored."""
    assert Prefer.of(Headers([] if value is None else [(b"prefer", value.encode())])) == expected


def test_the_wait_is_bounded() -> None:
    """A client cannot wait longer than the server allows."""
    assert Prefer(100.0).wait(5.0, 30.0) == 30.0
    assert Prefer(1.0).wait(5.0, 30.0) == 1.0
    assert Prefer().wait(5.0, 30.0) == 5.0
