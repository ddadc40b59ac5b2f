"""One websocket connection: executes on a transport what the state machine (`ws13`) decides, for two kinds of routes.

An ordinary ASGI websocket has a `Conversation` in a task of its own. A route that finds `skerry.direct` in the scope's
extensions may `take` the connection for a hub's listener: its task ends, ready frames go straight to the transport,
and what comes in is only checked. Keep-alive of ASGI websockets is here, that of listeners in the hub. What is sent to
whom is decided in `http`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any

from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
from websockets.http11 import Response

from skerry.http.listener import Listener
from skerry.http.wheel import Wheel
from skerry.options import option
from skerry.server.actions import Send, Signal
from skerry.server.conversation import ABNORMAL, Conversation
from skerry.server.frames import Frames
from skerry.server.handshake import denial, scope_of, shake
from skerry.server.http1 import Turn
from skerry.server.peer import has_left
from skerry.server.state import State
from skerry.server.ws13 import POLICY, RESTART, Action, Ended, Expire, Failed, Message, Ws13

OVER = "who listens may not any more: the session has ended"


@dataclass(frozen=True, slots=True)
class WebSocketSettings:
    """How one server speaks over WebSockets."""

    max_message_bytes: int = option(
        1 << 20, "of a message to an ASGI route, fragments together", least=125, most=1 << 30
    )
    max_listener_bytes: int = option(
        64 * 1024, "of a message of a listener to the stream of events", least=125, most=1 << 30
    )
    ping_seconds: int = option(25, "between two pings", least=1, most=3600)
    pong_seconds: int = option(8, "that a peer may take to answer a ping", least=1, most=3600)
    close_seconds: float = option(5.0, "that a peer may take to answer a close frame", least=0.1, most=60.0)
    linger_seconds: float = option(
        2.0, "that a closed connection is read on, so that its close frame arrives", least=0.1, most=60.0
    )
    compression: bool = option(
        False, "permessage-deflate for ASGI routes; it multiplies the memory of each connection"
    )


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

    def __call__(self, turn: Turn, state: State) -> WebSocketConnection:
        return WebSocketConnection(self, turn, state)

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
        "_close_timer", "_conversation", "_listener", "_server", "_slot", "_state", "_task", "_turn", "_work",
        "machine", "transport",
    )  # fmt: skip

    transport: asyncio.Transport

    def __init__(self, server: WebSockets, turn: Turn, state: State) -> None:
        self._server, self._state = server, state
        self._turn: Turn | None = turn
        settings = server.settings
        self.machine = Ws13(
            Frames(settings.max_message_bytes, server.extensions), monotonic,
            close_seconds=settings.close_seconds, linger_seconds=settings.linger_seconds,
        )  # fmt: skip
        self._listener: Listener | None = None
        self._conversation: Conversation | None = None
        self._task: asyncio.Task[None] | None = None
        self._close_timer: asyncio.TimerHandle | None = None
        self._slot: int | None = None
        self._work: list[Action] | None = None  # what is being executed

    # --- what the transport says

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The HTTP protocol has handed it over; its handshake is the turn."""
        self.transport = transport  # type: ignore[assignment]  # one that reads and writes
        state, turn = self._state, self._turn
        state.connections.add(self)
        state.websockets += 1
        assert turn is not None
        response, valid = shake(self.machine.core, turn.request)
        if not valid:
            self._execute(self.machine.deny(response))
            return
        scope = scope_of(turn.request, turn.version, state.app_state)
        scope["extensions"] = {"websocket.http.response": {}, "skerry.direct": {"connection": self}}
        self._conversation = Conversation(self, scope, response)
        self._task = state.loop.create_task(self._conversation.run(state.application), name="websocket")
        state.applications.run(self._task)

    def connection_lost(self, exc: Exception | None) -> None:
        state = self._state
        state.connections.discard(self)
        state.held.pop(self, None)
        state.websockets -= 1
        self.machine.drop()
        if self._close_timer is not None:
            self._close_timer.cancel()
        self._unwatch()
        if self._task is not None:
            state.applications.abandon(self._task)
            self._task = None
        self._tell(ABNORMAL)
        if self._conversation is not None:
            self._conversation.writable()
        state.note_closed()

    def pause_writing(self) -> None:
        self.machine.room(False)
        if self._listener is not None:
            self._listener.pause()

    def resume_writing(self) -> None:
        self._execute(self.machine.room(True))
        if self._listener is not None:
            if not self.gone:
                self._listener.resume()
        elif self._conversation is not None:
            self._conversation.writable()

    def data_received(self, data: bytes) -> None:
        if self._listener is not None:
            self._listener.alive()
        self._execute(self.machine.receive(data))

    # --- what the machine decides

    def _execute(self, actions: Sequence[Action]) -> None:
        """Do it in order. What comes of it in the meantime is done behind it, by the same call."""
        if self._work is not None:
            self._work.extend(actions)
            return
        work = self._work = list(actions)
        machine, transport = self.machine, self.transport
        try:
            while True:
                for action in work:
                    if isinstance(action, Send):
                        if not transport.is_closing():
                            transport.write(action.data)
                    elif isinstance(action, Message):
                        if self._conversation is not None:
                            self._conversation.message(action.data)
                    else:
                        self._obey(action)
                work = self._work = list(machine.settle())
                if not work:
                    break
        finally:
            self._work = None

    def _obey(self, action: Action) -> None:
        transport = self.transport
        closing = transport.is_closing()
        match action:
            case Ended(code, reason):
                self._tell(code, reason)
            case Expire(seconds):
                if self._close_timer is None and not self.gone:
                    self._close_timer = self._state.loop.call_later(seconds, transport.abort)
            case Failed():
                if self._conversation is not None and self._conversation.unread:
                    # What came before is answered first; the close frame waits for the view, but not for long.
                    self._state.loop.call_later(self._server.settings.linger_seconds, self.fail)
                else:
                    self.fail()
            case Signal.REST:
                self._state.loop.call_soon(self._rested)
            case Signal.PAUSE if not closing:
                transport.pause_reading()
            case Signal.RESUME if not closing:
                transport.resume_reading()
            case Signal.LINGER if not closing and transport.can_write_eof():
                transport.write_eof()
            case Signal.LINGER | Signal.CLOSE:
                transport.close()

    def _rested(self) -> None:
        self._execute(self.machine.rested())

    def _tell(self, code: int, reason: str = "") -> None:
        """Tell the owner of the connection that it ends."""
        if self._listener is not None:
            self._listener.gone()
        elif self._conversation is not None:
            self._conversation.disconnect(code, reason)

    # --- the server's side

    idle = False

    def sweep(self, now: float) -> None:
        """A client that left before its handshake was answered is noticed, whatever it has sent before."""
        if self._state.draining:
            self.shutdown()
        elif self.machine.waits_unread and has_left(self.transport):
            self.transport.abort()

    def shutdown(self) -> None:
        """The server stops: say so with 1012. May be called again."""
        if not self.closing:
            self._tell(RESTART, "service restart")
        self.finish(RESTART, "service restart", 503)

    def give_up(self) -> None:
        """The time is over."""
        self.transport.abort()

    def expel(self) -> None:
        """Its client may not listen any more: say so with 1008."""
        self._tell(POLICY, OVER)
        self.close(POLICY, OVER)

    # --- the sink of a listener

    @property
    def taken(self) -> bool:
        """Whether a hub's listener has this connection."""
        return self._listener is not None

    def take(self, listener: Listener) -> None:
        """Belong to `listener` from now on: the route's task may end, frames are written by the hub."""
        self._listener = listener
        listener.write = self.transport.write  # whoever is gone is not written to any more
        self.machine.deafen(self._server.settings.max_listener_bytes)
        self._unwatch()
        # What the handshake needed is not needed any more; thousands of idle listeners are mostly this.
        self._conversation = self._turn = None
        self.read_on()
        if self.gone:
            listener.gone()
        elif not self.room:
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
        self._execute(self.machine.close(code, reason))

    # --- what a conversation has of its connection

    @property
    def room(self) -> bool:
        return self.machine.writable

    @property
    def gone(self) -> bool:
        return self.machine.lost

    @property
    def left(self) -> bool:
        return self.machine.left

    @property
    def closing(self) -> bool:
        return self.machine.closing

    @property
    def failing(self) -> bool:
        return self.machine.failing

    def accept(self, response: Response) -> None:
        if self._task is not None:
            self._state.applications.settle(self._task)
        self._execute(self.machine.accept(response))
        self._slot = self._server.watch(self)
        if self._conversation is not None:
            self._state.hold(self, self._conversation.identity)

    def deny(self, status: int, fields: list[tuple[str, str]], body: bytes) -> None:
        self._execute(self.machine.deny(denial(status, fields, body)))

    def say(self, data: str | bytes) -> None:
        self._execute(self.machine.send(data))

    def finish(self, code: int, reason: str, status: int) -> None:
        self._execute(self.machine.finish(code, reason, status))

    def fail(self) -> None:
        self._execute(self.machine.fail())

    def read_on(self) -> None:
        if self.machine.held:
            self._execute(self.machine.release())

    # --- keep-alive of ASGI websockets

    def ping(self) -> None:
        self._execute(self.machine.ping())

    def check(self) -> None:
        self._execute(self.machine.check())

    def _unwatch(self) -> None:
        if self._slot is not None:
            self._server.wheel.remove(self, self._slot)
            self._slot = None
