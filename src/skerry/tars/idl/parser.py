"""The grammar of `.tars` files: tokens in, a resolved model out.

Recursive descent with one word of look-ahead. Names are resolved as they come, because the language wants everything
declared before it is used. Every error says file, line, column and what would have been right.

Source: the grammar of TarsCpp `tools/tars.y`. Taken from it: `;` after every definition, tags 0..255, no
overloads, no struct that contains itself directly. Arrays, fixed lengths and pointers of C++ declarators
are read, and mean the vector or text that they are on the wire.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from skerry.tars.idl.lexer import Place, Token
from skerry.tars.idl.literals import Literals, integer_in
from skerry.tars.idl.model import (
    Basic,
    ConstDef,
    Definition,
    EnumDef,
    EnumMember,
    EnumValue,
    FieldDef,
    FunctionDef,
    Idl,
    InterfaceDef,
    MapOf,
    ModuleDef,
    ParamDef,
    StructDef,
    TypeNode,
    VectorOf,
    qualified,
)
from skerry.tars.idl.tokens import TokenStream

_BASIC: Final = frozenset(["bool", "byte", "short", "int", "long", "float", "double", "string"])
_UNSIGNED: Final = frozenset(["byte", "short", "int"])
_TYPE: Final = "a type"
MAX_TYPE_DEPTH: Final = 32
MAX_PARAMETERS: Final = 255

Include = Callable[[str, Place], None]

_MEANT: Final = {
    "string": "string", "str": "string", "integer": "int", "int32": "int", "int64": "long", "int16": "short",
    "int8": "byte", "uint8": "unsigned byte", "uint16": "unsigned short", "uint32": "unsigned int", "char": "byte",
    "boolean": "bool", "list": "vector<...>", "array": "vector<...>", "set": "vector<...>", "dict": "map<..., ...>",
    "bytes": "vector<byte>", "real": "double", "number": "double",
}  # fmt: skip
"""What is usually meant by names of other languages."""


class Parser:
    """Reads one file into an Idl. `include(name, place)` reads another one into the same."""

    def __init__(self, source: str, file: str, idl: Idl, include: Include) -> None:
        self._tokens = TokenStream(source, file, idl.refused_elsewhere)
        self._file, self._idl, self._include = file, idl, include
        self._module = ""
        self._open_struct: StructDef | None = None
        self._literals = Literals(idl)

    def parse(self) -> None:
        """Read the whole file."""
        while self._tokens.now.kind != "end":
            self._definition("module, struct, enum, interface, const or key")

    # definitions

    def _definition(self, expected: str) -> None:
        first = self._tokens.now
        if first.kind == "include":
            self._tokens.next()
            name = self._tokens.expect("text", "the name of a file in double quotes")
            self._include(str(name.value), name.place)
            return
        word = first.text if first.kind == "keyword" else ""
        match word:
            case "module" if not self._module:
                self._read_module()
            case "struct":
                self._read_struct()
            case "enum":
                self._read_enum()
            case "interface":
                self._read_interface()
            case "const":
                self._read_const()
            case "key":
                self._read_key()
            case _:
                raise self._tokens.unexpected(expected)
        self._tokens.sign(";", f"';' after the {word}")

    def _here(self) -> ModuleDef:
        module = self._idl.modules.setdefault(self._module, ModuleDef(self._module))
        if self._file not in module.files:
            module.files.append(self._file)
        return module

    def _declare(self, name: Token, definition: Definition) -> None:
        self._check_name(name)
        if not self._module:
            self._tokens.liberty(name, f"{name.text} stands outside of a module")
        known = self._here().definitions.get(name.text)
        if known is not None:
            there = f"{known.place.file}:{known.place.line}:{known.place.column}"
            raise name.place.error(f"{qualified(self._module, name.text)} is declared already, at {there}")
        self._here().definitions[name.text] = definition
        self._idl.order.append(definition)

    def _check_name(self, name: Token) -> None:
        if name.text.lower().startswith("tars"):
            self._tokens.liberty(name, f"{name.text} begins with tars")

    def _read_module(self) -> None:
        first = self._tokens.next()
        name = self._tokens.expect("word", "a name for the module")
        self._module = name.text
        module = self._here()
        module.doc = module.doc or first.comment
        self._tokens.sign("{")
        while not self._tokens.skip("}"):
            self._definition("struct, enum, interface, const, key or '}'")
        self._module = ""

    def _read_enum(self) -> None:
        first = self._tokens.next()
        name = self._tokens.expect("word", "a name for the enum")
        enum = EnumDef(self._module, name.text, name.place, first.comment)
        self._declare(name, enum)
        self._tokens.sign("{")
        following = 0
        while not self._tokens.skip("}"):
            member = self._tokens.expect("word", "a name for the member or '}'")
            if any(m.name == member.text for m in enum.members):
                raise member.place.error(f"{member.text} stands twice in enum {name.text}")
            place, value = member.place, following
            if self._tokens.skip("="):
                place = self._tokens.now.place
                value = self._literals.enum_value(self._tokens, enum)
            integer_in(value, -(2**31), 2**31 - 1, place)
            following = value + 1
            more = self._tokens.skip(",")
            enum.members.append(EnumMember(member.text, value, self._tokens.doc(member), member.place))
            if not more:
                self._tokens.sign("}", "',' or '}'")
                break

    def _read_const(self) -> None:
        first = self._tokens.next()
        place = self._tokens.now.place
        kind = self.read_type()
        if isinstance(kind, (VectorOf, MapOf, StructDef)):
            raise place.error(f"a constant cannot be a {kind}", "bool, a number, string or an enum")
        name = self._tokens.expect("word", "a name for the constant")
        self._tokens.sign("=")
        value = self._literals.read(self._tokens, kind, self._module)
        doc = self._tokens.doc(first)
        self._declare(name, ConstDef(self._module, name.text, name.place, kind, value, doc))

    def _read_struct(self) -> None:
        first = self._tokens.next()
        name = self._tokens.expect("word", "a name for the struct")
        struct = StructDef(self._module, name.text, name.place, first.comment)
        self._declare(name, struct)
        self._tokens.sign("{")
        self._open_struct = struct
        while not self._tokens.skip("}"):
            self._read_field(struct)
        self._open_struct = None
        if not struct.fields:
            raise name.place.error(f"struct {name.text} has no members", "at least one")

    def _read_field(self, struct: StructDef) -> None:
        first = self._tokens.expect("integer", "the tag of a member (0 to 255) or '}'")
        tag = integer_in(first.value, 0, 255, first.place)
        if any(f.tag == tag for f in struct.fields):
            raise first.place.error(f"tag {tag} stands twice in struct {struct.name}")
        required = self._tokens.skip("require")
        if not required and not self._tokens.skip("optional"):
            raise self._tokens.unexpected("require or optional")
        place = self._tokens.now.place
        kind = self.read_type()
        if kind is struct:
            raise place.error(f"struct {struct.name} contains itself", f"vector<{struct.name}>")
        kind, name = self._declarator(kind, "a name for the member")
        if any(f.name == name.text for f in struct.fields):
            raise name.place.error(f"{name.text} stands twice in struct {struct.name}")
        default = None
        if self._tokens.skip("="):
            if isinstance(kind, (VectorOf, MapOf, StructDef)):
                raise self._tokens.now.place.error(f"a {kind} cannot have a default", "';'")
            token = self._tokens.now
            default = self._literals.read(self._tokens, kind, self._module)
            if kind == Basic("bool") and token.kind == "integer":
                self._tokens.liberty(token, "a number for a bool")
            elif token.kind == "word" and not isinstance(default, EnumValue):
                self._tokens.liberty(token, f"the constant {token.text} as a default")
        self._tokens.sign(";", "'=' and a default, or ';'")
        self._check_name(name)
        struct.fields.append(
            FieldDef(tag, required, kind, name.text, default, self._tokens.doc(first), name.place)
        )

    def _read_key(self) -> None:
        self._tokens.next()
        self._tokens.sign("[")
        place = self._tokens.now.place
        struct = self._named()
        if not isinstance(struct, StructDef):
            raise place.error(f"{struct} is no struct", "a struct that is declared before")
        names: list[str] = []
        while self._tokens.skip(","):
            member = self._tokens.expect("word", f"the name of a member of {struct.name}")
            if all(f.name != member.text for f in struct.fields):
                known = ", ".join(f.name for f in struct.fields)
                raise member.place.error(
                    f"struct {struct.name} has no member {member.text}", f"one of {known}"
                )
            names.append(member.text)
        self._tokens.sign("]", "',' or ']'")
        if not names:
            raise place.error("a key needs members", "',' and a name")
        struct.key = tuple(names)

    def _read_interface(self) -> None:
        first = self._tokens.next()
        name = self._tokens.expect("word", "a name for the interface")
        if name.text == self._module:
            raise name.place.error(f"interface {name.text} is called like its module", "another name")
        interface = InterfaceDef(self._module, name.text, name.place, first.comment)
        self._declare(name, interface)
        self._tokens.sign("{")
        while not self._tokens.skip("}"):
            self._read_function(interface)

    def _read_function(self, interface: InterfaceDef) -> None:
        first = self._tokens.now
        returns = None if self._tokens.skip("void") else self.read_type("void, a type or '}'")
        name = self._tokens.name_before("(", "a name for the function")
        if any(f.name == name.text for f in interface.functions):
            raise name.place.error(
                f"{name.text} stands twice in interface {interface.name}; there are no overloads"
            )
        self._tokens.sign("(")
        parameters: list[ParamDef] = []
        while not self._tokens.skip(")"):
            if parameters:
                self._tokens.sign(",", "',' or ')'")
            parameter = self._parameter(parameters)
            if len(parameters) == MAX_PARAMETERS:
                raise parameter.place.error(f"{name.text} has more than {MAX_PARAMETERS} parameters")
            if parameter.name == name.text:
                self._tokens.liberty(name, f"a parameter of {name.text} is called like it")
            parameters.append(parameter)
        self._tokens.sign(";")
        doc = self._tokens.doc(first)
        interface.functions.append(FunctionDef(name.text, returns, tuple(parameters), doc, name.place))

    def _parameter(self, before: list[ParamDef]) -> ParamDef:
        out = self._tokens.skip("out")
        routekey = not out and self._tokens.skip("routekey")
        kind, name = self._declarator(self.read_type("a parameter"), "a name for the parameter")
        if any(p.name == name.text for p in before):
            raise name.place.error(f"parameter {name.text} stands twice")
        return ParamDef(name.text, kind, out, routekey, name.place)

    # types

    def read_type(self, expected: str = _TYPE, depth: int = 0) -> TypeNode:
        """A type, with the `: length` that C++ allows behind it."""
        token = self._tokens.now
        if depth > MAX_TYPE_DEPTH:
            raise token.place.error(f"types are nested deeper than {MAX_TYPE_DEPTH}")
        kind = self._plain_type(token, expected, depth)
        if self._tokens.skip(":"):
            self._tokens.expect("integer", "a length")
        return kind

    def _plain_type(self, token: Token, expected: str, depth: int) -> TypeNode:
        if self._tokens.skip("unsigned"):
            word = self._tokens.now.text
            if self._tokens.now.kind != "keyword" or word not in _UNSIGNED:
                raise self._tokens.unexpected("byte, short or int")
            self._tokens.next()
            return Basic(f"unsigned {word}")
        if token.kind == "keyword" and token.text in _BASIC:
            self._tokens.next()
            return Basic(token.text)
        if self._tokens.skip("vector"):
            self._tokens.sign("<")
            element = self.read_type(depth=depth + 1)
            self._tokens.sign(">")
            return VectorOf(element)
        if self._tokens.skip("map"):
            self._tokens.sign("<")
            place = self._tokens.now.place
            key = self.read_type(depth=depth + 1)
            self._check_key(key, place)
            self._tokens.sign(",")
            value = self.read_type(depth=depth + 1)
            self._tokens.sign(">")
            return MapOf(key, value)
        if token.kind == "word" or token.text == "::":
            named = self._named()
            if isinstance(named, (EnumDef, StructDef)):
                return named
            raise token.place.error(f"{named.name} is no type", "a struct or enum")
        raise self._tokens.unexpected(expected)

    def _check_key(self, key: TypeNode, place: Place) -> None:
        if isinstance(key, MapOf):
            raise place.error("a map cannot be the key of a map")
        if isinstance(key, VectorOf):
            self._check_key(key.element, place)
        if isinstance(key, StructDef) and key is self._open_struct:
            raise place.error(f"struct {key.name} cannot be a key inside itself")

    def _declarator(self, kind: TypeNode, expected: str) -> tuple[TypeNode, Token]:
        """`name`, or what C++ adds: `name[5]` and `*name` are vectors, `name:5` is a text with a length."""
        pointer = self._tokens.skip("*")
        name = self._tokens.expect("word", expected)
        if pointer:
            return VectorOf(kind), name
        if self._tokens.skip("["):
            self._tokens.expect("integer", "a length")
            self._tokens.sign("]")
            return VectorOf(kind), name
        if self._tokens.skip(":"):
            self._tokens.expect("integer", "a length")
        return kind, name

    # names

    def _named(self) -> Definition:
        parts, first = self._tokens.scoped()
        found = self._find(parts)
        if found is None:
            name = "::".join(parts)
            if self._tokens.follows(("struct", "enum"), parts[-1]):
                hint = "its declaration, which stands further down, before this line"
            else:
                hint = _MEANT.get(name.lower(), "a declared type")
            raise first.place.error(f"{name} is unknown here", hint)
        return found

    def _find(self, parts: list[str]) -> Definition | None:
        *scope, name = parts
        if scope and scope[0] == "":
            scope = scope[1:]
            places = ["::".join(scope)]
        else:
            places = ["::".join(scope)] if scope else [self._module, ""]
        for place in places:
            module = self._idl.modules.get(place)
            if module is not None and name in module.definitions:
                return module.definitions[name]
        return None
