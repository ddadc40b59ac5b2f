"""A connection without a socket: what one end writes, the other end's protocol receives, in the same turn.

The transport has the manners of a real one where they can be seen: nothing is delivered while reading is paused, a
closed end is told once, writes after the end are dropped. There is no buffer, so writing never pauses by itself;
`congest` does it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

PEER = ("192.0.2.1", 40_000)  # an address of documentation, RFC 5737
HERE = ("192.0.2.2", 80)


class MemoryTransport(asyncio.Transport):
    """The server's end of a connection. `receive` gets every byte that the server writes, `ended` is called once."""

    def __init__(self, receive: Callable[[bytes], None], ended: Callable[[], None]) -> None:
        super().__init__({"peername": PEER, "sockname": HERE})
        self._receive, self._ended = receive, ended
        self._protocol: asyncio.BaseProtocol | None = None
        self._closing = False
        self._paused = False
        self._waiting: deque[bytes] = deque()
        self._held: list[bytes] | None = None

    def connect(self, protocol: asyncio.BaseProtocol) -> None:
        """Begin: the protocol is told of its connection."""
        self._protocol = protocol
        protocol.connection_made(self)

    def feed(self, data: bytes) -> None:
        """Bytes from the client; they wait while the server has paused reading."""
        if self._paused:
            self._waiting.append(data)
        elif not self._closing:
            assert isinstance(self._protocol, asyncio.Protocol)
            self._protocol.data_received(data)

    def feed_eof(self) -> None:
        """The client says no more."""
        if (
            not self._closing
            and isinstance(self._protocol, asyncio.Protocol)
            and not self._protocol.eof_received()
        ):
            self.close()

    def congest(self) -> None:
        """From now on the client takes nothing: the server is asked to pause writing."""
        if self._held is None and self._protocol is not None:
            self._held = []
            self._protocol.pause_writing()

    def relieve(self) -> None:
        """The client takes what was held, and the server may write again."""
        held, self._held = self._held, None
        if held is not None and self._protocol is not None:
            for data in held:
                self._receive(data)
            self._protocol.resume_writing()

    # What the server's protocol calls

    def write(self, data: Any) -> None:
        if self._held is not None:
            self._held.append(bytes(data))
        elif not self._closing:
            self._receive(bytes(data))

    def writelines(self, list_of_data: Any) -> None:
        for data in list_of_data:
            self.write(data)

    def write_eof(self) -> None:
        asyncio.get_running_loop().call_soon(self._ended)

    def can_write_eof(self) -> bool:
        return True

    def pause_reading(self) -> None:
        self._paused = True

    def resume_reading(self) -> None:
        self._paused = False
        if self._waiting:
            asyncio.get_running_loop().call_soon(self._deliver)

    def _deliver(self) -> None:
        while self._waiting and not self._paused and not self._closing:
            self.feed(self._waiting.popleft())

    def is_reading(self) -> bool:
        return not self._paused

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        self.abort()

    def abort(self) -> None:
        if not self._closing:
            self._closing = True
            asyncio.get_running_loop().call_soon(self._end)

    def _end(self) -> None:
        if self._protocol is not None:
            self._protocol.connection_lost(None)
        self._ended()

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        assert self._protocol is not None
        return self._protocol

    def get_write_buffer_size(self) -> int:
        return sum(map(len, self._held or ()))

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return 0, 65_536

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass
