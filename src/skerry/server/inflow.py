"""What has come in on a connection and is not parsed yet: in slices, with a share of each turn of the loop. Pure.

A transport brings megabytes in one turn, and a request or a frame may be a few bytes long: a client that sends many of
them would hold everybody else up for seconds. Beyond its share (`TURN_SECONDS`) a connection rests until the next turn
of the loop. Whether anything may be parsed at all is decided by the parser (`http1`, `ws13`).
"""

from __future__ import annotations

from collections.abc import Callable

TURN_SECONDS = 0.005
"""What one connection may take of a turn of the loop; then it is the others' turn."""


class Inflow:
    """`stash`: what is not parsed yet; `spent`: seconds of this turn of the loop; `rests`: the share of it is used up;
    `now`: the clock."""

    __slots__ = ("_size", "now", "rests", "spent", "stash")

    def __init__(self, slice_bytes: int, clock: Callable[[], float]) -> None:
        self._size, self.now = slice_bytes, clock
        self.stash = b""
        self.spent = 0.0
        self.rests = False

    def put(self, data: bytes) -> bytes:
        """New input: what of it may be parsed now, perhaps nothing. A new turn of the loop has begun."""
        self.spent = 0.0
        if self.stash or self.rests or len(data) > self._size:
            self.stash = self.stash + data if self.stash else data
            return b""
        return data

    def keep(self, data: bytes) -> None:
        """It may not be parsed yet after all."""
        self.stash = data + self.stash

    def next(self) -> bytes:
        """The next slice; nothing while the connection rests."""
        if self.rests:
            return b""
        part, self.stash = self.stash[: self._size], self.stash[self._size :]
        return part

    def rest(self) -> bytes:
        """Everything, for another reader."""
        data, self.stash = self.stash, b""
        return data

    def spend(self, seconds: float) -> bool:
        """Account for work. Whether the connection has to rest from here on: then `rested` is due in the next turn."""
        self.spent += seconds
        if self.spent > TURN_SECONDS and not self.rests:
            self.rests = True
            return True
        return False

    def rested(self) -> None:
        """The others had their turn."""
        self.rests, self.spent = False, 0.0
