"""Messages as payloads of NOTIFY: each below 8,000 bytes, and no two alike. Pure.

A message that is longer travels in pieces, which arrive in order. Each payload begins with a number: PostgreSQL drops
the second of two equal ones of a transaction.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

MOST_BYTES = 7900
"""Of a piece; the server's limit is 7,999 bytes, and the number takes some."""
_MOST_OPEN = 100
HINT, ANSWER, ANNOUNCEMENT, BEAT = "h", "a", "n", "b"


class Sender:
    """Makes payloads."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)

    def payloads(self, kind: str, body: bytes) -> Iterator[str]:
        """The pieces of a message, in the order in which they are to be sent."""
        text = body.decode()
        step = MOST_BYTES if text.isascii() else MOST_BYTES // 4
        pieces = [text[at : at + step] for at in range(0, len(text), step)] or [""]
        number = next(self._numbers)
        for left, piece in zip(range(len(pieces) - 1, -1, -1), pieces, strict=True):
            yield f"{kind}{number:x}.{left:x} {piece}"


class Receiver:
    """Puts the pieces of one channel's messages together."""

    def __init__(self) -> None:
        self._open: dict[tuple[int, str], list[str]] = {}

    def take(self, process: int, payload: str) -> tuple[str, bytes] | None:
        """Kind and body of a message that is whole now. `process`: the server's process that notified. Raises
        ValueError for what is no payload of ours."""
        head, _, piece = payload.partition(" ")
        label, _, left = head.partition(".")
        pieces = self._open.setdefault((process, label), [])
        pieces.append(piece)
        if int(left, 16):
            if len(self._open) > _MOST_OPEN:  # its sender died in between
                del self._open[next(iter(self._open))]
            return None
        del self._open[process, label]
        return label[:1], "".join(pieces).encode()
