"""`wsgi.input` gives the same as a file with those bytes, however they arrive and however they are asked for."""

from __future__ import annotations

import io
from collections import deque
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skerry.hosting.body import Inbox, TooLarge

READS = st.one_of(
    st.tuples(st.just("read"), st.integers(-1, 40)),
    st.tuples(st.just("readline"), st.integers(-1, 40)),
    st.tuples(st.just("readlines"), st.integers(-1, 40)),
    st.tuples(st.just("next"), st.just(0)),
)


@settings(max_examples=200, deadline=None)
@given(
    parts=st.lists(
        st.binary(min_size=1, max_size=30).map(lambda data: data.replace(b"\x00", b"\n")), max_size=8
    ),
    here=st.integers(0, 8),
    reads=st.lists(READS, max_size=12),
    buffer=st.sampled_from([1, 7, 65_536]),
)
def test_it_reads_as_a_file_does(
    parts: list[bytes], here: int, reads: list[tuple[str, int]], buffer: int
) -> None:
    """Some parts are there before the first read, the others come one by one when they are waited for."""
    waiting = deque(parts[here:])

    def wait() -> None:
        if waiting:
            inbox.put(waiting.popleft())
        else:
            inbox.end()

    inbox = Inbox(lambda: None, wait, 0)
    for part in parts[:here]:
        inbox.put(part)
    # A BytesIO by itself ends `readlines` one line earlier than files do.
    raw: Any = io.BytesIO(b"".join(parts))
    body, file = io.BufferedReader(inbox, buffer), io.BufferedReader(raw)
    for name, size in reads:
        if name == "next":
            assert next(body, b"") == next(file, b"")
        else:
            assert getattr(body, name)(size) == getattr(file, name)(size)
    assert body.read() == file.read()
    assert body.read(1) == b""


def test_a_body_that_breaks_off_raises_every_time() -> None:
    """Also where something of it is there: it must not look like the end."""
    inbox = Inbox(lambda: None, lambda: inbox.fail(ConnectionError("gone")), 0)
    inbox.put(b"half")
    body = io.BufferedReader(inbox, 65_536)
    for _ in range(2):
        with pytest.raises(ConnectionError):
            body.read(10)


def test_a_body_over_the_limit_raises() -> None:
    """What is within it can be read before."""
    inbox = Inbox(lambda: None, lambda: inbox.put(b"more"), 6)
    inbox.put(b"within")
    body = io.BufferedReader(inbox, 65_536)
    assert body.read(6) == b"within"
    with pytest.raises(TooLarge):
        body.read(1)


def test_a_body_that_has_ended_does_not_break() -> None:
    """The client may go when it has said everything."""
    inbox = Inbox(lambda: None, lambda: None, 0)
    inbox.put(b"whole")
    inbox.end()
    inbox.fail(ConnectionError("gone"))
    assert io.BufferedReader(inbox, 65_536).read() == b"whole"
