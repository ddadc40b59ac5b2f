"""The ASGI side of one websocket: messages in, messages out (ASGI WebSocket 2.4, with denial responses).

Frames, closing and the transport are the connection's (`websocket`, `ws13`), of which a `Line` is seen here; a
conversation ends when a hub takes the connection over.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Mapping
from typing import Any, Protocol

from websockets.http11 import Response

from skerry.exchange import ClientDisconnected
from skerry.http.identity import IDENTITY

logger = logging.getLogger("skerry.server")
ABNORMAL = 1006


class Line(Protocol):
    """The connection, as a conversation has it. `room`: the transport takes more; `gone`: the connection is lost;
    `left`: the client has sent its close frame; `closing`: nothing but the end is sent any more; `failing`: the client
    broke the protocol and is told so when the view has taken what came before; `taken`: a hub has the connection."""

    @property
    def room(self) -> bool: ...
    @property
    def gone(self) -> bool: ...
    @property
    def left(self) -> bool: ...
    @property
    def closing(self) -> bool: ...
    @property
    def failing(self) -> bool: ...
    @property
    def taken(self) -> bool: ...

    def accept(self, response: Response) -> None:
        """Complete the handshake."""
        ...

    def deny(self, status: int, fields: list[tuple[str, str]], body: bytes) -> None:
        """Answer the handshake with something else than a websocket."""
        ...

    def say(self, data: str | bytes) -> None:
        """Send a message."""
        ...

    def close(self, code: int, reason: str) -> None:
        """Send a close frame, and wait for the client's, but not for long."""
        ...

    def finish(self, code: int, reason: str, status: int) -> None:
        """End whatever is still open: with a close frame, or before the handshake's answer with a status."""
        ...

    def fail(self) -> None:
        """Tell a client that broke the protocol."""
        ...

    def read_on(self) -> None:
        """The view has taken what it had."""
        ...


class Conversation:
    """What a view and its client say to each other. `response` is sent when the view accepts."""

    __slots__ = ("_connection", "_denial", "_inbox", "_response", "_scope", "_waiter", "_writable")

    def __init__(self, connection: Line, scope: dict[str, Any], response: Response) -> None:
        self._connection, self._scope = connection, scope
        self._response: Response | None = response
        self._denial: tuple[int, list[tuple[str, str]], list[bytes]] | None = None
        self._inbox: deque[dict[str, Any]] = deque(({"type": "websocket.connect"},))
        self._waiter: asyncio.Future[None] | None = None
        self._writable: asyncio.Future[None] | None = None

    @property
    def identity(self) -> Any:
        """Of the client, where the application has asked for it."""
        return self._scope["state"].get(IDENTITY)

    @property
    def unread(self) -> bool:
        """Whether the view has not taken everything yet, or is about to answer what it took."""
        return bool(self._inbox) or (self._waiter is not None and self._waiter.done())

    def message(self, data: str | bytes) -> None:
        """A message of the client."""
        self.put({"type": "websocket.receive", "text" if isinstance(data, str) else "bytes": data})

    def put(self, message: dict[str, Any]) -> None:
        """A message for the view."""
        self._inbox.append(message)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def disconnect(self, code: int, reason: str = "") -> None:
        """The connection is closed or about to be."""
        self.put({"type": "websocket.disconnect", "code": code, "reason": reason})

    def writable(self) -> None:
        """The transport takes more, or is gone."""
        if self._writable is not None:
            self._writable.set_result(None)
            self._writable = None

    async def run(self, application: Any) -> None:
        """Call the application; whatever it leaves open is closed."""
        connection = self._connection
        try:
            await application(self._scope, self.receive, self.send)
        except ClientDisconnected:
            pass
        except Exception:
            logger.exception("a websocket view failed")
            connection.finish(1011, "internal error", 500)
        else:
            if connection.taken:
                return
            if self._response is not None and self._denial is None and not connection.closing:
                logger.error("a websocket view ended without having answered the handshake")
            connection.finish(1000, "", 500)

    async def receive(self) -> dict[str, Any]:
        connection = self._connection
        while not self._inbox:
            if connection.gone:
                return {"type": "websocket.disconnect", "code": ABNORMAL, "reason": ""}
            if connection.failing:
                connection.fail()
                continue
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
            self._waiter = None
        message = self._inbox.popleft()
        if not self._inbox:
            connection.read_on()
        return message

    async def send(self, message: Mapping[str, Any]) -> None:
        connection = self._connection
        while not connection.room and not connection.gone:
            if self._writable is None:
                self._writable = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._writable)
        if connection.gone:
            raise ClientDisconnected("the client is gone")
        kind = message["type"]
        if self._denial is not None:
            self._continue_denial(message, self._denial)
        elif self._response is not None:
            self._answer(message, self._response)
        elif kind == "websocket.send":
            if connection.left:
                raise ClientDisconnected("the client has closed")
            if connection.closing:
                raise RuntimeError("websocket.send after websocket.close")
            data, text = message.get("bytes"), message.get("text")
            connection.say(bytes(data) if data is not None else text or "")
        elif kind == "websocket.close":
            if not connection.closing:
                code, reason = message.get("code", 1000), message.get("reason") or ""
                self.disconnect(code, reason)
                connection.read_on()
                connection.close(code, reason)
        else:
            raise RuntimeError(f"expected websocket.send or websocket.close, not {kind!r}")

    def _answer(self, message: Mapping[str, Any], response: Response) -> None:
        """The first message of the application: accept, close, or another response."""
        if self._connection.closing:
            raise ClientDisconnected("the handshake was answered already: this server is ending")
        match message["type"]:
            case "websocket.accept":
                for name, value in _fields(message):
                    response.headers[name] = value
                if message.get("subprotocol"):
                    response.headers["Sec-WebSocket-Protocol"] = message["subprotocol"]
                self._connection.accept(response)
            case "websocket.close":
                self.disconnect(ABNORMAL)
                self._connection.deny(403, [], b"")
            case "websocket.http.response.start":
                self._denial = (message["status"], _fields(message), [])
            case kind:
                raise RuntimeError(f"expected websocket.accept, .close or .http.response.start, not {kind!r}")
        self._response = None

    def _continue_denial(
        self, message: Mapping[str, Any], denial: tuple[int, list[tuple[str, str]], list[bytes]]
    ) -> None:
        if message["type"] != "websocket.http.response.body":
            raise RuntimeError(f"expected websocket.http.response.body, not {message['type']!r}")
        if self._connection.closing:
            raise RuntimeError("websocket.http.response.body after the last one")
        status, fields, parts = denial
        parts.append(bytes(message.get("body", b"")))
        if not message.get("more_body", False):
            self.disconnect(ABNORMAL)
            self._connection.deny(status, fields, b"".join(parts))


def _fields(message: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(bytes(k).decode("latin-1"), bytes(v).decode("latin-1")) for k, v in message.get("headers", ())]
