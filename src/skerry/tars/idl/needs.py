"""Which definition and which module needs which: the order that Python imports allow."""

from __future__ import annotations

from typing import Any

from skerry.errors import DeclarationError
from skerry.tars.idl.model import (
    ConstDef,
    Definition,
    EnumDef,
    EnumValue,
    Idl,
    InterfaceDef,
    MapOf,
    ModuleDef,
    StructDef,
    VectorOf,
)


def refuse_circles(idl: Idl) -> None:
    """Python modules cannot import each other while they are being made."""
    needs = {name: needed_modules(module) for name, module in idl.modules.items()}
    done: set[str] = set()
    while ready := [name for name in needs if name not in done and needs[name] <= done]:
        done.update(ready)
    if circle := sorted(set(needs) - done):
        raise DeclarationError(
            f"the modules {', '.join(circle)} need each other; load them at run time or take one module"
        )


def needed_modules(module: ModuleDef) -> set[str]:
    """The other modules whose types or values this one uses."""
    found = {used.module for one in module.definitions.values() for used in needed_definitions(one)}
    return found - {module.name}


def needed_definitions(definition: Definition) -> list[EnumDef | StructDef]:
    """The enums and structs that a definition is made of, in the order in which they stand in it."""
    found: dict[EnumDef | StructDef, None] = {}
    pending: list[Any] = []
    match definition:
        case StructDef():
            pending = [part for field in definition.fields for part in (field.type, field.default)]
        case InterfaceDef():
            pending = [
                part
                for one in definition.functions
                for part in (one.returns, *(p.type for p in one.parameters))
            ]
        case ConstDef():
            pending = [definition.type, definition.value]
    pending.reverse()
    while pending:
        match pending.pop():
            case VectorOf(element):
                pending.append(element)
            case MapOf(key, value):
                pending += [value, key]
            case EnumValue(enum, _):
                found[enum] = None
            case EnumDef() | StructDef() as named:
                found[named] = None
    return list(found)
