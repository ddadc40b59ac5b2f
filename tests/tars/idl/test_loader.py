"""The loader: a `.tars` file as Python classes, without a build step."""

from __future__ import annotations

import dataclasses
import gc
import inspect
import linecache
import weakref
from pathlib import Path
from typing import Any

import pytest

from skerry import tars
from skerry.tars.idl.loader import load, load_text
from skerry.tars.wire.interface import interface_of

HELLO: Any = load(Path(__file__).parent / "hello.tars").hello


def test_a_file_is_a_module_like_object() -> None:
    """One namespace per IDL module; what is not there is told with what is."""
    loaded = tars.load(Path(__file__).parent / "hello.tars")
    assert loaded.hello.__doc__ == "Greetings, and all that is awkward for Python."
    assert loaded.hello.MAX == 16
    assert loaded.hello.WORD == 'a\tb"c'
    assert loaded.hello.BEST is loaded.hello.Color.BLUE
    with pytest.raises(AttributeError, match=r"hello has no 'Helo'; it has .*Greeter.*Person"):
        _ = loaded.hello.Helo
    with pytest.raises(AttributeError, match="it has hello"):
        _ = loaded.helo


def test_enums() -> None:
    """Members by their names, except those that Python has taken."""
    assert [(m.name, m.value) for m in HELLO.Color] == [("RED", 0), ("BLUE", 5), ("from_", -2), ("name_", -1)]
    assert HELLO.Color.__doc__ == "Colours of things."


def test_structs() -> None:
    """Dataclasses with slots, defaults of the IDL, hashes over `key`."""
    person = HELLO.Person()
    assert (person.id, person.name, person.color, person.class_, person.photo) == (0, "dflt", 5, True, b"")
    assert [f.name for f in dataclasses.fields(HELLO.Person)][:3] == ["id", "name", "color"]
    assert hash(HELLO.Person(1, "a")) == hash(HELLO.Person(1, "a", photo=b"x"))
    assert person == HELLO.Person()
    assert repr(HELLO.Point(1, 2)) == "Point(x=1, y=2)"
    assert HELLO.Person.__doc__.startswith("A person.")
    assert HELLO.Person.__annotations__["photo"] is bytes


def test_values_come_back() -> None:
    """Through the wire, with every awkward name."""
    one = HELLO.Person(1, "x", HELLO.Color.from_, [HELLO.Person(2)], False, b"\0", [0.5], {(1, 2): ["a"]})
    assert tars.decode(HELLO.Person, tars.encode(one)) == one
    wrapper = HELLO.Wrapper(HELLO.Point(1, 2), HELLO.Point(3, 4), [5], {HELLO.Point(6, 7): 8})
    assert tars.decode(HELLO.Wrapper, tars.encode(wrapper)) == wrapper


def test_interfaces() -> None:
    """Functions with signature and documentation, results as named tuples."""
    functions = interface_of(HELLO.Greeter).functions
    assert list(functions) == ["greet", "list", "everyone", "tars", "import"]
    assert HELLO.Greeter.__doc__ == "Says hello."
    greet = functions["greet"]
    assert greet.doc == HELLO.Greeter.greet.__doc__ == "Greets one person."
    assert list(inspect.signature(HELLO.Greeter.greet).parameters) == ["self", "who", "self_"]
    assert inspect.iscoroutinefunction(HELLO.Greeter.greet)
    result: Any = greet.decode_result(greet.encode_result(("hi", 3, HELLO.Color.RED)))
    assert (result.ret, result.count, getattr(result, "from_")) == ("hi", 3, HELLO.Color.RED)  # noqa: B009
    assert isinstance(result, HELLO.GreeterGreetResult)
    odd: Any = functions["tars"].decode_result(
        functions["tars"].encode_result((None, [HELLO.Point(1, 2)], 0.5))
    )
    assert odd._fields == ("ret", "index", "ret_")
    assert functions["import"].python_name == "import_"
    assert greet.route_index == 1


async def test_a_servant_is_a_subclass() -> None:
    """What it does not write raises NotImplementedError."""

    class Greeter(HELLO.Greeter):  # type: ignore[misc]
        async def greet(self, who: Any, self_: str) -> Any:
            return (f"hi {who.name}", 1, HELLO.Color.RED)

    assert (await Greeter().greet(HELLO.Person(name="ann"), ""))[0] == "hi ann"
    with pytest.raises(NotImplementedError, match=r"hello\.Greeter\.import"):
        await Greeter().import_(True)


def test_modules_may_interleave() -> None:
    """A module goes on after another one that it needs."""
    loaded = load_text(
        "module a { struct A { 0 require int x; }; }; module b { struct B { 0 require a::A a; }; };"
        "module a { struct C { 0 require b::B b; }; };"
        "struct Loose { 0 require a::C c; };"
    )
    loose = loaded.Loose(loaded.a.C(loaded.b.B(loaded.a.A(5))))
    assert tars.decode(loaded.Loose, tars.encode(loose)) == loose


def test_loads_share_the_classes_that_they_have_in_common(tmp_path: Path) -> None:
    """A struct of an included file is one class, whichever file includes it; one that differs is another."""
    (tmp_path / "common.tars").write_text("module C { enum E { X }; struct User { 0 optional E e; }; };")
    for name in "AB":
        (tmp_path / f"{name}.tars").write_text(
            f'#include "common.tars"\nmodule {name} {{ interface Write {{ void put(C::User u); }}; }};'
        )
    a, b = load(tmp_path / "A.tars"), load(tmp_path / "B.tars")
    assert a.C.User is b.C.User
    assert interface_of(b.B.Write).functions["put"].encode_args((a.C.User(),))
    other = load_text("module C { enum E { X, Y }; struct User { 0 optional E e; }; };")
    assert other.C.User is not a.C.User, "its enum is another one"


def test_what_was_loaded_can_go() -> None:
    """Classes, codecs and their text are freed with the last reference: loading in a loop does not grow."""
    source = (Path(__file__).parent / "hello.tars").read_text(encoding="utf-8")
    source = source.replace("Colours of things", "Its own colours")  # else what HELLO has is shared
    loaded: Any = load_text(source).hello
    tars.encode(loaded.Person())
    greet = interface_of(loaded.Greeter).functions["greet"]
    greet.encode_args((loaded.Person(), ""))
    gone = [weakref.ref(loaded.Person), weakref.ref(loaded.Greeter), weakref.ref(loaded.Color)]
    texts = {name for name in linecache.cache if "hello." in name}
    del loaded, greet
    gc.collect()
    assert [ref() for ref in gone] == [None, None, None]
    assert len({name for name in linecache.cache if "hello." in name}) < len(texts)


def test_an_enum_begins_with_its_first_member() -> None:
    """A member without a default is the first one of its enum, as in C++, also where that is not 0."""
    kind: Any = load_text("module m { enum E { A = 3, B = 0 }; struct S { 0 optional E e; }; };").m.S
    assert kind().e.name == "A"
    assert tars.decode(kind, b"").e.name == "A"


def test_an_enum_without_members() -> None:
    """Any number is an unknown member of it."""
    kind: Any = load_text("module m { enum E { }; struct S { 0 require E e; }; };").m.S
    assert tars.decode(kind, b"\x00\x05").e == 5
