"""Generated modules: typed, readable, and the same as what the loader makes."""

from __future__ import annotations

import dataclasses
import importlib.util
import inspect
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from skerry import tars
from skerry.errors import DeclarationError
from skerry.tars.idl.files import parse_idl, read_idl
from skerry.tars.idl.generator import generate
from skerry.tars.idl.loader import load
from skerry.tars.wire.interface import interface_of
from skerry.tars.wire.types import INT

HELLO = Path(__file__).parent / "hello.tars"
ROOT = Path(__file__).parents[3]


def imported(folder: Path, name: str, package: str = "") -> ModuleType:
    """A module of this folder, under its own name."""
    full = f"{package}.{name}" if package else name
    spec = importlib.util.spec_from_file_location(full, folder / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[full] = module
    spec.loader.exec_module(module)
    return module


def written(folder: Path, source: Path = HELLO) -> Any:
    for name, text in generate(read_idl(source)).items():
        (folder / name).write_text(text, encoding="utf-8")
    return imported(folder, "hello")


def test_a_generated_module_is_what_the_loader_makes(tmp_path: Path) -> None:
    """Members, tags, types, defaults, functions and documentation are equal, and so are the bytes."""
    made, loaded = written(tmp_path), load(HELLO).hello
    for name in ("Person", "Point", "Wrapper"):
        ours, theirs = getattr(made, name).__tars_struct__, getattr(loaded, name).__tars_struct__
        assert [(m.tag, m.name, m.attribute, str(m.type), m.required) for m in ours.members] == [
            (m.tag, m.name, m.attribute, str(m.type), m.required) for m in theirs.members
        ]
        assert tars.encode(getattr(made, name)()) == tars.encode(getattr(loaded, name)())
        assert inspect.getdoc(getattr(made, name)) == inspect.getdoc(getattr(loaded, name))
    functions, others = interface_of(made.Greeter).functions, interface_of(loaded.Greeter).functions
    assert list(functions) == list(others)
    for name, one in functions.items():
        other = others[name]
        assert (one.python_name, str(one.returns), one.doc, one.route_index) == (
            other.python_name, str(other.returns), other.doc, other.route_index,
        )  # fmt: skip
        assert [dataclasses.replace(p, type=INT) for p in one.parameters] == [
            dataclasses.replace(p, type=INT) for p in other.parameters
        ]
        if one.result_class is not None:
            assert other.result_class is not None
            assert one.result_class.__name__ == other.result_class.__name__
    assert (made.MAX, made.WORD, made.BEST) == (loaded.MAX, loaded.WORD, loaded.BEST)
    assert [(m.name, m.value) for m in made.Color] == [(m.name, m.value) for m in loaded.Color]


def test_values_pass_between_both(tmp_path: Path) -> None:
    """What a generated struct writes, a loaded one reads."""
    made, loaded = written(tmp_path), load(HELLO).hello
    person = made.Person(1, "x", made.Color.from_, [made.Person(2)], False, b"\0", [0.5], {(1, 2): ["a"]})
    data = tars.encode(person)
    assert tars.encode(tars.decode(loaded.Person, data)) == data
    assert hash(person) == hash(made.Person(1, "x"))


USE = """
from hello import BEST, MAX, Color, Greeter, GreeterGreetResult, Person, Wrapper, Point

class Mine(Greeter):
    async def greet(self, who: Person, self_: str) -> GreeterGreetResult:
        return GreeterGreetResult(ret=who.name, count=MAX, from_=Color.RED)

async def use(greeter: Greeter) -> list[Person]:
    result = await greeter.greet(Person(id=1, friends=[Person()]), "key")
    text: str = result.ret
    number: int = result.count + Wrapper(Point(1, 2)).Point.x
    best: Color = BEST
    return await greeter.everyone({Person(): Wrapper()}, number, text.encode())
"""

MISUSE = {
    "Person(id='x')": "arg-type",
    "Person(nmae='x')": "call-arg",
    "Person().nmae": "attr-defined",
    "Wrapper(Point=5)": "arg-type",
}


def test_generated_modules_pass_strict_type_checks(tmp_path: Path) -> None:
    """mypy --strict has nothing to say about the module and about code that uses it rightly, and finds misuse."""
    written(tmp_path)
    (tmp_path / "use.py").write_text(USE, encoding="utf-8")
    (tmp_path / "misuse.py").write_text(
        "from hello import Person, Wrapper\n" + "".join(f"{line}\n" for line in MISUSE), encoding="utf-8"
    )
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--strict",
        "--no-error-summary",
        "hello.py",
        "use.py",
        "misuse.py",
    ]
    config = (
        f"[mypy]\nmypy_path = {ROOT / 'src'}\nfollow_imports = silent\ncache_dir = {ROOT / '.mypy_cache'}\n"
    )
    (tmp_path / "mypy.ini").write_text(config, encoding="utf-8")
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=280, check=False)
    found = done.stdout.splitlines()
    assert [line for line in found if not line.startswith("misuse.py")] == [], done.stdout + done.stderr
    for number, code in enumerate(MISUSE.values(), 2):
        assert any(line.startswith(f"misuse.py:{number}:") and f"[{code}]" in line for line in found), found


