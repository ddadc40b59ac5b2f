"""`start_response` as PEP 3333 has it: what an application says of its answer, checked, and held back until the first
part of the body. Pure.

Checked strictly, as `wsgiref.validate` does: an application that works here works anywhere. Hop-by-hop fields are the
server's business and are refused (PEP 3333, "Other HTTP Features").
"""

from __future__ import annotations

import re
from collections.abc import Callable
from types import TracebackType
from typing import Any

ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]
Write = Callable[[bytes], None]

_STATUS = re.compile(r"([1-9][0-9][0-9])(?: ([^\x00-\x08\x0a-\x1f\x7f]*))?")
_HOP_BY_HOP = frozenset((
    "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "trailer",
    "transfer-encoding", "upgrade",
))  # fmt: skip
_NOT_IN_NAME = re.compile(r"[^\x21\x23-\x27\x2a\x2b\x2d\x2e0-9A-Z\x5e-\x7a\x7c\x7e]")
_NOT_IN_VALUE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


class Start:
    """An answer's head in the making. `given`: `start_response` was called; `sent`: the head is on its way, from then
    on nothing can be changed. `length`: of the body as declared, None when it was not."""

    __slots__ = ("begin", "environ", "fields", "given", "length", "reason", "sent", "status", "write")

    def __init__(self, write: Write | None = None) -> None:
        self.write = write
        """The application gets it. The caller sets it to None at the end: it refers back to this object."""
        self.begin: Callable[[dict[str, Any]], None] | None = None
        """Told the environ, when an application begins its answer."""
        self.environ: dict[str, Any] = _NONE
        self.given = self.sent = False
        self.status = 0
        self.reason = b""
        self.fields: list[tuple[bytes, bytes]] = []
        self.length: int | None = None

    def __call__(
        self, status: str, headers: list[tuple[str, str]], exc_info: ExcInfo | None = None, /
    ) -> Write:
        """Note the head. With `exc_info` it replaces one that was given, unless that is on its way already: then the
        exception is raised again. Raises ValueError, TypeError, AssertionError for what PEP 3333 forbids."""
        if exc_info is not None:
            try:
                if self.sent:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None  # no cycle through the frame
        elif self.given:
            raise AssertionError("start_response was called twice without exc_info")
        given: object = status
        if type(given) is not str:
            raise TypeError(f"the status is a str, not {type(given).__name__}")
        code, reason = _statuses.get(status) or _checked_status(status)
        given = headers
        if type(given) is not list:
            raise TypeError(f"headers are a list, not {type(given).__name__}")
        fields: list[tuple[bytes, bytes]] = []
        length: int | None = None
        for each in headers:
            try:
                known = _fields.get(each) if type(each) is tuple else None
            except TypeError:  # of something that is not even hashable
                known = None
            field, declared = known or _checked_field(each)
            if declared is not None:
                length = declared
            fields.append(field)
        self.status, self.reason = code, reason
        self.fields, self.length, self.given = fields, length, True
        if self.begin is not None:
            self.begin(self.environ)
        return self.write or _nowhere


def _nowhere(data: bytes) -> None:
    """The `write` of a request that is over."""
    raise OSError("the request is over")


_NONE: dict[str, Any] = {}
_REMEMBERED = 1_000
_VALUES = 8
"""So many of a name, at most: one that has more has another with each answer."""
_LONGEST = 100
_names: dict[str, bytes] = {}
"""Names of headers that were checked, as they are sent: applications have few."""
_fields: dict[tuple[str, str], tuple[tuple[bytes, bytes], int | None]] = {}
"""Whole headers that were checked, as they are sent, with the length that they declare."""
_values: dict[bytes, int] = {}
"""How many values of a name are among them."""
_statuses: dict[str, tuple[int, bytes]] = {}


def _checked_field(header: Any) -> tuple[tuple[bytes, bytes], int | None]:
    """A header as it is sent, and the length that it declares; remembered where it may come again."""
    if type(header) is not tuple or len(header) != 2:
        raise TypeError(f"a header is a tuple (name, value), not {header!r}")
    name, value = header
    if not isinstance(name, str) or not isinstance(value, str):
        raise TypeError(f"a header's name and value are str: {header!r}")
    known = _names.get(name) or _checked_name(name)
    if not (value.isascii() and value.isprintable()) and _NOT_IN_VALUE.search(value):
        raise ValueError(f"header {name!r} has a value that would break the message")
    checked = (known, value.encode("latin-1")), _length(value) if known == b"content-length" else None
    if len(value) <= _LONGEST and known != b"set-cookie":
        number = _values.get(known, 0)
        if number < _VALUES and len(_fields) < _REMEMBERED:
            _values[known] = number + 1
            _fields[header] = checked
    return checked


def _checked_name(name: str) -> bytes:
    lower = name.lower()
    if lower in _HOP_BY_HOP:
        raise AssertionError(f"{name} is a hop-by-hop header, which is the server's business")
    if not name or _NOT_IN_NAME.search(name):
        raise ValueError(f"header {name!r} has characters that would break the message")
    found = lower.encode("ascii")
    if len(_names) < _REMEMBERED:
        _names[name] = found
    return found


def _checked_status(status: str) -> tuple[int, bytes]:
    found = _STATUS.fullmatch(status)
    if found is None:
        raise ValueError(f"the status is CODE REASON, as in '200 OK', not {status[:80]!r}")
    checked = int(found[1]), (found[2] or "").encode("latin-1")
    if len(_statuses) < _REMEMBERED:
        _statuses[status] = checked
    return checked


def _length(value: str) -> int:
    text = value.strip()
    if not (text.isascii() and text.isdigit()):
        raise ValueError(f"Content-Length is a number, not {value!r}")
    return int(text)


StartResponse = Callable[..., Any]
