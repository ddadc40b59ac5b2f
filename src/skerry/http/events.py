"""How a browser listens: one route, as WebSocket or as server-sent events, over one channel of the hub.

`?since=E:N` (or `Last-Event-ID`) resumes, `?snapshot=1` sends the current values first when there is nothing to
resume, `?prefix=` filters, `?beat=1` asks for a frame with each ping that a page can see. What our own server carries
is handed to the hub as it is, a websocket or the answer that goes on; under another ASGI server, and where a
middleware stands in between, a small pump here sends what the hub writes. What is sent to whom is the hub's.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable
from typing import Any
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.types import Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from skerry.exchange import ClientDisconnected, LongExchange
from skerry.http.caching import private_fields
from skerry.http.channel import Channel
from skerry.http.endpoint import keep_direct, refuse_websocket
from skerry.http.headers import Headers
from skerry.http.hub import Hub
from skerry.http.listener import CHUNKED, EVENT_STREAM, LINES, WEBSOCKET, Direct, Listener, Wire
from skerry.http.origin import allowed
from skerry.http.problems import Problem
from skerry.http.scope import HOST
from skerry.position import Position

MEDIA_TYPE = "text/event-stream"
HIGH_WATER = 64 * 1024
RETRY = b"retry: 2000\n\n"
"""After how many milliseconds a browser comes back."""
FIELDS = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),
    (b"vary", b"Accept, Origin"),
)
MAX_PREFIX_BYTES = 512
GRACE_SECONDS = 5.0


class Events:
    """An ASGI application for one path. Pages of `origins` may listen besides those of the same site ("*":
    all).

    `websocket` and `stream` are the same as views for `Application.websocket` and `Application.get`.
    """

    def __init__(self, channel: Channel, hub: Hub, *, origins: Iterable[str] = ()) -> None:
        self.channel, self.hub, self.origins = channel, hub, tuple(origins)

    async def websocket(self, websocket: WebSocket) -> None:
        """The view of a WebSocket route."""
        await self._websocket(websocket.scope, websocket.receive, websocket.send)

    async def stream(self, request: Request) -> EventStream:
        """The view of a GET route. Raises Problem."""
        return self._stream(request.scope)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            keep_direct(scope, receive, send)
            await self._websocket(scope, receive, send)
        else:
            try:
                answer: Any = self._stream(scope)
            except Problem as problem:
                answer = problem.response()
            await answer(scope, receive, send)

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            wanted = SubscribeRequest(scope)
            self._admit(wanted)
        except Problem as problem:
            await refuse_websocket(problem, scope, receive, send)
            return
        await receive()
        await send({"type": "websocket.accept"})
        direct = scope.get("extensions", {}).get("skerry.direct")
        if direct is not None:
            connection: Direct = direct["connection"]
            listener = Listener(connection, WEBSOCKET, wanted.prefix, beats=wanted.beats)
            connection.take(listener)
            await self.channel.open(listener, wanted.since, snapshot=wanted.snapshot)
        else:
            await Pump(send, websocket=True).run(self, LINES, wanted, receive)

    def _stream(self, scope: Scope) -> EventStream:
        wanted = SubscribeRequest(scope)
        if scope["type"] != "http" or scope["method"] not in ("GET", "HEAD"):
            raise Problem(405, headers={"Allow": "GET, HEAD"})
        if not _accepts(wanted.headers.get("accept")):
            raise Problem(
                406,
                f"this is a stream: connect by WebSocket, or accept {MEDIA_TYPE}",
                headers={"Vary": "Accept"},
            )
        self._admit(wanted, listens=scope["method"] == "GET")
        return EventStream(self, wanted)

    def _admit(self, wanted: SubscribeRequest, *, listens: bool = True) -> None:
        if not allowed(wanted.origin, wanted.host, self.origins):
            raise Problem(403, "pages of that origin may not listen here")
        retry = self.hub.admit() if listens else None
        if retry is not None:
            raise Problem(503, "no room for one more listener", headers={"Retry-After": str(int(retry))})


class SubscribeRequest:
    """The parsed query of a subscription. Raises Problem 400 for invalid parameters."""

    def __init__(self, scope: Scope) -> None:
        self.headers = Headers(scope["headers"])
        self.origin = self.headers.get("origin")
        self.host: str = scope.get(HOST) or self.headers.get("host") or ""
        try:
            pairs = parse_qsl(scope["query_string"].decode("ascii"), errors="strict", max_num_fields=20)
        except ValueError as error:
            raise Problem(400, "the query string is malformed or not UTF-8") from error
        query = dict(reversed(pairs))
        self.prefix = query.get("prefix", "")
        if len(self.prefix.encode()) > MAX_PREFIX_BYTES:
            raise Problem(400, f"prefix has at most {MAX_PREFIX_BYTES} bytes")
        self.snapshot = query.get("snapshot", "") not in ("", "0", "false")
        self.beats = query.get("beat", "") not in ("", "0", "false")
        # What a browser remembers from the stream itself is newer than what its page was opened with.
        since = self.headers.get("last-event-id") or query.get("since")
        self.since = None if since is None else _position(since)


def _position(text: str) -> Position:
    """A cursor from outside. A malformed one cannot be resumed from: that is an answer, not an error."""
    try:
        return Position.parse(text)
    except ValueError:
        return Position("?", 0)


def _accepts(accept: str | None) -> bool:
    if accept is None:
        return True
    kinds = {part.partition(";")[0].strip().lower() for part in accept.split(",")}
    return bool(kinds & {MEDIA_TYPE, "text/*", "*/*"})


class EventStream:
    """The answer that does not end: an ASGI application for one request."""

    status_code = 200

    def __init__(self, events: Events, wanted: SubscribeRequest) -> None:
        self._events, self._wanted = events, wanted

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self._fields()})
        if scope["method"] == "HEAD":
            await send({"type": "http.response.body", "body": b""})
            return
        pump = Pump(send)
        pump.write(RETRY)
        await pump.run(self._events, EVENT_STREAM, self._wanted, receive)

    async def follow(self, exchange: LongExchange, *, private: bool) -> None:
        """Answer on a connection of our own server: what the hub writes goes to its transport, without a task. Returns
        when the listener is one of the channel's."""
        fields = self._fields()
        exchange.start(200, private_fields(fields) if private else fields)
        exchange.write(RETRY)
        wanted = self._wanted
        wire = CHUNKED if exchange.chunked else EVENT_STREAM
        listener = Listener(Ending(exchange), wire, wanted.prefix, beats=wanted.beats)
        listener.write = exchange.follow(listener)
        await self._events.channel.open(listener, wanted.since, snapshot=wanted.snapshot)

    def _fields(self) -> list[tuple[bytes, bytes]]:
        origin = self._wanted.origin
        if origin is None:
            return list(FIELDS)
        return [
            *FIELDS,
            (b"access-control-allow-origin", origin.encode("latin-1")),
            (b"access-control-allow-credentials", b"true"),
        ]


