"""`start_response` says no to everything that PEP 3333 forbids, and keeps what it allows."""

from __future__ import annotations

import sys
from typing import Any, NamedTuple

import pytest

from skerry.hosting.start import Start, _fields


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


def test_a_header_is_checked_each_time() -> None:
    """One that was seen before is known as it was checked, and nothing passes for it: neither what is equal to it and
    no tuple, nor what cannot be looked up. Many values of a name do not fill the memory."""

    class Pair(NamedTuple):
        name: str
        value: str

    for _ in range(2):
        it = start()
        it("200 OK", [("X-Seen", "1"), ("Content-Length", "17"), ("Set-Cookie", "a=1")])
        assert it.fields == [(b"x-seen", b"1"), (b"content-length", b"17"), (b"set-cookie", b"a=1")]
        assert it.length == 17
    wrong: Any
    for wrong in (Pair("X-Seen", "1"), ["X-Seen", "1"], ("X-Seen", ["1"]), ("X-Seen", "1", ""), ("X-Seen",)):
        with pytest.raises(TypeError):
            start()("200 OK", [wrong])
    known = len(_fields)
    for number in range(100):
        it = start()
        it("200 OK", [("X-Many", str(number)), ("X-Long", "x" * 1000)])
        assert it.fields == [(b"x-many", b"%d" % number), (b"x-long", b"x" * 1000)]
    assert len(_fields) - known <= 8


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
