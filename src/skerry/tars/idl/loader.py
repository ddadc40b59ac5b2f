"""From a `.tars` file to Python classes, at run time, without a build step.

Makes exactly what `skerry tars generate` would write, by the same words (`wire/declare.py`). Not for: type checkers,
which cannot see these classes; generate a module for them.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Iterable
from typing import Any, NamedTuple

from skerry.tars.idl.files import StrPath, parse_idl, read_idl
from skerry.tars.idl.literals import BASIC_TYPES
from skerry.tars.idl.model import (
    Basic,
    ConstDef,
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
    python_names,
    result_class_name,
    result_name,
)
from skerry.tars.wire.declare import (
    SELF,
    Struct,
    TypeLike,
    function,
    interface,
    map_of,
    member,
    out,
    parameter,
    struct,
    vector_of,
)
from skerry.tars.wire.types import TarsEnum


class Namespace(types.ModuleType):
    """What an IDL module holds: classes and constants by their names; or a loaded file: its modules."""

    def __getattr__(self, name: str) -> Any:
        known = ", ".join(sorted(n for n in vars(self) if not n.startswith("_")))
        raise AttributeError(f"{self.__name__} has no {name!r}; it has {known or 'nothing'}")


def load(path: StrPath, include: Iterable[StrPath] = (), encoding: str = "utf-8") -> Namespace:
    """Read a `.tars` file and what it includes; one namespace per IDL module: `load("Hello.tars").demo.Hello`.

    `include` are folders to look for included files in, after the one of the file itself. Raises IdlError
    with file, line and column. Every call makes new classes.
    """
    return build(read_idl(path, include, encoding))


def load_text(source: str, name: str = "<text>") -> Namespace:
    """As `load`, for a text that includes nothing."""
    return build(parse_idl(source, name))


def build(idl: Idl) -> Namespace:
    """Make the classes of what was read."""
    return _Builder(idl).build()


class _Builder:
    """Turns definitions into classes, in the order in which they were declared."""

    def __init__(self, idl: Idl) -> None:
        self._idl = idl
        self._classes: dict[EnumDef | StructDef, Any] = {}
        self._open: StructDef | None = None

    def build(self) -> Namespace:
        root = Namespace(self._idl.file, f"What {self._idl.file} declares.")
        root.__file__ = self._idl.file
        attributes = python_names(name for name in self._idl.modules if name)
        spaces: dict[str, Namespace] = {"": root}
        for name, module in self._idl.modules.items():
            if name:
                spaces[name] = Namespace(name, module.doc or f"IDL module {name}.")
                setattr(root, attributes[name], spaces[name])
        for definition in self._idl.order:
            module = self._idl.modules[definition.module]
            attribute = python_names(module.definitions)[definition.name]
            space = spaces[definition.module]
            match definition:
                case EnumDef():
                    made: Any = self._enum(definition)
                case StructDef():
                    made = self._struct(definition)
                case ConstDef():
                    made = self._value(definition.value, definition.type)
                case InterfaceDef():
                    made = self._interface(definition, space, module)
            setattr(space, attribute, made)
        return root

    def _enum(self, definition: EnumDef) -> type[TarsEnum]:
        names = python_names((m.name for m in definition.members), enum_name)
        members = [(names[m.name], m.value) for m in definition.members] or [NO_MEMBER]
        make: Any = TarsEnum
        made = make(definition.name, members, module=definition.module)
        made.__doc__ = definition.doc or f"Enum {definition}."
        self._classes[definition] = made
        return made  # type: ignore[no-any-return]

    def _struct(self, definition: StructDef) -> type[Struct]:
        names = python_names(f.name for f in definition.fields)
        self._open = definition
        body: dict[str, Any] = {
            "__doc__": definition.doc or f"Struct {definition}.",
            "__module__": definition.module,
            "__qualname__": definition.name,
            "__annotations__": {names[f.name]: self._annotation(f.type) for f in definition.fields},
        }
        for field in definition.fields:
            body[names[field.name]] = self._member(field, names[field.name])
        key = None if definition.key is None else [names[k] for k in definition.key]
        made: type[Struct] = struct(str(definition), key=key)(type(definition.name, (Struct,), body))
        self._open = None
        self._classes[definition] = made
        return made

    def _member(self, field: FieldDef, attribute: str) -> Any:
        name = "" if attribute == field.name else field.name
        kind = self._type(field.type)
        if field.default is None:
            return member(field.tag, kind, required=field.required, name=name)
        value = self._value(field.default, field.type)
        return member(field.tag, kind, required=field.required, default=value, name=name)

    def _value(self, value: Any, kind: TypeNode) -> Any:
        if isinstance(value, EnumValue):
            return self._classes[value.enum](value.member.value)
        return self._classes[kind](value) if isinstance(kind, EnumDef) else value

    def _interface(self, definition: InterfaceDef, space: Namespace, module: ModuleDef) -> type[Any]:
        names = python_names(f.name for f in definition.functions)
        body: dict[str, Any] = {
            "__doc__": definition.doc or f"Interface {definition}.",
            "__module__": definition.module,
            "__qualname__": definition.name,
        }
        for one in definition.functions:
            result = self._result(one, definition, space, module)
            method = self._method(one, names[one.name], definition, result)
            parameters = python_names((p.name for p in one.parameters), parameter_name)
            declared = [
                out(p.name, self._type(p.type), python_name=parameters[p.name])
                if p.out
                else parameter(
                    p.name, self._type(p.type), python_name=parameters[p.name], routekey=p.routekey
                )
                for p in one.parameters
            ]
            returns = None if one.returns is None else self._type(one.returns)
            body[names[one.name]] = function(returns, *declared, result=result, name=one.name)(method)
        return interface(str(definition))(type(definition.name, (), body))

    def _result(
        self, one: FunctionDef, definition: InterfaceDef, space: Namespace, module: ModuleDef
    ) -> type[tuple[Any, ...]] | None:
        outs = [p for p in one.parameters if p.out]
        if not outs:
            return None
        names = python_names((p.name for p in outs), result_name)
        ret = None if one.returns is None else self._annotation(one.returns)
        fields = [("ret", ret), *((names[p.name], self._annotation(p.type)) for p in outs)]
        name = result_class_name(definition.name, one.name, {*module.definitions, *vars(space)})
        make: Any = NamedTuple
        made = make(name, fields)
        made.__module__ = definition.module
        made.__doc__ = f"Result of {definition}.{one.name}."
        setattr(space, name, made)
        return made  # type: ignore[no-any-return]

    def _method(
        self, one: FunctionDef, name: str, definition: InterfaceDef, result: type[tuple[Any, ...]] | None
    ) -> Any:
        full_name = f"{definition}.{one.name}"

        async def method(self: object, *args: Any, **kwargs: Any) -> Any:
            raise NotImplementedError(full_name)

        names = python_names((p.name for p in one.parameters), parameter_name)
        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        parameters = [inspect.Parameter("self", kind)]
        parameters += [
            inspect.Parameter(names[p.name], kind, annotation=self._annotation(p.type))
            for p in one.parameters
            if not p.out
        ]
        returns = result or (None if one.returns is None else self._annotation(one.returns))
        method.__signature__ = inspect.Signature(parameters, return_annotation=returns)  # type: ignore[attr-defined]
        method.__name__, method.__qualname__ = name, f"{definition.name}.{name}"
        method.__module__, method.__doc__ = definition.module, one.doc or None
        return method

    def _type(self, node: TypeNode) -> TypeLike:
        match node:
            case Basic():
                return BASIC_TYPES[node.name]
            case VectorOf():
                return vector_of(self._type(node.element))
            case MapOf():
                return map_of(self._type(node.key), self._type(node.value))
        if node is self._open:
            return SELF
        found: TypeLike = self._classes[node]
        return found

    def _annotation(self, node: TypeNode) -> Any:
        match node:
            case Basic():
                return {"bool": bool, "float": float, "double": float, "string": str}.get(node.name, int)
            case VectorOf(Basic("byte")):
                return bytes
            case VectorOf():
                return list[self._annotation(node.element)]  # type: ignore[misc]
            case MapOf():
                return dict[self._key_annotation(node.key), self._annotation(node.value)]  # type: ignore[misc]
        return node.name if node is self._open else self._classes[node]

    def _key_annotation(self, node: TypeNode) -> Any:
        if isinstance(node, VectorOf) and node.element != Basic("byte"):
            return tuple[self._key_annotation(node.element), ...]  # type: ignore[misc]
        return self._annotation(node)
