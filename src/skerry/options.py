"""Options: what users can set, declared once, at the field of a record: type, default, limits and help.

    @dataclass(frozen=True, slots=True)
    class HubSettings:
        ping_seconds: int = option(25, "between two pings", least=1, most=3600)
        max_listeners: int = same_as("max_listeners", 20_000)

The flag, the variable, the name in `skerry.toml`, the check and the line in the documentation come from it. A record
whose table is called `hub` is reached as `[hub] ping_seconds`, `SKERRY_HUB_PING_SECONDS` and `--set hub.ping_seconds`.
Pure. Not here: where the values come from (kernel/settings.py).
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any, TypeVar

from skerry.errors import SettingsError

PREFIX = "SKERRY_"
S = TypeVar("S")
_KINDS: dict[Any, type] = {"str": str, "int": int, "float": float, "bool": bool}
_KINDS |= {kind: kind for kind in _KINDS.values()}
_EXPECTED = {str: "text", bool: "true or false", int: "a whole number", float: "a number"}


def option(
    default: Any,
    help: str,
    *,
    least: float | None = None,
    most: float | None = None,
    choices: tuple[str, ...] = (),
    secret: bool = False,
    **more: Any,
) -> Any:
    """A field of a settings record that users can set. `least`, `most`: limits of a number. `choices`: all values of
    a text. A name that ends with `_seconds` or `_bytes` has that unit."""
    limits = {"least": least, "most": most, "choices": choices, "secret": secret}
    return field(default=default, metadata={"help": help, **limits, **more})


def same_as(setting: str, default: Any, *, becomes: Callable[[Any], Any] | None = None) -> Any:
    """A field of a settings record whose value is that of a setting of its own, by which users set it. `becomes`: what
    makes the field's value of that setting's."""
    return field(default=default, metadata={"same_as": setting, "becomes": becomes})


@dataclass(frozen=True, slots=True)
class Option:
    """One setting, for a command line or a table made from the list. `section`: the table of its record in
    `skerry.toml`, empty at the top."""

    name: str
    kind: type
    default: Any
    help: str
    secret: bool = False
    group: str = ""
    multiple: bool = False
    section: str = ""
    least: float | None = None
    most: float | None = None
    choices: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """The name as an error tells it: `hub.ping_seconds`."""
        return f"{self.section}.{self.name}" if self.section else self.name

    @property
    def variable(self) -> str:
        return PREFIX + self.key.replace(".", "_").upper()

    @property
    def flag(self) -> str:
        return f"--set {self.key}" if self.section else "--" + self.name.replace("_", "-")

    @property
    def meaning(self) -> str:
        """The help with its unit."""
        return f"{self.unit} {self.help}" if self.section and self.unit else self.help

    @property
    def unit(self) -> str:
        """`seconds`, `bytes` or nothing."""
        last = self.name.rpartition("_")[2]
        return last if last in ("seconds", "bytes") else ""

    def value(self, given: object, source: str) -> Any:
        """What a source has, as this setting's type. Raises SettingsError, which names the source and never shows a
        secret."""
        where = f"the value from {source}" if self.secret else f"{given!r} (from {source})"
        try:
            found = self._converted(given)
        except (TypeError, ValueError) as error:
            raise SettingsError(self.key, f"{where} is not {_EXPECTED[self.kind]}") from error
        if problem := self.problem(found):
            raise SettingsError(self.key, f"{where} is {problem}")
        return found

    def problem(self, value: Any) -> str:
        """What keeps a value of the right type from being allowed, as in "not between 1 and 10"; empty when nothing."""
        if not _fits(value, self.kind):
            return f"not {_EXPECTED[self.kind]}"
        if self.choices and value not in self.choices:
            return f"none of {', '.join(self.choices)}"
        if self.kind in (int, float):
            low, high = self.least, self.most
            if value != value or (low is not None and value < low) or (high is not None and value > high):
                return f"not between {low} and {high}"
        return ""

    def _converted(self, given: Any) -> Any:
        if self.kind is bool:
            return _boolean(given)
        if self.multiple and isinstance(given, list):
            return ",".join(map(_text, given))
        if self.kind is str:
            return _text(given)
        if isinstance(given, bool):
            raise ValueError(given)
        return self.kind(given)


def options_of(record: type, section: str = "") -> tuple[Option, ...]:
    """The options of a settings record, in order."""
    return tuple(
        Option(
            each.name,
            _KINDS[each.type],
            each.default,
            each.metadata["help"],
            each.metadata["secret"],
            each.metadata.get("group", ""),
            each.metadata.get("multiple", False),
            section,
            each.metadata["least"],
            each.metadata["most"],
            each.metadata["choices"],
        )
        for each in fields(record)
        if "help" in each.metadata
    )


def is_record(kind: object) -> bool:
    """Whether it is a class of settings: a dataclass that has options."""
    return isinstance(kind, type) and is_dataclass(kind) and any("help" in f.metadata for f in fields(kind))


def check_record(record: Any, section: str) -> None:
    """Raises SettingsError when a record that was made in code has a value that no source could give, or one that is
    another setting's."""
    for each in options_of(type(record), section):
        if problem := each.problem(getattr(record, each.name)):
            raise SettingsError(each.key, f"{getattr(record, each.name)!r} is {problem}")
    for part in fields(record):
        setting = part.metadata.get("same_as")
        if setting and getattr(record, part.name) != part.default:
            problem = f"has a setting of its own, {setting} ({PREFIX}{setting.upper()}): set that"
            raise SettingsError(f"{section}.{part.name}", problem)


def set_in(record: S, section: str, given: Mapping[str, tuple[object, str]]) -> S:
    """The record with some options set: name -> (value, source). Raises SettingsError."""
    known = {each.name: each for each in options_of(type(record), section)}
    for name, (_, source) in given.items():
        if name not in known:
            raise SettingsError(
                f"{section}.{name}", f"no such setting (in {source}){nearest(name, known, section)}"
            )
    found = {name: known[name].value(value, source) for name, (value, source) in given.items()}
    try:
        return replace(record, **found)  # type: ignore[type-var]
    except SettingsError as error:
        source = f" (from {given[error.setting][1]})" if error.setting in given else ""
        raise SettingsError(f"{section}.{error.setting}", f"{error.problem}{source}") from None


def completed(record: S, settings: object) -> S:
    """The record with what is another setting's taken from there."""
    taken = {}
    for part in fields(record):  # type: ignore[arg-type]
        if setting := part.metadata.get("same_as"):
            value, becomes = getattr(settings, setting), part.metadata["becomes"]
            taken[part.name] = becomes(value) if becomes else value
    return replace(record, **taken) if taken else record  # type: ignore[type-var]


def nearest(name: str, known: Iterable[str], section: str = "") -> str:
    """`; did you mean ...?` when a known name is like it, else nothing."""
    near = difflib.get_close_matches(name, known, 1)
    prefix = f"{section}." if section else ""
    return f"; did you mean {prefix}{near[0]}?" if near else ""


def _fits(value: object, kind: type) -> bool:
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, (int, float) if kind is float else kind)


def _text(value: Any) -> str:
    """Text as it is; a number that a file has without quotes (`bind = 8999`) as its digits."""
    if isinstance(value, bool | list | dict):
        raise ValueError(value)
    return str(value)


def _boolean(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    text = str(value).lower()
    if text in ("1", "true", "yes", "on"):
        return True
    if text in ("0", "false", "no", "off", ""):
        return False
    raise ValueError(text)
