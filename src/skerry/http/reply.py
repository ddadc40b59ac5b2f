"""A light answer: status, header lines and body, rendered to bytes in one go; also an ASGI application.

For answers that are complete in memory. Streams, files and cookies with many options are Starlette's responses,
which a view on the ASGI side may return as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from http import HTTPStatus
from typing import Any

import msgspec
from starlette.types import Receive, Scope, Send

JSON = "application/json"
TEXT = "text/plain; charset=utf-8"
HTML = "text/html; charset=utf-8"
BINARY = "application/octet-stream"

# Statuses whose message never has a body (RFC 9110 section 6.4.1).
BODILESS = frozenset({204, 304})


# RFC 9110 section 15; before Python 3.13 the library has the names of 2014.
PHRASES = {each.value: each.phrase for each in HTTPStatus} | {
    413: "Content Too Large",
    414: "URI Too Long",
    416: "Range Not Satisfiable",
    422: "Unprocessable Content",
}
STATUS_LINES = {
    status: f"HTTP/1.1 {status} {PHRASES.get(status, '')}\r\n".encode("ascii") for status in range(200, 600)
}
OK = STATUS_LINES[200]
MEDIA_LINES = {
    media: f"Content-Type: {media}\r\n" for media in (JSON, TEXT, HTML, BINARY, "application/problem+json")
}
# Most answers are short: their last line is looked up, not formatted.
LENGTH_LINES = tuple(b"Content-Length: %d\r\n\r\n" % size for size in range(4096))

# A value with a tag is kept by caches, and asked about each time, unless its view says something else.
NO_CACHE = "Cache-Control: no-cache\r\n"

_TOKEN = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
_names: set[str] = set()  # those that were found to be names already


def check_field(name: str, value: str) -> None:
    """Raises ValueError for a field that would break the message (RFC 9110 section 5)."""
    if name not in _names:
        if not name or not _TOKEN.issuperset(name):
            raise ValueError(f"not a header name: {name[:80]!r}")
        if len(_names) < 1000:
            _names.add(name)
    if not value.isprintable() and not value.replace("\t", "").isprintable():
        raise ValueError(f"header {name}: control characters in the value")


class Fields:
    """Header fields that were checked and put into lines once, to be used in many answers as `headers=`."""

    __slots__ = ("cached", "lines")

    def __init__(self, fields: Mapping[str, str]) -> None:
        for name, value in fields.items():
            check_field(name, value)
        self.lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        self.cached = _says_cached(fields)  # whether they say what caches may do


class Response:
    """One complete answer.

    `body` is bytes, or text that is sent as UTF-8; `media_type` the Content-Type (text/plain for text, none for
    bytes unless given); `headers` a mapping, or `Fields` made before; `etag` an opaque tag without quotes, or a
    number (it becomes a strong ETag and is what conditional requests are evaluated against; caches keep the answer and
    ask each time, `Cache-Control: no-cache`, unless `headers` say something else). Content-Length and Date are added
    when it is sent; HEAD leaves the body out. `private`: its lines say already that it is for one client only
    (`http.caching`).
    """

    __slots__ = ("body", "etag", "head", "private", "rest", "status")

    body: bytes
    etag: str | int | None
    head: str
    rest: bytes | None
    """All that follows the common lines, where it was rendered already; None once anything else has been looked at."""

    def __init__(
        self,
        body: bytes | str = b"",
        status: int = 200,
        *,
        media_type: str | None = None,
        headers: Mapping[str, str] | Fields | None = None,
        etag: str | int | None = None,
    ) -> None:
        if body.__class__ is not bytes:
            if isinstance(body, str):
                body = body.encode("utf-8")
                if media_type is None:
                    media_type = TEXT
            elif not isinstance(body, bytes | bytearray):
                raise TypeError(
                    f"the body of a Response is bytes or text, not {body!r:.80}; or is it status=?"
                )
        if status != 200 and not 200 <= status <= 599:
            raise ValueError(f"the status of a Response is a number from 200 to 599, not {status!r:.80}")
        self.body = body
        self.private = False
        self.rest = None
        self.status = status
        self.etag = etag
        ready = media_type is None and type(headers) is Fields
        head = headers.lines if ready else _lines(media_type, headers)  # type: ignore[union-attr]
        if etag is not None:
            if type(etag) is not int and not _is_tag(etag):
                raise ValueError(f"not an entity tag: {str(etag)[:80]!r}")
            if headers is None or not (headers.cached if type(headers) is Fields else _says_cached(headers)):  # type: ignore[arg-type]
                head = f'{head}ETag: "{etag}"\r\n{NO_CACHE}'
            else:
                head = f'{head}ETag: "{etag}"\r\n'
        self.head = head

    @classmethod
    def ready(cls, body: bytes, lines: str, etag: str, private: bool = False) -> Response:
        """A 200 from header lines that are known to be well formed (`Fields.lines`) and a tag of the caller's own
        making: nothing is checked, for the hottest views."""
        made = cls.__new__(cls)
        made.body, made.status, made.etag = body, 200, etag
        made.private, made.rest = private, None
        made.head = f'{lines}ETag: "{etag}"\r\n'
        return made

    @classmethod
    def rendered(cls, rest: bytes, body: bytes, private: bool = False) -> Response:
        """A 200 whose lines are there as bytes, up to its end: an ETag as the last one but for
        `Content-Length`. The other attributes are parsed from them on first use."""
        made = cls.__new__(cls)
        made.body, made.status, made.private, made.rest = body, 200, private, rest
        return made

    def __getattr__(self, name: str) -> Any:
        """Of an answer that is rendered: the lines and the tag."""
        if name not in ("head", "etag") or self.rest is None:
            raise AttributeError(name)
        lines, _, _ = self.rest.partition(b"\r\nContent-Length: ")
        self.rest = None
        self.head = lines.decode("latin-1") + "\r\n"
        self.etag = self.head.rpartition('ETag: "')[2][:-3]
        return self.head if name == "head" else self.etag

    @classmethod
    def json(
        cls,
        value: object,
        status: int = 200,
        *,
        headers: Mapping[str, str] | Fields | None = None,
        etag: str | int | None = None,
    ) -> Response:
        """`value` encoded by msgspec (structs, dicts, lists, dates, UUIDs and so on)."""
        return cls(msgspec.json.encode(value), status, media_type=JSON, headers=headers, etag=etag)

    @classmethod
    def html(
        cls, text: str, status: int = 200, *, headers: Mapping[str, str] | Fields | None = None
    ) -> Response:
        """A page: `text` as UTF-8."""
        return cls(text, status, media_type=HTML, headers=headers)

    @classmethod
    def redirect(cls, location: str, status: int = 303) -> Response:
        """A redirect; after 303 the client uses GET."""
        return cls(b"", status, headers={"Location": location})

    def with_header(self, name: str, value: str) -> Response:
        """Add a field line; returns this answer."""
        check_field(name, value)
        if name.lower() == "cache-control":
            self.head = self.head.replace(NO_CACHE, "")
        self.head += f"{name}: {value}\r\n"
        return self

    def copy(self) -> Response:
        """A copy of this answer."""
        made = Response.__new__(Response)
        made.body, made.status, made.head, made.etag = self.body, self.status, self.head, self.etag
        made.private, made.rest = self.private, None
        return made

    def headers(self) -> list[tuple[str, str]]:
        """The field lines, for tests and logs."""
        pairs = []
        for line in self.head.split("\r\n"):
            name, separator, value = line.partition(": ")
            if separator:
                pairs.append((name, value))
        return pairs

    def raw_headers(self) -> list[tuple[bytes, bytes]]:
        """The field lines in the form of ASGI: lower-case names, without Content-Length."""
        return list(_raw_fields(self.head))

    def render(self, common: bytes, *, with_body: bool = True) -> bytes:
        """The whole message. `common` are ready lines that every answer carries (Date, perhaps Connection)."""
        if self.rest is not None and with_body:
            return b"".join((OK, common, self.rest))
        body, status = self.body, self.status
        head = self.head
        lines = (
            head.encode() if head.isascii() else head.encode("latin-1")
        )  # the usual one, without a codec's name
        if status == 200:
            line = OK
        elif status in BODILESS:
            return b"".join((STATUS_LINES[status], common, lines, b"\r\n"))
        else:
            line = STATUS_LINES[status]
        size = len(body)
        length = LENGTH_LINES[size] if size < 4096 else b"Content-Length: %d\r\n\r\n" % size
        return b"".join((line, common, lines, length, body if with_body else b""))

    def whole(self) -> tuple[list[tuple[bytes, bytes]], bytes]:
        """The field lines in the form of ASGI, with Content-Length, and the body."""
        headers, body = self.raw_headers(), self.body
        if self.status in BODILESS:
            return headers, b""
        headers.append((b"content-length", b"%d" % len(body)))
        return headers, body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as an ASGI application."""
        headers, body = self.whole()
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    def __repr__(self) -> str:
        return f"Response({self.status}, {len(self.body)} bytes)"


