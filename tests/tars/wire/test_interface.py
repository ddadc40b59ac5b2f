"""Functions at run time: arguments and results in every version, and what a servant left out."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from skerry.tars.errors import DecodeError, EncodeError
from skerry.tars.idl.loader import load_text
from skerry.tars.wire.codec import Limits
from skerry.tars.wire.interface import Function, interface_of
from skerry.tars.wire.packet import decode_request, encode_request

DEMO: Any = load_text(
    """
    module demo
    {
        struct User { 0 require int id; 1 optional string name = "?"; };
        enum Color { RED, BLUE = 3 };
        interface Users
        {
            int add(User user, out string code, routekey long shard, out vector<User> all);
            void forget(int id);
            string name();
            void stats(out int count);
            Color paint(Color color, vector<byte> data, map<string, User> users, map<int, double> m, bool flag);
        };
    };
    """
).demo
FUNCTIONS = interface_of(DEMO.Users).functions
VERSIONS = [1, 2, 3, 5]


def function(name: str) -> Function:
    return FUNCTIONS[name]


@pytest.mark.parametrize("version", VERSIONS)
def test_arguments_come_back(version: int) -> None:
    """In-arguments in their order, without the out ones."""
    args = (DEMO.User(1, "ann"), 2**40)
    assert function("add").decode_args(function("add").encode_args(args, version), version) == args
    every = (DEMO.Color.BLUE, b"\x00\xff", {"a": DEMO.User(2)}, {-3: 0.5}, True)
    assert function("paint").decode_args(function("paint").encode_args(every, version), version) == every


@pytest.mark.parametrize("version", VERSIONS)
def test_results_come_back(version: int) -> None:
    """A value; with out parameters a named tuple of `ret` and each of them; nothing for void."""
    add = function("add")
    result: Any = add.decode_result(add.encode_result((5, "k", [DEMO.User(1)]), version), version)
    assert (result.ret, result.code, result.all) == (5, "k", [DEMO.User(1)])
    assert result._fields == ("ret", "code", "all")
    name, stats, forget = function("name"), function("stats"), function("forget")
    assert name.decode_result(name.encode_result("x", version), version) == "x"
    assert stats.decode_result(stats.encode_result((None, 3), version), version) == (None, 3)
    assert forget.decode_result(forget.encode_result(None, version), version) is None


def test_parameters_are_numbered_with_the_out_ones() -> None:
    """Tags of version 1: places in the IDL from 1, the return value at 0."""
    assert function("add").encode_args((DEMO.User(1, "a"), 2)).hex() == "1a00011601610b3002"
    assert function("add").encode_result((5, "k", [])).hex() == "000526016b490c"
    assert function("forget").encode_result(None) == b""
    assert function("name").encode_args(()) == b""


def test_tup_bodies_are_those_of_javascript() -> None:
    """Recorded requests of `echo(int n, string s)` in versions 2 and 3."""
    echo = interface_of(
        load_text("module Demo { interface S { int echo(int n, string s, out string o); }; };").Demo.S
    )
    for frame, version in (
        ("0000003d10032c3c410103560a44656d6f2e532e4f626a66046563686f7d00001708000206016e1d00000200070601731d00000406026869"
         "8c980ca80c", 3),
        ("0000005210022c3c410103560a44656d6f2e532e4f626a66046563686f7d00002c08000206016e1800010605696e7433321d000002000706"
         "01731800010606737472696e671d000004060268698c980ca80c", 2),
    ):  # fmt: skip
        request = decode_request(bytes.fromhex(frame)[4:])
        assert request.version == version
        assert echo.functions["echo"].decode_args(request.body, version) == (7, "hi")
        assert echo.functions["echo"].encode_args((7, "hi"), version) == request.body
        assert encode_request(request).hex() == frame


def test_cpp_calls_the_result_tars_ret_as_well() -> None:
    """A TUP result is under the empty name, or under `tars_ret`."""
    data = bytes.fromhex("08000106087461" + "72735f7265741d0000020007")
    one = interface_of(load_text("module m { interface I { int f(); }; };").m.I).functions["f"]
    assert one.decode_result(data, 3) == 7


@pytest.mark.parametrize("version", VERSIONS)
def test_a_missing_argument_is_refused(version: int) -> None:
    """Every parameter is required."""
    body = function("name").encode_args((), version)
    with pytest.raises(DecodeError, match="user"):
        function("add").decode_args(body, version)


@pytest.mark.parametrize("version", VERSIONS)
def test_out_arguments_in_a_request_are_passed_over(version: int) -> None:
    """PHP sends them, nobody needs them."""
    both = interface_of(load_text("module m { interface I { void f(int a, int b); }; };").m.I).functions["f"]
    half = interface_of(load_text("module m { interface I { void f(int a, out int b); }; };").m.I).functions[
        "f"
    ]
    assert half.decode_args(both.encode_args((1, 2), version), version) == (1,)


@pytest.mark.parametrize("version", [0, 4, 7])
def test_versions_that_nobody_speaks(version: int) -> None:
    """An unknown version is the error of the direction."""
    with pytest.raises(EncodeError, match="version"):
        function("forget").encode_args((1,), version)
    with pytest.raises(DecodeError, match="version"):
        function("forget").decode_args(b"", version)
    with pytest.raises(EncodeError, match="version"):
        function("forget").encode_result(None, version)
    with pytest.raises(DecodeError, match="version"):
        function("forget").decode_result(b"", version)


@pytest.mark.parametrize(
    ("name", "result", "words"),
    [
        ("add", 5, "expected a tuple of 3 (ret, code, all), got int"),
        ("add", (5, "k"), "got 2 values"),
        ("add", (5, 6, []), "expected str, got int"),
        ("forget", 5, "is void but returned int"),
        ("stats", (1, 2), "ret must be None"),
        ("name", None, "expected str, got NoneType"),
    ],
)
@pytest.mark.parametrize("version", VERSIONS)
def test_results_that_do_not_fit(name: str, result: Any, words: str, version: int) -> None:
    """What a handler returned wrongly is told with the name of the function."""
    with pytest.raises(EncodeError) as caught:
        function(name).encode_result(result, version)
    assert words in str(caught.value)
    assert str(caught.value).startswith(f"demo.Users.{name}")


def test_the_number_of_arguments_is_checked() -> None:
    """An EncodeError, before anything is sent."""
    with pytest.raises(EncodeError, match="takes 2 arguments, got 1"):
        function("add").encode_args((1,))


def test_binding_arguments() -> None:
    """By place or by name, with Python's own errors."""
    add = function("add")
    assert add.bind((1, 2), {}) == (1, 2)
    assert add.bind((1,), {"shard": 2}) == (1, 2)
    assert add.bind((), {"shard": 2, "user": 1}) == (1, 2)
    wrong: list[tuple[tuple[int, ...], dict[str, int], str]] = [
        ((1, 2, 3), {}, "takes 2 arguments"),
        ((1,), {}, "lacks shard"),
        ((1, 2), {"user": 1}, "two values for 'user'"),
        ((1,), {"code": 1}, "unexpected argument 'code'"),
    ]
    for args, kwargs, words in wrong:
        with pytest.raises(TypeError, match=words):
            add.bind(args, kwargs)


