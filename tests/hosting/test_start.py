"""`start_response` says no to everything that PEP 3333 forbids, and keeps what it allows."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from skerry.hosting.start import Start


def start() -> Start:
    return Start(lambda data: None)


def test_it_keeps_status_reason_and_fields() -> None:
    """Latin-1 values are allowed; the declared length is known."""
    it = start()
    it("200 Fine", [("X-Name", "café"), ("Content-Length", "4")])
    assert (it.status, it.reason, it.length) == (200, b"Fine", 4)
    assert it.fields == [(b"x-name", "café".encode("latin-1")), (b"content-length", b"4")]
    it = start()
    it("299", [])
    assert (it.status, it.reason) == (299, b"")


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (b"200 OK", []),
        ("OK", []),
        ("2000 OK", []),
        ("200 OK\r\nX: 1", []),
        (200, []),
        ("200 OK", (("A", "1"),)),
        ("200 OK", [["A", "1"]]),
        ("200 OK", [("A", 1)]),
        ("200 OK", [(b"A", "1")]),
        ("200 OK", [("A", "1\r\nB: 2")]),
        ("200 OK", [("A", "1\n")]),
        ("200 OK", [("A:", "1")]),
        ("200 OK", [("", "1")]),
        ("200 OK", [("Ä", "1")]),
        ("200 OK", [("A", "\u20ac")]),
        ("200 OK", [("Content-Length", "five")]),
        ("200 OK", [("Connection", "close")]),
        ("200 OK", [("Transfer-Encoding", "chunked")]),
    ],
)
def test_what_is_wrong_raises(status: Any, headers: Any) -> None:
    """In the application's own call, so that its traceback shows where."""
    it = start()
    with pytest.raises((TypeError, ValueError, AssertionError)):
        it(status, headers)
    assert not it.given


def test_a_second_call_needs_exc_info() -> None:
    """With it the head is replaced; when the head is on its way, the exception is raised again."""
    it = start()
    it("200 OK", [("A", "1")])
    with pytest.raises(AssertionError):
        it("500 Oh", [])
    try:
        raise KeyError("what happened")
    except KeyError:
        info: Any = sys.exc_info()
    it("500 Oh", [], info)
    assert (it.status, it.fields) == (500, [])
    it.sent = True
    with pytest.raises(KeyError, match="what happened"):
        it("502 No", [], info)
