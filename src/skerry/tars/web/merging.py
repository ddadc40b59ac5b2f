"""Merging the values of a remote file into what a framework reads: a mapping, an object, the environment.

Nested dictionaries are merged, everything else is replaced, lists as a whole. A dictionary that is there is copied, not
changed, because others may have it too. Texts of formats that know nothing else (INI, the platform's own) get the type
of the value that they replace. A key that is gone from a file stays as it was until the next start.
"""

from __future__ import annotations

import json
import os
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from skerry.errors import SettingsError
from skerry.tars.platform.formats import Values, parse

_TRUE, _FALSE = ("1", "y", "yes", "true", "on"), ("0", "n", "no", "false", "off", "")


def merged_into(target: Any, name: str = "remote.conf") -> Callable[[str], Awaitable[None] | None]:
    """A handler for `@service.on_config`: merges the file's text into `target`, a mapping (Flask's `app.config`,
    `os.environ`) or an object with attributes. `name` says the format by its suffix; without one the text does."""

    def handler(text: str) -> None:
        merge(target, parse(name, text))

    return handler


def merge(target: Any, values: Values) -> tuple[str, ...]:
    """Merge into a mapping or an object, all or nothing; the names of what was set. Raises SettingsError for a value
    that does not have the type of the one in its place."""
    if target is os.environ:
        made: dict[str, Any] = environment_of(values.content)
    else:
        made = {
            name: merged(_present(target, name), value, values.typed, name)
            for name, value in values.content.items()
        }
    for name, value in made.items():
        if isinstance(target, MutableMapping):
            target[name] = value
        else:
            setattr(target, name, value)
    return tuple(made)


def merged(old: Any, new: Any, typed: bool, path: str) -> Any:
    """What stands at `path` afterwards."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        return {
            **old,
            **{key: merged(old.get(key), value, typed, f"{path}.{key}") for key, value in new.items()},
        }
    return new if typed or not isinstance(new, str) else _as(old, new, path)


def environment_of(content: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Values as environment variables: `{"db": {"host": "x"}}` is `DB__HOST=x`; lists are JSON."""
    found: dict[str, str] = {}
    for key, value in content.items():
        name = f"{prefix}{key}".upper().replace("-", "_").replace(".", "_")
        match value:
            case Mapping():
                found |= environment_of(value, f"{name}__")
            case bool():
                found[name] = "true" if value else "false"
            case str():
                found[name] = value
            case None:
                found[name] = ""
            case _:
                found[name] = json.dumps(value, default=str)
    return found


def _present(target: Any, name: str) -> Any:
    return target.get(name) if isinstance(target, Mapping) else getattr(target, name, None)


def _as(old: Any, text: str, path: str) -> Any:
    """The text as the type of what it replaces."""
    try:
        match old:
            case bool():
                if text.lower() not in (*_TRUE, *_FALSE):
                    raise ValueError
                return text.lower() in _TRUE
            case int():
                return int(text)
            case float():
                return float(text)
            case list() | tuple():
                return type(old)(part.strip() for part in text.split(",") if part.strip())
    except ValueError:
        raise SettingsError(
            path, f"wants a {type(old).__name__}, and the remote file has another text"
        ) from None
    return text
