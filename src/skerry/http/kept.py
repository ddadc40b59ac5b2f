"""Answers that are kept until memory changes: what was sent is sent again to a client that repeats the request. Pure.

For GET routes that are declared `keep=True`: their answer follows from the path and from this server's memory. A
request is the same one when all its bytes are, header block and target; the connection has to be one on which that
header block was accepted. Never kept: answers other than 200, to conditional requests, to those that name a position
(`Skerry-Position`) or whose client has to prove an identity, and anything while a projection is stopped.
"""

from __future__ import annotations

from collections.abc import Sized
from typing import Any

from skerry.http.headers import Headers
from skerry.http.reply import OK, Response
from skerry.http.routes import Route

OVERHEAD = 250
"""Bytes that an answer takes beside its own and those of its request, about."""

Kept = tuple[dict[int, int], bytes]
"""Where it is counted (`Route.counts`), and what follows the status line and the Date of the answer."""


class KeptAnswers:
    """The kept answers of one server, by the request's bytes; always the same dict. At most `most_bytes` with their
    requests and `OVERHEAD` each: beyond, all are dropped. `stopped`: nothing is kept while there is anything in it, nor
    before it is set by the one that clears the answers when memory changes."""

    def __init__(self, most_bytes: int = 16 << 20) -> None:
        self.answers: dict[bytes, Kept] = {}
        self.stopped: Sized = ("nobody clears them",)
        self.most_bytes, self._bytes = most_bytes, 0

    def offer(self, request: bytes, headers: Headers, route: Route, answer: Response) -> None:
        """Keep this answer of a route that is declared so, unless it may depend on more than path and memory."""
        if (
            answer.status != 200
            or route.personal
            or headers.conditional
            or headers.positioned
            or self.stopped
        ):
            return
        rest = answer.render(b"")[len(OK) :]
        size = len(request) + len(rest) + OVERHEAD
        if size > self.most_bytes >> 4:
            return
        if self._bytes + size > self.most_bytes:
            self.clear()
        self._bytes += size
        self.answers[request] = (route.counts, rest)

    def clear(self, *_: Any) -> None:
        """Memory has changed. A listener of anything that tells so."""
        if self.answers:
            self.answers.clear()
            self._bytes = 0
