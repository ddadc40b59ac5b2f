"""What goes with a connection arrives as it was sent, and what does not is an error that can be told."""

from __future__ import annotations

import socket

import pytest

from skerry.loop.passing import LONGEST, Passed, unwrapped, wrapped


@pytest.mark.parametrize(
    "passed",
    [
        Passed(),
        Passed(b"GET /chat HTTP/1.1\r\n\r\n" + b"x" * (LONGEST - 1_000)),
        Passed(b"", True, ("2001:db8::1", 4711), ("2001:db8::2", 443), True, True),
        Passed(told=True),
    ],
)
def test_it_arrives_whole(passed: Passed) -> None:
    """Whatever was read, and both ends, also those that nobody knows."""
    assert unwrapped(wrapped(passed)) == passed


def test_what_is_too_long_is_refused_and_not_cut() -> None:
    """The sender hears of it, and nothing has been sent."""
    with pytest.raises(OSError, match=r"too long|unavailable"):
        wrapped(Passed(b"x" * 10_000_000))


def test_a_socket_that_holds_something_else_is_told() -> None:
    """Half of it, or one that does not end: no connection is served with what it might say."""
    ours, theirs = socket.socketpair()
    ours.send(b"\x93")
    ours.close()
    with pytest.raises(ValueError, match="cannot be read"):
        unwrapped(theirs)
    ours, theirs = socket.socketpair()
    with ours, pytest.raises(ValueError, match="does not end"):
        unwrapped(theirs)
