"""An exchange over an ASGI scope: what answers through exchanges also works behind ASGI middleware and under a
foreign ASGI server. What our own server does better (sending files by the system, an answer in one write) is done here
with the messages that ASGI has."""

from __future__ import annotations

import asyncio
import os
from collections import deque
from typing import Any
from urllib.parse import unquote

from starlette.types import Message, Receive, Scope, Send

from skerry.exchange import Answerer, ClientDisconnected, Fields, Head, Respond
from skerry.http.endpoint import refuse_websocket as refuse
from skerry.http.problems import Problem
from skerry.http.scope import HOST, below, raw_path_of

ROOM_BYTES = 65_536
AHEAD_BYTES = 65_536
READ_BYTES = 131_072


class AsgiExchange:
    """See `skerry.exchange.Exchange`. `run` serves it until the answer is complete."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, prefix: bytes) -> None:
        self._scope, self._receive, self._send = scope, receive, send
        self._changed = asyncio.Event()
        self._taken = asyncio.Event()
        self._wanted = (
            asyncio.Event()
        )  # the body; who waits for 100 Continue gets it with the first `receive`
        if all(name.lower() != b"expect" for name, _ in scope["headers"]):
            self._wanted.set()
        self._arrived: deque[bytes] = deque()
        self._waiting = 0
        self._ended = self._disconnected = False
        self._out: deque[Message] = deque()
        self._unsent = 0
        self._file: tuple[int, int, int] | None = None
        self.answerer: Answerer | None = None
        self.started = self.finished = self.closed = False
        self.head = _head(scope, prefix)

    # What an answerer has

    @property
    def complete(self) -> bool:
        return self._ended and not self._arrived

    @property
    def broken(self) -> bool:
        return self._disconnected and not self._ended

    @property
    def gone(self) -> bool:
        return self._disconnected or self.closed

    @property
    def room(self) -> bool:
        return self._unsent < ROOM_BYTES

    def take(self) -> bytes:
        self._wanted.set()
        data = b"".join(self._arrived)
        self._arrived.clear()
        self._waiting = 0
        self._taken.set()
        return data

    def start(self, status: int, fields: Fields, *, reason: bytes = b"") -> None:
        self._check()
        if self.started:
            raise RuntimeError("the answer has begun already")
        self.started = True
        self._put({"type": "http.response.start", "status": status, "headers": list(fields)})

    def write(self, data: bytes) -> None:
        self._check()
        self._unsent += len(data)
        self._put({"type": "http.response.body", "body": data, "more_body": True})

    def finish(self, data: bytes = b"") -> None:
        self._check()
        self.finished = True
        self._unsent += len(data)
        self._put({"type": "http.response.body", "body": data, "more_body": False})

    def reply(self, status: int, fields: Fields, data: bytes, *, reason: bytes = b"") -> None:
        self.start(status, fields)
        self.finish(data)

    def finish_file(self, descriptor: int, offset: int, count: int) -> None:
        try:
            self._check()
        except BaseException:
            os.close(descriptor)
            raise
        self.finished = True
        self._file = (descriptor, offset, count)
        self._changed.set()

    def abort(self) -> None:
        if not self.finished:
            self.closed = True
            self._changed.set()

    def _check(self) -> None:
        if self.finished:
            raise RuntimeError("the answer is complete")
        if self.closed:
            raise ClientDisconnected("the client is gone")

    def _put(self, message: Message) -> None:
        self._out.append(message)
        self._changed.set()

    # The application's side

    async def run(self) -> None:
        """Raises RuntimeError for an answer that was given up: the server breaks it off."""
        reading = asyncio.create_task(self._read(), name="body of a hosted request")
        try:
            await self._write()
        finally:
            reading.cancel()
            await asyncio.wait({reading})
            if not self.finished:
                self.closed = True
            if self._file is not None:
                os.close(self._file[0])
            if self.answerer is not None and self.closed:
                self.answerer.gone()
        if self.closed and not self._disconnected:
            raise RuntimeError("the answer was given up")

    async def _read(self) -> None:
        await self._wanted.wait()
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                self._disconnected = True
                if self.answerer is not None and not self.finished:
                    self.answerer.gone()
                return
            if self._ended:
                continue
            data = message.get("body", b"")
            if data:
                self._arrived.append(data)
                self._waiting += len(data)
            self._ended = not message.get("more_body", False)
            if self.answerer is not None:
                self.answerer.readable()
            while self._waiting > AHEAD_BYTES:
                self._taken.clear()
                await self._taken.wait()

    async def _write(self) -> None:
        while True:
            while self._out:
                message = self._out.popleft()
                try:
                    await self._send(message)
                except OSError:
                    self.closed = True
                    return
                was = self.room
                self._unsent -= len(message.get("body", b""))
                if self.room and not was and self.answerer is not None:
                    self.answerer.writable()
            if self._file is not None:
                await self._send_file()
            if self.closed or self.finished:
                return
            self._changed.clear()
            await self._changed.wait()

    async def _send_file(self) -> None:
        assert self._file is not None
        descriptor, offset, count = self._file
        while count:
            data = os.pread(descriptor, min(count, READ_BYTES), offset)
            if not data:
                raise RuntimeError("the file became shorter while it was sent")
            offset += len(data)
            count -= len(data)
            await self._send({"type": "http.response.body", "body": data, "more_body": count > 0})
        if not self._file[2]:
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})


async def respond_over_asgi(
    respond: Respond, scope: Scope, receive: Receive, send: Send, prefix: bytes = b""
) -> None:
    """Answer one request of an ASGI server. `prefix`: how much of the root path is the application's own."""
    exchange = AsgiExchange(scope, receive, send, prefix)
    exchange.answerer = respond(exchange)
    await exchange.run()


async def refuse_websocket(scope: Scope, receive: Receive, send: Send) -> None:
    """A WSGI application has no websockets."""
    await refuse(Problem(404, "no websocket is here"), scope, receive, send)


def _head(scope: Scope, prefix: bytes) -> Head:
    outside: str = scope.get("root_path", "").rstrip("/")
    outside = outside.removesuffix(unquote(prefix.decode("ascii")))
    target = raw_path_of(scope)
    if outside:
        target = below(target, outside)
    if scope.get("query_string"):
        target += b"?" + scope["query_string"]
    client: Any = scope.get("client")
    server: Any = scope.get("server")
    return Head(
        scope["method"],
        target,
        "1.0" if scope.get("http_version") == "1.0" else "1.1",
        tuple((name.lower(), value) for name, value in scope["headers"]),
        scope.get("scheme", "http"),
        None if client is None else (client[0], client[1]),
        None if server is None else (server[0], server[1]),
        scope.get(HOST),
        outside,
    )
