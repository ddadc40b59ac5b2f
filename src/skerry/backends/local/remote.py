"""Consuming a partition over the wire: ask, get, acknowledge.

An application's one consumer is the hub itself and does without this; it makes a peer a whole transport (tools,
tests, a consumer apart from the hub). A lost connection ends it: what was not acknowledged went back to its queue.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import msgspec

from skerry.backends.local import frames
from skerry.backends.local.connection import Connection
from skerry.bus.transport import Delivery
from skerry.errors import Disconnected
from skerry.messages.envelope import unpack


class RemoteCommands:
    """One channel of a peer's connection. `closed` is called once."""

    def __init__(self, connection: Connection, channel: int, closed: Callable[[], object]) -> None:
        self._connection, self._channel, self._closed = connection, channel, closed
        self._fetching = False
        self._ready: list[Delivery] = []
        self._waiting: asyncio.Future[None] | None = None
        self._open = True

    async def receive(self, max_commands: int) -> list[Delivery]:
        """As the contract says. A receive that was cancelled loses nothing: the next one gets what came."""
        while True:
            if not self._open:
                raise Disconnected("the commands of this partition were closed, or the connection was lost")
            if self._ready:
                ready, self._ready = self._ready, []
                return ready
            if not self._fetching:
                self._fetching = True
                self._connection.send(frames.Fetch(self._channel, max_commands))
            self._waiting = asyncio.get_running_loop().create_future()
            try:
                await self._waiting
            finally:
                self._waiting = None

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        if self._open and deliveries:
            self._connection.send(frames.Ack(self._channel, [d.tag for d in deliveries]))

    async def close(self) -> None:
        if self._open:
            self._connection.send(frames.Shut(self._channel))
            self._closed()
            self.lost()

    # --- told by the peer

    def delivered(self, parcels: list[frames.Parcel]) -> None:
        self._fetching = False
        self._ready += [_delivery(parcel) for parcel in parcels]
        self._wake()

    def lost(self) -> None:
        self._open = False
        self._ready.clear()
        self._wake()

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)


def _delivery(parcel: frames.Parcel) -> Delivery:
    if not parcel.bad:
        try:
            return Delivery(unpack(parcel.data), parcel.again, None, parcel.tag)
        except (msgspec.DecodeError, UnicodeDecodeError):
            pass
    return Delivery([], parcel.again, parcel.data, parcel.tag)
