"""How an ASGI application answers: for what stands around one, to count its answers or to trace them. Our own server
knows it anyway."""

from __future__ import annotations

from starlette.types import Message, Send


class Noting:
    """An application's `send`. `status`: of the answer that it has begun, 0 before."""

    __slots__ = ("_send", "status")

    def __init__(self, send: Send) -> None:
        self._send = send
        self.status = 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        await self._send(message)