def _says_cached(fields: Mapping[str, str]) -> bool:
    return any(name.lower() == "cache-control" for name in fields)


def _lines(media_type: str | None, headers: Mapping[str, str] | Fields | None) -> str:
    """The field lines of an answer, checked."""
    head = ""
    if media_type is not None:
        known = MEDIA_LINES.get(media_type)
        if known is None:
            check_field("Content-Type", media_type)
            known = f"Content-Type: {media_type}\r\n"
        head = known
    if headers is None:
        return head
    if isinstance(headers, Fields):
        return head + headers.lines
    for name, value in headers.items():
        if name not in _names or not value.isprintable():
            check_field(name, value)
        head = f"{head}{name}: {value}\r\n"
    return head


def _is_tag(etag: str | int) -> bool:
    """Whether it can stand between the quotes of an entity tag (RFC 9110 section 8.8.3)."""
    return isinstance(etag, str) and etag.isprintable() and '"' not in etag and " " not in etag


@lru_cache(maxsize=512)
def _raw_fields(head: str) -> tuple[tuple[bytes, bytes], ...]:
    """Field lines as pairs of bytes. Many answers have the same lines."""
    lines = (line.partition(": ") for line in head.split("\r\n") if line)
    return tuple((name.lower().encode("ascii"), value.encode("latin-1")) for name, _, value in lines)


def response_of(result: Any) -> Response:
    """What a view returned, as an answer: None is 204, text and bytes are bodies, all else is JSON."""
    kind = result.__class__
    if kind is Response or isinstance(result, Response):
        return result  # type: ignore[no-any-return]
    if result is None:
        return Response(b"", 204)
    if kind is str:
        return Response(result)
    if kind is bytes:
        return Response(result, media_type=BINARY)
    if hasattr(result, "raw_headers") and hasattr(result, "body"):
        return _of_starlette(result)
    if hasattr(kind, "model_dump_json"):  # pydantic's own JSON
        return Response(result.model_dump_json().encode(), media_type=JSON)
    return Response.json(result)


def _of_starlette(result: Any) -> Response:
    """A Starlette response that is complete in memory."""
    answer = Response(bytes(result.body), result.status_code)
    for name, value in result.raw_headers:
        if name != b"content-length":
            answer.with_header(name.decode("latin-1").title(), value.decode("latin-1"))
    return answer
