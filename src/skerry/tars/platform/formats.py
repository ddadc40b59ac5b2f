"""Remote files as nested values: JSON, TOML, INI and the platform's own format; and what two of them differ in.

Pure. Where values go is decided in `tars/web`. Neither a difference nor an error tells a value: it may be a secret.
"""

from __future__ import annotations

import configparser
import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from skerry.errors import SettingsError
from skerry.tars.platform.domain import Domain


class FormatError(SettingsError):
    """A remote file cannot be read as what its name says. `setting` is the file's name."""


@dataclass(frozen=True, slots=True)
class Values:
    """The content of a file. `typed`: the format knows numbers and truth values; else all leaves are texts."""

    content: dict[str, Any]
    typed: bool


def parse(name: str, text: str) -> Values:
    """The values of the file `name`, by its suffix: `.json`, `.toml`, `.ini` and `.cfg`; anything else by what it
    begins with: `{` JSON, `[` INI, else the platform's format. Raises FormatError, which names the line."""
    suffix = PurePath(name).suffix.lower()
    begin = text.lstrip()[:1]
    try:
        if suffix == ".json" or (suffix not in (".toml", ".ini", ".cfg") and begin == "{"):
            content = json.loads(text)
            if not isinstance(content, dict):
                raise FormatError(name, f"is a JSON {type(content).__name__}, not an object")
            return Values(content, True)
        if suffix == ".toml":
            return Values(tomllib.loads(text), True)
        if suffix in (".ini", ".cfg") or begin == "[":
            return Values(_ini(text), False)
        if suffix in (".yaml", ".yml"):
            raise FormatError(name, "YAML is not read; publish it as JSON or TOML")
        return Values(_content(Domain.parse(text)), False)
    except (json.JSONDecodeError, tomllib.TOMLDecodeError) as error:
        raise FormatError(name, str(error)) from None
    except configparser.Error as error:  # its text shows the line
        line = getattr(error, "lineno", None) or next((at for at, _ in getattr(error, "errors", ())), "?")
        raise FormatError(name, f"line {line} is no INI ({type(error).__name__})") from None
    except FormatError:
        raise
    except SettingsError as error:
        raise FormatError(
            name, f"{error.setting} is not of the platform's format (JSON? then name it .json)"
        ) from None


def differences(name: str, old: str, new: str) -> tuple[str, ...]:
    """What changed, as `+cache.ttl`, `-debug`, `~database.password`; of texts that cannot be parsed, how many lines."""
    try:
        before, after = _leaves(parse(name, old).content), _leaves(parse(name, new).content)
    except FormatError:
        return (f"{len(old.splitlines())} lines became {len(new.splitlines())}",) if old != new else ()
    found = [f"+{key}" for key in after if key not in before]
    found += [f"-{key}" for key in before if key not in after]
    found += [f"~{key}" for key in after if key in before and before[key] != after[key]]
    return tuple(sorted(found, key=lambda each: each[1:]))


def _ini(text: str) -> dict[str, Any]:
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign]  # names of settings have capitals
    parser.read_string(text)
    content: dict[str, Any] = dict(parser.defaults())
    for section in parser.sections():
        content[section] = {
            key: value for key, value in parser.items(section) if key not in parser.defaults()
        }
    return content


def _content(domain: Domain) -> dict[str, Any]:
    content: dict[str, Any] = dict(domain.values)
    for name, inner in domain.domains.items():
        if inner.values and not inner.domains and not any(inner.values.values()):
            content[name] = list(inner.values)  # a domain that is a mere list
        else:
            content[name] = _content(inner)
    return content


def _leaves(content: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in content.items():
        if isinstance(value, dict) and value:
            found |= _leaves(value, f"{path}{key}.")
        else:
            found[f"{path}{key}"] = value
    return found
