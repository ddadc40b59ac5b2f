"""The only dynamic import: `module:name` to the object that it names."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import itertools
import sys
import traceback
from pathlib import Path
from typing import Any

from skerry.errors import DeclarationError, SettingsError
from skerry.loop.stacks import PLACES


def load_target(target: str) -> Any:
    """Import `package.module:name` (default name: `app`), with the working directory on the path.
    Raises SettingsError that says which half is wrong, or where in the module it failed; DeclarationError as it is.
    """
    module_name, _, name = target.partition(":")
    name = name or "app"
    if "/" in module_name or module_name.endswith(".py"):
        meant = module_name.removesuffix(".py").removeprefix("./").replace("/", ".")
        cure = (
            f"; write {meant}:{name}"
            if all(part.isidentifier() for part in f"{meant}.{name}".split("."))
            else ""
        )
        raise SettingsError("TARGET", f"{target!r} is not MODULE:NAME, as in livekv:app{cure}")
    if not module_name or not all(
        part.isidentifier() for part in (*module_name.split("."), *name.split("."))
    ):
        raise SettingsError("TARGET", f"{target!r} is not MODULE:NAME, as in livekv:app")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is not None and (module_name == error.name or module_name.startswith(error.name + ".")):
            raise SettingsError("TARGET", f"there is no module {module_name!r} here") from error
        raise SettingsError("TARGET", _why_not_imported(module_name, error)) from error
    except (SettingsError, DeclarationError):
        raise
    except Exception as error:
        raise SettingsError("TARGET", _why_not_imported(module_name, error)) from error
    found: Any = module
    for part in name.split("."):
        try:
            found = getattr(found, part)
        except AttributeError as error:
            apps = [each for each, value in vars(module).items() if type(value).__name__ == "App"]
            cure = f"; write {module_name}:{apps[0]}" if len(apps) == 1 else ""
            raise SettingsError("TARGET", f"module {module_name!r} has no {name!r}{cure}") from error
    return found


def load_application(target: str) -> Any:
    """Import a WSGI or ASGI application: MODULE:NAME, MODULE (its `application`, else its `app`), or MODULE:NAME() for
    what a factory makes. Raises SettingsError, DeclarationError as `load_target`."""
    named, call, rest = target.partition("(")
    if call and rest != ")":
        raise SettingsError(
            "TARGET", f"{target!r}: a factory is called without arguments, as in shop:create_app()"
        )
    if ":" not in named:
        try:
            return load_target(f"{named}:application")
        except SettingsError as error:
            if "has no 'application'" not in error.problem:
                raise
        try:
            return load_target(f"{named}:app")
        except SettingsError as error:
            if "has no 'app'" not in error.problem:
                raise
            raise SettingsError("TARGET", f"module {named!r} has neither 'application' nor 'app'") from error
    found = load_target(named)
    if not call:
        return found
    if not callable(found):
        raise SettingsError("TARGET", f"{named} is a {type(found).__name__}, which cannot be called")
    try:
        return found()
    except (SettingsError, DeclarationError):
        raise
    except Exception as error:
        raise SettingsError("TARGET", _why_not(f"{target} failed", error)) from error


def source_directory(target: str) -> Path:
    """Where the target's module lies. Raises SettingsError when there is no such module."""
    name = target.partition(":")[0].partition(".")[0]
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    found = importlib.util.find_spec(name) if name.isidentifier() else None
    if found is None:
        raise SettingsError(
            "TARGET", f"there is no module {name!r} here; TARGET is MODULE:NAME, as in livekv:app"
        )
    return Path(found.origin).parent if found.origin else Path.cwd()


def code_of(target: str) -> str:
    """Which code of an application this process has imported: a short hash of its files.

    The application's files are those of the target's own package, and of every module that belongs neither to Python,
    nor to what was installed into it, nor to Skerry."""
    package = target.partition(":")[0].partition(".")[0]
    digest = hashlib.sha256()
    for name, module in sorted(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if not isinstance(file, str) or (file.startswith(PLACES) and name.partition(".")[0] != package):
            continue
        try:
            digest.update(f"{name}\0".encode() + Path(file).read_bytes())
        except OSError:
            continue
    return digest.hexdigest()[:12]


def _why_not_imported(module_name: str, error: Exception) -> str:
    return _why_not(f"{module_name!r} cannot be imported", error)


def _why_not(what: str, error: Exception) -> str:
    """The traceback from the module's own first line on: how it came to be imported helps nobody."""
    told = traceback.TracebackException.from_exception(error)
    ways = (
        __file__,
        importlib.__file__,
        "<frozen importlib._bootstrap>",
        "<frozen importlib._bootstrap_external>",
    )
    own = list(itertools.dropwhile(lambda frame: frame.filename in ways, told.stack))
    told.stack = traceback.StackSummary.from_list(own)
    return f"{what}:\n" + "".join(told.format()).rstrip()
