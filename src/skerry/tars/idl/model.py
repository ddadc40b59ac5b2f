"""What a `.tars` file says, with every name resolved. Parsed once, read by the loader and by the generator.

Not for: the wire (`wire/types.py`) and Python classes; both are made from this.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeAlias

from skerry.tars.errors import IdlError
from skerry.tars.idl.lexer import Place


@dataclass(frozen=True, slots=True)
class Basic:
    """`int`, `unsigned byte`, `string` ..."""

    name: str

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class VectorOf:
    """`vector<element>`; also fixed arrays, which look the same on the wire."""

    element: TypeNode

    def __str__(self) -> str:
        return f"vector<{self.element}>"


@dataclass(frozen=True, slots=True)
class MapOf:
    """`map<key, value>`."""

    key: TypeNode
    value: TypeNode

    def __str__(self) -> str:
        return f"map<{self.key}, {self.value}>"


@dataclass(frozen=True, slots=True)
class EnumMember:
    """One name of an enum."""

    name: str
    value: int
    doc: str
    place: Place


@dataclass(eq=False, slots=True)
class Defined:
    """What a module defines. The module's name is empty outside of modules."""

    module: str
    name: str
    place: Place

    def __str__(self) -> str:
        return qualified(self.module, self.name)


@dataclass(eq=False, slots=True)
class EnumDef(Defined):
    """An enum; values default to one more than the one before."""

    doc: str = ""
    members: list[EnumMember] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class EnumValue:
    """A default that is said by name: `E_A`."""

    enum: EnumDef
    member: EnumMember


@dataclass(frozen=True, slots=True)
class FieldDef:
    """A member of a struct. `default` is None, a plain value or an EnumValue."""

    tag: int
    required: bool
    type: TypeNode
    name: str
    default: Any
    doc: str
    place: Place


@dataclass(eq=False, slots=True)
class StructDef(Defined):
    """A struct; fields in the order of the file. `key` are the names of `key[...]`, if any."""

    doc: str = ""
    fields: list[FieldDef] = field(default_factory=list)
    key: tuple[str, ...] | None = None


@dataclass(eq=False, slots=True)
class ConstDef(Defined):
    """A constant; `value` is plain or an EnumValue."""

    type: TypeNode
    value: Any
    doc: str = ""


@dataclass(frozen=True, slots=True)
class ParamDef:
    """A parameter of a function."""

    name: str
    type: TypeNode
    out: bool
    routekey: bool
    place: Place


@dataclass(frozen=True, slots=True)
class FunctionDef:
    """A function; `returns` None is void."""

    name: str
    returns: TypeNode | None
    parameters: tuple[ParamDef, ...]
    doc: str
    place: Place


@dataclass(eq=False, slots=True)
class InterfaceDef(Defined):
    """An interface."""

    doc: str = ""
    functions: list[FunctionDef] = field(default_factory=list)


TypeNode: TypeAlias = Basic | VectorOf | MapOf | EnumDef | StructDef
Definition: TypeAlias = EnumDef | StructDef | ConstDef | InterfaceDef


@dataclass(slots=True)
class ModuleDef:
    """A module: what all read files say in it, in order. The name is empty for what stands outside of modules."""

    name: str
    definitions: dict[str, Definition] = field(default_factory=dict)
    files: list[str] = field(default_factory=list)
    doc: str = ""


@dataclass(slots=True)
class Idl:
    """One file with everything it includes. `order` is the one in which things were declared: before they were used."""

    file: str
    order: list[Definition] = field(default_factory=list)
    modules: dict[str, ModuleDef] = field(default_factory=dict)
    refused_elsewhere: list[IdlError] = field(default_factory=list)
    """What is read here but refused by tars2cpp, in the order of the files; `generate --strict` refuses it too."""


def qualified(module: str, name: str) -> str:
    """`module.Name`, as TUP and error messages write it."""
    return f"{module}.{name}" if module else name
