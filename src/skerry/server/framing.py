"""How an answer is put on the wire (RFC 9112 sections 6 and 7): its head, its parts, its end. Pure.

What belongs into an answer is decided by its maker; here is only what the message needs to be one.
"""

from __future__ import annotations

import re

from skerry.exchange import Fields
from skerry.http.reply import BODILESS, STATUS_LINES

_NOT_IN_NAME = re.compile(rb'[\x00-\x1f\x7f()<>@,;:\[\]={} \t\\"]')
_NOT_IN_VALUE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
CLOSE, KEEP, KEEP_OLD = range(3)
"""What happens to the connection after an answer: closed, kept (HTTP/1.1), kept because HTTP/1.0 asked for it."""


_names: dict[bytes, bytes] = {}
"""Names of fields that were checked, and how they are sent: applications have few."""
_lines: dict[tuple[bytes, bytes], bytes] = {}
"""Whole fields that were checked and say nothing about framing, as they are sent."""
_values: dict[bytes, int] = {}
"""How many values of a name are among them."""
_REMEMBERED = 1_000
_VALUES = 8
"""So many of a name, at most: one that has more has another with each answer."""
_LONGEST = 200
_FRAMING = frozenset({b"content-length", b"date", b"transfer-encoding", b"connection"})


def _checked(name: bytes) -> bytes:
    """Raises RuntimeError."""
    if not name or _NOT_IN_NAME.search(name):
        raise RuntimeError("Invalid HTTP header name.")
    found = name.lower()
    if len(_names) < _REMEMBERED:
        _names[name] = found
    return found


def _line(given: bytes, name: bytes, value: bytes) -> bytes:
    """A field as it is sent; remembered where it may come again. `given`: the name as the application writes it."""
    line = b"%b: %b\r\n" % (name, value)
    if len(line) < _LONGEST and value.__class__ is bytes and name != b"set-cookie":
        number = _values.get(name, 0)
        if number < _VALUES and len(_lines) < _REMEMBERED:
            _values[name] = number + 1
            _lines[given, value] = line
    return line


class Framing:
    """One answer. `keep` may become CLOSE while it begins; `started`, `finished` say where it stands."""

    __slots__ = ("_bodiless", "_chunked", "_left", "_version", "finished", "keep", "started")

    def __init__(self, method: str, version: str, keep: int) -> None:
        self._bodiless = method == "HEAD"
        self._version = version
        self._chunked = False
        self._left: int | None = None  # bytes that the declared length still asks for
        self.keep = keep
        self.started = self.finished = False

    def head(self, status: int, fields: Fields, date: bytes, reason: bytes = b"") -> bytes:
        """The head; `date` is the ready line, for an answer without one. Raises RuntimeError for a field that would
        break the message."""
        if self.started:
            raise RuntimeError("the answer has begun already")
        if status < 200:
            # Whoever asked would wait for the final one, and take the answer to the next request for it.
            raise RuntimeError(f"an answer has a final status, not {status}")
        line = STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status
        if reason and line[13:-2] != reason:
            if _NOT_IN_VALUE.search(reason):
                raise RuntimeError("Invalid HTTP reason phrase.")
            line = b"HTTP/1.1 %d %b\r\n" % (status, reason)
        parts = [line, date]
        length: int | None = None
        place = 0  # of its line
        chunked = closes = False
        for name, value in fields:
            if name == b"content-length" and length is None and value.isdigit():
                length, place = int(value), len(parts)
                parts.append(b"content-length: %b\r\n" % value)
                continue
            known = _lines.get((name, value)) if value.__class__ is bytes else None
            if known is not None:
                parts.append(known)
                continue
            given, name = name, _names.get(name) or _checked(name)
            if _NOT_IN_VALUE.search(value):
                raise RuntimeError("Invalid HTTP header value.")
            if name not in _FRAMING:
                parts.append(_line(given, name, value))
                continue
            if name == b"content-length":
                if length is not None:
                    continue
                if not value.isdigit():
                    raise RuntimeError("Invalid Content-Length.")
                length, place = int(value), len(parts)
            elif name == b"date":
                parts[1] = b""
            elif name == b"transfer-encoding" and value.lower() == b"chunked":
                chunked = self._version == "1.1"
                continue  # the coding of this hop is ours
            elif name == b"connection":
                closes = closes or b"close" in [token.strip() for token in value.lower().split(b",")]
            parts.append(b"%b: %b\r\n" % (name, value))
        self.started = True
        if status in BODILESS:
            self._bodiless, chunked = True, False
        elif length is None and not self._bodiless and self._version == "1.1":
            chunked = True
        if chunked:
            if length is not None:
                del parts[place]  # a message has one of the two (RFC 9112 section 6.1)
            parts.append(b"transfer-encoding: chunked\r\n")
        self._chunked = chunked and not self._bodiless
        self._left = None if chunked or self._bodiless else length
        if closes or self._version == "1.0":
            self.keep = CLOSE
        if not self.keep and not closes:
            parts.append(b"connection: close\r\n")
        parts.append(b"\r\n")
        return b"".join(parts)

    @property
    def chunked(self) -> bool:
        return self._chunked

    def part(self, data: bytes, *, last: bool = False) -> bytes:
        """A part of the body, framed; nothing for an answer that has none. Raises RuntimeError when more comes than
        the head has declared; after the last part, less has come when the answer is not `finished`."""
        if not self.started or self.finished:
            raise RuntimeError("the answer is complete" if self.finished else "the answer has not begun")
        if self._bodiless:
            data = b""
        elif self._chunked:
            data = b"%x\r\n%b\r\n" % (len(data), data) if data else b""
            if last:
                data += b"0\r\n\r\n"
        elif self._left is not None:
            if len(data) > self._left:
                raise RuntimeError("Response content longer than Content-Length")
            self._left -= len(data)
            last = last and not self._left
        self.finished = last
        return data

    def file(self, count: int) -> tuple[bytes, bytes] | None:
        """What goes before and behind a last part of so many bytes that is sent by another way; None when the answer
        has no body. Raises RuntimeError when it is not as long as the head has declared."""
        if not self.started or self.finished:
            raise RuntimeError("the answer is complete" if self.finished else "the answer has not begun")
        if self._bodiless:
            return None
        if self._chunked:
            return (b"%x\r\n" % count, b"\r\n0\r\n\r\n") if count else (b"", b"0\r\n\r\n")
        if self._left is not None and count != self._left:
            raise RuntimeError(f"the file has {count} bytes, of a declared length {self._left} are left")
        return b"", b""
