"""From a `.tars` file to Python classes, at run time, without a build step.

Executes what `skerry tars generate` would write (`idl/generator.py`), one definition after the other, so that both are
the same. Not for: type checkers, which cannot see these classes; generate a module for them.
"""

from __future__ import annotations
import __future__

import builtins
import dataclasses
import inspect
import itertools
import linecache
import types
import typing
import weakref
from collections.abc import Iterable
from typing import Any

from skerry.tars.idl.files import StrPath, parse_idl, read_idl
from skerry.tars.idl.generator import ModuleText
from skerry.tars.idl.model import Definition, EnumDef, Idl, InterfaceDef, StructDef
from skerry.tars.idl.names import python_names
from skerry.tars.idl.needs import needed_definitions
from skerry.tars.wire import declare


class Namespace(types.ModuleType):
    """What an IDL module holds: classes and constants by their names; or a loaded file: its modules."""

    def __getattr__(self, name: str) -> Any:
        known = ", ".join(sorted(n for n in vars(self) if not n.startswith("_")))
        raise AttributeError(f"{self.__name__} has no {name!r}; it has {known or 'nothing'}")


def load(path: StrPath, include: Iterable[StrPath] = (), encoding: str = "utf-8") -> Namespace:
    """Read a `.tars` file and what it includes; one namespace per IDL module: `load("Hello.tars").demo.Hello`.

    `include` are folders to look for included files in, after the one of the file itself. Raises IdlError
    with file, line and column. Structs and enums that two loads have in common (the same text, of the same parts) are
    the same classes, so that a value of one fits the other.
    """
    return build(read_idl(path, include, encoding))


def load_text(source: str, name: str = "<text>") -> Namespace:
    """As `load`, for a text that includes nothing."""
    return build(parse_idl(source, name))


def build(idl: Idl) -> Namespace:
    """Make the classes of what was read."""
    root = Namespace(idl.file, f"What {idl.file} declares.")
    root.__file__ = idl.file
    attributes = python_names(name for name in idl.modules if name)
    rooms = {
        name: _Room(
            ModuleText(idl, module),
            root if not name else Namespace(name, module.doc or f"IDL module {name}."),
        )
        for name, module in idl.modules.items()
    }
    for name, room in rooms.items():
        if name:
            setattr(root, attributes[name], room.space)
        for other, called in room.text.needed.items():
            room.names[called] = rooms[other].space
    made: dict[Definition, Any] = {}
    for definition in idl.order:
        made[definition] = rooms[definition.module].make(definition, made)
    return root


_SHARED: weakref.WeakValueDictionary[tuple[Any, ...], type] = weakref.WeakValueDictionary()
_numbers = itertools.count(1)


class _Room:
    """One IDL module while it is made: its text, the names that the text sees, and the namespace that users see."""

    def __init__(self, text: ModuleText, space: Namespace) -> None:
        self.text, self.space = text, space
        places: dict[str, Any] = {"tars": declare}
        self.names: dict[str, Any] = {"__name__": __name__}  # dataclasses want a module that is there
        for name, called in text.support.items():
            self.names[called] = places.get(name) or getattr(typing, name, None) or getattr(builtins, name)

    def make(self, definition: Definition, made: dict[Definition, Any]) -> Any:
        """Execute one definition, or take the class that another load has made of the same."""
        source = self.text.definitions[definition]
        parts = tuple(id(made[part]) for part in needed_definitions(definition) if part is not definition)
        key = (definition.module, source, parts)
        names = self.text.exports[definition]
        shared = _SHARED.get(key) if isinstance(definition, (EnumDef, StructDef)) else None
        if shared is None:
            self._execute(definition, source)
            for name in names:
                _settle(self.names[name], self.names, definition.module)
        else:
            self.names[names[0]] = self.names[f"_{names[0]}"] = shared
        for name in names:
            setattr(self.space, name, self.names[name])
        found = self.names[names[0]]
        if isinstance(definition, (EnumDef, StructDef)):
            _SHARED[key] = found
        return found

    def _execute(self, definition: Definition, source: str) -> None:
        file = f"<tars {next(_numbers)} {definition}>"
        flag = __future__.annotations.compiler_flag
        exec(compile(source, file, "exec", flag, dont_inherit=True), self.names)  # text of our own generator
        if isinstance(definition, (StructDef, InterfaceDef)):
            linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
            found = self.names[self.text.exports[definition][0]]
            weakref.finalize(found, linecache.cache.pop, file, None).atexit = False


def _settle(made: Any, names: dict[str, Any], module: str) -> None:
    """Give a class and its methods their IDL module, and types in place of the texts of their annotations."""
    if not isinstance(made, type):
        return
    made.__module__ = module
    if issubclass(made, declare.TarsEnum):
        return
    for one in (made, *(member for member in vars(made).values() if inspect.isfunction(member))):
        one.__module__ = module
        texts = {name: getattr(kind, "__forward_arg__", kind) for name, kind in one.__annotations__.items()}
        one.__annotations__ = {
            name: eval(kind, names) if isinstance(kind, str) else kind for name, kind in texts.items()
        }
    if dataclasses.is_dataclass(made):
        for member in dataclasses.fields(made):
            member.type = made.__annotations__[member.name]
