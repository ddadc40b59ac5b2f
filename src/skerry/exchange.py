"""What answers a request, and what it has of the connection: the head, the body, room to write, notice of the end.

A contract between the reader of requests (`server`) and what answers them (its ASGI side, a WSGI host). Not for
views, which see `http.request.Request`; and without I/O: the server waits, the answerer decides.

An `Exchange` is one request and the way its answer takes. An `Answerer` is told in the server's loop what has changed,
and asks the exchange for the rest; from another thread everything here goes through `loop.call_soon_threadsafe`.

    body     `readable()` is told -> `take()`: what has come. Nothing more is read while 64 KiB wait to be taken, and a
             client that waits for `100 Continue` gets it with the first `take`.
    answer   `start`, any number of `write`, `finish`. While `room` is false, write nothing: `writable()` follows.
    the end  `gone()` is told once, when the client says no more or is lost; it waits for nothing but, perhaps, the
             rest of its answer. The way out stays open until `closed`.

After a client has gone there is no waiting for room: a `write` that finds none closes the exchange. From then on
`start`, `write` and `finish` raise ClientDisconnected. Answers are framed by the server (RFC 9112 section 6): who
answers gives fields and bytes. An answer that is known as a whole is given with `reply`, a file with `finish_file`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

Fields = Sequence[tuple[bytes, bytes]]


class ClientDisconnected(ConnectionError):
    """Nothing reaches the client any more; an OSError, as ASGI has it since its version 2.4."""


class Head(msgspec.Struct, frozen=True):
    """A request's head. `target`: path and query as sent; `version` "1.1" or "1.0"; `fields` with names in lower case,
    in the order of arrival; the two ends of the connection as (host, port), None when unknown (a unix socket).

    Behind a proxy that is trusted, `client`, `scheme` and `server` are what it says of the client's own connection.
    `host`: what the client asked for where a proxy says that it is another one than the Host field, for URLs only.
    `root_path`: where the application begins for clients, decoded (SCRIPT_NAME); `target` stands below it."""

    method: str
    target: bytes
    version: str
    fields: Fields
    scheme: str = "http"
    client: tuple[str, int] | None = None
    server: tuple[str, int | None] | None = None
    host: str | None = None
    root_path: str = ""


class Answerer(Protocol):
    """Answers one request. Each method is called in the loop, perhaps from within a call of the exchange: it notes and
    wakes, does not call the exchange itself, and never raises. None is called after the answer is finished."""

    def readable(self) -> None:
        """More of the body has come, or it is complete."""
        ...

    def writable(self) -> None:
        """There is room again."""
        ...

    def gone(self) -> None:
        """The client says no more, or is lost (then `closed` is true as well). Told once for each of the two."""
        ...


class Exchange(Protocol):
    """One request and the way its answer takes."""

    @property
    def head(self) -> Head: ...

    @property
    def complete(self) -> bool:
        """Whether the whole body has come and was taken."""
        ...

    @property
    def broken(self) -> bool:
        """Whether the body will never be complete."""
        ...

    @property
    def gone(self) -> bool:
        """Whether the client says no more."""
        ...

    @property
    def closed(self) -> bool:
        """Whether nothing can be sent any more."""
        ...

    @property
    def room(self) -> bool:
        """Whether less is unsent than the server's limit."""
        ...

    @property
    def started(self) -> bool:
        """Whether the answer has begun."""
        ...

    @property
    def finished(self) -> bool:
        """Whether the answer is complete."""
        ...

    def take(self) -> bytes:
        """What has come of the body since the last time, perhaps nothing; the client is read on."""
        ...

    def start(self, status: int, fields: Fields, *, reason: bytes = b"") -> None:
        """Begin the answer. `reason`: where it is not the usual one of the status. Raises RuntimeError for a field
        that would break the message and when it has begun already, ClientDisconnected."""
        ...

    def reply(self, status: int, fields: Fields, data: bytes, *, reason: bytes = b"") -> None:
        """The whole answer in one: `start` and `finish`. Raises as they do."""
        ...

    def write(self, data: bytes) -> None:
        """A part of the answer's body. Raises RuntimeError before `start`, after `finish` and beyond the declared
        length, ClientDisconnected when nothing reaches the client any more."""
        ...

    def finish(self, data: bytes = b"") -> None:
        """The last part. Raises as `write`, and RuntimeError when less came than was declared."""
        ...

    def finish_file(self, descriptor: int, offset: int, count: int) -> None:
        """The last part is so much of a regular file; the system sends it where it can (sendfile(2)). The descriptor
        is the exchange's from here on, which closes it. Returns at once; `writable` is told when all is sent. Raises
        as `write`, and RuntimeError when it is not as long as was declared."""
        ...

    def abort(self) -> None:
        """Give the answer up: a client that has seen a part of it sees the connection break, one that has seen all
        of it gets no further answer on it. May be called again."""
        ...


class Follower(Protocol):
    """Writes on by itself, frame by frame as something happens (a listener of events). None of these raises."""

    def pause(self) -> None:
        """There is no room: write nothing until `resume`. May be told from within a write."""
        ...

    def resume(self) -> None:
        """There is room again."""
        ...

    def gone(self) -> None:
        """Nobody reads any more."""
        ...


class LongExchange(Exchange, Protocol):
    """An exchange of our own server, whose answer may go on for long after its answerer is done."""

    @property
    def chunked(self) -> bool:
        """Whether each part of the body is framed as a chunk (RFC 9112 section 7.1). Known when it has begun."""
        ...

    def follow(self, follower: Follower) -> Callable[[bytes], None]:
        """Between `start` and `finish`: the rest of the body is `follower`'s, who is told in place of the answerer. It
        writes by what this returns: parts as the connection has them, framed where it is `chunked`, and none after
        `gone`. Raises ClientDisconnected when nothing reaches the client any more."""
        ...


Respond = Callable[[Exchange], Answerer]
"""Takes on a request whose turn it is; called in the loop, does not wait."""
