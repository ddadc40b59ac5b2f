"""One websocket connection: the frames are `websockets`' sans-I/O core, the transport is written to directly.

It serves two kinds of routes. An ordinary ASGI websocket gets uvicorn's contract (spec 2.4, denial responses). A
route that finds `skerry.direct` in the scope's extensions may `take` the connection for a hub's listener: its task
ends, ready frames go straight to the transport, and what comes in is only checked. Keep-alive of ASGI websockets is
here, that of listeners in the hub. The ASGI messages are `conversation`'s; what is sent to whom is decided in `http`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
from websockets.frames import Frame, Opcode
from websockets.http11 import Request, Response
from websockets.protocol import OPEN

from skerry.http.listener import WEBSOCKET, Listener
from skerry.http.problems import MEDIA_TYPE, Problem
from skerry.http.wheel import Wheel
from skerry.server.conversation import ABNORMAL, Conversation
from skerry.server.frames import Frames
from skerry.server.handshake import VERSION, denial, scope_of, speaks_our_version
from skerry.server.inflow import Inflow
from skerry.server.state import State
from skerry.server.turns import Upgrade

PING = WEBSOCKET.ping
RESTART, TOO_SILENT = 1012, 1011


@dataclass(frozen=True, slots=True)
class WebSocketSettings:
    """`max_message_bytes` of an ASGI route, fragments together; `max_listener_bytes` of a hub's listener, which has
    little to say. `close_seconds`: how long a peer has to answer a close frame. `compression`: permessage-deflate
    for ASGI routes; off, because it multiplies the memory of each connection."""

    max_message_bytes: int = 1 << 20
    max_listener_bytes: int = 64 * 1024
    ping_seconds: int = 25
    pong_seconds: int = 8
    close_seconds: float = 5.0
    linger_seconds: float = 2.0
    compression: bool = False


class WebSockets:
    """Makes the protocols of one server; hand it to `HttpServer(websocket=...)`."""

    def __init__(self, settings: WebSocketSettings | None = None) -> None:
        self.settings = settings or WebSocketSettings()
        self.wheel: Wheel[WebSocketConnection] = Wheel(self.settings.ping_seconds, self.settings.pong_seconds)
        self._timer: asyncio.TimerHandle | None = None
        self.extensions = (
            [
                ServerPerMessageDeflateFactory(
                    server_max_window_bits=12, client_max_window_bits=12, compress_settings={"memLevel": 5}
                )
            ]
            if self.settings.compression
            else None
        )

    def __call__(self, upgrade: Upgrade, state: State) -> WebSocketConnection:
        return WebSocketConnection(self, upgrade, state)

    def watch(self, connection: WebSocketConnection) -> int:
        """Ping this connection from now on; returns its slot."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(1.0, self._second)
        return self.wheel.add(connection)

    def tick(self) -> None:
        """One second has passed: ping who is due, close who did not answer."""
        due, asked = self.wheel.tick()
        for connection in asked:
            connection.check()
        for connection in due:
            connection.ping()

    def _second(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(1.0, self._second) if len(self.wheel) else None
        self.tick()


class WebSocketConnection(asyncio.Protocol):
    """One connection, from its handshake on. Also the `Sink` of a hub's listener after `take`."""

    __slots__ = (
        "_answered",
        "_close_timer",
        "_conversation",
        "_core",
        "_inflow",
        "_listener",
        "_pong",
        "_server",
        "_slot",
        "_state",
        "_upgrade",
        "closing",
        "failing",
        "gone",
        "paused",
        "transport",
    )

    transport: asyncio.Transport

    def __init__(self, server: WebSockets, upgrade: Upgrade, state: State) -> None:
        self._server, self._state = server, state
        self._upgrade: Upgrade | None = upgrade
        self._core = Frames(server.settings.max_message_bytes, server.extensions)
        self._listener: Listener | None = None
        self._conversation: Conversation | None = None
        self._close_timer: asyncio.TimerHandle | None = None
        self._slot: int | None = None
        self._inflow = Inflow(self)
        self._pong = b""  # owed to a client that takes nothing now
        self._answered = True
        self.paused = self.closing = self.failing = self.gone = False

    # --- what the transport says

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # one that reads and writes
        self._state.connections.add(self)  # type: ignore[arg-type]  # uvicorn's set holds ours

    def connection_lost(self, exc: Exception | None) -> None:
        self._state.connections.discard(self)
        self.gone = self.closing = True
        if self._close_timer is not None:
            self._close_timer.cancel()
        self._unwatch()
        self._inflow.drop()
        self._tell(ABNORMAL)
        self.resume_writing()
        self._state.note_closed()

    def pause_writing(self) -> None:
        self.paused = True
        if self._listener is not None:
            self._listener.pause()

    def resume_writing(self) -> None:
        self.paused = False
        if self._pong and not self.closing:
            self.transport.write(self._pong)
        self._pong = b""
        if self._listener is not None:
            if not self.gone:
                self._listener.resume()
        elif self._conversation is not None:
            self._conversation.writable()

    def data_received(self, data: bytes) -> None:
        self._answered = True
        if self._listener is not None:
            self._listener.alive()
        self._inflow.take(data)

    def parse(self, data: bytes) -> None:
        """Some of what has come in; the connection's inflow says how much at a time."""
        core = self._core
        core.receive_data(data)
        for event in core.events_received():
            if isinstance(event, Frame):
                self._frame(event)
            elif isinstance(event, Request):
                self._shake(event)
        if core.parser_exc is None and core.handshake_exc is None:
            if self.paused and core.state is OPEN:
                # Pongs to a client that does not take them: the latest stands for all (RFC 6455 section 5.5.3).
                self._pong = b"".join(core.data_to_send()[-1:]) or self._pong
            else:
                self._flush()
        elif self._conversation is not None and self._conversation.unread and not self.closing:
            # What came before the error is answered first; the close frame waits for the view, but not for long.
            self.failing = True
            self._state.loop.call_later(self._server.settings.linger_seconds, self.fail)
        else:
            self.fail()

    def shutdown(self) -> None:
        """The server stops: say so with 1012. May be called again."""
        if not self.closing:
            self._tell(RESTART, "service restart")
        self.finish(RESTART, "service restart", 503)

    # --- the sink of a listener

    @property
    def taken(self) -> bool:
        """Whether a hub's listener has this connection."""
        return self._listener is not None

    def take(self, listener: Listener) -> None:
        """Belong to `listener` from now on: the route's task may end, frames are written by the hub."""
        self._listener = listener
        listener.write = self.transport.write  # whoever is gone is not written to any more
        self._core.max_message_size = self._server.settings.max_listener_bytes
        self._unwatch()
        # What the handshake needed is not needed any more; thousands of idle listeners are mostly this.
        self._conversation = self._upgrade = None
        self.read_on()
        if self.gone:
            listener.gone()
        elif self.paused:
            listener.pause()

    def carries(self, receive: Callable[..., Any], send: Callable[..., Any]) -> bool:
        """Whether these two are this connection's own, with nobody in between."""
        own = self._conversation
        return own is not None and receive == own.receive and send == own.send

    def write(self, data: bytes) -> None:
        """Ready frames; nothing after a close frame."""
        if not self.closing:
            self.transport.write(data)

    def close(self, code: int, reason: str) -> None:
        """Send a close frame and wait for the peer's, for `close_seconds` at most."""
        if self.closing:
            return
        self.closing = True
        if self._core.state is OPEN:
            self._core.send_close(code, reason)
        self._flush()
        self._expire(self._server.settings.close_seconds)

    # --- what a conversation uses

    @property
    def application(self) -> Callable[[Any, Any, Any], Awaitable[None]]:
        return self._state.application

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        return self._state.loop

    @property
    def left(self) -> bool:
        """Whether the peer has closed."""
        return self._core.close_rcvd is not None

    def accept(self, response: Response) -> None:
        """Complete the handshake."""
        self._core.send_response(response)
        self._flush()
        self._slot = self._server.watch(self)

    def deny(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        """Answer the handshake with something else than a websocket."""
        self.closing = True
        self._core.send_response(denial(status, headers, body))
        self._flush()
        self.transport.close()

    def finish(self, code: int, reason: str, status: int) -> None:
        """End whatever is still open: with a close frame, or before the handshake with a status."""
        if self.closing:
            return
        if self._core.state is OPEN:
            self.close(code, reason)
        else:
            self.deny(status, [], b"")

    def send_text(self, data: bytes) -> None:
        if self._core.extensions:  # compressed: the core makes the frame
            self._core.send_text(data)
            self._flush()
        else:
            self.transport.write(WEBSOCKET.frame(data, None))

    def send_binary(self, data: bytes) -> None:
        if self._core.extensions:
            self._core.send_binary(data)
            self._flush()
        else:
            self.transport.write(b"\x82" + WEBSOCKET.frame(data, None)[1:])

    def read_on(self) -> None:
        """The view has taken what it had."""
        self._inflow.release()

    # --- keep-alive of ASGI websockets

    def ping(self) -> None:
        if not self.closing and not self.paused:
            self._answered = False
            self.transport.write(PING)

    def check(self) -> None:
        if not self._answered and not self.paused and not self.closing:
            self._tell(TOO_SILENT, "no answer to a ping")
            self.close(TOO_SILENT, "no answer to a ping")

    def _unwatch(self) -> None:
        if self._slot is not None:
            self._server.wheel.remove(self, self._slot)
            self._slot = None

    # --- what came in

    def _shake(self, request: Request) -> None:
        upgrade = self._upgrade
        assert upgrade is not None
        if not speaks_our_version(request):
            self.deny(426, [("Sec-WebSocket-Version", VERSION), ("Upgrade", "websocket")], b"")
            return
        response = self._core.accept(request)
        if response.status_code != HTTPStatus.SWITCHING_PROTOCOLS:
            field = getattr(self._core.handshake_exc, "name", "")
            problem = Problem(
                response.status_code, f"the handshake is not valid: {field}".rstrip(": ")
            ).response()
            self.deny(problem.status, [("Content-Type", MEDIA_TYPE)], problem.body)
            return
        scope = scope_of(upgrade, request, upgrade.request.peer, self._state.app_state)
        scope["extensions"] = {"websocket.http.response": {}, "skerry.direct": {"connection": self}}
        self._conversation = Conversation(self, scope, response)
        task = self._state.loop.create_task(self._conversation.run(), name="websocket")
        self._state.tasks.add(task)
        task.add_done_callback(self._state.tasks.discard)

    def _frame(self, frame: Frame) -> None:
        opcode = frame.opcode
        if opcode is Opcode.CLOSE:
            received = self._core.close_rcvd
            assert received is not None
            self._tell(received.code, received.reason)
            self._flush()
            self.closing = True
            self.transport.close()
        elif opcode is Opcode.TEXT or opcode is Opcode.BINARY or opcode is Opcode.CONT:
            conversation = self._conversation
            # A listener is told, not asked.
            if conversation is not None and not self.closing and conversation.frame(frame):
                self._inflow.hold()
        # Pings were answered by the core, a pong is a sign of life.

    def fail(self) -> None:
        """The core has said why in a close frame. Let that be read: half-close, and discard what still comes."""
        self.failing, self.closing = False, True
        self._flush()
        sent = self._core.close_sent
        if sent is not None:
            self._tell(sent.code, sent.reason)
        if self._close_timer is not None or self.transport.is_closing():
            return
        if self.transport.can_write_eof():
            self.transport.write_eof()
            self.read_on()
            self._expire(self._server.settings.linger_seconds)
        else:
            self.transport.close()

    def _tell(self, code: int, reason: str = "") -> None:
        """Say that the connection ends to whoever has it."""
        if self._listener is not None:
            self._listener.gone()
        elif self._conversation is not None:
            self._conversation.disconnect(code, reason)

    def _flush(self) -> None:
        data = b"".join(self._core.data_to_send())
        if data and not self.transport.is_closing():
            self.transport.write(data)

    def _expire(self, seconds: float) -> None:
        if self._close_timer is None and not self.gone:
            self._close_timer = self._state.loop.call_later(seconds, self.transport.abort)
