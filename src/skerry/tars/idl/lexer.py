"""Tokens of a `.tars` file: identifiers, keywords, numbers, texts, signs, with places and comments.

Not for: what the tokens mean together (`idl/parser.py`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from skerry.tars.errors import IdlError

KEYWORDS: Final = frozenset({
    "void", "struct", "bool", "byte", "short", "int", "double", "float", "long", "string", "vector", "map", "key",
    "routekey", "module", "interface", "out", "require", "optional", "false", "true", "enum", "const", "unsigned",
})  # fmt: skip

_WORDS: Final = re.compile(
    r"""
      (?P<space>[ \t\r\f\v\n]+)
    | (?P<line>//[^\n]*)
    | (?P<block>/\*.*?\*/)
    | (?P<include>\#[ \t]*include\b)
    | (?P<real>[+-]?(?:(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|[0-9]+[eE][+-]?[0-9]+)(?:[fF]\b)?)
    | (?P<hexadecimal>[+-]?0[xX][0-9a-fA-F]+)
    | (?P<integer>[+-]?[0-9]+)
    | (?P<word>[A-Za-z_][A-Za-z0-9_]*)
    | (?P<text>"(?:[^"\\\n]|\\.)*")
    | (?P<sign>::|[{}()<>\[\];,=:*])
    """,
    re.VERBOSE | re.DOTALL,
)

_ESCAPES: Final = {
    "n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v",
    "\\": "\\", '"': '"', "'": "'", "?": "?",
}  # fmt: skip
_ESCAPE: Final = re.compile(r"\\(x[0-9a-fA-F]{1,2}|[0-7]{1,3}|.)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Place:
    """Where something stands; lines and columns from 1."""

    file: str
    line: int
    column: int

    def error(self, problem: str, expected: str = "") -> IdlError:
        return IdlError(problem, self.file, self.line, self.column, expected)


@dataclass(frozen=True, slots=True)
class Token:
    """One word. `kind`: `word`, `keyword`, `integer`, `real`, `text`, `sign`, `include` or `end`.

    `value` is the number or the unescaped text; `comment` stands directly before, on lines of its own.
    """

    kind: str
    text: str
    value: int | float | str
    place: Place
    comment: str = ""

    def __str__(self) -> str:
        return "the end of the file" if self.kind == "end" else repr(self.text)


@dataclass(frozen=True, slots=True)
class Lexed:
    """A file in tokens. `trailing` maps a line to the comment that ends it."""

    tokens: tuple[Token, ...]
    trailing: dict[int, str]


def lex(source: str, file: str) -> Lexed:
    """Split the source into tokens. Raises IdlError at the first invalid character."""
    tokens: list[Token] = []
    trailing: dict[int, str] = {}
    before: list[str] = []  # comments since the last word, as long as no blank line came
    at, line, start = 0, 1, 0
    last_word_line = 0
    if source.startswith("\ufeff"):
        at = start = 1
    while at < len(source):
        place = Place(file, line, at - start + 1)
        match = _WORDS.match(source, at)
        if match is None:
            raise _stranger(source, at, place)
        kind, text = match.lastgroup or "", match.group()
        at = match.end()
        if kind in ("line", "block"):
            comment = _clean(text)
            if line == last_word_line:
                trailing[line] = f"{trailing[line]}\n{comment}" if line in trailing else comment
            else:
                before.append(comment)
        elif kind == "space":
            if text.count("\n") > 1:
                before.clear()
        else:
            tokens.append(_token(kind, text, place, "\n".join(before)))
            before.clear()
            last_word_line = line
        if newlines := text.count("\n"):
            line += newlines
            start = match.start() + text.rindex("\n") + 1
    tokens.append(Token("end", "", "", Place(file, line, at - start + 1)))
    return Lexed(tuple(tokens), trailing)


def _stranger(source: str, at: int, place: Place) -> IdlError:
    if source.startswith("/*", at):
        return place.error("this comment never ends", "*/")
    if source[at] == '"':
        return place.error("this text never ends", 'a closing "')
    if source[at] == "#":
        return place.error("the only directive is #include", '#include "file.tars"')
    if _is_foreign(source[at]):
        return place.error("a byte that does not belong to the encoding the file is read in", "encoding=...")
    return place.error(f"the character {source[at]!r} has no meaning here")


def _is_foreign(text: str) -> bool:
    """Whether bytes that could not be decoded stand in it, as files.py keeps them."""
    return any("\udc80" <= character <= "\udcff" for character in text)


def _token(kind: str, text: str, place: Place, comment: str) -> Token:
    match kind:
        case "word":
            return Token("keyword" if text in KEYWORDS else "word", text, text, place, comment)
        case "text":
            if not text.isascii() and _is_foreign(text):
                raise place.error("this text is in another encoding than the file is read in", "encoding=...")
            return Token("text", text, _unescape(text[1:-1]), place, comment)
        case "real":
            return Token("real", text, float(text.rstrip("fF")), place, comment)
        case "hexadecimal":
            return Token("integer", text, int(text, 16), place, comment)
        case "integer":
            digits = text.lstrip("+-")
            octal = len(digits) > 1 and digits[0] == "0"
            if octal and set(digits) & {"8", "9"}:
                raise place.error(f"{text} begins with 0 and is no octal number", "digits 0 to 7")
            if len(digits) > 25:
                raise place.error("this number is too long", "at most 64 bits")
            return Token("integer", text, int(text, 8 if octal else 10), place, comment)
    return Token(kind, text, text, place, comment)


def _unescape(text: str) -> str:
    def one(match: re.Match[str]) -> str:
        code = match.group(1)
        if code[0] == "x" and len(code) > 1:
            return chr(int(code[1:], 16))
        if code[0] in "01234567":
            return chr(int(code, 8) & 255)
        return _ESCAPES.get(code, code)

    return _ESCAPE.sub(one, text)


def _clean(comment: str) -> str:
    """The text of a comment without its signs, and without what could not be decoded."""
    if not comment.isascii():
        comment = comment.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    if comment.startswith("//"):
        return comment.lstrip("/").lstrip("!<").strip()
    lines = [line.strip().lstrip("*").strip() for line in comment[2:-2].strip("*! \t").splitlines()]
    return "\n".join(lines).strip()
