"""A websocket (RFC 6455) as a state machine without I/O: what happens goes in, a list of actions comes out. Pure.

The frames are `websockets`' sans-I/O core (`frames`), the handshake was parsed as HTTP (`handshake`). Here is when
anything is parsed, what is said to whom, and how it ends. The owner of the transport (`websocket`) executes the actions
in order, and calls `settle` when nothing is left of them.

Before our answer to the handshake nothing is parsed: a client waits for it (RFC 6455 section 4.1), and what one sends
all the same is kept, within a limit, until then.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from websockets.frames import Frame, Opcode
from websockets.http11 import Response
from websockets.protocol import OPEN

from skerry.http.listener import WEBSOCKET
from skerry.server.actions import Send, Signal
from skerry.server.frames import Frames
from skerry.server.handshake import denial
from skerry.server.inflow import Inflow

SLICE = 2_048  # some hundreds of the smallest frames
RESTART, TOO_SILENT, POLICY = 1012, 1011, 1008


@dataclass(frozen=True, slots=True)
class Message:
    """A message has come, for the view."""

    data: str | bytes


@dataclass(frozen=True, slots=True)
class Ended:
    """Tell the view that the connection ends, and why."""

    code: int
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Failed:
    """The client has broken the protocol: call `fail` when the view has taken what came before, or soon."""


@dataclass(frozen=True, slots=True)
class Expire:
    """Cut the connection after so many seconds."""

    seconds: float


Action = Send | Signal | Message | Ended | Failed | Expire


class Ws13:
    """One connection. `open`: the handshake was answered with 101; `closing`: nothing but the end is sent any more;
    `failing`: what the client sent is wrong, and it was not told yet; `held`: the view has enough for now; `writable`:
    the transport takes more."""

    __slots__ = (
        "_actions",
        "_answered",
        "_deaf",
        "_inflow",
        "_is_text",
        "_linger",
        "_parts",
        "_patience",
        "_paused",
        "_pong",
        "closing",
        "core",
        "failing",
        "held",
        "lost",
        "open",
        "writable",
    )  # fmt: skip

    def __init__(
        self, core: Frames, clock: Callable[[], float], *, close_seconds: float, linger_seconds: float
    ) -> None:
        self.core = core
        self._inflow = Inflow(SLICE, clock)
        self._patience, self._linger = close_seconds, linger_seconds
        self._actions: list[Action] = []
        self._parts: list[bytes] = []  # of a fragmented message
        self._is_text = True
        self._pong = b""  # owed to a client that takes nothing now
        self._answered = True
        self._paused = False
        self._deaf = False  # messages are for nobody
        self.open = self.closing = self.failing = self.held = self.lost = False
        self.writable = True

    # What happens

    def receive(self, data: bytes) -> Sequence[Action]:
        """Bytes have come."""
        self._answered = True
        part = self._inflow.put(data)
        if part and (self.held or not self.open) and not self.closing:
            self._inflow.keep(part)
        elif part:
            self._parse(part)
        return self._out()

    def accept(self, response: Response) -> Sequence[Action]:
        """The application accepts: complete the handshake, and read what was kept."""
        self.core.send_response(response)
        self.open = True
        self._flush()
        return self._out()

    def deny(self, response: Response) -> Sequence[Action]:
        """Answer the handshake with something else than a websocket."""
        self.closing = True
        self._inflow.rest()
        if not self.core.eof_sent:
            self.core.send_response(response)
            self._flush()
        self._actions.append(Signal.CLOSE)
        return self._out()

    def send(self, data: str | bytes) -> Sequence[Action]:
        """A message of the view."""
        core = self.core
        text = data.encode("utf-8") if isinstance(data, str) else data
        if core.extensions:  # compressed: the core makes the frame
            core.send_text(text) if isinstance(data, str) else core.send_binary(text)
            self._flush()
        else:
            frame = WEBSOCKET.frame(text, None)
            self._actions.append(Send(frame if isinstance(data, str) else b"\x82" + frame[1:]))
        return self._out()

    def close(self, code: int, reason: str) -> Sequence[Action]:
        """Send a close frame, and wait for the peer's, but not for long."""
        if self.closing:
            return ()
        self.closing = True
        if self.core.state is OPEN:
            self.core.send_close(code, reason)
        self._flush()
        self._actions.append(Expire(self._patience))
        return self._out()

    def finish(self, code: int, reason: str, status: int) -> Sequence[Action]:
        """End whatever is still open: with a close frame, or before the handshake's answer with a status."""
        if self.closing:
            return ()
        return self.close(code, reason) if self.open else self.deny(denial(status, (), b""))

    def fail(self) -> Sequence[Action]:
        """The core has said why in a close frame. Let that be read: half-close, and discard what still comes."""
        if not self.failing:
            return ()
        self.failing, self.closing = False, True
        self._flush()
        sent = self.core.close_sent
        if sent is not None:
            self._actions.append(Ended(sent.code, sent.reason))
        self.held = False
        self._actions += (Signal.LINGER, Expire(self._linger))
        return self._out()

    def room(self, writable: bool) -> Sequence[Action]:
        """The transport takes more, or for now no more."""
        self.writable = writable
        pong, self._pong = self._pong, b""
        return (Send(pong),) if writable and pong and not self.closing else ()

    def release(self) -> Sequence[Action]:
        """The view has taken what it had."""
        self.held = False
        return ()

    def ping(self) -> Sequence[Action]:
        """A ping is due; a client that takes nothing gets none."""
        if self.closing or not self.writable:
            return ()
        self._answered = False
        return (Send(WEBSOCKET.ping),)

    def check(self) -> Sequence[Action]:
        """The answer to a ping is due."""
        if self._answered or self.closing or not self.writable:
            return ()
        return (Ended(TOO_SILENT, "no answer to a ping"), *self.close(TOO_SILENT, "no answer to a ping"))

    def rested(self) -> Sequence[Action]:
        """The next turn of the loop, after `REST`."""
        self._inflow.rested()
        return ()

    def deafen(self, max_message_bytes: int) -> None:
        """From now on messages are for nobody; they are checked all the same."""
        self._deaf = True
        self._parts = []
        self.core.max_message_size = max_message_bytes

    def drop(self) -> None:
        """The connection is gone."""
        self.lost = self.closing = True
        self._inflow.rest()

    def settle(self) -> Sequence[Action]:
        """Everything decided so far is done: parse what was kept back; read, or not."""
        inflow = self._inflow
        if self.lost:
            return ()
        while inflow.stash and (self.open or self.closing) and not self.held and not inflow.rests:
            began = inflow.now()
            self._parse(inflow.next())
            if inflow.spend(inflow.now() - began):
                self._actions.append(Signal.REST)
            if self._actions:
                return self._out()
        pause = bool(inflow.stash) or self.held
        if pause != self._paused:
            self._paused = pause
            self._actions.append(Signal.PAUSE if pause else Signal.RESUME)
        return self._out()

    # How things stand

    @property
    def left(self) -> bool:
        """Whether the peer has sent its close frame."""
        return self.core.close_rcvd is not None

    @property
    def waits_unread(self) -> bool:
        """Whether nothing is read before the handshake was answered, so that the client's end would not be seen."""
        return self._paused and not self.open

    # What came in

    def _parse(self, data: bytes) -> None:
        core = self.core
        core.receive_data(data)
        for event in core.events_received():
            if isinstance(event, Frame):
                self._frame(event)
        if core.parser_exc is not None:
            if not (self.failing or self.closing):
                self.failing = True
                self._actions.append(Failed())
        elif not self.writable and core.state is OPEN:
            # Pongs to a client that does not take them: the latest stands for all (RFC 6455 section 5.5.3).
            self._pong = b"".join(core.data_to_send()[-1:]) or self._pong
        else:
            self._flush()

    def _frame(self, frame: Frame) -> None:
        opcode = frame.opcode
        if opcode is Opcode.CLOSE:
            received = self.core.close_rcvd
            assert received is not None
            self._actions.append(Ended(received.code, received.reason))
            self._flush()
            self.closing = True
            self._actions.append(Signal.CLOSE)
        elif opcode is Opcode.PING or opcode is Opcode.PONG or self._deaf or self.closing:
            pass  # pings were answered by the core, a pong is a sign of life
        else:
            if opcode is not Opcode.CONT:
                self._is_text, self._parts = opcode is Opcode.TEXT, []
            if not frame.fin:
                if frame.data:
                    self._parts.append(bytes(frame.data))
                return
            data = b"".join((*self._parts, frame.data)) if self._parts else bytes(frame.data)
            self._parts = []
            self._actions.append(Message(data.decode("utf-8") if self._is_text else data))
            self.held = True

    def _flush(self) -> None:
        data = b"".join(self.core.data_to_send())
        if data:
            self._actions.append(Send(data))

    def _out(self) -> Sequence[Action]:
        actions, self._actions = self._actions, []
        return actions
