"""Path templates over the raw, percent-encoded path: `/values/{key}`, `/files/{name:path}`. Pure.

Paths are matched before decoding, so a `%2F` stays within its parameter and no two paths reach one key by accident:
decoding is strict (valid escapes, valid UTF-8, no U+0000, no `.` or `..`), and anything else is a 400.
"""

from __future__ import annotations

import re
from urllib.parse import quote

from skerry.errors import DeclarationError
from skerry.http.problems import Problem

_PARAMETER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)(?::([a-z]+))?\}")
_KINDS = {"": b"([^/]+)", "str": b"([^/]+)", "path": b"(.+)"}
_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})")
_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_BYTES = {b"%02x" % n: bytes((n,)) for n in range(256)}
# In a static part of a template these stand for themselves (RFC 3986 section 3.3).
_SEGMENT = "/!$&'()*+,;=:@"
DOTS = (".", "..")
PERCENT = 0x25
"""Looked for in bytes as a number: Python takes the detour over an exception for bytes in bytes."""


class PathTemplate:
    """One template. `names` are its parameters in order, `static` the whole raw path when it has none.

    `prefix` is set when the only parameter is the last segment: then a path matches when everything before its last
    slash equals `prefix`, which needs no regular expression.
    """

    __slots__ = ("_parts", "kinds", "names", "pattern", "prefix", "static", "template")

    def __init__(self, template: str) -> None:
        if not template.startswith("/"):
            raise DeclarationError(f"path {template!r} does not start with a slash")
        self.template = template
        self.names: tuple[str, ...] = ()
        self.kinds: tuple[str, ...] = ()
        self._parts: tuple[str | None, ...] = ()  # the decoded text; None for a parameter
        expression, last, parameters = b"", 0, []
        for found in _PARAMETER.finditer(template):
            name, kind = found[1], found[2] or ""
            if kind not in _KINDS:
                raise DeclarationError(
                    f"path {template!r}: parameter {name} may be `{name}` or `{name}:path`"
                )
            if name in self.names:
                raise DeclarationError(f"path {template!r}: two parameters are named {name}")
            expression += re.escape(_literal(template, template[last : found.start()])) + _KINDS[kind]
            self.names, self.kinds = (*self.names, name), (*self.kinds, kind)
            self._parts += (template[last : found.start()], None)
            parameters.append(found)
            last = found.end()
        tail = _literal(template, template[last:])
        self.pattern = re.compile(expression + re.escape(tail), re.DOTALL)
        self._parts += (template[last:],)
        self.static = None if parameters else tail
        self.prefix: bytes | None = None
        if len(parameters) == 1 and last == len(template) and self.kinds[0] != "path":
            before = _literal(template, template[: parameters[0].start()])
            if before.endswith(b"/"):
                self.prefix = before[:-1]

    def match(self, raw_path: bytes) -> tuple[bytes, ...] | None:
        """The raw parameters, or None when the path is another one."""
        found = self.pattern.fullmatch(raw_path)
        return None if found is None else found.groups()

    def example_under(self, prefix: str) -> str | None:
        """A decoded path of this template that is `prefix` or lies below it (`prefix/...`); None when there is none.

        A parameter stands for any text, slashes included: they may come as `%2F`. An empty prefix has every path
        below it.
        """
        # With a slash behind both, "equal or below" is "begins with".
        found = _beginning((*self._parts, "/"), prefix + "/" if prefix else "", {})
        return None if found is None else found[:-1]

    def __repr__(self) -> str:
        return f"PathTemplate({self.template!r})"


def encode_path(path: str) -> bytes:
    """A decoded path as it is matched: everything escaped that does not stand for itself in a segment."""
    return quote(path, safe=_SEGMENT + "-._~").encode("ascii")


def _beginning(
    parts: tuple[str | None, ...], wanted: str, known: dict[tuple[int, int], str | None]
) -> str | None:
    """A text that consists of `parts`, None among them standing for one character or more, and begins with `wanted`.

    `known` remembers what was found out for so many parts and so much wanted, which bounds the search.
    """
    if not wanted:
        return "".join("x" if part is None else part for part in parts)
    if not parts:
        return None
    place = (len(parts), len(wanted))
    if place not in known:
        part, rest = parts[0], parts[1:]
        # What the first part may take of what is wanted: its own text, or any number of characters.
        if part is not None:
            taken = [part] if wanted.startswith(part) or part.startswith(wanted) else []
        else:
            taken = [wanted[:size] for size in range(1, len(wanted) + 1)]
        ends = ((begin, _beginning(rest, wanted[len(begin) :], known)) for begin in taken)
        known[place] = next((begin + end for begin, end in ends if end is not None), None)
    return known[place]


def _literal(template: str, part: str) -> bytes:
    if "{" in part or "}" in part:
        raise DeclarationError(f"path {template!r}: a brace without its partner")
    return encode_path(part)


def decode(raw: bytes) -> str:
    """A raw parameter as text. Raises Problem 400 when it is not strictly valid."""
    if raw.isalnum():
        return raw.decode("ascii")
    if b"%" in raw:
        if _BAD_ESCAPE.search(raw):
            raise Problem(400, "the path has a percent sign without two hexadecimal digits")
        raw = _ESCAPE.sub(lambda found: _BYTES[found[1].lower()], raw)
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Problem(400, "the path is not valid UTF-8") from error
    if "\0" in text:
        raise Problem(400, "the path contains U+0000")
    if text in DOTS:
        raise Problem(400, "a path parameter may not be `.` or `..`")
    return text


def decode_path(raw: bytes) -> str:
    """A `{name:path}` parameter: as `decode`, and no segment of it may be `.` or `..`."""
    text = decode(raw)
    if any(segment in DOTS for segment in text.split("/")):
        raise Problem(400, "a path parameter may not contain a segment `.` or `..`")
    return text


def normalize(raw_path: bytes) -> bytes:
    """The path with needless escapes undone and the others in upper case (RFC 3986 section 6.2.2)."""
    if PERCENT not in raw_path:
        return raw_path
    return _ESCAPE.sub(_shortest, raw_path)


def _shortest(found: re.Match[bytes]) -> bytes:
    byte = _BYTES[found[1].lower()]
    return byte if byte[0] in _UNRESERVED else b"%" + found[1].upper()
