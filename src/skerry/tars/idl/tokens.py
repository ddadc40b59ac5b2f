"""The tokens of a file one after the other: look at the next one, take it, say what else was expected."""

from __future__ import annotations

from itertools import pairwise

from skerry.tars.errors import IdlError
from skerry.tars.idl.lexer import Place, Token, lex


class TokenStream:
    """Walks through the tokens of one file."""

    def __init__(self, source: str, file: str, liberties: list[IdlError]) -> None:
        self._liberties = liberties
        if source.startswith("\ufeff"):
            self._liberties.append(Place(file, 1, 1).error("a byte order mark: tars2cpp refuses it"))
        lexed = lex(source, file)
        self._tokens, self._trailing = lexed.tokens, lexed.trailing
        self._leading = {
            b.place
            for a, b in zip(self._tokens, self._tokens[1:], strict=False)
            if a.place.line != b.place.line
        }
        self._at = 0

    def liberty(self, token: Token, what: str) -> None:
        """Note something that is read here, and refused by tars2cpp."""
        self._liberties.append(token.place.error(f"{what}: tars2cpp refuses it"))

    @property
    def now(self) -> Token:
        return self._tokens[self._at]

    def next(self) -> Token:
        token = self._tokens[self._at]
        self._at += 1
        return token

    def unexpected(self, expected: str) -> IdlError:
        token = self.now
        word = (
            f"{token} is a keyword"
            if token.kind == "keyword" and "name" in expected
            else f"unexpected {token}"
        )
        return token.place.error(word, expected)

    def expect(self, kind: str, expected: str) -> Token:
        if self.now.kind != kind:
            raise self.unexpected(expected)
        return self.next()

    def name_before(self, sign: str, expected: str) -> Token:
        """A name; a keyword may be one too where `sign` follows, as tars2cpp has it."""
        if self.now.kind == "keyword" and self._tokens[self._at + 1].text == sign:
            return self.next()
        return self.expect("word", expected)

    def sign(self, sign: str, expected: str = "") -> Token:
        if self.now.kind != "sign" or self.now.text != sign:
            raise self.unexpected(expected or repr(sign))
        return self.next()

    def skip(self, text: str) -> bool:
        """Take the word if it is this sign or keyword."""
        if self.now.kind in ("sign", "keyword") and self.now.text == text:
            self._at += 1
            return True
        return False

    def doc(self, first: Token) -> str:
        """The comment before `first`, and the one behind the token before it when `first` begins a line."""
        behind = ""
        if first.place in self._leading:
            behind = self._trailing.get(self._tokens[self._at - 1].place.line, "")
        return "\n".join(filter(None, (first.comment, behind)))

    def scoped(self) -> tuple[list[str], Token]:
        """`A`, `A::B`, `::A::B`: its parts (an empty first one for `::`) and its first word."""
        first = self.now
        parts = [""] if self.skip("::") else []
        if parts:
            self.liberty(first, "a name that begins with ::")
        parts.append(self.expect("word", "a name").text)
        while self.skip("::"):
            parts.append(self.expect("word", "a name").text)
        return parts, first

    def follows(self, keywords: tuple[str, ...], name: str) -> bool:
        """Whether one of these keywords stands before this name further down."""
        rest = self._tokens[self._at :]
        return any(a.text in keywords and b.text == name for a, b in pairwise(rest))
