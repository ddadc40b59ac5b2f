"""Faces: the names that a package shows, each loaded when it is first used.

So `from skerry.http import Templates` is a flat address, and a program that needs one room does not load its
neighbours. Not for what is imported within Skerry: rooms import each other where things are defined.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def lazily(
    package: str, homes: Mapping[str, str], deprecated: Mapping[str, str] | None = None
) -> Callable[[str], Any]:
    """The `__getattr__` of a package whose names are `homes`: name -> module. `deprecated`: name -> what to import
    instead; each use of such a name warns."""

    def load(name: str) -> Any:
        home = homes.get(name)
        if home is None:
            raise AttributeError(f"module {package!r} has no {name!r}")
        instead = deprecated.get(name) if deprecated else None
        if instead is not None:
            warnings.warn(f"{package}.{name} is deprecated: {instead}", DeprecationWarning, stacklevel=2)
        module, _, attribute = home.partition(":")
        found = getattr(import_module(module), attribute or name)
        if instead is None:
            setattr(sys.modules[package], name, found)
        return found

    return load
