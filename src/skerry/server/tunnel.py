"""A websocket whose bytes are passed on to a process elsewhere: where the connection cannot move, as its TLS is here.
Nothing of what is said is looked at."""

from __future__ import annotations

import asyncio

from skerry.server.relay import Channel
from skerry.server.state import State


class Tunnel(asyncio.Protocol):
    """The client's end; it uses the channel as its other one."""

    idle = False

    def __init__(self, transport: asyncio.Transport, channel: Channel, state: State) -> None:
        self.transport, self._channel, self._state = transport, channel, state
        channel.user = self

    # The client

    def data_received(self, data: bytes) -> None:
        self._channel.write(data)
        if not self._channel.writable:
            self.transport.pause_reading()

    def eof_received(self) -> bool:
        return False

    def pause_writing(self) -> None:
        self._channel.read(on=False)

    def resume_writing(self) -> None:
        self._channel.read(on=True)

    def connection_lost(self, exc: Exception | None) -> None:
        self._state.connections.discard(self)
        self._channel.close()
        self._state.note_closed()

    # The channel

    def received(self, data: bytes) -> None:
        self.transport.write(data)

    def room(self) -> None:
        self.transport.resume_reading()

    def ended(self) -> None:
        self.transport.close()

    # The server

    def sweep(self, now: float) -> None:
        """The other process has the deadlines."""

    def shutdown(self) -> None:
        """A websocket is closed by the process that serves it; nobody knows here when."""
        self.transport.close()

    def give_up(self) -> None:
        self.transport.abort()

    def expel(self) -> None:
        """Close it; the listener's identity is known to the other process only."""
        self.transport.abort()
