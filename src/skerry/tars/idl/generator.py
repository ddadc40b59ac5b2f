"""Writes Python from `.tars` files: typed, readable, with the comments as docstrings.

One Python module per IDL module, in the words of `wire/declare.py`. The loader executes the same text, definition by
definition. It depends on the files only, so that it can be compared.

Not for: writing files (`cli/tars_generate.py`), executing (`idl/loader.py`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from skerry.tars.idl.literals import BASIC_TYPES
from skerry.tars.idl.model import (
    Basic,
    ConstDef,
    Definition,
    EnumDef,
    EnumValue,
    FieldDef,
    FunctionDef,
    Idl,
    InterfaceDef,
    MapOf,
    ModuleDef,
    StructDef,
    TypeNode,
    VectorOf,
)
from skerry.tars.idl.names import (
    NO_MEMBER,
    enum_name,
    parameter_name,
    python_name,
    python_names,
    result_class_name,
    result_name,
)
from skerry.tars.idl.needs import needed_modules, refuse_circles

WIDTH: Final = 110
_BUILTINS: Final = ("bool", "bytes", "dict", "float", "int", "list", "str", "tuple")
_TUPLE_METHODS: Final = frozenset({"count", "index"})


def generate(idl: Idl, package: str = "") -> dict[str, str]:
    """File name to text, for every module that was read. `package` is that of the files, for their imports of each
    other; without it they import each other relatively."""
    refuse_circles(idl)
    return {
        f"{module_file(idl, name)}.py": ModuleText(idl, module, package).whole()
        for name, module in idl.modules.items()
    }


def module_file(idl: Idl, module: str) -> str:
    """The Python module of an IDL module; what stands outside of modules is called like the file."""
    return python_name(module) if module else re.sub(r"\W", "_", Path(idl.file).stem)


class ModuleText:
    """The text of one module. `definitions` has that of each definition, and `exports` the names that it defines there;
    `support` the names that the text takes from elsewhere, as it calls them."""

    def __init__(self, idl: Idl, module: ModuleDef, package: str = "") -> None:
        self._idl, self.module, self._package = idl, module, package
        self._names = python_names(module.definitions)
        self._needed = sorted(needed_modules(module))
        self._inner = set(self._names_in_classes())
        self._hidden = self._inner | set(self._names.values())
        self._body: list[str] = []
        self._after_const = False
        self._used: set[str] = set()
        self._results: set[str] = set()
        self.definitions: dict[Definition, str] = {}
        self.exports: dict[Definition, list[str]] = {}
        for definition in module.definitions.values():
            begin, results = len(self._body), set(self._results)
            self._definition(definition)
            self.definitions[definition] = "\n".join(self._body[begin:]) + "\n"
            self.exports[definition] = [self._names[definition.name], *sorted(self._results - results)]

    @property
    def support(self) -> dict[str, str]:
        """What the text takes from elsewhere, to what it is called there: `tars`, names of `typing` and of builtins."""
        names = self._used.difference(module_file(self._idl, name) for name in self._needed)
        return {name: f"_{name}" if name in self._hidden else name for name in sorted(names)}

    @property
    def needed(self) -> dict[str, str]:
        """The other IDL modules that the text uses, to what they are called there."""
        return {
            name: f"_{file}" if (file := module_file(self._idl, name)) in self._hidden else file
            for name in self._needed
        }

    def whole(self) -> str:
        """The module as a file."""
        return "\n".join([*self._head(), *self._body]) + "\n"

    def _names_in_classes(self) -> Iterable[str]:
        """Names inside of classes, which hide those of the module from the lines after them."""
        for definition in self.module.definitions.values():
            match definition:
                case StructDef():
                    yield from python_names(f.name for f in definition.fields).values()
                case InterfaceDef():
                    yield from python_names(f.name for f in definition.functions).values()
                    for one in definition.functions:
                        outs = (p.name for p in one.parameters if p.out)
                        yield from python_names(outs, result_name).values()
        yield "ret"

    # names

    def _support(self, name: str) -> str:
        """A name that the module takes from elsewhere; `_name` where the IDL has a use for it itself."""
        self._used.add(name)
        return f"_{name}" if name in self._hidden else name

    def _tars(self, name: str) -> str:
        return f"{self._support('tars')}.{name}"

    def _own(self, definition: Definition) -> str:
        """How this module calls a definition."""
        if definition.module != self.module.name:
            there = self._idl.modules[definition.module]
            module = self._support(module_file(self._idl, definition.module))
            return f"{module}.{python_names(there.definitions)[definition.name]}"
        name = self._names[definition.name]
        return f"_{name}" if name in self._inner else name

    def _head(self) -> list[str]:
        files = ", ".join(Path(file).name for file in self.module.files)
        title = f"IDL module `{self.module.name}`." if self.module.name else f"What {files} declares."
        about = (
            f"Made by `skerry tars generate` from {files}. Do not change it: change that, and make it again."
        )
        lines = [*docstring(f"{title}\n\n{self.module.doc}".strip() + f"\n\n{about}", ""), ""]
        lines += ["from __future__ import annotations", ""]
        builtins = [n for n in _BUILTINS if n in self._used and n in self._hidden]
        lines += [f"from builtins import {n} as _{n}" for n in builtins]
        typing = [n for n in ("Final", "NamedTuple", "TypeAlias") if n in self._used]
        if typing:
            lines.append(f"from typing import {', '.join(map(self._imported, typing))}")
        if builtins or typing:
            lines.append("")
        if "tars" in self._used:
            lines.append(f"from skerry.tars.wire import declare as {self._support('tars')}")
        if self._needed:
            files_needed = [self._imported(module_file(self._idl, name)) for name in self._needed]
            lines.append(f"from {self._package or '.'} import {', '.join(files_needed)}")
        return lines

    def _imported(self, name: str) -> str:
        return f"{name} as _{name}" if name in self._hidden else name

    # definitions

    def _definition(self, definition: Definition) -> None:
        first_const = isinstance(definition, ConstDef) and not self._after_const
        self._after_const = isinstance(definition, ConstDef)
        if first_const:
            self._line(*([""] if not self._body else ["", ""]))
        match definition:
            case EnumDef():
                self._enum(definition)
            case ConstDef():
                self._const(definition)
            case StructDef():
                self._struct(definition)
            case InterfaceDef():
                self._interface(definition)
        name = self._names[definition.name]
        if name in self._inner and isinstance(definition, (EnumDef, StructDef)):
            self._line("", "", f"_{name}: {self._support('TypeAlias')} = {name}")

    def _line(self, *lines: str) -> None:
        self._body += lines

    def _enum(self, enum: EnumDef) -> None:
        names = python_names((m.name for m in enum.members), enum_name)
        self._line("", "", f"class {self._names[enum.name]}({self._tars('TarsEnum')}):")
        self._line(*docstring(enum.doc or f"Enum {enum}.", "    "))
        self._line("" if enum.members else f"\n    {NO_MEMBER[0]} = {NO_MEMBER[1]}")
        for member in enum.members:
            self._line(*comment(member.doc), f"    {names[member.name]} = {member.value}")

    def _const(self, const: ConstDef) -> None:
        self._line(*(line.strip() for line in comment(const.doc)))
        value = self._value(const.value, const.type)
        self._line(f"{self._names[const.name]}: {self._support('Final')} = {value}")

    def _struct(self, struct: StructDef) -> None:
        names = python_names(f.name for f in struct.fields)
        arguments = [repr_text(str(struct))]
        if struct.key is not None:
            key = ", ".join(repr_text(names[k]) for k in struct.key)
            arguments.append(f"key=({key},)" if len(struct.key) == 1 else f"key=({key})")
        self._line("", "", f"@{self._tars('struct')}({', '.join(arguments)})")
        self._line(f"class {self._names[struct.name]}({self._tars('Struct')}):")
        self._line(*docstring(struct.doc or f"Struct {struct}.", "    "), "")
        for field in struct.fields:
            self._line(*comment(field.doc))
            start = f"    {names[field.name]}: {self._annotation(field.type)} = "
            self._call(start, self._tars("member"), self._member(field, struct, names[field.name]), "")

    def _member(self, field: FieldDef, struct: StructDef, name: str) -> list[str]:
        arguments = [str(field.tag), self._wire(field.type, struct)]
        if field.required:
            arguments.append("required=True")
        arguments.append(self._default(field))
        if name != field.name:
            arguments.append(f"name={repr_text(field.name)}")
        return arguments

    def _default(self, field: FieldDef) -> str:
        kind = field.type
        match kind:
            case VectorOf(Basic("byte")):
                return 'default=b""'
            case VectorOf():
                return f"default_factory={self._support('list')}"
            case MapOf():
                return f"default_factory={self._support('dict')}"
            case StructDef():
                return f"default_factory={self._own(kind)}"
            case EnumDef():
                first = EnumValue(kind, kind.members[0]) if kind.members else NO_MEMBER[1]
                return f"default={self._value(first if field.default is None else field.default, kind)}"
        zero: Any = {"bool": False, "float": 0.0, "double": 0.0, "string": ""}.get(kind.name, 0)
        return f"default={self._value(zero if field.default is None else field.default, kind)}"

    def _value(self, value: Any, kind: TypeNode) -> str:
        if isinstance(kind, EnumDef) and not isinstance(value, EnumValue):
            member = next((m for m in kind.members if m.value == value), None)
            if member is None and not kind.members and value == NO_MEMBER[1]:
                return f"{self._own(kind)}.{NO_MEMBER[0]}"
            if member is None:
                return f"{self._own(kind)}({value})"
            value = EnumValue(kind, member)
        if isinstance(value, EnumValue):
            names = python_names((m.name for m in value.enum.members), enum_name)
            return f"{self._own(value.enum)}.{names[value.member.name]}"
        if isinstance(value, float) and value in (float("inf"), float("-inf")):
            return f'{self._support("float")}("{value}")'
        return repr_text(value) if isinstance(value, str) else repr(value)

    def _interface(self, interface: InterfaceDef) -> None:
        results = {f.name: self._result(interface, f) for f in interface.functions}
        self._line("", "", f"@{self._tars('interface')}({repr_text(str(interface))})")
        self._line(f"class {self._names[interface.name]}:")
        self._line(*docstring(interface.doc or f"Interface {interface}.", "    "))
        names = python_names(f.name for f in interface.functions)
        for one in interface.functions:
            self._function(one, names[one.name], interface, results[one.name])

    def _result(self, interface: InterfaceDef, one: FunctionDef) -> str:
        outs = [p for p in one.parameters if p.out]
        if not outs:
            return ""
        names = python_names((p.name for p in outs), result_name)
        name = result_class_name(interface.name, one.name, {*self._names.values(), *self._results})
        self._results.add(name)
        self._line("", "", f"class {name}({self._support('NamedTuple')}):")
        self._line(*docstring(f"Result of {interface}.{one.name}.", "    "), "")
        self._line(f"    ret: {'None' if one.returns is None else self._annotation(one.returns)}")
        for p in outs:
            hides = "  # type: ignore[assignment]" if names[p.name] in _TUPLE_METHODS else ""
            self._line(f"    {names[p.name]}: {self._annotation(p.type)}{hides}")
        return name

    def _function(self, one: FunctionDef, name: str, interface: InterfaceDef, result: str) -> None:
        names = python_names((p.name for p in one.parameters), parameter_name)
        arguments = ["None" if one.returns is None else self._wire(one.returns)]
        for p in one.parameters:
            parts = [repr_text(p.name), self._wire(p.type)]
            if names[p.name] != p.name:
                parts.append(f"python_name={repr_text(names[p.name])}")
            if p.routekey:
                parts.append("routekey=True")
            arguments.append(f"{self._tars('out' if p.out else 'parameter')}({', '.join(parts)})")
        if result:
            arguments.append(f"result={result}")
        if name != one.name:
            arguments.append(f"name={repr_text(one.name)}")
        self._line("")
        self._call("    @", self._tars("function"), arguments, "")
        inputs = [
            "self",
            *(f"{names[p.name]}: {self._annotation(p.type)}" for p in one.parameters if not p.out),
        ]
        returns = result or ("None" if one.returns is None else self._annotation(one.returns))
        self._call("    async def ", name, inputs, f" -> {returns}:")
        if one.doc:
            self._line(*docstring(one.doc, "        "))
        self._line(f"        raise NotImplementedError({repr_text(f'{interface}.{one.name}')})")

    def _call(self, before: str, name: str, arguments: list[str], after: str) -> None:
        """`name(arguments)` on one line, or each argument on its own."""
        line = f"{before}{name}({', '.join(arguments)}){after}"
        if len(line) <= WIDTH:
            self._line(line)
            return
        indent = " " * (len(before) - len(before.lstrip()))
        self._line(f"{before}{name}(", *(f"{indent}    {a}," for a in arguments), f"{indent}){after}")

    # types

    def _wire(self, node: TypeNode, myself: StructDef | None = None) -> str:
        match node:
            case Basic():
                return self._tars(BASIC_TYPES[node.name].name.upper().replace(" ", "_"))
            case VectorOf(Basic("byte")):
                return self._tars("BYTES")
            case VectorOf():
                return f"{self._tars('vector_of')}({self._wire(node.element, myself)})"
            case MapOf():
                return f"{self._tars('map_of')}({self._wire(node.key, myself)}, {self._wire(node.value, myself)})"
        return self._tars("SELF") if node is myself else self._own(node)

    def _annotation(self, node: TypeNode) -> str:
        match node:
            case Basic():
                plain = {"bool": "bool", "float": "float", "double": "float", "string": "str"}
                return self._support(plain.get(node.name, "int"))
            case VectorOf(Basic("byte")):
                return self._support("bytes")
            case VectorOf():
                return f"{self._support('list')}[{self._annotation(node.element)}]"
            case MapOf():
                return f"{self._support('dict')}[{self._key(node.key)}, {self._annotation(node.value)}]"
        return self._own(node)

    def _key(self, node: TypeNode) -> str:
        if isinstance(node, VectorOf) and node.element != Basic("byte"):
            return f"{self._support('tuple')}[{self._key(node.element)}, ...]"
        return self._annotation(node)


def repr_text(text: str) -> str:
    """A text in double quotes, printable."""
    plain = text.encode("unicode_escape").decode("ascii").replace('"', '\\"')
    return f'"{plain}"'


def _printable(text: str) -> list[str]:
    """The lines of a comment, without anything that could end it."""
    return ["".join(c if c.isprintable() else " " for c in line).rstrip() for line in text.splitlines()]


def docstring(text: str, indent: str) -> list[str]:
    lines = [line.replace("\\", "\\\\").replace('"""', '\\"\\"\\"') for line in _printable(text)] or [""]
    if lines[-1].endswith('"'):
        lines[-1] += " "
    if len(lines) == 1:
        return [f'{indent}"""{lines[0]}"""']
    rest = [f"{indent}{line}".rstrip() for line in lines[1:]]
    return [f'{indent}"""{lines[0]}', *rest, f'{indent}"""']


def comment(text: str) -> list[str]:
    return [f"    # {line}".rstrip() for line in _printable(text)]