def test_generated_modules_are_clean(tmp_path: Path) -> None:
    """No unused import, no undefined name, and the text is always the same."""
    written(tmp_path)
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--select", "F,E9,I", "hello.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout
    assert generate(read_idl(HELLO)) == generate(read_idl(HELLO))


def test_modules_import_each_other(tmp_path: Path) -> None:
    """One Python module per IDL module, in a package or by a given package name."""
    source = (
        "module common { enum E { A, B }; struct Base { 0 require int id; }; };"
        "module app { const common::E BEST = common::B;"
        " struct S { 0 require common::Base b; 1 optional common::E e = common::B; 2 optional int common; };"
        " interface I { common::Base f(common::E e, out vector<common::Base> l); }; };"
    )
    texts = generate(parse_idl(source))
    assert "from . import common as _common" in texts["app.py"]
    assert "from my.idl import common as _common" in generate(parse_idl(source), "my.idl")["app.py"]
    folder = tmp_path / "package_of_two"
    folder.mkdir()
    (folder / "__init__.py").write_text("", encoding="utf-8")
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    sys.path.insert(0, str(tmp_path))
    try:
        app: Any = importlib.import_module("package_of_two.app")
    finally:
        sys.path.remove(str(tmp_path))
    made = app.S()
    assert (made.b.id, made.e, app.BEST) == (0, 1, 1)
    assert tars.decode(app.S, tars.encode(made)) == made


def test_modules_that_need_each_other_are_refused() -> None:
    """Python cannot import in circles; the loader can."""
    source = (
        "module a { struct A { 0 require int x; }; }; module b { struct B { 0 require a::A a; }; };"
        "module a { struct C { 0 require b::B b; }; };"
    )
    with pytest.raises(DeclarationError, match="modules a, b need each other"):
        generate(parse_idl(source))


def test_comments_cannot_leave_their_place(tmp_path: Path) -> None:
    """Whatever stands in a comment or text of the IDL, it is text in Python too."""
    nasty = "x\"\"\"\nimport os\\\u2028os.abort()\x0c\x00'''"
    source = (
        f"/* {nasty} */ module hello {{ /* {nasty} */ enum E {{ /* {nasty} */ A }}; /* {nasty} */ const string S = "
        f'"\\"\\"\\"\\nimport os"; /* {nasty} */ struct P {{ /* {nasty} */ 0 require string s = "\\\\\\""; }};'
        f"/* {nasty} */ interface I {{ /* {nasty} */ void f(); }}; }};"
    )
    for name, text in generate(parse_idl(source, "f\n.tars")).items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    made: Any = imported(tmp_path, "hello")
    assert made.S == '"""\nimport os'
    assert made.P().s == '\\"'
    assert not hasattr(made, "os")


def test_definitions_outside_of_modules_are_called_like_the_file() -> None:
    """And an enum without members has one in Python."""
    texts = generate(parse_idl("enum E { }; struct S { 0 require E e; };", "dir/my-file.tars"))
    assert list(texts) == ["my_file.py"]
    assert "UNKNOWN_0 = 0" in texts["my_file.py"]
    assert "default=E.UNKNOWN_0" in texts["my_file.py"]
    texts = generate(parse_idl("enum E { A = 3, B = 0 }; struct S { 0 require E e; };", "f.tars"))
    assert "default=E.A" in texts["f.py"]
