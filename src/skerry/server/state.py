"""What all connections of one server share: limits, the ready Date line, counters, the way to websockets."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from email.utils import formatdate
from typing import Any

from uvicorn.server import ServerState

from skerry.http.application import Application
from skerry.http.routes import Route
from skerry.server.settings import ServerSettings
from skerry.server.turns import Upgrade

logger = logging.getLogger("skerry.server")

WebSocketFactory = Callable[[Upgrade, "State"], asyncio.Protocol]
SlowView = Callable[[str, float], None]

BUSY = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/problem+json\r\nContent-Length: 86\r\n"
    b"Retry-After: 1\r\nConnection: close\r\n\r\n"
    b'{"type":"about:blank","title":"Service Unavailable","status":503,"detail":"too busy"}\n'
)

_ENDING_BODY = (
    b'{"type":"about:blank","title":"Service Unavailable","status":503,"detail":"this server ends; '
    b'whether the request took effect is not known: repeat it, a write under the same Idempotency-Key"}\n'
)
ENDING = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/problem+json\r\nContent-Length: "
    + str(len(_ENDING_BODY)).encode()
    + b"\r\nRetry-After: 1\r\nConnection: close\r\n\r\n"
    + _ENDING_BODY
)
"""What a request is told whose answer has not begun when the time to drain is over."""


class State(ServerState):
    """Shared by the connections of a server. An extension of uvicorn's, so that its protocols work on it."""

    busy = BUSY

    def __init__(
        self,
        application: Application,
        settings: ServerSettings,
        *,
        websocket: WebSocketFactory,
        on_slow: SlowView | None = None,
        on_closed: Callable[[], None] | None = None,
    ) -> None:
        super().__init__()
        self.application, self.settings = application, settings
        self.loop = asyncio.get_running_loop()
        self.websocket = websocket
        self.app_state: dict[str, Any] = {}
        self.max_body_bytes = application.settings.max_body_bytes
        self.draining = False
        self.counts: dict[int, int] = {}  # answers that belong to no route
        self.refused = 0
        self.timed_out = 0
        self.slow = 0
        self.log_lane = settings.access_log == "all"
        self.log_asgi = settings.access_log != "off"
        self.common: tuple[bytes, bytes, bytes] = (b"", b"", b"")
        self.common_keep = b""
        self._on_slow, self._on_closed = on_slow, on_closed
        self.tick()

    @property
    def full(self) -> bool:
        return len(self.connections) >= self.settings.max_connections or self.draining

    def tick(self) -> None:
        """Set the Date (RFC 9110 section 6.6.1); called every second."""
        date = formatdate(time.time(), usegmt=True).encode("ascii")
        line = b"Date: " + date + b"\r\n"
        self.common = (line + b"Connection: close\r\n", line, line + b"Connection: keep-alive\r\n")
        self.common_keep = line
        self.default_headers = [(b"date", date)]

    def note_slow(self, route: Route, seconds: float) -> None:
        """A lane view held the loop."""
        self.slow += 1
        logger.warning(
            "view %s (%s) held the loop for %.0f ms: a plain def reads memory and returns; "
            "what waits or computes belongs in an async def or a thread",
            route.name,
            route.path,
            seconds * 1000,
        )
        if self._on_slow is not None:
            self._on_slow(route.name, seconds)

    def note_closed(self) -> None:
        if self._on_closed is not None:
            self._on_closed()