def test_the_route_key_is_known() -> None:
    """Which in-argument chooses the server."""
    assert function("add").route_index == 1
    assert function("name").route_index is None


def test_limits_reach_every_version() -> None:
    """The number of items is bounded in bodies of every version."""
    paint = function("paint")
    args: tuple[Any, ...] = (DEMO.Color.RED, b"", {str(i): DEMO.User(i) for i in range(20)}, {}, True)
    for version in VERSIONS:
        body = paint.encode_args(args, version)
        with pytest.raises(DecodeError):
            paint.decode_args(body, version, Limits(items=10))


async def test_an_interface_class_only_raises() -> None:
    """Functions that a servant did not write raise, and are listed."""

    class Half(DEMO.Users):  # type: ignore[misc]
        async def name(self) -> str:
            return "half"

    assert await Half().name() == "half"
    with pytest.raises(NotImplementedError, match=r"demo\.Users\.forget"):
        await Half().forget(1)
    assert interface_of(Half).missing(Half) == ("add", "forget", "stats", "paint")
    assert interface_of(Half()) is interface_of(DEMO.Users)
    assert interface_of(DEMO.Users).missing(asyncio.Queue) == tuple(FUNCTIONS)


def test_other_classes_have_no_interface() -> None:
    """A TypeError says so."""
    with pytest.raises(TypeError, match="int does not come from an interface"):
        interface_of(5)
