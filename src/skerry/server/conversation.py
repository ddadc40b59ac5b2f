"""The ASGI side of one websocket: messages in, messages out, as in uvicorn's contract (spec version 2.4).

Frames, closing and the transport are the connection's (`websocket`); a conversation ends when a hub takes it over.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from uvicorn.protocols.utils import ClientDisconnected
from websockets.frames import Frame, Opcode
from websockets.http11 import Response

if TYPE_CHECKING:
    from skerry.server.websocket import WebSocketConnection

logger = logging.getLogger("skerry.server")
ABNORMAL = 1006


class Conversation:
    """What a view and its client say to each other. `response` is sent when the view accepts."""

    __slots__ = (
        "_connection", "_denial", "_inbox", "_is_text", "_parts", "_response", "_scope", "_waiter", "_writable",
    )  # fmt: skip

    def __init__(self, connection: WebSocketConnection, scope: dict[str, Any], response: Response) -> None:
        self._connection, self._scope = connection, scope
        self._response: Response | None = response
        self._denial: tuple[int, list[tuple[str, str]], list[bytes]] | None = None
        self._inbox: deque[dict[str, Any]] = deque(({"type": "websocket.connect"},))
        self._is_text = True  # the message whose frames come
        self._parts: list[bytes] = []
        self._waiter: asyncio.Future[None] | None = None
        self._writable: asyncio.Future[None] | None = None

    @property
    def unread(self) -> bool:
        """Whether the view has not taken everything yet, or is about to answer what it took."""
        return bool(self._inbox) or (self._waiter is not None and self._waiter.done())

    def frame(self, frame: Frame) -> bool:
        """A data frame: part of a message, or all of it. Whether a message is complete now; the view has it then."""
        if frame.opcode is not Opcode.CONT:
            self._is_text, self._parts = frame.opcode is Opcode.TEXT, []
        if not frame.fin:
            if frame.data:
                self._parts.append(bytes(frame.data))
            return False
        data = b"".join((*self._parts, frame.data))
        self._parts = []
        if self._is_text:
            self.put({"type": "websocket.receive", "text": data.decode("utf-8")})
        else:
            self.put({"type": "websocket.receive", "bytes": data})
        return True

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

    async def run(self) -> None:
        """Call the application; whatever it leaves open is closed."""
        connection = self._connection
        try:
            await connection.application(self._scope, self.receive, self.send)
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
        while connection.paused and not connection.gone:
            if self._writable is None:
                self._writable = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._writable)
        if connection.gone:
            raise ClientDisconnected
        kind = message["type"]
        if self._denial is not None:
            self._continue_denial(message, self._denial)
        elif self._response is not None:
            self._answer(message, self._response)
        elif kind == "websocket.send":
            if connection.left:
                raise ClientDisconnected
            if connection.closing:
                raise RuntimeError("websocket.send after websocket.close")
            data, text = message.get("bytes"), message.get("text")
            if data is not None:
                connection.send_binary(bytes(data))
            else:
                connection.send_text((text or "").encode("utf-8"))
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
