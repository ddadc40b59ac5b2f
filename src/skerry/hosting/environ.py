"""The environ of a WSGI request (PEP 3333), made from a head. Pure.

What the fields of a head give is kept in a template: a client that repeats its header block, as browsers and load
tools do, costs a copy and a few keys. Names with an underscore are dropped, as they could pass for others (X_Real_IP,
X-Real-IP), and so is Proxy, which would become HTTP_PROXY (CVE-2016-5385).
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, unquote_to_bytes

from skerry.exchange import Fields, Head
from skerry.http.path import PERCENT

_REMEMBERED = 256
"""Header blocks that have a template, at most."""
_MAX_REMEMBERED_BYTES = 4_096
Ends = tuple[tuple[str, int] | None, tuple[str, int | None] | None, str, str, str]
"""Client, server, scheme, root path and version: the same for every request of a connection, mostly."""
_OWN = {b"content-type": "CONTENT_TYPE", b"content-length": "CONTENT_LENGTH"}


class Environs:
    """Makes environs for one application. `constant`: what stands in each of them; `prefix`: where the application
    lies, decoded by nobody yet (b"/shop"; empty at the root)."""

    def __init__(self, constant: dict[str, Any], prefix: bytes = b"") -> None:
        self._constant = constant
        self._prefix, self._cut = prefix, len(prefix)
        self._script = _text(prefix)
        self._templates: dict[int, tuple[Fields, Ends, dict[str, Any]]] = {}

    def of(self, head: Head) -> dict[str, Any]:
        """The environ of a request, but for `wsgi.input`."""
        fields, root = head.fields, head.root_path
        ends = (head.client, head.server, head.scheme, root, head.version)
        known = self._templates.get(id(fields))
        if known is not None and known[0] is fields and known[1] == ends:
            environ = known[2].copy()
        else:
            environ = self._made(head, ends)
        uri = head.target.decode("latin-1")
        path, _, query = uri.partition("?")
        environ["REQUEST_METHOD"] = head.method
        if self._cut:
            path = path[self._cut :]
        environ["PATH_INFO"] = _text(path.encode("latin-1")) if "%" in path else path
        environ["QUERY_STRING"] = query
        environ["RAW_URI"] = environ["REQUEST_URI"] = quote(root) + uri if root else uri
        return environ

    def _made(self, head: Head, ends: Ends) -> dict[str, Any]:
        """That of all requests with this header block on this connection; remembered, where it may come again."""
        fields = head.fields
        environ, size = self._of_fields(fields)
        if head.root_path:
            environ["SCRIPT_NAME"] = head.root_path.encode().decode("latin-1") + self._script
        environ["SERVER_PROTOCOL"] = "HTTP/1.1" if head.version == "1.1" else "HTTP/1.0"
        environ["wsgi.url_scheme"] = head.scheme
        client, server = head.client, head.server
        if client is None:
            environ["REMOTE_ADDR"] = ""
        else:
            environ["REMOTE_ADDR"] = client[0]
            environ["REMOTE_PORT"] = str(client[1])
        if server is None or server[1] is None:  # a unix socket has no name of its own: the request's
            name, port = _named(environ.get("HTTP_HOST", ""), head.scheme)
            environ["SERVER_NAME"], environ["SERVER_PORT"] = name, port
        else:
            environ["SERVER_NAME"], environ["SERVER_PORT"] = server[0], str(server[1])
        # The server makes a block anew each time where a body follows.
        if head.method == "GET" and size <= _MAX_REMEMBERED_BYTES and "CONTENT_LENGTH" not in environ:
            if len(self._templates) >= _REMEMBERED:
                self._templates.clear()
            self._templates[id(fields)] = (fields, ends, environ.copy())
        return environ

    def _of_fields(self, fields: Fields) -> tuple[dict[str, Any], int]:
        """What a header block gives, and how long it is."""
        template = {**self._constant, "SCRIPT_NAME": self._script}
        several: dict[str, list[str]] = {}
        size = 0
        for name, value in fields:
            size += len(name) + len(value)
            if b"_" in name or name == b"proxy":
                continue
            key = _OWN.get(name) or "HTTP_" + name.decode("latin-1").upper().replace("-", "_")
            text = value.decode("latin-1")
            if key in several:
                several[key].append(text)
            elif key in template:
                several[key] = [template[key], text]
            else:
                template[key] = text
        for key, texts in several.items():
            template[key] = ("; " if key == "HTTP_COOKIE" else ",").join(texts)
        return template, size


def _text(raw: bytes) -> str:
    """A path as PEP 3333 has it: its decoded bytes as latin-1."""
    return (unquote_to_bytes(raw) if PERCENT in raw else raw).decode("latin-1")


def _named(host: str, scheme: str) -> tuple[str, str]:
    name, separator, port = host.rpartition(":")
    if separator and port.isdigit() and (":" not in name or name.endswith("]")):
        return name, port
    return host or "localhost", "443" if scheme == "https" else "80"
