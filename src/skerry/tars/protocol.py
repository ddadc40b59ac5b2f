"""The server's side of a connection: packets in, answers out, over a stream or as datagrams.

Turns bytes into requests for an `Adapter` and writes what it answers, many answers in one write. A
connection that is not reading its replies, or has too many requests unanswered, is not read either, so
that nobody fills the memory. It decides nothing about requests.

Source: TarsCpp. A frame whose length is out of range and a packet that is no request close the connection.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from functools import partial
from time import time
from typing import Protocol, cast

from skerry.tars.account import SUCCESS, Account, problem_of
from skerry.tars.adapter import Adapter, Sink
from skerry.tars.call import ClientConnection, Peer
from skerry.tars.errors import DecodeError
from skerry.tars.stream import HIGH_WATER_BYTES, FrameStream
from skerry.tars.wire.packet import (
    RequestPacket,
    ResponsePacket,
    ReturnCode,
    decode_request,
    encode_answer,
    encode_reconnect,
    encode_response,
    split_datagram,
)

log = logging.getLogger("skerry.tars.server")

PUSH_FUNCTION = "TARS_FUNC"  # where TarsCpp puts the function of a push
MAX_DATAGRAM_BYTES = 65_507

FIRST_WINDOW = 256
LARGE_REPLY_BYTES = 64 * 1024
REPLIES_BYTES = 4 * 1024 * 1024


class Gate(Protocol):
    """Knows the open connections of one listening endpoint."""

    def enter(self, connection: ServerStream) -> bool:
        """Whether there is room for this connection; then it is one of ours."""
        ...

    def leave(self, connection: ServerStream) -> None: ...


class ServerStream(FrameStream):
    """One tcp or TLS connection of a client.

    `_window` bounds its unanswered requests: it grows to the limit with small replies and shrinks with large ones, so
    that what a client asked for and does not read stays within a few MiB (apart from the first burst).
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, adapter: Adapter, gate: Gate, account: Account | None = None
    ) -> None:
        super().__init__(loop, adapter.limits.frame_bytes)
        self.peer: Peer = ("", 0)
        self.in_flight = 0
        self.heard = False
        self._adapter, self._accept, self._gate = adapter, adapter.accept, gate
        if account is not None:
            self._accept = partial(self._sign_in, account)
        self._limit = adapter.limits.in_flight
        self._window = min(FIRST_WINDOW, self._limit)
        self._backlog: deque[bytes] = deque()
        self._entered = self._reading = self._half_closed = False
        self._gathered = 0
        self._close_callbacks: dict[Callable[[], None], None] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.peer = _peer(transport.get_extra_info("peername"))
        self._adapter.counters.connections += 1
        self._entered = self._reading = self._gate.enter(self)
        if not self._entered:
            self._adapter.counters.refused_connections += 1
            log.warning("refused %s:%d: too many connections, or not allowed", *self.peer)
            self.abort()

    def data_received(self, data: bytes) -> None:
        self.last_heard = self.loop.time()
        self.heard = True
        try:
            packets = self.feed(data)
        except DecodeError as error:
            self._break(error)
            return
        if self._backlog:
            self._backlog.extend(packets)
            return
        self._flush_due = True  # one write for all that is answered at once, below
        for position, packet in enumerate(packets):
            if self.in_flight >= self._window or not self.writable or self.closed:
                self._backlog.extend(packets[position:])
                self._hold()
                break
            self.in_flight += 1
            try:
                request = decode_request(packet)
            except DecodeError as error:
                self._break(error)
                break
            self._accept(request, self)
        self.flush()

    def _sign_in(self, account: Account, request: RequestPacket, sink: Sink) -> None:
        """The first request of a connection whose endpoint wants an account; another one closes it, as in TarsCpp."""
        problem = problem_of(request, self._adapter.servant.name, account, time())
        if problem:
            self._adapter.counters.refused_connections += 1
            log.warning("refused %s:%d: %s", *self.peer, problem)
            self.abort()
            return
        self._accept = self._adapter.accept
        self.answer(encode_answer(request, body=SUCCESS))

    def answer(self, frame: bytes | None) -> None:
        """A request of this connection is done (Sink)."""
        self.in_flight -= 1
        if frame is not None:
            self._out.append(frame)
            size = len(frame)
            self._gathered += size
            if self._gathered >= HIGH_WATER_BYTES:
                self._write()  # so that a client that does not read is noticed before more is made for it
            if size >= LARGE_REPLY_BYTES:
                self._window = max(1, min(self._limit, REPLIES_BYTES // size))
            elif self._window < self._limit:
                self._window += 1
        if not self._flush_due:
            self._flush_due = True
            self.loop.call_soon(self.flush)

    def _write(self) -> None:
        self._gathered = 0
        super()._write()

    def flush(self) -> None:
        super().flush()
        if not self._reading:
            self._resume()
        if self._half_closed and not self.in_flight and not self._backlog:
            self.close()

    def eof_received(self) -> bool:
        """The client has sent all it wants to send; it still gets its answers (a TLS stream ends at once)."""
        self._write()
        self._half_closed = bool(self.in_flight or self._backlog)
        return self._half_closed and self.transport.get_extra_info("sslcontext") is None

    def resume_writing(self) -> None:
        super().resume_writing()
        if not self._reading:
            self._resume()

    @property
    def connection(self) -> ClientConnection:
        """Itself (Sink)."""
        return self

    def push(self, function: str, body: bytes = b"") -> bool:
        """ClientConnection."""
        if self.closed or not self.writable:
            return False
        self.send(encode_response(ResponsePacket(status={PUSH_FUNCTION: function}, body=body)))
        return True

    def on_close(self, callback: Callable[[], None]) -> None:
        """ClientConnection."""
        self._close_callbacks[callback] = None

    def ask_to_reconnect(self) -> None:
        """Tell the client that we are going away: a client that knows the push opens another connection."""
        self.send(encode_reconnect())

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._backlog.clear()
        if self._entered:
            self._entered = False
            self._gate.leave(self)
        callbacks, self._close_callbacks = self._close_callbacks, {}
        for callback in callbacks:
            try:
                callback()
            except Exception:
                log.exception("a close callback of %s:%d failed", *self.peer)

    def _hold(self) -> None:
        if self._reading:
            self._reading = False
            self.transport.pause_reading()

    def _resume(self) -> None:
        """There is room again: take what was left over, then read on."""
        backlog = self._backlog
        while backlog and self.writable and not self.closed and self.in_flight < self._window:
            self.in_flight += 1
            try:
                request = decode_request(backlog.popleft())
            except DecodeError as error:
                self._break(error)
                return
            self._accept(request, self)
        if not backlog and self.writable and not self.closed and not self._reading and self._entered:
            self._reading = True
            self.transport.resume_reading()

    def _break(self, error: DecodeError) -> None:
        self._adapter.counters.broken_frames += 1
        log.warning("closing %s:%d: %s", *self.peer, error)
        self._backlog.clear()
        self.close()


class ServerDatagrams(asyncio.DatagramProtocol):
    """A udp endpoint: one request in a datagram, one answer back to where it came from."""

    transport: asyncio.DatagramTransport

    def __init__(self, adapter: Adapter, admits: Callable[[str], bool] = lambda host: True) -> None:
        self._adapter, self._admits = adapter, admits
        self.in_flight = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if self.in_flight >= self._adapter.limits.in_flight or not self._admits(addr[0]):
            self._adapter.counters.dropped += 1
            return
        try:
            request = decode_request(split_datagram(data, self._adapter.limits.frame_bytes))
        except DecodeError as error:
            self._adapter.counters.broken_frames += 1
            log.debug("dropped a datagram of %s:%d: %s", addr[0], addr[1], error)
            return
        self.in_flight += 1

        def reply(frame: bytes | None) -> None:
            self.in_flight -= 1
            if frame is None or self.transport.is_closing():
                return
            if len(frame) > MAX_DATAGRAM_BYTES:
                frame = encode_answer(
                    request,
                    code=int(ReturnCode.ENCODE_ERROR),
                    description=f"a reply of {len(frame)} bytes does not fit a datagram",
                )
            self.transport.sendto(frame, addr)

        self._adapter.accept(request, _DatagramSink(_peer(addr), reply))

    def error_received(self, exc: Exception) -> None:
        log.debug("udp: %s", exc)


class _DatagramSink:
    """Where one datagram's answer goes (Sink)."""

    __slots__ = ("answer", "peer")
    connection = None

    def __init__(self, peer: Peer, answer: Callable[[bytes | None], None]) -> None:
        self.peer, self.answer = peer, answer


def _peer(address: object) -> Peer:
    """(host, port) of a socket address; unix sockets have none."""
    if isinstance(address, tuple) and len(address) >= 2:
        return str(address[0]), int(address[1])
    return str(address or ""), 0
