"""Bytes in, requests out: llhttp, the strict checks and the limits of a head. Pure.

What it finds goes to a `Sink`, in the order of the bytes. Nothing is answered here, and no body is kept: an input that
cannot be read on raises, and the sink's owner (`http1`) makes an answer of it.
"""

from __future__ import annotations

from typing import Any, Protocol

import httptools

from skerry.http.headers import Headers
from skerry.http.problems import Problem
from skerry.http.request import Peer, Request
from skerry.loop.proxy_head import begins_like_a_head
from skerry.server.framing import CLOSE, KEEP, KEEP_OLD
from skerry.server.settings import ServerSettings
from skerry.server.strict import PLAIN, Head, examine, origin_form

LONGEST_MEMORY = 4_096


class Sink(Protocol):
    """Receives what was parsed. May raise: the parser stops there, and `feed` raises the same."""

    def on_begin(self) -> None:
        """The first byte of a request line."""
        ...

    def on_head(self, request: Request, head: Head, keep: int, version: str, *, websocket: bool) -> None:
        """A head, checked. `keep`: what the client wants of the connection; `websocket`: it asks for an upgrade to
        one, in the form that may be granted."""
        ...

    def on_body(self, data: bytes) -> None:
        """A part of the body, unframed."""
        ...

    def on_end(self) -> None:
        """The request is complete."""
        ...


