"""Words of `.tars` files."""

from __future__ import annotations

import pytest

from skerry.tars.errors import IdlError
from skerry.tars.idl.lexer import lex


def values(source: str) -> list[object]:
    return [token.value for token in lex(source, "f").tokens[:-1]]


def test_numbers() -> None:
    """Decimal, octal and hexadecimal integers, reals, signs."""
    assert values("0 7 -5 +6 0x1F -0x10 017 00") == [0, 7, -5, 6, 31, -16, 15, 0]
    assert values("1.5 -.5 2. 1e3 1.5E-2") == [1.5, -0.5, 2.0, 1000.0, 0.015]


def test_texts() -> None:
    """Double quotes, escapes of C."""
    assert values(r'"a\tb" "\"q\"" "\x41\101" "" "\\"') == ["a\tb", '"q"', "AA", "", "\\"]


def test_places() -> None:
    """Lines and columns from 1, also behind comments of several lines and a byte order mark."""
    tokens = lex("\ufeffa\n  /* x\n y */ b\n// c\n\tc", "f").tokens
    assert [(t.text, t.place.line, t.place.column) for t in tokens[:-1]] == [
        ("a", 1, 1),
        ("b", 3, 7),
        ("c", 5, 2),
    ]


def test_comments_belong_to_what_follows() -> None:
    """Lines directly before a word, or what stands behind it; a blank line parts them."""
    lexed = lex("// lost\n\n// one\n/** two\n * three */\na; // behind\nb", "f")
    assert [t.comment for t in lexed.tokens[:-1]] == ["one\ntwo\nthree", "", ""]
    assert lexed.trailing == {6: "behind"}


def test_carriage_returns_are_space() -> None:
    """Files from Windows have the same lines."""
    tokens = lex("a\r\nb\r\n", "f").tokens
    assert [(t.text, t.place.line) for t in tokens] == [("a", 1), ("b", 2), ("", 3)]


@pytest.mark.parametrize(
    ("source", "where", "words"),
    [
        ("a\n @", "f:2:2", "'@'"),
        ('"abc\n"', "f:1:1", "never ends"),
        ("/* abc", "f:1:1", "never ends, expected */"),
        ("#define X", "f:1:1", "#include"),
        ("089", "f:1:1", "octal"),
        ("1" * 30, "f:1:1", "64 bits"),
        ("a - b", "f:1:3", "'-'"),
    ],
)
def test_strangers(source: str, where: str, words: str) -> None:
    """An error says where and what was expected."""
    with pytest.raises(IdlError) as caught:
        lex(source, "f")
    assert str(caught.value).startswith(f"{where}: ")
    assert words in str(caught.value)
