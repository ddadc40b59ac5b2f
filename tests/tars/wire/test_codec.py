"""The codec against bytes that other implementations wrote, and against bytes that nobody should write."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path
from typing import Any

import pytest

from skerry.tars.errors import DecodeError, EncodeError
from skerry.tars.idl.loader import Namespace, load_text
from skerry.tars.wire.codec import DEFAULT_LIMITS, UNWRAP_SINGLE, BodyCodec, Limits, body_codec
from skerry.tars.wire.declare import decode, encode, map_of, vector_of
from skerry.tars.wire.types import (
    BOOL,
    BYTE,
    BYTES,
    DOUBLE,
    FLOAT,
    INT,
    LONG,
    SHORT,
    STRING,
    UNSIGNED_BYTE,
    UNSIGNED_INT,
    UNSIGNED_SHORT,
    Member,
    Type,
    zero_of,
)

VECTORS: list[dict[str, Any]] = json.loads(
    (Path(__file__).parent / "vectors.json").read_text(encoding="utf-8")
)

IDL = load_text(
    """
module demo
{
    struct Inner { 0 require int id; 1 require string name; };
    struct Outer { 0 require int a; 1 require Inner inner; 2 require vector<Inner> list;
                   3 require map<string, vector<int>> m; 20 require bool flag; };
    struct Soft { 0 require int id; 1 optional string name = "dflt"; };
    struct Node { 0 optional vector<Node> kids; };
    enum Color { RED, GREEN = 5 };
    struct All { 0 require bool b; 1 require byte y; 2 require short s; 3 require int i; 4 require long l;
                 5 require float f; 6 require double d; 7 require string t; 8 require vector<byte> x;
                 9 require unsigned byte uy; 10 require unsigned short us; 11 require unsigned int ui;
                 12 require Color color; 13 require vector<string> v; 14 require map<string, int> m;
                 15 require Inner inner; 16 require int late; };
};
"""
)
DEMO: Namespace = IDL.demo

TYPES: dict[str, Type] = {
    **{
        t.name: t
        for t in (
            BOOL,
            BYTE,
            SHORT,
            INT,
            LONG,
            UNSIGNED_BYTE,
            UNSIGNED_SHORT,
            UNSIGNED_INT,
            FLOAT,
            DOUBLE,
            STRING,
        )
    },
    "vector<byte>": BYTES,
    "vector<int>": vector_of(INT),
    "vector<string>": vector_of(STRING),
    "vector<bool>": vector_of(BOOL),
    "vector<unsigned byte>": vector_of(UNSIGNED_BYTE),
    "vector<Inner>": vector_of(DEMO.Inner),
    "map<string,string>": map_of(STRING, STRING),
    "map<int,string>": map_of(INT, STRING),
    "map<string,vector<byte>>": map_of(STRING, BYTES),
    "Inner": DEMO.Inner.__tars_struct__,
    "Outer": DEMO.Outer.__tars_struct__,
    "enum": vector_of(DEMO.Color).element,
}


def codec_of(kind: Type, tag: int = 0, *, required: bool = True) -> BodyCodec:
    """One value at one tag."""
    return body_codec([Member(tag, "value", "value", kind, required, zero_of(kind))], "test", UNWRAP_SINGLE)


def read(kind: Type, data: str, tag: int = 0, limits: Limits = DEFAULT_LIMITS) -> Any:
    return codec_of(kind, tag).decode(bytes.fromhex(data), limits.depth, [limits.items])


def value_of(vector: dict[str, Any]) -> Any:
    """The value of a vector, as Python has it."""
    value = vector["value"]
    match vector["type"]:
        case "vector<byte>":
            return bytes.fromhex(value)
        case "map<string,vector<byte>>":
            return {k: bytes.fromhex(v) for k, v in value.items()}
        case "map<int,string>":
            return dict(value)
        case "Inner":
            return DEMO.Inner(**value)
        case "vector<Inner>":
            return [DEMO.Inner(**v) for v in value]
        case "Outer":
            inner = DEMO.Inner(**value["inner"])
            items = [DEMO.Inner(**v) for v in value["list"]]
            return DEMO.Outer(value["a"], inner, items, value["m"], value["flag"])
    return value


@pytest.mark.parametrize("vector", VECTORS, ids=lambda v: str(v["name"]))
def test_vectors_decode(vector: dict[str, Any]) -> None:
    """Every value that JavaScript and C++ wrote reads as they meant it."""
    assert read(TYPES[vector["type"]], vector["hex"], vector["tag"]) == value_of(vector)


@pytest.mark.parametrize(
    "vector", [v for v in VECTORS if v["src"] != "js-read-only"], ids=lambda v: str(v["name"])
)
def test_vectors_encode(vector: dict[str, Any]) -> None:
    """We write every value byte for byte as they do, save the zeros of floats, which we write as C++ does."""
    assert codec_of(TYPES[vector["type"]], vector["tag"]).encode(value_of(vector)).hex() == vector["hex"]


def test_unknown_members_are_passed_over() -> None:
    """A struct with members of every kind that its reader does not know is read as if they were not there."""
    data = (
        "1a000216017838000106016b1601764900010a00090b5d0000030102036a0a72000111700bf714000000037a7a7a0b953ff80000000000"
        "00a440200000b38000000000000000cc0b2005"
    )
    codec = body_codec(
        [
            Member(1, "soft", "soft", DEMO.Soft.__tars_struct__, True, DEMO.Soft),
            Member(2, "n", "n", INT, True, zero_of(INT)),
        ],
        "test",
    )
    assert codec.decode(bytes.fromhex(data), 100, [1000]) == (DEMO.Soft(2, "x"), 5)


def test_an_optional_default_stays_off_the_wire() -> None:
    """As TarsCpp: an optional member that equals its default is not written, one that differs in a bit is."""
    all_types = load_text(
        """
        module M {
            enum E { A = 3, B };
            struct Inner { 0 optional int x = 7; };
            struct All {
                0 optional bool b = true; 1 optional byte y = -1; 2 optional short s; 3 optional int i = 70000;
                4 optional long l; 5 optional float f = 0.5; 6 optional double d; 7 optional string t = "dflt";
                8 optional string u; 9 optional vector<byte> raw; 10 optional vector<int> v;
                11 optional map<int, string> m;
                12 optional E e; 15 optional unsigned int n = 4000000000; 16 optional vector<vector<int> > w;
            };
            struct Whole { 0 require int i; 1 optional Inner inner; 2 require string t; };
        };
        """
    ).M
    assert encode(all_types.All()) == b""
    assert encode(all_types.Whole()) == bytes.fromhex("0c 1a 0b 26 00")
    changed = {
        "b": False, "y": 0, "s": 1, "i": 0, "l": -(2**63), "f": 0.0, "d": -0.0, "t": "", "u": "x", "raw": b"\0",
        "v": [0], "m": {0: ""}, "e": all_types.E.B, "n": 0, "w": [[]],
    }  # fmt: skip
    for name, value in changed.items():
        one = all_types.All(**{name: value})
        data = encode(one)
        assert data, name
        assert repr(decode(all_types.All, data)) == repr(one)
    with pytest.raises(EncodeError, match="i"):
        encode(all_types.All(i=70000.0))
    with pytest.raises(EncodeError, match="v"):
        encode(all_types.All(v=""))


def test_a_missing_optional_member_is_its_default() -> None:
    """C++ leaves out what is equal to the default."""
    assert read(DEMO.Soft.__tars_struct__, "1a00020b", 1) == DEMO.Soft(2, "dflt")


@pytest.mark.parametrize(
    ("kind", "data", "words"),
    [
        (
            DEMO.Soft.__tars_struct__,
            "0a1601780b",
            "demo.Soft.id: the required member with tag 0 is missing at byte 1",
        ),
        (INT, "", "required"),
        (INT, "1c", "required"),
        (INT, "06", "String1 does not fit"),
        (INT, "020001", "end"),
        (INT, "00", "end"),
        (INT, "0e", "kind 14"),
        (INT, "0f", "kind 15"),
        (INT, "030000000080000000", "2147483648 is not in"),
        (SHORT, "0200008000", "32768 is not in"),
        (BYTE, "010080", "128 is not in"),
        (UNSIGNED_BYTE, "00ff", "-1 is not in 0..255"),
        (UNSIGNED_BYTE, "010100", "256 is not in 0..255"),
        (UNSIGNED_SHORT, "01ffff", "-1 is not in 0..65535"),
        (UNSIGNED_INT, "030000000100000000", "4294967296 is not in"),
        (FLOAT, "050000000000000000", "Double does not fit"),
        (DOUBLE, "0500", "end"),
        (STRING, "0605616263", "end"),
        (STRING, "07ffffffff61", "end"),
        (STRING, "0d000c", "SimpleList does not fit"),
        (BYTES, "0d00000561", "end"),
        (BYTES, "0d010c", "SimpleList holds Int8"),
        (BYTES, "0d0000ff", "size -1 is negative"),
        (BYTES, "0d0006", "a size is an integer"),
        (vector_of(INT), "0900ff", "size -1 is negative"),
        (vector_of(INT), "09027fffffff", "2147483647 items"),
        (vector_of(INT), "0900030c0c", "3 items"),
        (vector_of(INT), "0900011c", "required"),
        (map_of(INT, INT), "0800010c", "end"),
        (map_of(INT, INT), "0800010c0c", "required"),
        (DEMO.Inner.__tars_struct__, "0a0c1600", "end"),
        (DEMO.Inner.__tars_struct__, "0a0c16002e", "kind 14"),
        (INT, "0c0b", "StructEnd where a value belongs"),
        (INT, "0cf0", "end"),
        (INT, "f00001", "tag 0 takes one byte"),
        (INT, "0cf00e01", "tag 14 takes one byte"),
    ],
)
def test_malformed_bytes_are_refused(kind: Type, data: str, words: str) -> None:
    """Whatever is wrong, it is a DecodeError that says what and where."""
    with pytest.raises(DecodeError) as caught:
        read(kind, data)
    assert words in str(caught.value)
    assert 0 <= caught.value.position <= len(data) // 2


def test_an_error_names_the_byte_and_the_member() -> None:
    """The position is that of the value which cannot be read."""
    with pytest.raises(DecodeError) as caught:
        decode(DEMO.Outer, bytes.fromhex("00011a00021605"))
    assert caught.value.position == 5
    assert caught.value.where == "demo.Inner.name"


@pytest.mark.parametrize(
    ("kind", "data", "value"),
    [
        (FLOAT, "0c", 0.0),
        (DOUBLE, "0c", 0.0),
        (DOUBLE, "043fc00000", 1.5),
        (LONG, "010100", 256),
        (BYTE, "01007f", 127),
        (INT, "030000000000000007", 7),
        (BOOL, "0002", True),
        (BYTES, "09000300010c00ff", b"\x01\x00\xff"),
        (vector_of(INT), "090100010005", [5]),
        (vector_of(INT), "0902000000010005", [5]),
    ],
)
def test_what_lenient_peers_accept(kind: Type, data: str, value: object) -> None:
    """Zero heads for floats, floats for doubles, any integer that is in range, a List for bytes."""
    assert read(kind, data) == value


def test_floats_keep_their_bits() -> None:
    """Infinity and negative zero survive, and NaN is NaN."""
    codec = codec_of(DOUBLE)
    for value in (math.inf, -math.inf, -0.0, 5e-324):
        assert struct.pack(">d", codec.decode(codec.encode(value), 1, [0])) == struct.pack(">d", value)
    assert math.isnan(codec.decode(codec.encode(math.nan), 1, [0]))
    assert codec_of(FLOAT).encode(0.0).hex() == "0400000000"


def test_strings_may_hold_any_bytes() -> None:
    """A string is UTF-8 by convention only: other bytes survive the way there and back."""
    data = bytes.fromhex("0604ff00fe61")
    codec = codec_of(STRING)
    text = codec.decode(data, 1, [0])
    assert codec.encode(text) == data


def test_a_bomb_of_structs_is_refused() -> None:
    """Nested StructBegins, known or unknown, end with an error instead of an overflow of the stack."""
    for data in (
        b"\x1a" + b"\x0a" * 100_000,
        b"\x1a" * 100_000,
        b"\x19\x00\x01" + b"\x09\x00\x01" * 100_000,
        b"\x09\x00\x01\x0a" * 9999,
    ):
        with pytest.raises(DecodeError, match="deeply"):
            decode(DEMO.Node, data)


def test_depth_is_a_limit_to_choose() -> None:
    """As deep as allowed is read, one level more is not."""
    value = DEMO.Node()
    for _ in range(9):
        value = DEMO.Node([value])
    data = encode(value)
    assert decode(DEMO.Node, data, Limits(depth=10)) == value
    with pytest.raises(DecodeError, match="deeply"):
        decode(DEMO.Node, data, Limits(depth=9))


def test_items_are_counted_over_all_containers() -> None:
    """The limit is for a whole body, so that lists of lists cannot multiply."""
    data = encode(DEMO.Node([DEMO.Node([DEMO.Node(), DEMO.Node()]), DEMO.Node()]))
    assert decode(DEMO.Node, data, Limits(items=4)) is not None
    with pytest.raises(DecodeError, match="items are more"):
        decode(DEMO.Node, data, Limits(items=3))


def test_all_types_round_trip() -> None:
    """A struct with a member of every type comes back equal."""
    value = DEMO.All(
        True, -128, -32768, 2**31 - 1, -(2**63), 1.5, -0.1, "héllo", b"\0\1\xff", 255, 65535, 2**32 - 1,
        DEMO.Color.GREEN, ["", "x" * 300], {"a": 1}, DEMO.Inner(1, "n"), 300,
    )  # fmt: skip
    assert decode(DEMO.All, encode(value)) == value


def test_members_of_long_tags_are_found_behind_unknown_ones() -> None:
    """Tags from 15 on take two bytes; unknown ones in between are passed over."""
    kind = load_text(
        "module m { struct S { 15 optional int a = 3; 17 require string b; 255 optional double c; }; };"
    ).m.S
    assert encode(kind(1, "x", 2.0)).hex() == "f00f01f6110178f5ff4000000000000000"
    assert decode(kind, bytes.fromhex("0c1005e007f01007f6110178")) == kind(3, "x", 0.0)


@pytest.mark.parametrize(
    ("change", "path", "words"),
    [
        ({"b": 2}, "demo.All.b", "expected bool"),
        ({"b": []}, "demo.All.b", "expected bool"),
        ({"y": 128}, "demo.All.y", "128 is not in -128..127"),
        ({"i": 2**31}, "demo.All.i", "is not in"),
        ({"i": "5"}, "demo.All.i", "expected int, got str"),
        ({"i": 1.0}, "demo.All.i", "expected int, got float"),
        ({"i": 1000.0}, "demo.All.i", "expected int, got float"),
        ({"i": None}, "demo.All.i", "expected int, got NoneType"),
        ({"l": 2**63}, "demo.All.l", "is not in"),
        ({"f": 1e39}, "demo.All.f", "single precision"),
        ({"d": "x"}, "demo.All.d", "expected float"),
        ({"d": 10**400}, "demo.All.d", "1329 bits"),
        ({"t": b"x"}, "demo.All.t", "expected str, got bytes"),
        ({"t": "\ud800"}, "demo.All.t", "UTF-8"),
        ({"x": "x"}, "demo.All.x", "expected bytes"),
        ({"x": [1]}, "demo.All.x", "expected bytes"),
        ({"uy": -1}, "demo.All.uy", "not in 0..255"),
        ({"us": 65536}, "demo.All.us", "not in 0..65535"),
        ({"ui": -1}, "demo.All.ui", "not in 0..4294967295"),
        ({"color": "RED"}, "demo.All.color", "expected int"),
        ({"v": "text"}, "demo.All.v", "expected a list, got str"),
        ({"v": ["a", 5]}, "demo.All.v[1]", "expected str"),
        ({"m": [1]}, "demo.All.m", "expected a dict"),
        ({"m": {"a": "b"}}, "demo.All.m['a']", "expected int"),
        ({"m": {1: 1}}, "demo.All.m key 1", "expected str"),
        ({"inner": None}, "demo.All.inner", "expected demo.Inner, got NoneType"),
        ({"inner": DEMO.Inner("x", "y")}, "demo.All.inner.id", "expected int"),
    ],
)
def test_values_that_do_not_fit_are_named(change: dict[str, Any], path: str, words: str) -> None:
    """An EncodeError says which member and what was expected."""
    with pytest.raises(EncodeError) as caught:
        encode(DEMO.All(**change))
    assert caught.value.path == path
    assert words in caught.value.problem


def test_a_value_that_contains_itself_is_refused() -> None:
    """A circle ends with an EncodeError, not with a dead stack."""
    node = DEMO.Node()
    node.kids.append(node)
    with pytest.raises(EncodeError, match="deeply"):
        encode(node)


def test_other_buffers_are_bytes_too() -> None:
    """bytearray and memoryview serve for vector<byte> and as input."""
    codec = codec_of(BYTES)
    assert codec.encode(bytearray(b"ab")) == codec.encode(memoryview(b"ab")) == codec.encode(b"ab")
    assert codec.decode(bytearray(codec.encode(b"ab")), 1, [0]) == b"ab"  # type: ignore[arg-type]


def test_an_unknown_enum_member_survives() -> None:
    """A newer peer may know more members: the number stays, and is written again."""
    kind = TYPES["enum"]
    value = read(kind, "0007")
    assert value == 7
    assert isinstance(value, DEMO.Color)
    assert value.name == "UNKNOWN_7"
    assert codec_of(kind).encode(value).hex() == "0007"
    assert read(kind, "0005") is DEMO.Color.GREEN


def test_vectors_as_keys_are_tuples() -> None:
    """Keys have to be hashable."""
    kind = map_of(vector_of(vector_of(INT)), INT)
    codec = codec_of(kind)
    value = {((1, 2), ()): 5}
    assert codec.decode(codec.encode(value), 100, [100]) == value


def test_generated_text_shows_in_tracebacks() -> None:
    """The text of generated functions is where debuggers look for it."""
    import linecache

    codec = codec_of(INT)
    file = codec.encode.__code__.co_filename
    assert "def encode(" in "".join(linecache.getlines(file))


@pytest.mark.parametrize("tag", [1, 13, 14])
def test_an_optional_member_in_the_long_form_is_refused(tag: int) -> None:
    """A tag below 15 takes one byte: written with two it is no absent member, but an error."""
    with pytest.raises(DecodeError, match="takes one byte"):
        codec_of(INT, tag, required=False).decode(bytes([0xF0, tag, 5]), DEFAULT_LIMITS.depth, [1])