class RequestParser:
    """Parses one connection. `request`: the last whose head was read; `raw`: bytes of the present message as they
    came, its framing included.

    `memory` is the header block of the last plain GET, with the line's end, `memory_headers` what it says and
    `memory_peer` the client that sent it: a GET that repeats it, byte for byte, needs no parser.
    """

    __slots__ = (
        "_ended",
        "_fields",
        "_head_size",
        "_headers",
        "_hidden",
        "_inside",
        "_learn",
        "_outside",
        "_parser",
        "_part",
        "_peer",
        "_settings",
        "_sink",
        "_upgrade",
        "_url",
        "memory",
        "memory_headers",
        "memory_peer",
        "raw",
        "request",
    )  # fmt: skip

    def __init__(self, sink: Sink, settings: ServerSettings, peer: Peer) -> None:
        self._sink, self._settings, self._peer = sink, settings, peer
        self._parser: Any = httptools.HttpRequestParser(self)
        self.memory: bytes | None = None
        self.memory_headers = self._headers = Headers()
        self.memory_peer = peer
        self._outside = settings.outside
        self.request: Request | None = None
        self.raw = 0
        self._ended = 0  # requests
        self._inside = False  # a request has begun and is not complete
        self._part = _HEAD
        self._head_size = 0
        self._learn = False
        self._upgrade = False
        self._hidden: bytes | None = None  # a head without its Upgrade field, to be read again
        self._url = b""
        self._fields: list[tuple[bytes, bytes]] = []

    def close(self) -> None:
        """Release llhttp, which holds us, and of the sink, which holds us too."""
        self._parser = self._sink = None  # type: ignore[assignment]  # nothing is parsed after this

    def feed(self, data: bytes) -> bytes | None:
        """Parse. What stands behind the handshake of a websocket is returned: it is no HTTP. Else None.

        Raises Problem for what is malformed or over a limit, and whatever the sink raises.
        """
        fresh, ended = not self._inside, self._ended
        self._learn = False
        self.raw += len(data)
        text = data
        try:
            while True:
                try:
                    self._parser.feed_data(text)
                    break
                except httptools.HttpParserUpgrade as stop:
                    text = text[stop.args[0] :]
                    if self._upgrade:
                        return text
                    if self._hidden is not None:
                        # llhttp ends a message with an upgrade at its head; this one goes on (RFC 9110 section 7.8).
                        text, self._hidden = self._hidden + text, None
                        self._parser = httptools.HttpRequestParser(self)
                    if not text:
                        break
        except httptools.HttpParserCallbackError as error:
            found = error.__context__
            if not isinstance(found, Exception):
                raise
            raise found from None
        except httptools.HttpParserError as error:
            self.request = None
            if begins_like_a_head(data):
                raise Problem(400, "a PROXY head from an address that SKERRY_TRUSTED does not name") from None
            raise Problem(400, f"malformed request: {error}") from None
        settings = self._settings
        if (
            self._inside
            and self._part == _HEAD
            and self.raw > settings.max_head_bytes + settings.max_target_bytes
        ):
            self.request = None
            raise Problem(431, f"the head is over {settings.max_head_bytes} bytes")
        if self._learn and fresh and self._ended == ended + 1 and not self._inside:
            self._remember(data)
        return None

    def again(self, target: bytes) -> Request:
        """A GET of `target` (a valid path and query) with the header block that is remembered, and no body."""
        if self._outside is not None:
            target = self._outside.target(target, self.memory_peer)
        self.request = Request("GET", target, self.memory_headers, b"", self.memory_peer)
        return self.request

    def _remember(self, data: bytes) -> None:
        """Keep what follows the target of a plain GET, when `data` is that request and nothing else."""
        if not data.startswith(b"GET /") or not data.endswith(b"\r\n\r\n"):
            return
        tail = data[data.index(b" HTTP/1.1\r\n") :]
        if len(tail) <= LONGEST_MEMORY:
            self.memory, self.memory_headers = tail, self._headers
            if self._outside is not None and self.request is not None:
                self.memory_peer = self.request.peer

    # llhttp calls these

    def on_message_begin(self) -> None:
        if self._part == _AGAIN:
            self._part = _HEAD
        else:
            self.request = None
            self._sink.on_begin()
        self._inside = True
        self._url = b""
        self._fields = []
        self._head_size = 0

    def on_url(self, url: bytes) -> None:
        self._url += url
        if len(self._url) > self._settings.max_target_bytes:
            raise Problem(414, f"the request target is over {self._settings.max_target_bytes} bytes")

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head_size += len(name) + len(value) + 4
        if self._head_size > self._settings.max_head_bytes:
            raise Problem(431, f"the head is over {self._settings.max_head_bytes} bytes")
        if self._part == _BODY:
            return  # a trailer; nobody here wants one
        self._fields.append((name.lower(), value.rstrip(b" \t")))
        if len(self._fields) > self._settings.max_fields:
            raise Problem(431, f"more than {self._settings.max_fields} header fields")

    def on_headers_complete(self) -> None:
        parser, fields = self._parser, self._fields
        version = parser.get_http_version()
        head = examine(version, fields)
        method = parser.get_method().decode("ascii")
        if method == "CONNECT":
            raise Problem(501, "this server is no proxy")
        self._upgrade = False
        if parser.should_upgrade():
            # A websocket in HTTP/1.1 without a body is granted; any other upgrade is ignored (RFC 9110 section 7.8).
            self._upgrade = head.websocket and method == "GET" and version == "1.1" and not head.has_body
            if not self._upgrade and head.has_body:
                self._hide(method, version)
                return
        target, peer = origin_form(method, self._url, fields), self._peer
        if self._outside is not None:
            peer = self._outside.peer(peer, fields)
            target = self._outside.target(target, peer)
        keep = CLOSE if not parser.should_keep_alive() else KEEP if version == "1.1" else KEEP_OLD
        self._headers = Headers(fields)
        self.request = request = Request(method, target, self._headers, b"", peer)
        self._part = _BODY
        self.raw = 0
        self._learn = head is PLAIN and keep == KEEP and method == "GET"
        self._sink.on_head(request, head, keep, version, websocket=self._upgrade)

    def _hide(self, method: str, version: str) -> None:
        """Have the head read again without its Upgrade field: the parser takes no body behind it otherwise."""
        lines = [f"{method} ".encode("ascii") + self._url + b" HTTP/" + version.encode("ascii")]
        lines += [name + b": " + value for name, value in self._fields if name != b"upgrade"]
        self._hidden = b"\r\n".join(lines) + b"\r\n\r\n"

    def on_body(self, data: bytes) -> None:
        self._sink.on_body(data)

    def on_message_complete(self) -> None:
        if self._hidden is not None:
            self._part = _AGAIN
            return
        self._inside, self._part = False, _HEAD
        self.raw = 0
        self._ended += 1
        self._sink.on_end()


_HEAD, _BODY, _AGAIN = range(3)
