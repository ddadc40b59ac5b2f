"""One request as a view sees it, the same on the lane and on the ASGI side. Everything but the line is read lazily.

The body is complete: it was collected within the route's limit before the view is called. A view that wants the body
as a stream declares `starlette.requests.Request` instead and lives on the ASGI side.
"""

from __future__ import annotations

import os
from asyncio import Future
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any, Protocol, TypeVar
from urllib.parse import parse_qsl, quote, unquote

import msgspec

from skerry.http.headers import Headers
from skerry.http.identity import Identity
from skerry.http.problems import Problem
from skerry.provenance import TRACE, provenance

T = TypeVar("T")
MAX_QUERY_FIELDS = 1000


class Peer(Protocol):
    """The two ends of a connection, as (host, port); None when unknown (a Unix socket)."""

    @property
    def client(self) -> tuple[str, int] | None: ...

    @property
    def server(self) -> tuple[str, int | None] | None: ...

    @property
    def scheme(self) -> str: ...

    @property
    def host(self) -> str | None:
        """The host that clients ask for, where a trusted proxy has said that it is another one than Host."""
        ...

    @property
    def root_path(self) -> str:
        """Where the application begins for clients, decoded, without a slash at its end."""
        ...


@dataclass(frozen=True, slots=True)
class Ends:
    """The two ends as plain values."""

    client: tuple[str, int] | None = None
    server: tuple[str, int | None] | None = None
    scheme: str = "http"
    host: str | None = None
    root_path: str = ""


UNKNOWN: Peer = Ends()
_process = os.urandom(6).hex()
_numbers = count(1)


def _be_another_process() -> None:
    global _process
    _process = os.urandom(6).hex()


os.register_at_fork(after_in_child=_be_another_process)


def new_request_id() -> str:
    """Unique across processes without costing a system call each: process part and a running number."""
    return f"{_process}-{next(_numbers):x}"


class Query:
    """The query parameters, decoded strictly. Raises Problem 400 for what is not UTF-8 or has too many fields."""

    __slots__ = ("_pairs",)

    def __init__(self, raw: bytes = b"") -> None:
        self._pairs: list[tuple[str, str]] = []
        if raw:
            try:
                self._pairs = parse_qsl(
                    raw.decode("ascii"),
                    keep_blank_values=True,
                    errors="strict",
                    max_num_fields=MAX_QUERY_FIELDS,
                )
            except ValueError as error:
                raise Problem(400, "the query string is malformed or not UTF-8") from error

    def get(self, name: str, default: str | None = None) -> str | None:
        """The first value of that name."""
        for key, value in self._pairs:
            if key == name:
                return value
        return default

    def get_all(self, name: str) -> list[str]:
        return [value for key, value in self._pairs if key == name]

    def items(self) -> list[tuple[str, str]]:
        return list(self._pairs)

    def __contains__(self, name: object) -> bool:
        return any(key == name for key, _ in self._pairs)


class Request(msgspec.Struct, eq=False):
    """A request.

    `method` in upper case; `target` the raw request target (path and query, bytes as sent, below the root path);
    `body` bytes, complete; `identity` of the client, None without tokens; `scope` the ASGI scope on the ASGI side,
    None on the lane; `sent` the answer of a write that the view has sent for it, None when it has not.
    """

    method: str
    target: bytes
    headers: Headers
    body: bytes = b""
    peer: Peer = UNKNOWN
    scope: Mapping[str, Any] | None = None
    identity: Identity | None = None
    sent: Future[Any] | None = None
    _read: dict[str, Any] | None = None

    @property
    def raw_path(self) -> bytes:
        """The path as sent, percent-encoding untouched, without the query."""
        return self.target.partition(b"?")[0]

    @property
    def path(self) -> str:
        """The decoded path, for people and logs; a `%2F` shows as a slash here."""
        return unquote(self.raw_path.decode("latin-1"), errors="replace")

    @property
    def query(self) -> Query:
        """The query parameters. Raises Problem 400 when they are malformed."""
        read = self._remembered()
        if "query" not in read:
            read["query"] = Query(self.target.partition(b"?")[2])
        found: Query = read["query"]
        return found

    @property
    def provenance(self) -> Mapping[str, str]:
        """The provenance of commands that are sent for this request: the client's subject (`who`), and its
        trace (`traceparent`)."""
        who = self.identity.subject if self.identity is not None else ""
        return provenance(
            who, self._read["trace"] if self._read and "trace" in self._read else self.headers.get(TRACE)
        )

    def take_trace(self, traceparent: str) -> None:
        """Make commands that are sent for this request part of this span, which is part of the client's."""
        self._remembered()["trace"] = traceparent

    @property
    def client(self) -> tuple[str, int] | None:
        """Address and port of the client, as a trusted proxy reports them if there is one; None for a unix
        socket."""
        return self.peer.client

    @property
    def scheme(self) -> str:
        """`http` or `https`, as the client speaks it."""
        return self.peer.scheme

    @property
    def host(self) -> str:
        """The host that the client asks for, with its port: as a trusted proxy reports it, else the Host
        field; empty when a client of HTTP/1.0 sent none. For URLs only: rights must not depend on it."""
        return self.peer.host or self.headers.get("host") or ""

    @property
    def root_path(self) -> str:
        """The path under which clients reach the application (SKERRY_ROOT_PATH, X-Forwarded-Prefix of a
        trusted proxy), decoded; `path` and `target` are relative to it."""
        return self.peer.root_path

    def url_path(self, path: str) -> str:
        """The root path followed by `path` (percent-encoded), for links and redirects within this
        application."""
        root = self.peer.root_path
        return quote(root, safe="/!$&'()*+,;=:@-._~") + path if root else path

    @property
    def id(self) -> str:
        """The `X-Request-ID` that came along when it is a plain token of up to 128 characters, else a new one."""
        read = self._remembered()
        if "id" not in read:
            given = self.headers.get("x-request-id")
            plain = (
                given is not None and given.isascii() and given.replace("-", "").replace("_", "").isalnum()
            )
            read["id"] = given if plain and given is not None and len(given) <= 128 else new_request_id()
        found: str = read["id"]
        return found

    def _remembered(self) -> dict[str, Any]:
        if self._read is None:
            self._read = {}
        return self._read

    def json(self, kind: type[T]) -> T:
        """The body as JSON of that type. Raises Problem 422 with the reason (400 when it is not JSON at all)."""
        try:
            return msgspec.json.decode(self.body, type=kind)
        except msgspec.ValidationError as error:
            raise Problem(422, f"body: {error}") from error
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Problem(400, f"the body is not JSON: {error}") from error

    def text(self) -> str:
        """The body as text. Raises Problem 415 when it is not UTF-8."""
        try:
            return self.body.decode("utf-8")
        except UnicodeDecodeError as error:
            raise Problem(415, "the body is not valid UTF-8") from error

    def cookies(self) -> dict[str, str]:
        """The cookies, by name; the first of a name counts."""
        found: dict[str, str] = {}
        for part in (self.headers.get("cookie") or "").split(";"):
            name, separator, value = part.strip().partition("=")
            if separator:
                found.setdefault(name, value.strip('"'))
        return found

    def __repr__(self) -> str:
        return f"Request({self.method} {self.path})"