class Ending:
    """The sink of a listener whose bytes go to the transport by another way: it ends the answer."""

    __slots__ = ("_exchange",)

    def __init__(self, exchange: LongExchange) -> None:
        self._exchange = exchange

    def write(self, data: bytes) -> None:
        raise AssertionError("what is written goes to the transport")

    def close(self, code: int, reason: str) -> None:
        """What was written is still sent, within the server's own time limits."""
        with contextlib.suppress(ClientDisconnected):
            self._exchange.finish()


class Pump:
    """A sink over ASGI's `send`: takes what the hub writes, asks for a pause above 64 KiB, sends it in its own task."""

    def __init__(self, send: Send, *, websocket: bool = False) -> None:
        self._send, self._websocket = send, websocket
        self._parts: list[bytes] = []
        self._size = 0
        self._wake = asyncio.Event()
        self._closed: tuple[int, str] | None = None
        self._listener: Listener | None = None
        self._guard: asyncio.TimerHandle | None = None
        self._sending: asyncio.Task[None] | None = None

    def write(self, data: bytes) -> None:
        self._parts.append(data)
        self._size += len(data)
        self._wake.set()
        if self._size >= HIGH_WATER and self._listener is not None and not self._listener.paused:
            self._listener.pause()

    def close(self, code: int, reason: str) -> None:
        self._closed = (code, reason)
        self._wake.set()
        if self._sending is not None:
            # A client that takes nothing any more cannot be told either.
            self._guard = asyncio.get_running_loop().call_later(GRACE_SECONDS, self._sending.cancel)

    async def run(self, events: Events, wire: Wire, wanted: SubscribeRequest, receive: Receive) -> None:
        """Serve one listener until it leaves or is sent away."""
        listener = self._listener = Listener(self, wire, wanted.prefix, beats=wanted.beats)
        loop = asyncio.get_running_loop()
        self._sending = loop.create_task(self._deliver(), name="events-send")
        leaving = loop.create_task(self._leave(receive), name="events-leave")
        try:
            opening = loop.create_task(
                events.channel.open(listener, wanted.since, snapshot=wanted.snapshot), name="events-open"
            )
            done, _ = await asyncio.wait({opening, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if opening in done:
                opening.result()
                await asyncio.wait({self._sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
            else:
                opening.cancel()
        finally:
            listener.gone()
            if self._guard is not None:
                self._guard.cancel()
            self._sending.cancel()
            leaving.cancel()
            await asyncio.wait({self._sending, leaving})

    async def _leave(self, receive: Receive) -> None:
        """Return when the client is gone."""
        while True:
            message = await receive()
            if message["type"] in ("http.disconnect", "websocket.disconnect"):
                return
            if self._listener is not None:
                self._listener.alive()

    async def _deliver(self) -> None:
        while self._parts or self._closed is None:
            if not self._parts:
                self._wake.clear()
                await self._wake.wait()
                continue
            data = b"".join(self._parts)
            self._parts.clear()
            for message in self._messages(data):
                await self._send(message)
            self._size -= len(data)
            if self._listener is not None and self._listener.paused and self._size < HIGH_WATER:
                self._listener.resume()
        code, reason = self._closed
        if self._websocket:
            await self._send({"type": "websocket.close", "code": code, "reason": reason})
        else:
            await self._send({"type": "http.response.body", "body": b""})

    def _messages(self, data: bytes) -> Iterable[Message]:
        if not self._websocket:
            return ({"type": "http.response.body", "body": data, "more_body": True},)
        return ({"type": "websocket.send", "text": line.decode("utf-8")} for line in data.splitlines())
