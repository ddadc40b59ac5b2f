"""The grammar: all that it takes, and what it says of all that it does not take."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.tars.errors import IdlError
from skerry.tars.idl.files import parse_idl
from skerry.tars.idl.model import ConstDef, EnumDef, EnumValue, InterfaceDef, StructDef

EVERYTHING = """
// File.
module a
{
    enum Empty { };
    enum Color { RED, GREEN = 5, BLUE, NEG = -3, SAME = GREEN, HEX = 0x10, };
    const int MAX = 017;
    const string NAME = "n\\"x";
    const bool YES = true;
    const double PI = 3.14;
    const Color BEST = BLUE;
    const long FROM = MAX;
    /* A struct. */
    struct Inner
    {
        3 optional Color c = Color::GREEN;
        1 require unsigned int u = 4294967295;  // unsigned
        2 optional string s = "d";
        4 optional Color other = a::RED;
        5 optional Color third = a::Color::NEG;
        6 optional int size = MAX;
        7 optional double d = 1;
        8 optional bool flag = true;
    };
    key[Inner, u, s];
};
module b
{
    struct Outer
    {
        0 require a::Inner one;
        1 optional ::a::Color c;
        2 optional vector<vector<map<string, a::Inner>>> many;
        3 optional vector<Outer> kids;
        4 optional int fixed[5];
        5 optional string:32 text;
        6 optional string name:32;
        7 optional byte *raw;
        8 optional vector<byte>:100 bytes;
        255 optional map<a::Inner, unsigned short> by;
    };
    interface Things
    {
        void nothing();
        // Adds.
        int add(a::Inner one, out vector<Outer> all, routekey string where);
        vector<byte> raw(byte data[8], unsigned byte x);
    };
};
module a { struct More { 0 require Inner i; }; };
struct Loose { 0 require int x; };
"""


def definition(source: str, name: str, module: str = "m") -> Any:
    return parse_idl(source).modules[module].definitions[name]


def test_the_whole_grammar() -> None:
    """Everything that the language has, in one file."""
    idl = parse_idl(EVERYTHING, "f")
    a, b = idl.modules["a"].definitions, idl.modules["b"].definitions
    color, inner, outer, things = a["Color"], a["Inner"], b["Outer"], b["Things"]
    assert isinstance(color, EnumDef)
    assert [m.value for m in color.members] == [0, 5, 6, -3, 5, 16]
    consts = {n: d.value for n, d in a.items() if isinstance(d, ConstDef)}
    assert consts.pop("BEST") == EnumValue(color, color.members[2])
    assert consts == {"MAX": 15, "NAME": 'n"x', "YES": True, "PI": 3.14, "FROM": 15}
    assert isinstance(inner, StructDef)
    assert inner.key == ("u", "s")
    assert inner.doc == "A struct."
    assert [(f.tag, f.required, str(f.type), f.name) for f in inner.fields][:2] == [
        (3, False, "a.Color", "c"),
        (1, True, "unsigned int", "u"),
    ]
    assert inner.fields[1].doc == "unsigned"
    assert [f.default for f in inner.fields if not isinstance(f.default, EnumValue)] == [
        2**32 - 1,
        "d",
        15,
        1.0,
        True,
    ]
    assert [f.default.member.name for f in inner.fields if isinstance(f.default, EnumValue)] == [
        "GREEN",
        "RED",
        "NEG",
    ]
    assert isinstance(outer, StructDef)
    assert [str(f.type) for f in outer.fields] == [
        "a.Inner",
        "a.Color",
        "vector<vector<map<string, a.Inner>>>",
        "vector<b.Outer>",
        "vector<int>",
        "string",
        "string",
        "vector<byte>",
        "vector<byte>",
        "map<a.Inner, unsigned short>",
    ]
    assert isinstance(things, InterfaceDef)
    add = things.functions[1]
    assert add.doc == "Adds."
    assert [(p.name, p.out, p.routekey) for p in add.parameters] == [
        ("one", False, False),
        ("all", True, False),
        ("where", False, True),
    ]
    assert "More" in a
    assert "Loose" in idl.modules[""].definitions


@pytest.mark.parametrize(
    ("source", "where", "words"),
    [
        ("module m {\n  struct S { 0 require int a; }\n};", "3:1", "unexpected '}', expected ';' after the struct"),
        ("module m { struct S { 0 require int a; }; }", "1:44", "the end of the file, expected ';' after the module"),
        ("module m { struct S { }; };", "1:19", "no members, expected at least one"),
        ("module m { struct S { 256 require int a; }; };", "1:23", "256 is out of range, expected 0 to 255"),
        ("module m { struct S { -1 require int a; }; };", "1:23", "-1 is out of range"),
        ("module m { struct S { 0 int a; }; };", "1:25", "expected require or optional"),
        ("module m { struct S { require int a; }; };", "1:23", "expected the tag of a member"),
        ("module m { struct S { 0 require int; }; };", "1:36", "expected a name for the member"),
        ("module m { struct S { 0 require int key; }; };", "1:37", "'key' is a keyword"),
        ("module m { struct S { 0 require int a; 0 require int b; }; };", "1:40", "tag 0 stands twice"),
        ("module m { struct S { 0 require int a; 1 require int a; }; };", "1:54", "a stands twice"),
        ("module m { struct S { 0 require S a; }; };", "1:33", "contains itself, expected vector<S>"),
        ("module m { struct S { 0 require Other a; }; };", "1:33", "Other is unknown here, expected a declared type"),
        (
            "module m { struct S { 0 require T a; }; struct T { 0 require int b; }; };",
            "1:33",
            "stands further down, before this line",
        ),
        ("module m { struct S { 0 require x::T a; }; };", "1:33", "x::T is unknown"),
        ("module m { struct S { 0 require int a = 3000000000; }; };", "1:41", "out of range"),
        ("module m { struct S { 0 require int a = 1.5; }; };", "1:41", "expected an integer"),
        ('module m { struct S { 0 require int a = "x"; }; };', "1:41", "expected an integer"),
        ("module m { struct S { 0 require string a = 5; }; };", "1:44", "expected a text"),
        ("module m { struct S { 0 require bool a = 5; }; };", "1:42", "expected true or false"),
        ("module m { struct S { 0 require int a = NOPE; }; };", "1:41", "NOPE is unknown here"),
        ("module m { struct S { 0 require vector<int> a = 5; }; };", "1:49", "cannot have a default"),
        ("module m { enum E { A }; struct S { 0 require E a = B; }; };", "1:53", "B is unknown"),
        ("module m { enum E { A }; enum F { B }; struct S { 0 require E a = B; }; };", "1:67", "no member of m.E"),
        ("module m { enum E { A }; const int N = 1; struct S { 0 require E a = N; }; };", "1:70", "no member of m.E"),
        ("module m { struct S { 0 require vector<int a; }; };", "1:44", "expected '>'"),
        ("module m { struct S { 0 require map<int> a; }; };", "1:40", "expected ','"),
        ("module m { struct S { 0 require map<map<int,int>,int> a; }; };", "1:37", "cannot be the key"),
        ("module m { struct S { 0 require int x; 1 optional map<S, int> a; }; };", "1:55", "inside itself"),
        ("module m { struct S { 0 require unsigned long a; }; };", "1:42", "expected byte, short or int"),
        ("module m { enum E { A, A }; };", "1:24", "A stands twice"),
        ("module m { enum E { A = 2147483648 }; };", "1:25", "out of range"),
        ("module m { enum E { A B }; };", "1:23", "expected ',' or '}'"),
        ("module m { enum E { A = X }; };", "1:25", "X is no known number"),
        ("module m { const vector<int> A = 5; };", "1:18", "cannot be a vector<int>"),
        ("module m { enum S { }; struct S {0 require int a;}; };", "1:31", "declared already, at <text>:1:17"),
        ("module m { interface m { void f(); }; };", "1:22", "called like its module"),
        ("module m { interface I { void f(); void f(int a); }; };", "1:41", "no overloads"),
        ("module m { interface I { void f(int a, int a); }; };", "1:44", "parameter a stands twice"),
        ("module m { interface I { f(); }; };", "1:26", "unknown"),
        ("module m { interface I { void f() }; };", "1:35", "expected ';'"),
        ("module m { interface I { void f(int a int b); }; };", "1:39", "expected ',' or ')'"),
        ("module m { interface I { void f(void a); }; };", "1:33", "expected a parameter"),
        ("module m { interface I { void f(I a); }; };", "1:33", "I is no type"),
        ("module m { key[S, a]; };", "1:16", "S is unknown"),
        ("module m { struct S {0 require int a;}; key[S, b]; };", "1:48", "no member b, expected one of a"),
        ("module m { struct S {0 require int a;}; key[S]; };", "1:45", "a key needs members"),
        ("module m { module n { }; };", "1:12", "unexpected 'module'"),
        ("modul m { };", "1:1", "expected module, struct"),
        ("module m { };\n#include \"x.tars\"", "2:10", "cannot include"),
        ("#include x", "1:10", "in double quotes"),
        ('#include "x.tars"', "1:10", "cannot include"),
        ("module m { struct S { 0 require " + "vector<" * 50 + "int", "1:264", "nested deeper than 32"),
    ],
)  # fmt: skip
def test_errors_say_where_and_what(source: str, where: str, words: str) -> None:
    """File, line, column, what is wrong and what was expected."""
    with pytest.raises(IdlError) as caught:
        parse_idl(source)
    error = caught.value
    assert f"{error.line}:{error.column}" == where
    assert words in str(error)
    assert str(error).startswith(f"<text>:{where}: ")


def test_more_than_255_parameters_are_refused() -> None:
    """As the official parser does."""
    parameters = ", ".join(f"int p{i}" for i in range(256))
    with pytest.raises(IdlError, match="more than 255"):
        parse_idl(f"module m {{ interface I {{ void f({parameters}); }}; }};")


def test_defaults_of_every_kind() -> None:
    """Literals, constants, and members of enums by all their names."""
    source = """
    module m {
        enum E { A, B = 7 }; const float F = 2; const string T = "t"; const bool Y = false;
        struct S { 0 require int i = B; 1 require float f = F; 2 require string t = T; 3 require bool y = Y;
                   4 require E e = 7; 5 require byte b = -128; 6 require int j = E::B; 7 require E g = m::E::B; };
    };"""
    fields = definition(source, "S").fields
    assert [f.default for f in fields[:7]] == [7, 2.0, "t", False, 7, -128, 7]
    assert fields[7].default.member.name == "B"


def test_comments_before_and_behind() -> None:
    """Both belong to the definition that begins the line."""
    source = "module m {\n// before\n// it\nconst int A = 1; // behind\n"
    source += "struct S {\n0 require int a; // a\n// b\n1 require int b; // too\n}; };"
    assert definition(source, "A").doc == "before\nit\nbehind"
    assert [f.doc for f in definition(source, "S").fields] == ["a", "b\ntoo"]


def test_comments_of_one_line_enums() -> None:
    """A comment behind several members on one line belongs to none of them."""
    members = definition("module m { enum E { A, B }; // both\n };", "E").members
    assert [m.doc for m in members] == ["", ""]


@given(st.text(alphabet='modulestrc {}();:,<>[]0123456789=*"\\/\n#i', max_size=80))
def test_any_text_is_parsed_or_refused(source: str) -> None:
    """Nothing but an IdlError comes up."""
    refused_or_parsed(source)


def test_mutated_files_are_parsed_or_refused() -> None:
    """Words dropped, doubled and exchanged."""
    chance = random.Random(7)
    words = EVERYTHING.replace(";", " ; ").replace("{", " { ").split(" ")
    for _ in range(500):
        changed = list(words)
        for _ in range(chance.randint(1, 3)):
            a, b = chance.randrange(len(changed)), chance.randrange(len(changed))
            match chance.randrange(3):
                case 0:
                    del changed[a]
                case 1:
                    changed.insert(a, changed[b])
                case _:
                    changed[a], changed[b] = changed[b], changed[a]
        refused_or_parsed(" ".join(changed))


def refused_or_parsed(source: str) -> None:
    try:
        parse_idl(source)
    except IdlError as error:
        assert error.line >= 1  # noqa: PT017 - an error may come or not; when it does it has a place


def test_what_tars2cpp_takes_is_taken() -> None:
    """Functions named like keywords, and floats with an f."""
    idl = parse_idl(
        "module m { struct S { 0 optional float a = 1.5f; 1 optional double b = -2e3F; };"
        " interface I { int key(int a); void map(string s, out int vector_); int out(); }; };"
    )
    struct, interface = idl.order
    assert isinstance(struct, StructDef)
    assert [f.default for f in struct.fields] == [1.5, -2000.0]
    assert isinstance(interface, InterfaceDef)
    assert [f.name for f in interface.functions] == ["key", "map", "out"]


@pytest.mark.parametrize(
    ("name", "meant"),
    [("String", "string"), ("integer", "int"), ("list<int>", "vector<...>"), ("int64", "long")],
)
def test_types_of_other_languages_have_a_hint(name: str, meant: str) -> None:
    """The commonest slip is told what the word is here."""
    with pytest.raises(IdlError, match=f"unknown here, expected {meant}"):
        parse_idl(f"module m {{ struct S {{ 0 require {name} a; }}; }};")


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("module m { interface I { int f(int f); }; };", "called like it"),
        ("module m { struct S { 0 optional bool b = 1; }; };", "a number for a bool"),
        ("struct S { 0 require int a; };", "outside of a module"),
        ("module m { struct S { 0 require int a; }; struct T { 0 require ::m::S s; }; };", "begins with ::"),
        ("\ufeffmodule m { struct S { 0 require int a; }; };", "byte order mark"),
        ("module m { struct TarsThing { 0 require int a; }; };", "begins with tars"),
        ("module m { const int C = 1; struct S { 0 optional int a = C; }; };", "as a default"),
    ],
)
def test_what_tars2cpp_refuses_is_noted(source: str, words: str) -> None:
    """It is read, and noted with its place for `generate --strict`."""
    [noted] = parse_idl(source).refused_elsewhere
    assert words in str(noted)
