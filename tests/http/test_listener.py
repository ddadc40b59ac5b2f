"""An event as a frame: what stands on the wire for each kind of connection."""

from __future__ import annotations

import pytest

from skerry.http.listener import EVENT_STREAM, WEBSOCKET
from skerry.position import Position


@pytest.mark.parametrize("payload", [b"a\nb", b"a\rb", b"a\r\nb"])
def test_line_ends_do_not_end_an_event(payload: bytes) -> None:
    """Each line of it is a `data:` of its own; a client puts them together again (WHATWG HTML section 9.2.6)."""
    assert EVENT_STREAM.frame(payload, Position("e", 1)) == b"id: e:1\ndata: a\ndata: b\n\n"


@pytest.mark.parametrize(
    ("size", "head"),
    [(125, b"\x81\x7d"), (126, b"\x81\x7e\x00\x7e"), (65_536, b"\x81\x7f" + (65_536).to_bytes(8))],
)
def test_the_length_of_a_websocket_frame_has_three_forms(size: int, head: bytes) -> None:
    """RFC 6455 section 5.2: the shortest one."""
    assert WEBSOCKET.frame(b"x" * size, None) == head + b"x" * size
