"""Names of the IDL as Python can say them.

A name stays as it is wherever Python lets it. Otherwise it gets `_` behind it (`from_`, `self_`, `ret_`), or an `m`
in front where Python means something by leading underscores. The name on the wire never changes.
"""

from __future__ import annotations

import keyword
from collections.abc import Callable, Iterable
from typing import Final

_ENUM_WORDS: Final = frozenset({"mro", "name", "value", "names", "values", *dir(int)})

NO_MEMBER: Final = ("UNKNOWN_0", 0)
"""What an enum without members has in Python, where it could hold no value otherwise."""


def python_name(name: str) -> str:
    """For modules, classes, members of structs and functions."""
    if name.startswith("__"):
        return f"m{name}"
    return f"{name}_" if keyword.iskeyword(name) else name


def parameter_name(name: str) -> str:
    """For parameters of functions, which have a `self` before them."""
    return "self_" if name == "self" else python_name(name)


def result_name(name: str) -> str:
    """For parts of a named tuple, after its `ret`."""
    if name.startswith("_"):
        return f"m{name}"
    return "ret_" if name == "ret" else python_name(name)


def enum_name(name: str) -> str:
    """For members of enums, which are ints and have a `name` and a `value`."""
    if name.startswith("_"):
        return f"m{name}"
    return f"{name}_" if name in _ENUM_WORDS else python_name(name)


def python_names(names: Iterable[str], rule: Callable[[str], str] = python_name) -> dict[str, str]:
    """IDL name to Python name, all different."""
    wanted = list(names)
    taken: dict[str, str] = {name: name for name in wanted if rule(name) == name}
    used = set(taken.values())
    for name in wanted:
        if name not in taken:
            new = rule(name)
            while new in used:
                new += "_"
            taken[name] = new
            used.add(new)
    return taken


def result_class_name(interface: str, function: str, taken: Iterable[str]) -> str:
    """The named tuple of a function with out parameters: `HelloGreetResult`."""
    name = f"{interface}{function[:1].upper()}{function[1:]}Result"
    used = set(taken)
    while name in used:
        name += "_"
    return name
