"""The client's side of a connection: many calls at a time on one stream, or as datagrams.

Sends frames, matches replies by request id, notices the end. A packet that cannot be read fails the call that it
answers, as far as its id can be told; else the connection is closed. Which connection a call takes, and what a failure
means, is decided in `link` and `client`.

A server that is about to stop pushes `_reconnect_` (TarsGo; our own server too): the connection is `leaving` then,
takes no new calls, and closes when the last reply has come.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from time import monotonic
from typing import Protocol, cast

from skerry.tars.errors import DecodeError
from skerry.tars.stream import FrameStream
from skerry.tars.wire.packet import RECONNECT, ResponsePacket, decode_reply, reply_id, split_datagram

log = logging.getLogger("skerry.tars.client")

Push = Callable[[ResponsePacket], None]


GRAIN_SECONDS = 0.01

_LAST_ID = 2**31 - 1


class Channel(Protocol):
    """What a call needs of a connection, stream or not."""

    pending: PendingCalls
    writable: bool
    last_heard: float

    @property
    def open(self) -> bool:
        """Whether new calls may go here."""
        ...

    def send(self, frame: bytes) -> None: ...

    async def drained(self) -> None:
        """Return when the peer has taken what was written; ConnectionError when it never will."""
        ...

    def leave(self) -> None:
        """No new calls; close once the last reply has come."""
        ...

    def abort(self) -> None: ...


class ClientStream(FrameStream):
    """One tcp or TLS connection to a server."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        max_frame_bytes: int,
        push: Push | None = None,
        on_unknown: Callable[[], object] | None = None,
    ) -> None:
        super().__init__(loop, max_frame_bytes)
        self.pending = PendingCalls(loop, on_unknown)
        self.leaving = False
        self._push = push
        self._drain_waiters: list[asyncio.Future[None]] = []

    @property
    def open(self) -> bool:
        return not (self.closed or self.leaving)

    def data_received(self, data: bytes) -> None:
        self.last_heard = self.loop.time()
        resolve = self.pending.resolve
        try:
            for packet in self.feed(data):
                try:
                    reply = decode_reply(packet)
                except DecodeError as error:
                    if not self.pending.refuse(reply_id(packet), error):
                        raise
                    continue
                if reply.request_id:
                    resolve(reply)
                else:
                    self._pushed(reply)
        except DecodeError as error:
            log.warning("closing a connection: the server sent %s", error)
            self._end(ConnectionAbortedError(f"the server sent an invalid packet: {error}"))
            self.abort()
            return
        if self.leaving and not len(self.pending):
            self.close()

    def leave(self) -> None:
        if not self.leaving:
            self.leaving = True
            if not len(self.pending):
                self.close()

    async def drained(self) -> None:
        while not self.writable:
            waiter: asyncio.Future[None] = self.loop.create_future()
            self._drain_waiters.append(waiter)
            await waiter
        if self.closed:
            raise ConnectionResetError("the connection was closed")

    def resume_writing(self) -> None:
        super().resume_writing()
        waiters, self._drain_waiters = self._drain_waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._end(ConnectionResetError(str(exc) if exc else "the server closed the connection"))
        self.writable = True
        self.resume_writing()

    def _end(self, error: ConnectionError) -> None:
        self.pending.fail(error)

    def _pushed(self, packet: ResponsePacket) -> None:
        if packet.description == RECONNECT:
            self.leaving = True
        elif self._push is not None:
            self._push(packet)


