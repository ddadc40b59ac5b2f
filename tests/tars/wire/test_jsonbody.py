"""JSON bodies: as C++ writes them, and as strict as the binary ones."""

from __future__ import annotations

import json
from typing import Any

import pytest

from skerry.tars.errors import DecodeError, EncodeError
from skerry.tars.idl.loader import load_text
from skerry.tars.wire.interface import Function, interface_of

DEMO: Any = load_text(
    """
    module demo
    {
        struct User { 0 require int id; 1 optional string name = "?"; };
        enum Color { RED, BLUE = 3 };
        interface Users
        {
            int add(User user, out string code, out vector<User> all);
            void forget(int id);
            string name();
            Color paint(Color color, vector<byte> data, map<string, User> users, map<int, double> m, bool flag);
            void odd(map<User, int> byUser);
        };
    };
    """
).demo


def function(name: str) -> Function:
    return interface_of(DEMO.Users).functions[name]


def test_json_bodies() -> None:
    """Names instead of numbers, the return value as `tars_ret` at the end."""
    assert function("add").encode_result((5, "k", [DEMO.User(1, "ü")]), 5) == (
        '{"code":"k","all":[{"id":1,"name":"ü"}],"tars_ret":5}'.encode()
    )
    assert function("paint").encode_args((DEMO.Color.BLUE, b"\x01\xff", {}, {1: 2}, False), 5) == (
        b'{"color":3,"data":[1,-1],"users":{},"m":{"1":2.0},"flag":false}'
    )


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"{", "malformed JSON"),
        (b"[]", "not a JSON object"),
        (b"\xff", "not UTF-8"),
        (b'{"id": "5"}', "expected an integer"),
        (b'{"id": 2147483648}', "is not in"),
        (b'{"id": 1.5}', "expected an integer"),
        (b'{"id": NaN}', "NaN is not JSON"),
        (b"{}", "missing"),
        (b'{"id": ' + b"[" * 100000, "unacceptable JSON"),
        (b'{"id": ' + b"9" * 5000 + b"}", "unacceptable JSON"),
    ],
)
def test_malformed_json_is_refused(body: bytes, words: str) -> None:
    """Always a DecodeError."""
    with pytest.raises(DecodeError, match=words):
        function("forget").decode_args(body, 5)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"color": "RED"}, "expected an integer"),
        ({"data": [256]}, "256 is not in"),
        ({"data": "x"}, "expected an array"),
        ({"users": []}, "expected an object"),
        ({"users": {"a": []}}, "expected an object"),
        ({"users": {"a": {}}}, "missing"),
        ({"m": {"x": 1}}, "the key 'x' is no int"),
        ({"m": {"1": "x"}}, "expected a number"),
        ({"m": {"1": True}}, ""),
        ({"flag": "x"}, "expected an integer"),
    ],
)
def test_json_of_the_wrong_type_is_refused(change: dict[str, Any], words: str) -> None:
    """Types are checked as strictly as on the binary wire; a bool is a number, as in C++."""
    body = {"color": 3, "data": [1], "users": {}, "m": {}, "flag": True} | change
    if not words:
        assert function("paint").decode_args(json.dumps(body).encode(), 5)[3] == {1: 1.0}
        return
    with pytest.raises(DecodeError, match=words):
        function("paint").decode_args(json.dumps(body).encode(), 5)


@pytest.mark.parametrize("number", [1e308, -1e308, 5e-324, 1e16, 123456789012345680000.0, 1e-7, 0.1, -0.0])
def test_numbers_have_no_exponent(number: float) -> None:
    """TarsCpp reads `1e308` as 1.0; written out, it reads the same number."""
    paint = function("paint")
    args: tuple[Any, ...] = (DEMO.Color.RED, b"", {}, {1: number}, False)
    body = paint.encode_args(args, 5)
    assert b"e" not in body.partition(b'"m":')[2].partition(b"}")[0]
    assert repr(paint.decode_args(body, 5)[3][1]) == repr(number)


def test_what_json_cannot_hold() -> None:
    """NaN and bytes that are no UTF-8 cannot be sent in version 5."""
    paint, name = function("paint"), function("name")
    with pytest.raises(EncodeError, match="JSON"):
        paint.encode_args((DEMO.Color.RED, b"", {}, {1: float("nan")}, True), 5)
    with pytest.raises(EncodeError, match="JSON"):
        name.encode_result("\udcff", 5)


def test_keys_of_any_type_are_texts() -> None:
    """A number becomes a text, a struct its JSON text, as TarsCpp writes it; what is no such text is refused."""
    odd = function("odd")
    given = {DEMO.User(7): 1, DEMO.User(8): 2}
    body = odd.encode_args((given,), 5)
    first, second = json.loads(body)["byUser"]
    assert (json.loads(first)["id"], json.loads(second)["id"]) == (7, 8)
    assert odd.decode_args(body, 5) == (given,)
    for wrong in ('{"byUser": {"x": 1}}', '{"byUser": {"[]": 1}}', '{"byUser": {"1": 1}}'):
        with pytest.raises(DecodeError, match="key"):
            odd.decode_args(wrong.encode(), 5)
    paint = function("paint")
    args: tuple[Any, ...] = (DEMO.Color.RED, b"", {}, {-5: 0.25}, False)
    assert paint.decode_args(paint.encode_args(args, 5), 5) == args
