"""How much of a connection is read, and when: in slices, and not while answers wait.

What came but cannot be parsed yet is kept in `stash`; while there is any, or while turns wait, the transport is told
to read no more. Each connection has its share of a turn of the loop; beyond that the others go first.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

from skerry.server.asgi import HIGH_WATER
from skerry.server.intake import SLICE

if TYPE_CHECKING:
    from skerry.server.protocol import Connection

TURN_SECONDS = 0.005
"""What one connection may take of a turn of the loop with requests that wait; then it is the others' turn."""


class Reading:
    """What comes in on one connection. `paused`: the transport reads nothing; `eof`: the client sends no more;
    `rests`: the share of this turn of the loop is used up."""

    __slots__ = ("_connection", "_spent", "eof", "paused", "rests", "stash")

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.stash = b""
        self.paused = False
        self.eof = False
        self.rests = False
        self._spent = 0.0  # seconds of this turn of the loop

    def take(self, data: bytes) -> None:
        """What the transport has read."""
        connection = self._connection
        self._spent = 0.0
        if self.stash or len(data) > SLICE:
            self.stash += data
            self._go_on()
        else:
            connection.intake.feed(data)
            if connection.order.turns or connection.flow.write_paused:
                self.pause_reading()

    def pause_reading(self) -> None:
        if not self.paused:
            self.paused = True
            self._connection.transport.pause_reading()

    def resume_reading(self) -> None:
        """Read on, unless a turn waits: then its answer comes first."""
        connection = self._connection
        if connection.order.turns or connection.transport.is_closing():
            return
        if self.stash:
            self._go_on()
        if not connection.order.turns and not self.stash:
            self.resume_transport()

    def resume_transport(self) -> None:
        """Let the transport read, whatever waits."""
        if self.paused:
            self.paused = False
            self._connection.transport.resume_reading()

    def _go_on(self) -> None:
        """Parse what is kept, as far as the answers keep up."""
        connection = self._connection
        while self.stash and not (connection.order.turns or connection.closing or self.rests or self.full):
            part, self.stash = self.stash[:SLICE], self.stash[SLICE:]
            began = monotonic()
            connection.intake.feed(part)
            self.spend(monotonic() - began)
        if connection.closing:
            self.stash = b""
        elif self.stash or connection.order.turns or connection.flow.write_paused:
            self.pause_reading()
        elif self.eof and not connection.order.busy:
            connection.transport.close()  # what was read last is not complete, and never will be

    @property
    def full(self) -> bool:
        """Whether more input would pile up: answers are not taken, or a body is not read."""
        cycle = self._connection.order.hungry
        if cycle is not None:
            return len(cycle.body) > HIGH_WATER
        return self._connection.flow.write_paused

    def refresh(self) -> None:
        """A new turn of the loop has begun."""
        self._spent = 0.0

    def spend(self, seconds: float) -> None:
        """Account for the turn of the loop; beyond the share of one connection, the others go first."""
        self._spent += seconds
        if self._spent > TURN_SECONDS and not self.rests:
            self.rests = True
            self._connection.state.loop.call_soon(self._rested)

    def _rested(self) -> None:
        self.rests, self._spent = False, 0.0
        self._connection.order.advance()
