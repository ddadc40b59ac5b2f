"""The text format of the platform's files, both ways: nested domains of keys and values.

    <tars>
      <application>
        enableset=n
        <server>
          app=Demo
        </server>
      </application>
    </tars>

Pure. What the keys mean is in `configuration`.

Source: TarsCpp `TC_Config`. Lines are trimmed; empty ones and those that start with `#` are passed over; `key=value` is
cut at the first `=` without a backslash before it; a key alone has an empty value; of two equal keys the last one
counts; a domain that is opened again is continued. `\\s` for a blank is tarsnode's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from skerry.errors import SettingsError

_ESCAPES = {"\\": "\\", "=": "=", "n": "\n", "r": "\r", "t": "\t", "s": " "}
_WRITTEN = str.maketrans({"\\": "\\\\", "=": "\\=", "\n": "\\n", "\r": "\\r", "\t": "\\t"})
_BLANKS = " \t\r\n"


class ConfigurationError(SettingsError):
    """A configuration file of the platform is wrong. `setting` is the line or the path of the key."""


@dataclass(frozen=True, slots=True)
class Domain:
    """One domain. `values`: its keys in the order of the file, those without a value with an empty one. `domains`: what
    is nested in it. Not to be changed: `merged` makes another one."""

    values: Mapping[str, str] = field(default_factory=dict)
    domains: Mapping[str, Domain] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> Domain:
        """The root of a file's text. Raises ConfigurationError, which names the line."""
        root = _Open("")
        path = [root]
        for number, raw in enumerate(text.split("\n"), 1):
            line = raw.strip(_BLANKS)
            if not line or line[0] == "#":
                continue
            if line[0] != "<":
                key, value = _key_and_value(line, number)
                if key:
                    path[-1].values[key] = value
                continue
            name, end, _ = line[1:].partition(">")
            if not end:
                raise ConfigurationError(f"line {number}", f"a domain's name ends with '>': {line}")
            if not name.startswith("/"):
                path.append(path[-1].opened(name, number))
            elif len(path) == 1 or path[-1].name != name[1:]:
                opened = f"<{path[-1].name}> of line {path[-1].line}" if len(path) > 1 else "nothing"
                raise ConfigurationError(f"line {number}", f"<{name}> closes {opened}")
            else:
                path.pop()
        if len(path) > 1:
            raise ConfigurationError(
                f"line {path[-1].line}", f"<{path[-1].name}> is not closed by </{path[-1].name}>"
            )
        return root.closed()

    def text(self, indent: str = "") -> str:
        """The text of which `parse` makes an equal domain; nothing stands around `=`, as TarsPHP's parser wants it.
        Raises ConfigurationError for what the format cannot say."""
        lines = [f"{indent}{_line(key, value)}\n" for key, value in self.values.items()]
        for name, domain in self.domains.items():
            if ">" in name or "\n" in name or name.startswith("/"):
                raise ConfigurationError(name, "cannot be the name of a domain")
            lines += [f"{indent}<{name}>\n", domain.text(indent + "  "), f"{indent}</{name}>\n"]
        return "".join(lines)

    def domain(self, path: str) -> Domain:
        """The domain at `/tars/application`; an empty one where there is none."""
        at = self
        for name in filter(None, path.split("/")):
            at = at.domains.get(name, _NOTHING)
        return at

    def value(self, path: str, default: str = "") -> str:
        """The value at `/tars/application/server<app>`; `default` where there is none, or an empty one."""
        where, _, key = path.partition("<")
        return self.domain(where).values.get(key.rstrip(">"), "") or default

    def keys(self, path: str) -> tuple[str, ...]:
        """The keys of the domain there, in order: what a domain that is a mere list consists of."""
        return tuple(self.domain(path).values)

    def merged(self, other: Domain) -> Domain:
        """Both; where they differ `other` wins."""
        domains = dict(self.domains)
        for name, domain in other.domains.items():
            domains[name] = domains[name].merged(domain) if name in domains else domain
        return Domain({**self.values, **other.values}, domains)

    def without(self, other: Domain) -> Domain:
        """What is left when the keys of `other` are taken away, and the domains that are empty then."""
        domains = {}
        for name, domain in self.domains.items():
            left = domain.without(other.domains[name]) if name in other.domains else domain
            if left.values or left.domains or name not in other.domains:
                domains[name] = left
        return Domain({key: value for key, value in self.values.items() if key not in other.values}, domains)


_NOTHING = Domain()


class _Open:
    """A domain that is being read."""

    def __init__(self, name: str, line: int = 0) -> None:
        self.name, self.line = name, line
        self.values: dict[str, str] = {}
        self._domains: dict[str, _Open] = {}

    def opened(self, name: str, line: int) -> _Open:
        at = self._domains.setdefault(name, _Open(name, line))
        at.line = line
        return at

    def closed(self) -> Domain:
        return Domain(self.values, {name: domain.closed() for name, domain in self._domains.items()})


def _key_and_value(line: str, number: int) -> tuple[str, str]:
    at = line.find("=")
    while at > 0 and line[at - 1] == "\\":
        at = line.find("=", at + 1)
    if at < 0:
        return _unescaped(line, number), ""
    return _unescaped(line[:at].strip(_BLANKS), number), _unescaped(line[at + 1 :].strip(_BLANKS), number)


def _unescaped(text: str, number: int) -> str:
    if "\\" not in text:
        return text
    found: list[str] = []
    characters = iter(text)
    for character in characters:
        if character == "\\":
            escaped = next(characters, "")
            if escaped not in _ESCAPES or not escaped:
                raise ConfigurationError(
                    f"line {number}", f"'\\{escaped}' means nothing (a backslash is '\\\\'): {text}"
                )
            character = _ESCAPES[escaped]
        found.append(character)
    return "".join(found)


def _line(key: str, value: str) -> str:
    if not key or key[0] in "#<" or key != key.strip(" ") or key.endswith("\\"):
        raise ConfigurationError(key or "a key", "cannot be written as a key")
    if value != value.strip(" "):
        raise ConfigurationError(key, f"a value cannot begin or end with a blank: {value!r}")
    written = key.translate(_WRITTEN)
    return f"{written}={value.translate(_WRITTEN)}" if value else written
