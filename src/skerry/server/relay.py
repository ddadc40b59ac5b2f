"""Passes a single request on to a process elsewhere, and its answer back: over a channel, a connection of HTTP/1.1
between the two. What a client asks often moves with its connection instead (moving.py).

The request is written anew, as its fields mean it, its body as it comes; the answer is framed by the connection of the
client. Neither side gets ahead of the other by more than the buffers between them hold.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any, Protocol

import httptools

from skerry.exchange import ClientDisconnected, Exchange
from skerry.http.auth import SAFE_METHODS
from skerry.http.problems import Problem
from skerry.http.reply import Response

HOP = frozenset({b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"})
"""Fields of one connection (RFC 9110 section 7.6.1)."""
LOST = Problem(502, "the process that was to answer has ended; whether the request took effect is not known")


class User(Protocol):
    """The present user of a channel."""

    def received(self, data: bytes) -> None: ...

    def ended(self) -> None:
        """The other end has closed, or could not be reached."""
        ...

    def room(self) -> None:
        """It takes more, after it took none."""
        ...


class Channel(asyncio.Protocol):
    """A connection to a process elsewhere, for the requests of one client. `send(sock)` gives its other end there."""

    def __init__(self, send: Callable[[socket.socket], None]) -> None:
        self.user: User | None = None
        self.served = 0
        """Answers that came over it."""
        self.closed = False
        self.writable = True
        self._transport: asyncio.Transport | None = None
        self._unsent: list[bytes] = []
        self._ends = False
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        send(theirs)
        loop = asyncio.get_running_loop()
        self._task = loop.create_task(self._open(ours), name="channel")

    async def _open(self, ours: socket.socket) -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(lambda: self, ours)
        except OSError:
            ours.close()
            self.connection_lost(None)

    def write(self, data: bytes) -> None:
        if self._transport is None:
            self._unsent.append(data)
        elif not self.closed:
            self._transport.write(data)

    def write_eof(self) -> None:
        self._ends = True
        if self._transport is not None and not self.closed and self._transport.can_write_eof():
            self._transport.write_eof()

    def read(self, on: bool) -> None:
        """Take what comes, or leave it in the kernel."""
        if self._transport is not None and not self.closed:
            (self._transport.resume_reading if on else self._transport.pause_reading)()

    def close(self) -> None:
        """Nobody waits for anything of it any more."""
        self.user, self.closed = None, True
        if self._transport is not None:
            self._transport.abort()

    # The transport's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport) or hasattr(transport, "write")
        self._transport = transport  # type: ignore[assignment]
        if self.closed:
            transport.abort()  # type: ignore[attr-defined]
            return
        unsent, self._unsent = self._unsent, []
        for data in unsent:
            self._transport.write(data)  # type: ignore[union-attr]
        if self._ends:
            self.write_eof()

    def data_received(self, data: bytes) -> None:
        if self.user is None:
            self.close()  # nobody has asked
        else:
            self.user.received(data)

    def pause_writing(self) -> None:
        self.writable = False

    def resume_writing(self) -> None:
        self.writable = True
        if self.user is not None:
            self.user.room()

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        user, self.user = self.user, None
        if user is not None:
            user.ended()


def rendered(exchange: Exchange, *, upgrade: bool = False) -> bytes:
    """The head of a request as it is passed on."""
    head = exchange.head
    named = _named(head.fields)
    parts = [head.method.encode("ascii"), b" ", head.target, b" HTTP/", head.version.encode("ascii"), b"\r\n"]
    length = False
    for name, value in head.fields:
        if name not in named:
            parts += (name, b": ", value, b"\r\n")
            length = length or name == b"content-length"
    if upgrade:
        parts.append(b"connection: upgrade\r\nupgrade: websocket\r\n")
    elif not exchange.complete and not length:
        parts.append(b"transfer-encoding: chunked\r\n")
    elif head.version == "1.0":
        parts.append(b"connection: keep-alive\r\n")
    parts.append(b"\r\n")
    return b"".join(parts)


def _named(fields: Any) -> frozenset[bytes]:
    """The fields of this connection: the usual ones, and those that it names itself."""
    for name, value in fields:
        if name == b"connection" and value not in (b"keep-alive", b"close", b"Keep-Alive", b"Upgrade"):
            return HOP | {each.strip().lower() for each in value.split(b",")} - {b"content-length", b"host"}
    return HOP


class Relay:
    """One request on its way, an `Answerer`. `renew` gives another channel, for one that may be repeated: it is safe
    (RFC 9110 section 9.2.1) and has no body. It is, once, when a channel ends without a byte of an answer."""

    def __init__(self, exchange: Exchange, channel: Channel, renew: Callable[[], Channel]) -> None:
        self._exchange, self._renew = exchange, renew
        self._loop = asyncio.get_running_loop()
        self._method = exchange.head.method
        self._chunked = self._sent = self._halved = self._pumping = False
        self._held = any(name == b"expect" for name, _ in exchange.head.fields)
        """The body is wanted by nobody yet: its client waits for 100 Continue."""
        self._repeatable = exchange.complete and self._method in SAFE_METHODS
        self._begin(channel)

    def _begin(self, channel: Channel) -> None:
        self._channel = channel
        channel.user = self
        self._parser: Any = httptools.HttpResponseParser(self)
        self._status = 0
        self._reason = b""
        self._fields: list[tuple[bytes, bytes]] = []
        self._parts: list[bytes] = []
        self._seen = self._headed = self._complete = self._closes = self._bounded = False
        head = rendered(self._exchange)
        self._chunked = head.endswith(b"transfer-encoding: chunked\r\n\r\n")
        channel.write(head)
        self._pump()

    # The request

    def _pump(self) -> None:
        self._pumping = False
        exchange, channel = self._exchange, self._channel
        if self._sent or self._held or not channel.writable or exchange.finished or channel.user is not self:
            return
        data = b"" if exchange.complete else exchange.take()
        if data:
            channel.write(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data)
        if exchange.complete:
            self._sent = True
            if self._chunked:
                channel.write(b"0\r\n\r\n")
        elif exchange.broken:
            self._halve()

    def _wake(self) -> None:
        if not self._pumping:
            self._pumping = True
            self._loop.call_soon(self._pump)

    # What an answerer is told

    def readable(self) -> None:
        self._wake()

    def writable(self) -> None:
        self._channel.read(on=True)

    def gone(self) -> None:
        if self._exchange.closed:
            self._channel.close()
        else:
            self._loop.call_soon(self._halve)

    def _halve(self) -> None:
        """The client says no more; its answer may still come."""
        if self._channel.user is self and not self._halved and (self._sent or self._exchange.broken):
            self._halved = True
            self._channel.write_eof()

    # What the channel says

    def room(self) -> None:
        self._wake()

    def received(self, data: bytes) -> None:
        self._seen = True
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            if not self._complete:
                self._channel.close()
                self._fail()
                return
        self._answer()

    def ended(self) -> None:
        if self._repeatable and not self._seen:
            self._repeatable = False
            self._begin(self._renew())
        elif self._headed and not self._bounded:
            self._complete = True
            self._answer()
        else:
            self._fail()

    def _answer(self) -> None:
        """Give on what has come."""
        if not self._headed or self._exchange.closed:
            return
        exchange, channel = self._exchange, self._channel
        data = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._parts = []
        if self._complete:
            self._let_go()
        try:
            if not exchange.started and self._complete:
                exchange.reply(self._status, self._fields, data, reason=self._reason)
                return
            if not exchange.started:
                exchange.start(self._status, self._fields, reason=self._reason)
            if self._complete:
                exchange.finish(data)
                return
            if data:
                exchange.write(data)
            if not exchange.room and not exchange.gone:
                channel.read(on=False)
        except ClientDisconnected:
            channel.close()
        except RuntimeError:
            channel.close()
            exchange.abort()

    def _let_go(self) -> None:
        """The channel may be used again, unless something of this request is still on it."""
        channel = self._channel
        channel.user = None
        channel.served += 1
        if self._closes or self._halved or not self._sent:
            channel.close()

    def _fail(self) -> None:
        exchange = self._exchange
        if exchange.closed or exchange.finished:
            return
        try:
            if exchange.started:
                exchange.abort()
            else:
                answer: Response = LOST.response()
                fields = [(b"content-type", b"application/problem+json")]
                fields += [(b"content-length", b"%d" % len(answer.body)), (b"connection", b"close")]
                exchange.reply(answer.status, fields, answer.body)
        except ClientDisconnected:
            pass

    # httptools calls these

    def on_status(self, reason: bytes) -> None:
        self._reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        if name == b"connection":
            self._closes = self._closes or b"close" in value.lower()
        elif name in (b"content-length", b"transfer-encoding"):
            self._bounded = True
        if name not in HOP:
            self._fields.append((name, value))

    def on_headers_complete(self) -> None:
        self._status = self._parser.get_status_code()
        self._headed = self._status >= 200
        self._complete = self._headed and self._method == "HEAD"

    def on_body(self, data: bytes) -> None:
        self._parts.append(data)

    def on_message_complete(self) -> None:
        if self._headed:
            self._complete = True
            return
        self._fields, self._reason = [], b""
        if self._status == 100 and self._held:
            self._held = False
            self._wake()
