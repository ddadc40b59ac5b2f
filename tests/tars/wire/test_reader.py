"""Passing over what nobody asked for."""

from __future__ import annotations

import pytest

from skerry.tars.errors import DecodeError
from skerry.tars.wire.reader import read_head, read_size, seek, seek_required, skip, skip_members, skip_rest

INT_KINDS = frozenset({0, 12})


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        (0, "01"),
        (1, "0001"),
        (2, "00000001"),
        (3, "0000000000000001"),
        (4, "00000000"),
        (5, "0000000000000000"),
        (6, "026162"),
        (7, "000000026162"),
        (8, "0002060161160162060163160164"),
        (9, "00030c00010c"),
        (10, "0c1a0b0b"),
        (12, ""),
        (13, "000002abcd"),
    ],
)
def test_every_kind_is_skipped_exactly(kind: int, payload: str) -> None:
    """The end of a value is found; any shorter piece of it is an error."""
    data = bytes.fromhex(payload)
    assert skip(data + b"rest", 0, len(data) + 4, kind, 5, [99]) == len(data)
    for size in range(len(data)):
        with pytest.raises(DecodeError):
            skip(data[:size], 0, size, kind, 5, [99])


def test_heads_of_one_and_two_bytes() -> None:
    """Tag 15 begins the long form; a small tag in the long form is refused."""
    assert read_head(b"\xe0", 0, 1) == (14, 0, 1)
    assert read_head(b"\xf2\x0f", 0, 2) == (15, 2, 2)
    with pytest.raises(DecodeError, match="one byte"):
        read_head(b"\xf2\x0e", 0, 2)


def test_sizes() -> None:
    """In every form of an integer with tag 0; negative ones and others are refused."""
    for data, size in (("0c", 0), ("0005", 5), ("010100", 256), ("0200010000", 65536)):
        assert read_size(bytes.fromhex(data), 0, len(data) // 2, "x") == (size, len(data) // 2)
    for bad in ("00ff", "01ffff", "1005", "0300000000000000ff", "0600"):
        with pytest.raises(DecodeError):
            read_size(bytes.fromhex(bad), 0, len(bad) // 2, "x")


def test_seeking() -> None:
    """Lower tags are passed over; a higher one, StructEnd and the end stop."""
    data = bytes.fromhex("0c16016120053c")
    assert seek(data, 0, 7, 2, INT_KINDS, 5, [99], "x") == (True, 4)
    assert seek(data, 4, 7, 1, INT_KINDS, 5, [99], "x") == (False, 4)
    assert seek(data, 0, 7, 9, INT_KINDS, 5, [99], "x") == (False, 7)
    assert seek(b"\x0b\x2c", 0, 2, 2, INT_KINDS, 5, [99], "x") == (False, 0)
    with pytest.raises(DecodeError, match="String1 does not fit"):
        seek(data, 0, 7, 1, INT_KINDS, 5, [99], "x")
    with pytest.raises(DecodeError, match="tag 9 is missing"):
        seek_required(data, 0, 7, 9, INT_KINDS, 5, [99], "x")


def test_what_is_left_over() -> None:
    """Members up to StructEnd, or up to the end of a bare body."""
    assert skip_members(bytes.fromhex("0c1c0b2c"), 0, 4, 5, [99]) == 3
    skip_rest(bytes.fromhex("0c1c"), 0, 2, 5, [99])
    with pytest.raises(DecodeError, match="StructEnd"):
        skip_rest(bytes.fromhex("0c0b"), 0, 2, 5, [99])


def test_passing_over_is_bounded() -> None:
    """Unknown values cost time as known ones do: they are counted, at every level."""
    many = b"\x00\x03" + b"\x0c" * 3
    room = [4]
    assert skip(many, 0, 5, 9, 5, room) == 5
    assert room == [0]
    with pytest.raises(DecodeError, match="items are more"):
        skip(many, 0, 5, 9, 5, [3])
    with pytest.raises(DecodeError, match="items are more"):
        skip_rest(b"\x0c" * 5, 0, 5, 5, [4])
