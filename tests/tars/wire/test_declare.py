"""Structs and interfaces said in Python."""

from __future__ import annotations

import dataclasses
import pickle
from typing import NamedTuple

import pytest

from skerry.errors import DeclarationError
from skerry.tars.wire.declare import (
    BYTE,
    INT,
    SELF,
    STRING,
    Struct,
    TarsEnum,
    decode,
    encode,
    function,
    interface,
    map_of,
    member,
    out,
    parameter,
    struct,
    type_of,
    vector_of,
)
from skerry.tars.wire.interface import interface_of


@struct("demo.User", key=("id",))
class User(Struct):
    """A person."""

    id: int = member(0, INT, required=True, default=0)
    name: str = member(1, STRING, default="?")
    friends: list[User] = member(2, vector_of(SELF), default_factory=list)


@struct("demo.Point")
class Point(Struct):
    x: int = member(0, INT, default=0)
    tags: list[int] = member(1, vector_of(INT), default_factory=list)
    user: User = member(2, User, default_factory=User)


def test_structs_are_ordinary_dataclasses() -> None:
    """Equality, repr, replace, slots, defaults that are not shared."""
    user = User(1, "ann", [User(2)])
    assert user == User(1, "ann", [User(2)]) != User(1, "bob")
    assert repr(User(1)) == "User(id=1, name='?', friends=[])"
    assert dataclasses.replace(user, id=3).name == "ann"
    assert User().friends is not User().friends
    with pytest.raises(AttributeError):
        user.nmae = "x"  # type: ignore[attr-defined]
    match user:
        case User(id=one, name=name):
            assert (one, name) == (1, "ann")


def test_structs_survive_pickle() -> None:
    """A struct of a generated module is an ordinary object to other libraries."""
    assert pickle.loads(pickle.dumps(User(1, "ann"))) == User(1, "ann")


def test_a_struct_may_hold_itself_in_a_vector() -> None:
    """SELF is the struct that is being declared."""
    user = User(1, "a", [User(2, "b", [User(3)])])
    assert decode(User, encode(user)) == user


def test_keys_are_hashed_by_their_members() -> None:
    """`key` says which; equal structs have equal hashes."""
    assert hash(User(1, "a")) == hash(User(1, "b"))
    assert {User(1): 5}[User(1)] == 5


def test_a_struct_becomes_hashable_where_it_is_a_key() -> None:
    """Without `key` it is its plain members; lists do not count."""
    with pytest.raises(TypeError, match="unhashable"):
        hash(Point())
    map_of(Point, INT)
    assert hash(Point(1, [1])) == hash(Point(1, [2])) != hash(Point(2))
    assert len({Point(1, [1]), Point(1, [2]), Point(1, [1])}) == 2


def test_a_key_may_name_what_has_no_hash() -> None:
    """C++ orders by vectors as well; the hash leaves them out, and takes structs inside with it."""

    @struct("m.Deep", key=("tags", "point"))
    class Deep(Struct):
        tags: list[int] = member(0, vector_of(INT), default_factory=list)
        point: Point = member(1, Point, default_factory=Point)

    assert hash(Deep([1], Point(1))) == hash(Deep([2], Point(1))) != hash(Deep([1], Point(2)))


def test_maps_are_no_keys() -> None:
    """Not even inside of a vector."""
    with pytest.raises(DeclarationError, match="cannot be the key"):
        map_of(vector_of(map_of(INT, INT)), INT)


def test_declarations_that_contradict_themselves() -> None:
    """Found when the module is imported."""
    with pytest.raises(DeclarationError, match="used once"):

        @struct("m.Twice")
        class _Twice(Struct):
            a: int = member(1, INT, default=0)
            b: int = member(1, INT, default=0)

    with pytest.raises(DeclarationError, match="0 to 255"):

        @struct("m.Far")
        class _Far(Struct):
            a: int = member(256, INT, default=0)

    with pytest.raises(DeclarationError, match="no members b"):

        @struct("m.Key", key=("a", "b"))
        class _Key(Struct):
            a: int = member(0, INT, default=0)

    with pytest.raises(DeclarationError, match=r"member\(\.\.\.\)"):

        @struct("m.Plain")
        class _Plain(Struct):
            a: int = 5

    with pytest.raises(DeclarationError, match="go together"):

        @function(INT, out("a", INT))
        async def _f(self: object) -> None: ...

    with pytest.raises(DeclarationError, match="no Tars type"):
        type_of(int)  # type: ignore[arg-type]


def test_zero_is_the_default_default() -> None:
    """What the IDL does not say is zero, empty, or the struct's own default."""

    @struct("m.Zero")
    class Zero(Struct):
        n: int = member(0, INT)
        data: bytes = member(1, vector_of(BYTE))
        items: list[int] = member(2, vector_of(INT))
        user: User = member(3, User)

    made = Zero()  # type: ignore[call-arg]
    assert (made.n, made.data, made.items, made.user) == (0, b"", [], User())


class Color(TarsEnum):
    RED = 0
    BLUE = 3


class PaintResult(NamedTuple):
    ret: int
    color: Color


@interface("demo.Painter")
class Painter:
    """Paints."""

    @function(
        INT,
        parameter("from", Color, python_name="from_"),
        out("color", Color),
        result=PaintResult,
        name="import",
    )
    async def import_(self, from_: Color) -> PaintResult:
        """Paints one."""
        raise NotImplementedError


def test_an_interface_describes_itself() -> None:
    """IDL names outside, Python names inside."""
    found = interface_of(Painter)
    one = found.functions["import"]
    assert (found.name, found.doc, one.python_name, one.doc) == (
        "demo.Painter",
        "Paints.",
        "import_",
        "Paints one.",
    )
    assert [(p.number, p.name, p.python_name, p.out) for p in one.parameters] == [
        (1, "from", "from_", False),
        (2, "color", "color", True),
    ]
    assert one.decode_result(one.encode_result((1, Color.BLUE))) == PaintResult(1, Color.BLUE)
