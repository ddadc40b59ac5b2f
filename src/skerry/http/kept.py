"""Answers that are kept until memory changes: what was sent is sent again to a client that repeats the request. Pure.

For GET routes that are declared `keep=True`: their answer follows from the path and from this server's memory. One of
`keep="key"` follows from what events of that key tell: the next one of them drops it, and until then it is sent with
the position where memory is by now. A request is the same one when all its bytes are, header block and target; the
connection has to be one on which that header block was accepted. Never kept: answers other than 200, to conditional
requests, to those that name a position (`Skerry-Position`) or whose client has to prove an identity, and anything while
a projection is stopped.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Sized
from typing import Any

from skerry.http.headers import Headers
from skerry.http.reply import OK, Response
from skerry.http.routes import Route

OVERHEAD = 250
"""Bytes that an answer takes beside its own and those of its request, about."""

POSITION = b"Skerry-Position: "
Kept = tuple[dict[int, int], bytes, bool]
"""Where it is counted (`Route.counts`), what follows the status line and the Date of the answer, and whether the line
of the position is to come before that."""


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
        whole = answer.render(b"")
        rest, position = _parted(whole) if route.keep_by_key else (whole[len(OK) :], b"")
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

    def drop(self, keys: Iterable[str], position: object) -> None:
        """Events of these keys were applied, and memory is at `position`."""
        self.position = b"%b%b\r\n" % (POSITION, str(position).encode())
        self._drop(self._by_any)
        self._by_any.clear()
        for key in keys:
            self._drop(self._by_key.pop(key, ()))

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


def _parted(answer: bytes) -> tuple[bytes, bytes]:
    """What follows the status line of an answer, without the line of its position; and that line, empty when there is
    none."""
    begin = answer.find(b"\n" + POSITION, 0, answer.index(b"\r\n\r\n") + 2) + 1
    if not begin:
        return answer[len(OK) :], b""
    end = answer.index(b"\n", begin) + 1
    return answer[len(OK) : begin] + answer[end:], answer[begin:end]