class ClientDatagrams(asyncio.DatagramProtocol):
    """A connected udp socket. Nothing is resent: a lost datagram is a time-out."""

    transport: asyncio.DatagramTransport

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        max_frame_bytes: int,
        on_unknown: Callable[[], object] | None = None,
    ) -> None:
        self.pending = PendingCalls(loop, on_unknown)
        self.writable = True
        self.last_heard = loop.time()
        self.open = False
        self._loop, self._max = loop, max_frame_bytes

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)
        self.open = True

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.last_heard = self._loop.time()
        try:
            packet = split_datagram(data, self._max)
            try:
                self.pending.resolve(decode_reply(packet))
            except DecodeError as error:
                if not self.pending.refuse(reply_id(packet), error):
                    raise
        except DecodeError as error:
            log.warning("dropped a datagram of %s: %s", addr[0], error)
        if not self.open and not len(self.pending):
            self.transport.close()

    def error_received(self, exc: Exception) -> None:
        self.pending.fail(ConnectionRefusedError(str(exc)))

    def connection_lost(self, exc: Exception | None) -> None:
        self.open = False
        self.pending.fail(ConnectionResetError(str(exc or "closed")))

    def send(self, frame: bytes) -> None:
        self.transport.sendto(frame)

    async def drained(self) -> None:
        return

    def leave(self) -> None:
        self.open = False
        if not len(self.pending):
            self.transport.close()

    def abort(self) -> None:
        self.open = False
        self.transport.abort()


class PendingCalls:
    """Requests that wait for their reply on one connection: futures by request id. Ids count from 1, never 0 (that is
    the server's push).

    One timer for all of them: it is set for the earliest deadline and looks at everyone when it fires, so a call that
    gets its reply in time costs no timer at all. A call never ends early and at most `GRAIN_SECONDS` late.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, on_unknown: Callable[[], object] | None = None
    ) -> None:
        self._loop, self._on_unknown = loop, on_unknown
        self._waiting: dict[int, tuple[asyncio.Future[ResponsePacket], float]] = {}
        self._id = 0
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0

    def __len__(self) -> int:
        return len(self._waiting)

    def next_id(self) -> int:
        """An id that no waiting request has."""
        number = self._id
        while True:
            number = number + 1 if number < _LAST_ID else 1
            if number not in self._waiting:
                self._id = number
                return number

    def wait(self, request_id: int, deadline: float) -> asyncio.Future[ResponsePacket]:
        """A future for the reply; TimeoutError in it after `deadline` (time.monotonic)."""
        future: asyncio.Future[ResponsePacket] = self._loop.create_future()
        self._waiting[request_id] = (future, deadline)
        if self._timer is None or deadline < self._timer_at:
            self._set_timer(deadline)
        return future

    def forget(self, request_id: int) -> None:
        """Nobody waits for this one any more; its reply will be dropped."""
        self._waiting.pop(request_id, None)

    def resolve(self, reply: ResponsePacket) -> None:
        """Hand a reply to its caller; one that nobody waits for is dropped, and `on_unknown` hears of it."""
        entry = self._waiting.pop(reply.request_id, None)
        if entry is None:
            if self._on_unknown is not None:
                self._on_unknown()
        elif not entry[0].done():
            entry[0].set_result(reply)

    def refuse(self, request_id: int, error: Exception) -> bool:
        """The caller that waits for this reply gets `error` in its place; whether there is one."""
        entry = self._waiting.pop(request_id, None)
        if entry is not None and not entry[0].done():
            entry[0].set_exception(error)
        return entry is not None

    def fail(self, error: BaseException) -> None:
        """The connection is gone: all that wait get `error`."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        waiting, self._waiting = self._waiting, {}
        for future, _ in waiting.values():
            if not future.done():
                future.set_exception(error)

    def _set_timer(self, deadline: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = deadline
        self._timer = self._loop.call_later(max(deadline - monotonic(), 0) + GRAIN_SECONDS / 2, self._expire)

    def _expire(self) -> None:
        self._timer = None
        now = monotonic()
        earliest: float | None = None
        for request_id, (future, deadline) in list(self._waiting.items()):
            if deadline <= now:
                del self._waiting[request_id]
                if not future.done():
                    future.set_exception(TimeoutError())
            elif earliest is None or deadline < earliest:
                earliest = deadline
        if earliest is not None:
            self._set_timer(max(earliest, now + GRAIN_SECONDS / 2))
