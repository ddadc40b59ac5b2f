"""What an ASGI scope says, as the last middleware left it: which path is meant, and the request. Pure.

A scope has the path twice. `path` is what middleware and other frameworks read and change; `raw_path` is what the
client sent, and keeps `%2F` apart from a slash. The raw one counts while it still says the same; where it does not,
somebody has changed `path` and means it. Guards and routes read the same bytes, so neither sees another path.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from urllib.parse import unquote_to_bytes

from starlette.types import Scope

from skerry.http.headers import Headers
from skerry.http.path import encode_path
from skerry.http.request import Ends, Request
from skerry.provenance import NOTHING, TRACE, provenance

HOST = "skerry.host"
"""In a scope: the host that clients ask for, where a proxy in front says that it is another one than Host."""

_TRACE_FIELD = TRACE.encode()


def cause_of(scope: Scope) -> Mapping[str, str]:
    """What is emitted and sent for this request carries on: its trace (`traceparent`), if it brings one."""
    for name, value in scope["headers"]:
        if name == _TRACE_FIELD:
            return provenance(trace=value.decode("latin-1"))
    return NOTHING


def raw_path_of(scope: Scope) -> bytes:
    """The whole path, percent-encoded."""
    path: str = scope["path"]
    raw: bytes | None = scope.get("raw_path")
    if raw is not None:
        raw = raw.partition(b"?")[0]  # some servers leave the query there
        if decoded_path(raw) == path:
            return raw
    return encode_path(path)


def relative_path_of(scope: Scope) -> bytes:
    """The path below `root_path`, percent-encoded. A path that does not begin with it is below it already: there are
    servers and proxies of both kinds."""
    raw = raw_path_of(scope)
    root: str = scope.get("root_path", "")
    return raw if not root or root == "/" else below(raw, root.rstrip("/"))


def decoded_path(raw: bytes) -> str:
    """A percent-encoded path as servers put it into `path`."""
    return (unquote_to_bytes(raw) if b"%" in raw else raw).decode("utf-8", "replace")


def below(raw: bytes, root: str) -> bytes:
    """What stands behind `root`, when that is a beginning of `raw` that ends with a segment."""
    end = raw.find(b"/", 1)
    while True:
        begin = raw if end < 0 else raw[:end]
        decoded = decoded_path(begin)
        if decoded == root:
            return raw[len(begin) :]
        if end < 0 or len(decoded) >= len(root):
            return raw
        end = raw.find(b"/", end + 1)


def request_of(scope: Scope) -> Request:
    """Our request for an ASGI scope; the body comes later. Its target stands below the root path.

    `scope["skerry"]` is what our own server knew when it made the scope. It is there only where no middleware stands
    between (`middleware.Covered` drops it); everywhere else the scope's own fields are read.
    """
    method = scope.get("method", "GET")
    known = scope.get("skerry")
    if known is not None:
        return Request(method, known.target, known.headers, b"", known.peer, scope)
    target = relative_path_of(scope)
    if scope.get("query_string"):
        target += b"?" + scope["query_string"]
    client, server = scope.get("client"), scope.get("server")
    peer = Ends(
        None if client is None else (client[0], client[1]),
        None if server is None else (server[0], server[1]),
        "https" if scope.get("scheme", "http") in ("https", "wss") else "http",
        scope.get(HOST),
        scope.get("root_path", "").rstrip("/"),
    )
    return Request(method, target, Headers(scope["headers"]), b"", peer, scope)


def foreign_headers(fields: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """The fields for an application that is not ours: without names that could pass for others where `-` becomes `_`,
    as WSGI and Django have it (`x_real_ip` for `x-real-ip`), and with one line of cookies (RFC 9113 section 8.2.3;
    RFC 6265 section 5.4 has one anyway)."""
    found: list[tuple[bytes, bytes]] = []
    cookies = -1
    for name, value in fields:
        if b"_" in name:
            continue
        if name == b"cookie":
            if cookies >= 0:
                found[cookies] = (name, found[cookies][1] + b"; " + value)
                continue
            cookies = len(found)
        found.append((name, value))
    return found
