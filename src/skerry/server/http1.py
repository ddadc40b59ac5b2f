"""HTTP/1.1 on one connection as a state machine without I/O: what happens goes in, a list of actions comes out. Pure.

In go bytes, the client's end, room to write, a complete answer, the time. Out come a `Turn` (answer this request now),
`Send` (write these bytes) and `Signal`s; `protocol`, which has the transport, executes them in order, and calls
`settle` when nothing is left of them. Requests are answered one at a time in the order of their arrival (RFC 9112
section 9.3.2); while any waits, nothing is read. What answers a request, and how much of its body is collected first,
is asked of a `Reception`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from skerry.http.headers import Headers
from skerry.http.problems import Problem
from skerry.http.reply import Response
from skerry.http.request import Peer, Request
from skerry.http.routes import Found, Missing, Mount
from skerry.server.actions import Send, Signal
from skerry.server.deadlines import BODY, HEAD, IDLE, LINGERING, End, overdue, unreachable
from skerry.server.framing import CLOSE, KEEP
from skerry.server.inflow import TURN_SECONDS, Inflow
from skerry.server.parser import RequestParser
from skerry.server.settings import ServerSettings
from skerry.server.strict import PLAIN, Head

# The parser is fed so much at a time, so that one packet cannot bring thousands of waiting requests.
SLICE = 65_536
HIGH_WATER = 65_536
"""Bytes of a body that wait to be taken; beyond, nothing is read."""
ANSWER_SECONDS = 20e-6
"""What an answer costs beside its view, about."""
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Turn:
    """One request on its connection, and as an action: answer it now.

    `streamed`: its body is taken as it comes; else it stands in the request. `complete`, `broken`: the body has come,
    or never will. `started`: the answer has begun. `keep`: what becomes of the connection after it.
    `error`: what could not be read on, to be answered in place of a request. `began`: when its view was called, where
    that is logged.
    """

    complete = broken = started = streamed = expects = websocket = False
    found: Found | Mount | Missing = Missing()
    limit = 0
    error: Exception | None = None
    began = 0.0
    leftover = b""
    """What came behind the handshake of a websocket."""
    parts: list[bytes] | tuple[()] = ()
    """Of the body, not taken yet; `size` bytes."""
    size = 0

    def __init__(self, request: Request, keep: int, version: str = "1.1") -> None:
        self.request, self.keep, self.version = request, keep, version


Action = Turn | Send | Signal


class Early(Exception):
    """An answer that follows from the head alone, before its body is asked for."""

    def __init__(self, response: Response) -> None:
        super().__init__(response.status)
        self.response = response


class Reception(Protocol):
    """The application and the server, as far as a connection has to know them."""

    @property
    def draining(self) -> bool:
        """Whether no further requests are taken."""
        ...

    @property
    def closing(self) -> bool:
        """Whether connections are closed as soon as they are between two requests."""
        ...

    def admit(self, turn: Turn) -> int | None:
        """Find what answers: sets `turn.found`. The largest body that is collected before, None: it is streamed.
        Raises Problem, or Early with an answer that needs no body."""
        ...


class Http1:
    """One connection. `phase`, `size`, `requests` and `since` (when the phase began, 0: after the last `tick`) say how
    far the client has come. `current` is being answered, `turns` wait. `closing`: no further request is taken; `gone`:
    the client says no more, `eof`: and all it said was read; `paused`: nothing is read; `over`: nothing is left to do.

    `memory`: after `settle`, the header block behind which a GET may be answered without the machine, None where it
    may not; `memory_headers` is what it says, `memory_peer` who sends it.
    """

    __slots__ = (
        "_actions", "_gone_at", "_incoming", "_inflow", "_news", "_parser", "_peer", "_reception", "_settings",
        "closing", "current", "eof", "gone", "memory", "over", "paused", "phase", "requests", "since", "size", "turns",
        "writable",
    )  # fmt: skip

    def __init__(
        self, settings: ServerSettings, reception: Reception, peer: Peer, clock: Callable[[], float]
    ) -> None:
        self._settings, self._reception, self._peer = settings, reception, peer
        self._parser = RequestParser(self, settings, peer)
        self._inflow = Inflow(SLICE, clock)
        self._actions: list[Action] = []
        self._incoming: Turn | None = None  # whose body comes
        self._news = False  # of the present turn's body
        self.paused = False
        self._gone_at = 0.0
        self.turns: deque[Turn] = deque()
        self.current: Turn | None = None
        self.phase = IDLE
        self.since = 0.0
        self.size = self.requests = 0
        self.memory: bytes | None = None
        self.writable = True
        self.closing = self.eof = self.gone = self.over = False

    # What happens

    def receive(self, data: bytes) -> Sequence[Action]:
        """Bytes have come."""
        if self.closing:
            last = self.turns[-1] if self.turns else None
            if last is not None and last.websocket:
                last.leftover += data
            return ()
        inflow = self._inflow
        if inflow.stash or inflow.rests or len(data) > SLICE:
            inflow.put(data)
        else:
            inflow.spent = 0.0
            self._feed(data)
            if self.current is None and self.turns and self.writable and not self._actions:  # the usual case
                self.current = turn = self.turns.popleft()
                return [turn]
        return self._advance()

    def again(self, target: bytes) -> Sequence[Action]:
        """A GET of `target` (a valid path and query) has come with the header block that is remembered, alone."""
        inflow = self._inflow
        inflow.spent = self.since = 0.0
        self.requests += 1
        turn = Turn(self._parser.again(target), KEEP)
        turn.complete = True
        try:
            turn.streamed = self._reception.admit(turn) is None
        except Exception as error:
            self._refuse(error, turn.request)
        else:
            if self.writable and not inflow.rests:
                self.current = turn
                return [turn]
            self.turns.append(turn)
        return self._advance()

    def begin(self, request: Request) -> Turn:
        """A GET that was read without the machine is being answered: the present turn, complete."""
        self.current = turn = Turn(request, KEEP)
        turn.complete = True
        return turn

    def receive_eof(self) -> Sequence[Action]:
        """The client says no more, and all it said has been received."""
        self.eof = True
        return self.left()

    def left(self) -> Sequence[Action]:
        """The client says no more; there may be input that was not received yet."""
        if self.gone:
            return ()
        self.gone = True
        return (Signal.GONE,) if self.current is not None else ()

    def room(self, writable: bool) -> Sequence[Action]:
        """The transport takes more, or for now no more."""
        self.writable = writable
        return self._advance() if writable else ()

    def take(self, turn: Turn) -> tuple[bytes, Sequence[Action]]:
        """What has come of the body of the present turn; the client is read on."""
        actions: Sequence[Action] = ()
        if turn.expects and turn is self.current and not turn.started and not self.gone:
            actions = (Send(CONTINUE),)
        turn.expects = False
        parts, turn.parts, turn.size = turn.parts, (), 0
        return (parts[0] if len(parts) == 1 else b"".join(parts)), actions

    def answered(self, seconds: float = 0.0) -> Sequence[Action]:
        """The answer of the present turn is complete; it took `seconds` of the loop's turn."""
        turn, self.current = self.current, None
        assert turn is not None
        if turn.keep == CLOSE or not turn.complete:
            # Answered before its body was read: the rest is not worth reading.
            self.turns.clear()
            self.closing = True
        inflow = self._inflow
        inflow.spent += seconds + ANSWER_SECONDS
        if inflow.spent > TURN_SECONDS and inflow.spend(0.0):
            self._actions.append(Signal.REST)
        elif not (self.turns or self.closing or self._incoming is not None or self._reception.draining):
            return ()
        return self._advance()

    def rested(self) -> Sequence[Action]:
        """The next turn of the loop, after `REST`."""
        self._inflow.rested()
        return self._advance()

    def shutdown(self) -> Sequence[Action]:
        """Finish what is under way, then close; close at once when nothing is."""
        if self.over:
            return ()
        if self.current is None and not self.turns and self.phase == IDLE:
            self._end()
        elif self.current is not None:
            self.current.keep = CLOSE
        return self._out()

    def part(self) -> None:
        """Let an answer that has not begun be the last one, and say so. One that has begun promised more: its client
        may bring one more request."""
        if self.current is not None and not self.current.started:
            self.current.keep = CLOSE

    def lost(self) -> None:
        """The connection is gone."""
        self.closing = self.gone = self.eof = self.over = True
        self.turns.clear()
        self.current = self._incoming = None
        self._inflow.rest()
        self._parser.close()

    def tick(self, now: float) -> Sequence[Action]:
        """About once a second: end what takes too long."""
        settings, draining = self._settings, self._reception.draining
        if self.over or (self.gone and self.current is not None):
            self._gone_at = self._gone_at or now
            if unreachable(settings, now - self._gone_at, draining=draining):
                return (Signal.ABORT,)
            return ()
        if not self.since or (self.phase == BODY and self.paused):
            self.since = now  # it began after the last look, or we are slow, not the client
            return ()
        answering = self.current is not None or bool(self.turns)
        match overdue(self, settings, now - self.since, draining=draining, answering=answering):
            case Problem() as problem:
                self._actions.append(Signal.LATE)
                if self._incoming is not None and self._incoming.streamed:
                    self._actions.append(Signal.ABORT)
                else:
                    self._refuse(problem)
                    return self._advance()
            case End.CUT:
                self._actions.append(Signal.ABORT)
            case End.CLOSE:
                self.closing = self.over = True
                self._actions.append(Signal.CLOSE)
        return self._out()

    def settle(self) -> Sequence[Action]:
        """Everything decided so far is done: parse what was kept back, as far as the answers keep up; read, or not."""
        inflow = self._inflow
        if (
            self.current is None
            and self.phase == IDLE
            and self.writable
            and not (self.turns or self.closing or self.paused or self.eof or inflow.stash)
        ):
            self.memory = None if self._reception.draining else self._parser.memory
            return ()
        self.memory = None
        current = self.current
        if (
            current is not None
            and current.complete
            and self.writable
            and not (self._actions or self.turns or self.closing or self.paused or self.eof or inflow.stash)
        ):
            return ()  # it is being answered, and nothing else has come
        while inflow.stash and not (self.turns or self.closing or inflow.rests or self._full):
            began = inflow.now()
            self._feed(inflow.next())
            if inflow.spend(inflow.now() - began):
                self._actions.append(Signal.REST)
            actions = self._advance()
            if actions:
                return actions
        if self.over:
            return ()
        if self.closing:
            inflow.rest()
        elif self.eof and not inflow.stash:
            self._break_off()
            if self.current is None and not self.turns:
                self._end()  # what was read last is not complete, and never will be
        pause = bool(inflow.stash or self.turns or self._full) and self.phase != LINGERING
        if pause != self.paused and not self.over:
            self.paused = pause
            self._actions.append(Signal.PAUSE if pause else Signal.RESUME)
        return self._out()

    # How things stand

    @property
    def idle(self) -> bool:
        """Between two requests, with nothing read of the next one."""
        return (
            self.phase == IDLE
            and self.current is None
            and not self.turns
            and not self.closing
            and not self._inflow.stash
            and not self.paused
        )

    @property
    def waits_unread(self) -> bool:
        """Whether something is being answered while nothing is read, so that the client's end would not be seen."""
        return self.paused and self.current is not None and not self.gone

    @property
    def memory_headers(self) -> Headers:
        return self._parser.memory_headers

    @property
    def memory_peer(self) -> Peer:
        return self._parser.memory_peer

    @property
    def _full(self) -> bool:
        """Whether more input would pile up: answers are not taken, or a body is not read."""
        current = self.current
        if current is not None and not current.complete:
            return current.size > HIGH_WATER
        return not self.writable

    # What is decided

    def _advance(self) -> Sequence[Action]:
        """Let the next turn come, if it may; close after the last."""
        actions = self._actions
        if self._news:
            self._news = False
            if self.current is not None:
                actions.append(Signal.READABLE)
        if self.current is None and not self.over:
            if self.turns:
                if self.writable and not self._inflow.rests:
                    self.current = turn = self.turns.popleft()
                    if not actions:
                        return [turn]
                    actions.append(turn)
            elif self.closing or (self._reception.closing and self.phase == IDLE and not self._inflow.stash):
                self._end()
            elif self._incoming is not None and self._incoming.expects:
                self._incoming.expects = False
                actions.append(Send(CONTINUE))
        return self._out() if actions else ()

    def _out(self) -> Sequence[Action]:
        actions, self._actions = self._actions, []
        return actions

    def _feed(self, data: bytes) -> None:
        try:
            leftover = self._parser.feed(data)
        except Exception as error:
            self._refuse(error, self._parser.request)
        else:
            if leftover is not None:
                self.turns[-1].leftover = leftover + self._inflow.rest()

    def _refuse(self, error: Exception, request: Request | None = None) -> None:
        """Answer what cannot be read on, after everything before it, and close."""
        if self.closing:
            return
        self.closing = True
        incoming, self._incoming = self._incoming, None
        if incoming is not None and incoming.streamed:
            incoming.broken = True
            if incoming is self.current:
                if incoming.started:
                    self._actions.append(Signal.ABORT)
                    return
                self._actions.append(Signal.DROP)
                self.current = None
            elif self.turns and self.turns[-1] is incoming:
                self.turns.pop()
        turn = Turn(request or Request("GET", b"/", Headers(), b"", self._peer), CLOSE)
        turn.error, turn.complete = error, True
        self.turns.append(turn)

    def _break_off(self) -> None:
        """The client said no more in the middle of a request."""
        incoming, self._incoming = self._incoming, None
        if incoming is None:
            return
        self.closing = True
        incoming.broken = True
        if incoming is self.current:
            self._actions.append(Signal.READABLE)
        elif self.turns and self.turns[-1] is incoming:
            self.turns.pop()

    def _end(self) -> None:
        """Close after the last answer. A client that is still sending gets it before it meets a closed door."""
        self.closing = True
        if self.phase == IDLE or self.eof:
            self.over = True
            self._actions.append(Signal.CLOSE)
        elif self.phase != LINGERING:
            self.phase, self.since = LINGERING, 0.0
            self._actions.append(Signal.LINGER)

    # The parser calls these

    def on_begin(self) -> None:
        if self.closing:
            raise Problem(400, "more data after the last request")
        self.phase, self.since = HEAD, 0.0

    def on_head(self, request: Request, head: Head, keep: int, version: str, *, websocket: bool) -> None:
        self.phase, self.since, self.size = BODY, 0.0, 0
        turn = Turn(request, CLOSE if self._reception.draining else keep, version)
        self._incoming = None
        if head is not PLAIN:
            turn.websocket = websocket
            turn.expects = head.expects and head.has_body
        limit = self._reception.admit(turn)
        if limit is None:
            turn.streamed = True
            if self.current is None and not self.turns and self.writable and not self._inflow.rests:
                self.current = turn
                self._actions.append(turn)
            else:
                self.turns.append(turn)
        elif head is not PLAIN:
            turn.limit = limit
            if head.length is not None and head.length > limit:
                raise Problem(413, f"the body is over {limit} bytes")
            if turn.expects and self.current is None and not self.turns:
                turn.expects = False
                self._actions.append(Send(CONTINUE))
        self._incoming = turn

    def on_body(self, data: bytes) -> None:
        turn = self._incoming
        self.size += len(data)
        if turn is None:
            return
        # Chunks may be tiny and their extensions long: what frames a body is bounded as well.
        if not turn.streamed and (self.size > turn.limit or self._parser.raw > 8 * turn.limit + SLICE):
            raise Problem(413, f"the body is over {turn.limit} bytes")
        turn.size += len(data)
        if turn.parts.__class__ is list:
            turn.parts.append(data)
        else:
            turn.parts = [data]
        if turn is self.current:
            self._news = True

    def on_end(self) -> None:
        turn, self._incoming = self._incoming, None
        self.phase, self.since = IDLE, 0.0
        self.requests += 1
        if turn is None:
            return
        turn.complete = True
        if turn.keep == CLOSE or turn.websocket:
            self.closing = True
        if turn.streamed:
            if turn is self.current:
                self._news = True
            return
        if turn.parts:
            turn.request.body = turn.parts[0] if len(turn.parts) == 1 else b"".join(turn.parts)
        self.turns.append(turn)
