"""What generated decoders fall back on: skipping, seeking, sizes, and the words for what is wrong.

The straight way (members in order, in a form one expects) is generated inline by `wire/decoder.py`. Here is
the rest: unknown members, members that are missing, everything malformed. Works on `bytes` and offsets; never
reads behind the end, never goes deeper than `left` levels, never passes over more than `room[0]` values.

Source: the Tars encoding. A head is one byte, tag in the high and kind in the low nibble; tag 15 in the nibble
means that the tag is the next byte.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

from skerry.tars.errors import DecodeError

INT8, INT16, INT32, INT64, FLOAT, DOUBLE, STRING1, STRING4 = range(8)
MAP, LIST, STRUCT_BEGIN, STRUCT_END, ZERO, SIMPLE_LIST = range(8, 14)

KINDS: Final = (
    "Int8", "Int16", "Int32", "Int64", "Float", "Double", "String1", "String4",
    "Map", "List", "StructBegin", "StructEnd", "ZeroTag", "SimpleList", "kind 14", "kind 15",
)  # fmt: skip

_FIXED: Final = (1, 2, 4, 8, 4, 8)  # payload of the kinds 0 to 5
_INT16: Final = Struct(">h").unpack_from
_INT32: Final = Struct(">i").unpack_from
_UINT32: Final = Struct(">I").unpack_from


def truncated(position: int, end: int, where: str) -> DecodeError:
    """The bytes end within a value."""
    return DecodeError(f"the bytes end (there are {end}) inside the value that starts", position, where)


def too_deep(position: int, where: str) -> DecodeError:
    return DecodeError("values are nested too deeply", position, where)


def too_many(count: int, position: int, where: str) -> DecodeError:
    return DecodeError(
        f"{count} items are more than the limit or than the bytes that are left", position, where
    )


def out_of_range(value: int, low: int, high: int, position: int, where: str) -> DecodeError:
    return DecodeError(f"{value} is not in {low}..{high}", position, where)


def read_head(data: bytes, at: int, end: int) -> tuple[int, int, int]:
    """The tag and kind at `at`, and where the payload starts."""
    if at >= end:
        raise truncated(at, end, "")
    head = data[at]
    if head < 0xF0:
        return head >> 4, head & 15, at + 1
    if at + 1 >= end:
        raise truncated(at, end, "")
    if data[at + 1] < 15:
        raise DecodeError(f"tag {data[at + 1]} takes one byte, not two,", at)
    return data[at + 1], head & 15, at + 2


def read_size(data: bytes, at: int, end: int, where: str) -> tuple[int, int]:
    """The number of items or bytes of a Map, List or SimpleList: an integer with tag 0. And where it ends."""
    tag, kind, start = read_head(data, at, end)
    if tag != 0 or kind not in (INT8, INT16, INT32, ZERO):
        raise DecodeError(
            f"a size is an integer with tag 0, this is {KINDS[kind]} with tag {tag},", at, where
        )
    if kind == ZERO:
        return 0, start
    stop = start + _FIXED[kind]
    if stop > end:
        raise truncated(at, end, where)
    if kind == INT8:
        size = data[start] - ((data[start] & 128) << 1)
    else:
        size = (_INT16 if kind == INT16 else _INT32)(data, start)[0]
    if size < 0:
        raise DecodeError(f"the size {size} is negative", at, where)
    return size, stop


def skip(data: bytes, at: int, end: int, kind: int, left: int, room: list[int]) -> int:
    """Pass over one payload of this kind that starts at `at`; returns where it ends. It counts as one item."""
    room[0] -= 1
    if room[0] < 0:
        raise too_many(1, at, "")
    if kind < 6:
        stop = at + _FIXED[kind]
    elif kind == ZERO:
        return at
    elif kind == STRING1:
        stop = at + 1 + data[at] if at < end else end + 1
    elif kind == STRING4:
        stop = at + 4 + _UINT32(data, at)[0] if at + 4 <= end else end + 1
    elif kind == STRUCT_BEGIN:
        if left < 1:
            raise too_deep(at, "")
        return skip_members(data, at, end, left - 1, room)
    elif kind in (MAP, LIST):
        return _skip_items(data, at, end, kind, left - 1, room)
    elif kind == SIMPLE_LIST:
        if at >= end:
            raise truncated(at, end, "")
        if data[at] != 0:
            raise DecodeError(f"a SimpleList holds Int8, not head {data[at]:#04x},", at)
        size, start = read_size(data, at + 1, end, "")
        stop = start + size
    else:
        raise DecodeError(f"{KINDS[kind]} where a value belongs", at)
    if stop > end:
        raise truncated(at, end, "")
    return stop


def _skip_items(data: bytes, at: int, end: int, kind: int, left: int, room: list[int]) -> int:
    if left < 0:
        raise too_deep(at, "")
    size, start = read_size(data, at, end, "")
    if kind == MAP:
        size *= 2
    if size > end - start or size > room[0]:
        raise too_many(size, at, "")
    for _ in range(size):
        _, item, start = read_head(data, start, end)
        start = skip(data, start, end, item, left, room)
    return start


def skip_members(data: bytes, at: int, end: int, left: int, room: list[int]) -> int:
    """Pass over the members that nobody asked for, up to and including the StructEnd."""
    while True:
        _, kind, start = read_head(data, at, end)
        if kind == STRUCT_END:
            return start
        at = skip(data, start, end, kind, left, room)


def skip_rest(data: bytes, at: int, end: int, left: int, room: list[int]) -> None:
    """Pass over what follows the last known member of a bare body. A StructEnd has no business there."""
    while at < end:
        _, kind, start = read_head(data, at, end)
        at = skip(data, start, end, kind, left, room)


def seek(
    data: bytes, at: int, end: int, tag: int, kinds: frozenset[int], left: int, room: list[int], where: str
) -> tuple[bool, int]:
    """Pass over members with lower tags, to the one with `tag`.

    Found: (True, where its head is). Not there (a higher tag, StructEnd or the end comes first): (False,
    where reading goes on). Raises when the member is there but its kind is none of `kinds`, so a caller that
    understands all of `kinds` makes progress with every (True, ...). It is never found where seeking began, for the
    caller looked there himself.
    """
    began = at
    while at < end:
        found, kind, start = read_head(data, at, end)
        if kind == STRUCT_END or found > tag:
            return False, at
        if found == tag:
            if kind not in kinds or at == began:
                raise DecodeError(f"{KINDS[kind]} does not fit", at, where)
            return True, at
        at = skip(data, start, end, kind, left, room)
    return False, at


def seek_required(
    data: bytes, at: int, end: int, tag: int, kinds: frozenset[int], left: int, room: list[int], where: str
) -> int:
    """As `seek`, for a member that has to be there."""
    found, at = seek(data, at, end, tag, kinds, left, room, where)
    if not found:
        raise DecodeError(f"the required member with tag {tag} is missing", at, where)
    return at
