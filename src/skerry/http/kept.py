"""Answers that are kept until memory changes: what was sent is sent again to a client that repeats the request. Pure.

For GET routes that are declared `keep=True`: their answer follows from the path and from this server's memory. One of
`keep="key"` follows from what events of that key tell: the next one of them drops it, and until then it is sent with
the position where memory is by now. A request is the same one when all its bytes are, header block and target; the
connection has to be one on which that header block was accepted. Never kept: answers other than 200, to conditional
requests, to those that name a position (`Skerry-Position`) or whose client has to prove an identity, and anything while
a projection is stopped.
"""

from __future__ import annotations

from collections.abc import Sequence, Sized
from typing import Any, Protocol

from skerry.http.headers import Headers
from skerry.http.reply import OK, Response
from skerry.http.routes import Route

OVERHEAD = 250
"""Bytes that an answer takes beside its own and those of its request, about."""

RESERVED = "skerry."
"""Events whose names begin so may change anything."""
POSITION = b"Skerry-Position: "
Kept = tuple[dict[int, int], bytes, bool]
"""Where it is counted (`Route.counts`), what follows the status line and the Date of the answer, and whether the line
of the position is to come before that."""


class Applied(Protocol):
    """An event that memory has applied, as the journal has it."""

    @property
    def offset(self) -> int: ...

    @property
    def key(self) -> str: ...

    @property
    def name(self) -> str: ...


class KeptAnswers:
    """The kept answers of one server, by the request's bytes; always the same dict. At most `most_bytes` with their
    requests and `OVERHEAD` each: beyond, all are dropped. `stopped`: nothing is kept while there is anything in it, nor
    before it is set by the one that clears the answers when memory changes. `position`: the line that tells where
    memory is."""

    def __init__(self, most_bytes: int = 16 << 20) -> None:
        self.answers: dict[bytes, Kept] = {}
        self.stopped: Sized = ("nobody clears them",)
        self.most_bytes, self._bytes = most_bytes, 0
        self.position = b""
        self._by_key: dict[str, list[bytes]] = {}
        self._by_any: list[bytes] = []

    def offer(self, request: bytes, headers: Headers, route: Route, answer: Response, key: str = "") -> None:
        """Keep this answer of a route that is declared so, unless it may depend on more than path and memory. `key`:
        the parameter of its path."""
        if (
            answer.status != 200
            or route.personal
            or headers.conditional
            or headers.positioned
            or self.stopped
        ):
            return
        if request in self.answers or not self.most_bytes:
            return
        rest, position = answer.render(b"")[len(OK) :], b""
        if route.keep_by_key:
            rest, position = _parted(rest)
        size = len(request) + len(rest) + OVERHEAD
        if size > self.most_bytes >> 4:
            return
        if self._bytes + size > self.most_bytes:
            self.clear()
        self._bytes += size
        if route.keep_by_key:
            self.position = position or self.position
            self._by_key.setdefault(key, []).append(request)
        else:
            self._by_any.append(request)
        self.answers[request] = (route.counts, rest, bool(position))

    def applied(self, records: Sequence[Applied], epoch: str) -> None:
        """Memory has applied these. A listener of the projector."""
        if not self.answers:
            return
        self.position = b"%b%b:%d\r\n" % (POSITION, epoch.encode(), records[-1].offset)
        self._drop(self._by_any)
        self._by_any.clear()
        for record in records:
            if record.name.startswith(RESERVED):
                self.clear()
                return
            found = self._by_key.pop(record.key, None)
            if found is not None:
                self._drop(found)

    def clear(self, *_: Any) -> None:
        """Memory has changed. A listener of anything that tells so."""
        if self.answers:
            self.answers.clear()
            self._by_key.clear()
            self._by_any.clear()
            self._bytes = 0

    def _drop(self, requests: Sequence[bytes]) -> None:
        for request in requests:
            _, rest, _ = self.answers.pop(request)
            self._bytes -= len(request) + len(rest) + OVERHEAD


def _parted(rest: bytes) -> tuple[bytes, bytes]:
    """An answer without the line of its position, and that line; empty when there is none."""
    begin = rest.find(POSITION, 0, rest.index(b"\r\n\r\n") + 2)
    if begin < 0 or rest[:begin].rpartition(b"\n")[2]:
        return rest, b""
    end = rest.index(b"\n", begin) + 1
    return rest[:begin] + rest[end:], rest[begin:end]
