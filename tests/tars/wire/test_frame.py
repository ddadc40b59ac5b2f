"""Frames: cutting a stream into packets, however it arrives."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.tars.errors import FrameError
from skerry.tars.wire.frame import FrameSplitter, frame, split_datagram


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=8), st.lists(st.integers(1, 30)))
def test_any_cut_gives_the_same_packets(packets: list[bytes], cuts: list[int]) -> None:
    """Packets come out whole and in order wherever the stream was cut."""
    stream = b"".join(map(frame, packets))
    splitter, found, at = FrameSplitter(), list[bytes](), 0
    for size in [*cuts, len(stream) + 1]:
        found += splitter.feed(stream[at : at + size])
        at += size
    assert found == packets
    assert splitter.pending_bytes == 0


def test_one_byte_at_a_time() -> None:
    """What is held is never more than the unfinished frame."""
    splitter = FrameSplitter()
    stream = frame(b"abc") + frame(b"d")
    found = [splitter.feed(stream[i : i + 1]) for i in range(len(stream))]
    assert [p for some in found for p in some] == [b"abc", b"d"]


@pytest.mark.parametrize("length", [0, 3, 4, 101, 2**32 - 1])
def test_lengths_out_of_range_break_the_splitter(length: int) -> None:
    """A wrong length is an error, now and at every later feed; nothing is kept for it."""
    splitter = FrameSplitter(max_frame_bytes=100)
    with pytest.raises(FrameError, match=f"frame of {length} bytes"):
        splitter.feed(frame(b"ok") + length.to_bytes(4, "big"))
    with pytest.raises(FrameError):
        splitter.feed(frame(b"ok"))
    assert splitter.pending_bytes == 0


def test_the_limits_are_inclusive() -> None:
    """The smallest frame has one byte of packet, the largest is as long as the limit."""
    splitter = FrameSplitter(max_frame_bytes=100)
    assert splitter.feed(frame(b"a") + frame(b"b" * 96)) == [b"a", b"b" * 96]


def test_pending_bytes_are_told() -> None:
    """How much is held says how much memory a slow sender takes."""
    splitter = FrameSplitter()
    assert splitter.feed(frame(b"abcdef")[:7]) == []
    assert splitter.pending_bytes == 7


@pytest.mark.parametrize("data", [b"", b"\0\0\0\4", frame(b"ab")[:-1], frame(b"ab") + b"c", b"\xff" * 8])
def test_a_datagram_is_exactly_one_frame(data: bytes) -> None:
    """Nothing missing, nothing left over."""
    assert split_datagram(frame(b"ab")) == b"ab"
    with pytest.raises(FrameError):
        split_datagram(data)
