"""Where packets end means nothing: the same frames come out, and wrong text is found as soon as its bytes are there."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.uri import parse_uri

from skerry.server.frames import Frames

MASK = b"\x01\x02\x03\x04"


def opened() -> Frames:
    """A connection after its handshake."""
    server = Frames(max_size=1 << 20)
    server.send_response(server.accept(ClientProtocol(parse_uri("ws://x/")).connect()))
    server.data_to_send()
    return server


def frame(opcode: int, data: bytes, *, fin: bool = True) -> bytes:
    head = bytes(((0x80 if fin else 0) | opcode,))
    size = bytes((0x80 | len(data),)) if len(data) < 126 else b"\xfe" + len(data).to_bytes(2)
    return head + size + MASK + bytes(b ^ MASK[n & 3] for n, b in enumerate(data))


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[a:b] for a, b in itertools.pairwise(edges)]


@given(st.lists(st.text(max_size=80), min_size=1, max_size=4), st.lists(st.integers(0, 2000), max_size=12))
def test_any_cut_of_the_stream_gives_the_same_frames(texts: list[str], places: list[int]) -> None:
    """Fragments, pings in between, and packets of any size."""
    server = opened()
    parts = [text.encode() for text in texts]
    stream = b""
    for number, part in enumerate(parts):
        stream += frame(1 if number == 0 else 0, part, fin=number == len(parts) - 1) + frame(
            9, b"%d" % number
        )
    for piece in cut(stream, places):
        server.receive_data(piece)
    events = [event for event in server.events_received() if isinstance(event, Frame)]
    assert server.parser_exc is None
    data = [bytes(e.data) for e in events if e.opcode in (Opcode.TEXT, Opcode.CONT)]
    assert data == parts
    assert [bytes(e.data) for e in events if e.opcode is Opcode.PING] == [
        b"%d" % n for n in range(len(parts))
    ]


@given(st.text(max_size=40), st.sampled_from([b"\xff", b"\xc0", b"\xf5", b"a\x80"]), st.integers(0, 40))
def test_wrong_text_is_found_before_its_frame_is_complete(good: str, wrong: bytes, at: int) -> None:
    """The connection has failed with 1007 when the first impossible byte was read, whatever is still to come."""
    server = opened()
    before = good.encode()
    whole = frame(1, before + wrong + b"x" * 40)
    end = len(whole) - 40
    split = min(at, end - 1)
    server.receive_data(whole[:split])
    assert server.parser_exc is None
    server.receive_data(whole[split:end])
    assert server.parser_exc is not None
    assert server.close_sent is not None
    assert server.close_sent.code == 1007
    assert server.events_received() == []


def test_binary_is_not_looked_at() -> None:
    """Bytes that are no text are fine where none is claimed, complete or not, in one frame or several."""
    server = opened()
    server.receive_data(frame(2, b"\xff\xff", fin=False) + frame(0, b"\xff" * 100)[:20])
    assert server.parser_exc is None
