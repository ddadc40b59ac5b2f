"""How much of a websocket is parsed at a time: in slices, with a share of each turn of the loop.

A frame may be six bytes long, and a transport brings megabytes in one turn: a client of many small frames would hold
everybody else up for seconds. Beyond its share it is not read until the others had their turn; nor is a client whose
view has enough of its messages.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

from skerry.server.reading import TURN_SECONDS

if TYPE_CHECKING:
    from skerry.server.websocket import WebSocketConnection

SLICE = 2_048  # some hundreds of the smallest frames


class Inflow:
    """What comes in on one websocket. `held`: the view has enough for now."""

    __slots__ = ("_connection", "_due", "_paused", "_stash", "held")

    def __init__(self, connection: WebSocketConnection) -> None:
        self._connection = connection
        self._stash = b""  # came, and is not parsed yet
        self._due = False  # it goes on in the next turn of the loop
        self._paused = False  # the transport reads nothing
        self.held = False

    def take(self, data: bytes) -> None:
        """What the transport has read."""
        if len(data) > SLICE or self._stash:
            self._stash += data
            if not self._due and not self.held:
                self._go_on()
        else:
            self._connection.parse(data)
            self._settle()

    def hold(self) -> None:
        """Parse nothing beyond the present slice, read nothing."""
        self.held = True

    def release(self) -> None:
        """Go on."""
        self.held = False
        self._settle()

    def drop(self) -> None:
        """The connection is gone."""
        self._stash = b""

    def _go_on(self) -> None:
        self._due = False
        data, at, began = self._stash, 0, monotonic()
        transport = self._connection.transport
        while at < len(data) and not self.held and not transport.is_closing():
            self._connection.parse(data[at : at + SLICE])
            at += SLICE
            if monotonic() - began > TURN_SECONDS:
                break
        self._stash = b"" if transport.is_closing() else data[at:]
        self._settle()

    def _settle(self) -> None:
        """Read, or do not, as things stand now."""
        connection = self._connection
        if connection.gone:
            return
        if self._stash and not self.held and not self._due:
            self._due = True
            connection.loop.call_soon(self._go_on)
        pause = self.held or bool(self._stash)
        if pause and not self._paused:
            connection.transport.pause_reading()
        elif self._paused and not pause:
            connection.transport.resume_reading()
        self._paused = pause
