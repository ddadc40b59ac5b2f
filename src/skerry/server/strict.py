"""What a request's head must be (RFC 9112), beyond what the parser has checked. Pure.

llhttp already refuses: folded lines, spaces before the colon, control characters, bare CR or LF, both Content-Length
and Transfer-Encoding, two or odd Content-Lengths, unknown methods. Here: the version, exactly one Host, the one
transfer coding we have, the form of the target.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from skerry.http.problems import Problem

Fields = list[tuple[bytes, bytes]]

# RFC 3986 section 3.2.2: reg-name, IPv4 and IP literals, and a port. Empty is allowed (RFC 9112 section 3.2).
_HOST = re.compile(rb"(?:[A-Za-z0-9._~!$&'()*+,;=%-]*|\[[0-9A-Fa-f:.vV]+\])(?::[0-9]{0,5})?")
_ABSOLUTE = re.compile(rb"https?://([^/?#@]+)((?:[/?].*)?)", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Head:
    """What the fields say about framing. `length` None: no Content-Length; `expects`: wants 100 Continue."""

    length: int | None
    chunked: bool
    expects: bool
    websocket: bool

    @property
    def has_body(self) -> bool:
        return self.chunked or bool(self.length)


PLAIN = Head(None, False, False, False)


def examine(version: str, fields: Fields) -> Head:
    """Check a complete head. Raises Problem: 400, 417 (an unknown expectation), 501 (a transfer coding), 505."""
    if version not in ("1.1", "1.0"):
        raise Problem(505, "this server speaks HTTP/1.1 and HTTP/1.0")
    hosts, length, chunked, expects, websocket = 0, None, False, False, False
    for name, value in fields:
        if name == b"host":
            hosts += 1
            if not _HOST.fullmatch(value):
                raise Problem(400, "the Host field is not a host")
        elif name == b"content-length":
            length = int(value)
        elif name == b"transfer-encoding":
            if version == "1.0":
                raise Problem(400, "HTTP/1.0 has no Transfer-Encoding")
            if value.strip().lower() != b"chunked":
                raise Problem(501, "the only transfer coding here is chunked")
            chunked = True
        elif name == b"expect":
            if value.strip().lower() != b"100-continue":
                raise Problem(417, "the only expectation known here is 100-continue")
            expects = version == "1.1"
        elif name == b"upgrade":
            websocket = value.strip().lower() == b"websocket"
    if hosts > 1 or (not hosts and version == "1.1"):
        raise Problem(400, "a request has exactly one Host field")
    if length is None and not chunked and not expects and not websocket:
        return PLAIN
    return Head(length, chunked, expects, websocket)


def origin_form(method: str, target: bytes, fields: Fields) -> bytes:
    """The target as path and query (RFC 9112 section 3.2). The authority of an absolute form becomes the Host.

    Raises Problem 400 for a fragment, for `*` with anything but OPTIONS, and for what is no target at all.
    """
    if b"#" in target:
        raise Problem(400, "a request target has no fragment")
    if target.startswith(b"/"):
        return target
    if target == b"*" and method == "OPTIONS":
        return target
    found = _ABSOLUTE.fullmatch(target)
    if found is None or not _HOST.fullmatch(found[1]):
        raise Problem(400, "the request target is neither a path nor an http URL")
    fields[:] = [(name, found[1] if name == b"host" else value) for name, value in fields]
    rest = found[2]
    return rest if rest.startswith(b"/") else b"/" + rest
