"""Values in a `.tars` file: defaults, constants, members of enums; and whether they fit their types."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from skerry.tars.idl.lexer import Place, Token
from skerry.tars.idl.model import Basic, ConstDef, EnumDef, EnumValue, Idl, TypeNode
from skerry.tars.wire import types

if TYPE_CHECKING:
    from skerry.tars.idl.tokens import TokenStream

BASIC_TYPES: Final = {
    t.name: t
    for t in (
        types.BOOL,
        types.BYTE,
        types.SHORT,
        types.INT,
        types.LONG,
        types.UNSIGNED_BYTE,
        types.UNSIGNED_SHORT,
        types.UNSIGNED_INT,
        types.FLOAT,
        types.DOUBLE,
        types.STRING,
    )
}


def integer_in(value: object, low: int, high: int, place: Place) -> int:
    """The value, when it is an integer within low..high."""
    if not isinstance(value, int) or not low <= value <= high:
        raise place.error(f"{value} is out of range", f"{low} to {high}")
    return value


class Literals:
    """Reads values, with the constants and enums that are known so far."""

    def __init__(self, idl: Idl) -> None:
        self._idl = idl

    def read(self, tokens: TokenStream, kind: TypeNode, module: str) -> Any:
        """A value of this type: plain, or an EnumValue for the members of enums."""
        token = tokens.now
        if token.kind == "word" or token.text == "::":
            return self._named(tokens, kind, module)
        tokens.next()
        if isinstance(kind, EnumDef):
            if token.kind != "integer":
                raise token.place.error(f"unexpected {token}", f"a member of {kind}")
            return integer_in(token.value, types.INT.low, types.INT.high, token.place)
        assert isinstance(kind, Basic)
        return _plain(token, BASIC_TYPES[kind.name])

    def enum_value(self, tokens: TokenStream, enum: EnumDef) -> int:
        """The value of a member of an enum: a number, or the name of another member or constant."""
        token = tokens.now
        if token.kind == "integer":
            tokens.next()
            assert isinstance(token.value, int)
            return token.value
        if token.kind != "word" and token.text != "::":
            raise token.place.error(f"unexpected {token}", "an integer or the name of a member")
        parts, first = tokens.scoped()
        found = self._find(parts, enum.module, enum)
        value = found.member.value if isinstance(found, EnumValue) else found.value if found else None
        if isinstance(value, EnumValue):
            value = value.member.value
        if not isinstance(value, int):
            raise first.place.error(
                f"{'::'.join(parts)} is no known number", "a member of an enum, or a constant"
            )
        return value

    def _named(self, tokens: TokenStream, kind: TypeNode, module: str) -> Any:
        parts, first = tokens.scoped()
        found = self._find(parts, module, kind if isinstance(kind, EnumDef) else None)
        name = "::".join(parts)
        if found is None:
            raise first.place.error(f"{name} is unknown here", f"a value of type {kind}")
        if isinstance(kind, EnumDef):
            if isinstance(found, ConstDef) and isinstance(found.value, EnumValue):
                found = found.value
            if not isinstance(found, EnumValue) or found.enum is not kind:
                raise first.place.error(
                    f"{name} is no member of {kind}", ", ".join(m.name for m in kind.members)
                )
            return found
        value = found.member.value if isinstance(found, EnumValue) else found.value
        if isinstance(value, EnumValue):
            value = value.member.value
        word = {str: "text", float: "real"}.get(type(value), "integer")
        if isinstance(value, bool):
            word = "keyword"
        assert isinstance(kind, Basic)
        return _plain(
            Token(word, str(value).lower() if word == "keyword" else name, value, first.place),
            BASIC_TYPES[kind.name],
        )

    def _find(self, parts: list[str], module: str, enum: EnumDef | None) -> EnumValue | ConstDef | None:
        """A member of an enum or a constant: `E_A`, `Enum::E_A`, `Module::E_A`, `Module::Enum::E_A`."""
        *scope, name = [p for p in parts if p]
        if not scope and enum is not None:
            for member in enum.members:
                if member.name == name:
                    return EnumValue(enum, member)
        modules = [module, ""]
        enum_name = ""
        match scope:
            case [one]:
                modules, enum_name = ([one], "") if one in self._idl.modules else (modules, one)
            case [one, two]:
                modules, enum_name = [one], two
            case [_, _, _, *_]:
                return None
        for place in modules:
            for definition in (
                self._idl.modules[place].definitions.values() if place in self._idl.modules else ()
            ):
                if isinstance(definition, ConstDef) and definition.name == name and not enum_name:
                    return definition
                if isinstance(definition, EnumDef) and enum_name in ("", definition.name):
                    for member in definition.members:
                        if member.name == name:
                            return EnumValue(definition, member)
        return None


def _plain(token: Token, kind: types.Scalar) -> Any:
    """The value of a literal, when it fits."""
    value = token.value
    if kind is types.BOOL:
        if token.text in ("true", "false"):
            return token.text == "true"
        if value in (0, 1) and token.kind == "integer":
            return value == 1
        raise token.place.error(f"unexpected {token}", "true or false")
    if kind is types.STRING:
        if token.kind != "text":
            raise token.place.error(f"unexpected {token}", "a text in double quotes")
        return value
    if kind.is_integer:
        if token.kind != "integer":
            raise token.place.error(f"unexpected {token}", "an integer")
        return integer_in(value, kind.low, kind.high, token.place)
    if token.kind not in ("integer", "real"):
        raise token.place.error(f"unexpected {token}", "a number")
    return float(value)
