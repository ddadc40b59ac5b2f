"""Which module needs which: the order that Python imports allow."""

from __future__ import annotations

from typing import Any

from skerry.errors import DeclarationError
from skerry.tars.idl.model import (
    ConstDef,
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
    found: set[str] = set()
    pending: list[Any] = []
    for definition in module.definitions.values():
        match definition:
            case StructDef():
                pending += [f.type for f in definition.fields] + [f.default for f in definition.fields]
            case InterfaceDef():
                for one in definition.functions:
                    pending += [one.returns, *(p.type for p in one.parameters)]
            case ConstDef():
                pending += [definition.type, definition.value]
    while pending:
        match pending.pop():
            case VectorOf(element):
                pending.append(element)
            case MapOf(key, value):
                pending += [key, value]
            case EnumValue(enum, _):
                found.add(enum.module)
            case EnumDef() | StructDef() as named:
                found.add(named.module)
    return found - {module.name}
