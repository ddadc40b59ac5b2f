"""The codec under any value and any bytes: what goes in comes out, and nothing else than its own errors comes up."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skerry.tars.errors import DecodeError, FrameError, TarsError
from skerry.tars.idl.loader import load_text
from skerry.tars.wire.codec import Limits
from skerry.tars.wire.declare import decode, encode
from skerry.tars.wire.frame import FrameSplitter, frame
from skerry.tars.wire.interface import interface_of
from skerry.tars.wire.packet import RequestPacket, decode_reply, decode_request, encode_request

FUZZ: Any = load_text(
    """
    module fuzz
    {
        enum Color { RED, GREEN = 5, BLUE = -3 };
        struct Inner { 0 require int id; 1 optional string name = "dflt"; 16 optional Color color = GREEN; };
        struct Node { 1 optional vector<Node> kids; 0 optional map<Inner, Node> named; };
        struct All
        {
            0 require bool b; 1 require byte y; 2 require short s; 3 require int i; 4 optional long l;
            5 require float f; 6 optional double d; 7 require string t; 8 require vector<byte> x;
            9 require unsigned byte uy; 10 require unsigned short us; 11 optional unsigned int ui;
            12 require Color color;
            13 require vector<string> vs; 14 require map<string, vector<int>> m; 15 require Inner inner;
            17 optional vector<map<int, Inner>> deep; 100 optional vector<vector<double>> dd; 255 optional Node node;
        };
        interface Any { All swap(All a, out Node n, vector<byte> raw, map<int, string> names); };
    };
    """
).fuzz

signed = {bits: st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) for bits in (8, 16, 32, 64)}
texts = st.text(max_size=20) | st.binary(max_size=20).map(lambda b: b.decode("utf-8", "surrogateescape"))
colors = st.sampled_from(list(FUZZ.Color)) | signed[32].map(FUZZ.Color)
inners = st.builds(FUZZ.Inner, id=signed[32], name=texts, color=colors)
nodes = st.recursive(
    st.builds(FUZZ.Node),
    lambda some: st.builds(
        FUZZ.Node, kids=st.lists(some, max_size=3), named=st.dictionaries(inners, some, max_size=2)
    ),
    max_leaves=6,
)
doubles = st.floats(allow_nan=False)
everything = st.builds(
    FUZZ.All,
    b=st.booleans(), y=signed[8], s=signed[16], i=signed[32], l=signed[64], f=st.floats(width=32, allow_nan=False),
    d=doubles, t=texts, x=st.binary(max_size=300), uy=st.integers(0, 255), us=st.integers(0, 65535),
    ui=st.integers(0, 2**32 - 1), color=colors, vs=st.lists(texts, max_size=4),
    m=st.dictionaries(texts, st.lists(signed[32], max_size=4), max_size=3), inner=inners,
    deep=st.lists(st.dictionaries(signed[32], inners, max_size=2), max_size=2),
    dd=st.lists(st.lists(doubles, max_size=3), max_size=2), node=nodes,
)  # fmt: skip

LIMITS = Limits(depth=20, items=5000)
FUNCTION = interface_of(FUZZ.Any).functions["swap"]


@given(everything)
@settings(max_examples=150, deadline=None)
def test_any_value_comes_back(value: Any) -> None:
    """Encoding and decoding any value gives an equal one, and the same bytes again."""
    data = encode(value)
    back = decode(FUZZ.All, data)
    assert back == value
    assert encode(back) == data


@given(
    everything,
    nodes,
    st.binary(max_size=30),
    st.dictionaries(signed[32], texts, max_size=3),
    st.sampled_from([1, 2, 3]),
)
@settings(max_examples=60, deadline=None)
def test_any_call_comes_back(value: Any, node: Any, raw: bytes, names: dict[int, str], version: int) -> None:
    """Arguments and results of any content pass in every binary version."""
    args = (value, raw, names)
    assert FUNCTION.decode_args(FUNCTION.encode_args(args, version), version) == args
    assert FUNCTION.decode_result(FUNCTION.encode_result((value, node), version), version) == (value, node)


@given(st.binary(max_size=200))
@settings(max_examples=400, deadline=None)
def test_any_bytes_give_a_result_or_an_error(data: bytes) -> None:
    """No other exception, whatever arrives."""
    for kind in (FUZZ.All, FUZZ.Node, FUZZ.Inner):
        attempt(partial(decode, kind, data, LIMITS), len(data))
    for version in (1, 2, 3, 5):
        attempt(partial(FUNCTION.decode_args, data, version, LIMITS), len(data))
        attempt(partial(FUNCTION.decode_result, data, version, LIMITS), len(data))
    attempt(lambda: decode_request(data, LIMITS), len(data))
    attempt(lambda: decode_reply(data, LIMITS), len(data))
    try:
        FrameSplitter(1000).feed(data)
    except FrameError:
        pass


def attempt(call: Callable[[], object], size: int) -> object:
    """A result, or None for a DecodeError with a position within the bytes."""
    position = 0
    try:
        return call()
    except DecodeError as error:
        position = error.position
    assert 0 <= position <= size + 1
    return None


def sample() -> Any:
    """A value with something in every member."""
    inner = FUZZ.Inner(7, "x" * 300, FUZZ.Color.RED)
    return FUZZ.All(
        True, -1, 300, 70000, 2**40, 1.5, -0.5, "text", b"\0\1", 200, 60000, 2**31, FUZZ.Color.BLUE, ["a", ""],
        {"k": [1, 300]}, inner, [{1: inner}], [[0.5], []], FUZZ.Node([FUZZ.Node()], {inner: FUZZ.Node()}),
    )  # fmt: skip


def test_mutated_bytes_give_a_result_or_an_error() -> None:
    """Bytes that were right once, with bits flipped, pieces cut, doubled and moved."""
    chance = random.Random(20240501)
    data = encode(sample())
    assert decode(FUZZ.All, data) == sample()
    request = encode_request(RequestPacket(servant="A.B.C", function="swap", body=data, context={"a": "b"}))[
        4:
    ]
    results = 0
    for _ in range(4000):
        changed = mutate(chance, data)
        value = attempt(partial(decode, FUZZ.All, changed, LIMITS), len(changed))
        if value is not None:
            results += 1
            assert encode(cast("Any", value)) is not None
        changed = mutate(chance, request)
        attempt(partial(decode_request, changed, LIMITS), len(changed))
    assert results > 100  # mutations that hit a value leave a readable message


def mutate(chance: random.Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(chance.randint(1, 3)):
        at = chance.randrange(len(changed) + 1)
        match chance.randrange(5):
            case 0:
                changed[at : at + 1] = bytes([chance.randrange(256)])
            case 1 if at < len(changed):
                changed[at] ^= 1 << chance.randrange(8)
            case 2:
                del changed[at : at + chance.randint(1, 8)]
            case 3:
                changed[at:at] = changed[at : at + chance.randint(1, 8)]
            case _:
                changed[at:at] = bytes([chance.choice(b"\x0a\x0b\x0c\x08\x09\x0d\xf0\xff")])
        if not changed:
            changed = bytearray(b"\0")
    return bytes(changed)


@pytest.mark.parametrize("size", range(0, 400, 7))
def test_every_cut_is_an_error(size: int) -> None:
    """A message that ends early is never taken for a shorter one, as long as a required member is missing."""
    data = encode(sample())
    required = len(encode(FUZZ.All())) // 2
    if size < required:
        with pytest.raises(TarsError):
            decode(FUZZ.All, data[:size])
    else:
        attempt(lambda: decode(FUZZ.All, data[:size]), size)


@given(st.lists(st.binary(max_size=30), max_size=4))
def test_splitting_garbage_is_bounded(parts: list[bytes]) -> None:
    """Whatever is fed, no more than one frame is held."""
    splitter = FrameSplitter(max_frame_bytes=50)
    try:
        for part in parts:
            splitter.feed(part)
            assert splitter.pending_bytes <= 50
    except FrameError:
        assert splitter.pending_bytes == 0
    assert frame(b"x") == b"\0\0\0\5x"
