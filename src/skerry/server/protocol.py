"""A connection: bytes become requests, the lane answers at once, everything else goes through ASGI, in order.

Requests of the lane are answered inside `data_received` with one write. A header block that the parser has accepted
on this connection is remembered: a GET that repeats it, byte for byte, is read without the parser. Pipelined requests
wait as turns and are answered only while the transport takes more; while any waits, nothing is read. Decisions about
content are in `http`, about the form of a head in `strict`.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections import deque
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle
from uvicorn.protocols.utils import get_local_addr, get_remote_addr, is_ssl

from skerry.http.headers import Headers
from skerry.http.lane import Answer, Lane
from skerry.http.problems import Problem
from skerry.http.reply import Response
from skerry.http.request import Ends, Request
from skerry.http.routes import Found, Missing, Mount, Route
from skerry.server.asgi import HIGH_WATER, Flow, cycle_of, log_access, scope_of
from skerry.server.intake import BODY, HEAD, IDLE, LINGERING, SLICE, Intake
from skerry.server.settings import ServerSettings
from skerry.server.turns import CLOSE, KEEP, Turn, Upgrade

if TYPE_CHECKING:
    from skerry.server.state import State

# Percent escapes, empty segments and the like take the long way.
UNRESERVED = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"
TARGET = bytes(byte for byte in range(0x21, 0x7F) if byte != 0x23)  # what a request target may hold
DOTS = (b".", b"..")
NOTHING = b"\0"  # no request starts with it
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
TURN_SECONDS = 0.005
"""What one connection may take of a turn of the loop with requests that wait; then it is the others' turn."""
ANSWER_SECONDS = 20e-6
"""What an answer costs beside its view, about."""


class Connection(asyncio.Protocol):
    """One client's connection. Made by `HttpServer`; `state` is what all connections of a server share."""

    __slots__ = (
        "_direct", "_eof", "_intake", "_log", "_longest", "_opening", "_opening_route", "_peer", "_read_paused",
        "_rests", "_running", "_slow", "_spent", "_stalled", "_stash", "_tail", "closing", "flow", "lane", "settings",
        "state", "transport", "turns",
    )  # fmt: skip

    transport: asyncio.Transport

    def __init__(self, state: State) -> None:
        self.state = state
        self.settings: ServerSettings = state.settings
        self.lane: Lane = state.application.lane
        self._direct = self.lane.direct
        self._slow = self.settings.slow_view_seconds
        self._log = state.log_lane
        self._longest = self.settings.max_target_bytes  # of a request that may skip the parser
        self._opening = NOTHING
        self._opening_route: Any = None
        self.flow = Flow(self)
        self.closing = False  # no further request is taken
        self.turns: deque[Turn] = deque()
        self._intake = Intake(self)
        self._peer: Ends | None = None
        self._running: asyncio.Future[Any] | RequestResponseCycle | None = None
        self._stash = b""
        self._read_paused = False
        self._eof = False  # the client sends no more
        self._spent = 0.0  # of this turn of the loop
        self._rests = False  # until the next one
        self._stalled: tuple[float, int] | None = None
        self._tail: bytes | None = None  # the intake's memory while it may be used

    # The transport's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport) or hasattr(transport, "write")
        self.transport = transport  # type: ignore[assignment]
        state = self.state
        if state.full:
            state.refused += 1
            self.closing = True
            self.transport.write(state.busy)
            self.transport.close()
            return
        state.connections.add(self)  # type: ignore[arg-type]  # uvicorn's set holds ours

    def connection_lost(self, exc: Exception | None) -> None:
        self.state.connections.discard(self)
        self.closing = True
        self._tail = None
        self.turns.clear()
        self._stash = b""
        cycle = self._running
        if isinstance(cycle, RequestResponseCycle) and not cycle.response_complete:
            cycle.disconnected = True
            cycle.message_event.set()
        # A future that runs stays what it is: a durable write without a receiver.
        self._running = None
        self.flow.resume_writing()
        self._intake.close()
        self.state.note_closed()

    def data_received(self, data: bytes) -> None:
        tail = self._tail
        if tail is None or not data.endswith(tail) or len(data) > self._longest:
            self._feed(data)
            return
        # The header block is the one that was parsed before, byte for byte: what is left is `GET target`.
        opening = self._opening
        last = data[len(opening) : -len(tail)] if data.startswith(opening) else b""
        if last.isalnum() or (last and not last.translate(None, UNRESERVED) and last not in DOTS):
            route = self._opening_route
            target = data[4 : -len(tail)]
        else:
            target = data[4 : -len(tail)] if data.startswith(b"GET /") else b""
            prefix, _, last = target.rpartition(b"/")
            known = self._direct.get(prefix)
            if known is None or not last or last.translate(None, UNRESERVED) or last in DOTS:
                if target and not target.translate(None, TARGET):
                    self._spent = 0.0
                    self._intake.again(target)
                else:
                    self._feed(data)
                return
            self._opening, self._opening_route = b"GET " + prefix + b"/", known
            route = known
        intake = self._intake
        intake.since = 0.0
        request = Request("GET", target, intake.memory_headers, b"", self)
        began = monotonic()
        try:
            answer = route.call(request, last.decode("ascii"))
            if answer.__class__ is not Response or request.headers.conditional:
                answer = self.lane.complete(route, request, answer)
        except Exception as error:
            answer = self.lane.refuse(error, request)
        took = monotonic() - began
        if took > self._slow:
            self.state.note_slow(route, took)
        if answer.__class__ is not Response or self._log:
            self._reply(route, request, answer, KEEP)
            return
        counts, status = route.counts, answer.status
        if status in counts:
            counts[status] += 1
        else:
            counts[status] = 1
        self.transport.write(answer.render(self.state.common_keep))

    def eof_received(self) -> bool:
        """The client has said all it had to say; while an answer is due it still listens."""
        running = self._running
        answering = isinstance(running, RequestResponseCycle) and running.response_started
        self._tail = None
        self._eof = True
        if (running is not None and not answering and not self._hungry) or self.turns or self._stash:
            return self.transport.can_write_eof()
        return False

    def pause_writing(self) -> None:
        self.flow.pause_writing()
        self._tail = None
        self._stalled = (monotonic(), self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        self._stalled = None
        self.flow.resume_writing()
        self._advance()

    # Reading

    def pause_reading(self) -> None:
        if not self._read_paused:
            self._read_paused = True
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        """Read on, unless a turn waits: then its answer comes first."""
        if self.turns or self.transport.is_closing():
            return
        if self._stash:
            self._feed_stash()
        if self._read_paused and not self.turns and not self._stash:
            self._read_paused = False
            self.transport.resume_reading()

    @property
    def _hungry(self) -> bool:
        """Whether a request that is being answered still waits for its body."""
        return self._running is not None and self._running is self._intake.cycle

    def _feed(self, data: bytes) -> None:
        self._tail = None
        self._spent = 0.0
        if self.closing:
            return
        if self._stash or len(data) > SLICE:
            self._stash += data
            self._feed_stash()
        else:
            self._intake.feed(data)
            if self.turns or self.flow.write_paused:
                self.pause_reading()
        self._arm()

    def _feed_stash(self) -> None:
        while self._stash and not self.turns and not self.closing and not self._rests and not self._full:
            part, self._stash = self._stash[:SLICE], self._stash[SLICE:]
            began = monotonic()
            self._intake.feed(part)
            self._spend(monotonic() - began)
        if self.closing:
            self._stash = b""
        elif self._stash or self.turns or self.flow.write_paused:
            self.pause_reading()
        elif self._eof and (self._running is None or self._hungry):
            self.transport.close()  # what was read last is not complete, and never will be

    @property
    def _full(self) -> bool:
        """Whether more input would pile up: answers are not taken, or a body is not read."""
        cycle = self._intake.cycle
        if cycle is not None and cycle is self._running:
            return len(cycle.body) > HIGH_WATER
        return self.flow.write_paused

    def _arm(self) -> None:
        """The shortcut is open while the connection is between requests with nothing waiting."""
        if (
            self._intake.phase == IDLE
            and self._running is None
            and not self.turns
            and not self._stash
            and not self.closing
            and not self.flow.write_paused
            and not self.state.draining
        ):
            self._tail = self._intake.memory

    # Answering

    def in_lane(self, found: Found | Mount | Missing) -> bool:
        """Whether this is answered here: by a route of the lane, or as a miss that no middleware wants to see."""
        if isinstance(found, Found):
            return found.route.lane
        return isinstance(found, Missing) and self.lane.decides_misses

    def take(self, turn: Turn) -> None:
        """A complete request of the lane: answer it now, or in its turn."""
        self.turns.append(turn)
        self._answer()

    def upgrade(self, leftover: bytes) -> None:
        """The handshake that is the last turn is complete; `leftover` came behind it."""
        upgrade = self.turns[-1].upgrade
        assert upgrade is not None
        upgrade.leftover = leftover
        self._answer()

    def _advance(self) -> None:
        """Answer what waits, then read on. Never from within the parser, which must not be fed by itself."""
        self._answer()
        if self.turns or self.closing or self.transport.is_closing() or self._intake.closed:
            return
        if self._running is None:
            if self._intake.owes_continue:
                self.encourage()
            if self._eof and not self._stash:
                self._close()
                return
        elif not self._hungry:
            return
        if not self._full:
            self.resume_reading()
            self._arm()

    def _answer(self) -> None:
        """Start what waits, while nothing runs and the transport takes more; close after the last."""
        turns, intake = self.turns, self._intake
        while turns and self._running is None and not self.flow.write_paused and not self._rests:
            self._start(turns.popleft())
            self._spend(ANSWER_SECONDS)
        if self._running is not None or turns or self.transport.is_closing() or intake.closed:
            return
        if self.closing or (self.state.draining and intake.phase == IDLE and not self._stash):
            self._close()

    def _spend(self, seconds: float) -> None:
        """Account for the turn of the loop; beyond the share of one connection, the others go first."""
        self._spent += seconds
        if self._spent > TURN_SECONDS and not self._rests:
            self._rests = True
            self.state.loop.call_soon(self._rested)

    def _rested(self) -> None:
        self._rests, self._spent = False, 0.0
        self._advance()

    def _start(self, turn: Turn) -> None:
        found, request = turn.found, turn.request
        if turn.response is not None:
            self._write(None, request, turn.response, CLOSE)
        elif turn.upgrade is not None:
            self._hand_over(turn.upgrade)
        elif turn.cycle is not None:
            self._run(turn.cycle)
        elif isinstance(found, Found):
            self._serve(found.route, request, found.raw, turn.keep)
        elif isinstance(found, Missing):
            self._write(None, request, self.lane.missing(found, request), turn.keep)

    def _serve(self, route: Route, request: Request, raw: tuple[bytes, ...], keep: int) -> None:
        began = monotonic()
        answer = self.lane.answer(route, request, raw)
        took = monotonic() - began
        self._spent += took
        if took > self.settings.slow_view_seconds:
            self.state.note_slow(route, took)
        self._reply(route, request, answer, keep)

    def _reply(self, route: Route, request: Request, answer: Answer, keep: int) -> None:
        if isinstance(answer, asyncio.Future) and not answer.done():
            self._tail = None
            self._running = answer
            answer.add_done_callback(partial(self._settled, route, request, keep))
        elif isinstance(answer, asyncio.Future):
            self._write(route, request, self.lane.settle(route, request, answer), keep)
        else:
            self._write(route, request, answer, keep)

    def _settled(self, route: Route, request: Request, keep: int, future: asyncio.Future[Any]) -> None:
        response = self.lane.settle(route, request, future)
        if self._running is not future:
            return  # the client is gone
        self._running = None
        self._write(route, request, response, keep)
        self._advance()

    def _write(self, route: Route | None, request: Request, response: Response, keep: int) -> None:
        state, status = self.state, response.status
        counts = state.counts if route is None else route.counts
        try:
            counts[status] += 1
        except KeyError:
            counts[status] = 1
        if keep and state.draining:
            keep = CLOSE
            self.closing = True
        self.transport.write(response.render(state.common[keep], with_body=request.method != "HEAD"))
        if not keep:
            self._close()
        if self._log:
            log_access(scope_of(request, self._intake.version, Missing(), {}), status, 0.0)

    def _close(self) -> None:
        """Close after the last answer. A client that is still sending gets it before it meets a closed door."""
        self.closing = True
        self._tail = None
        if self._intake.phase == IDLE or not self.transport.can_write_eof():
            self.transport.close()
        elif self._intake.phase != LINGERING:
            self._intake.phase = LINGERING
            self._intake.since = 0.0
            self.transport.write_eof()
            if self._read_paused:
                self._read_paused = False
                self.transport.resume_reading()

    def refuse(self, error: Exception, request: Request | None = None) -> None:
        """Answer what cannot be read on, after everything before it, and close."""
        if self.closing:
            return
        self.closing = True
        self.state.refused += 1
        request = request or Request("GET", b"/", Headers(), b"", self)
        response = self.lane.refuse(error, request)
        cycle = self._intake.cycle
        if cycle is not None:
            # The body of a request under way broke: its application sees a disconnect.
            cycle.disconnected = True
            cycle.message_event.set()
            if self._running is cycle:
                if cycle.response_started:
                    self.transport.abort()
                    return
                self._running = None
            elif self.turns and self.turns[-1].cycle is cycle:
                self.turns.pop()
        self.turns.append(Turn(request, None, CLOSE, response=response))
        self._answer()

    def encourage(self) -> None:
        """Tell a client that waits for it to send its body, once it is its turn."""
        if self._running is None and not self.turns:
            self._intake.owes_continue = False
            self.transport.write(CONTINUE)

    # The ASGI side

    def begin(
        self, request: Request, found: Found | Mount | Missing, *, expects: bool
    ) -> RequestResponseCycle:
        """Start a request of the ASGI side, or let it wait for its turn; its body follows into the cycle."""
        state, keep = self.state, self._intake.keep
        if len(state.tasks) >= self.settings.max_pending:
            raise Problem(503, "too many requests are under way", headers={"Retry-After": "1"})
        cycle = cycle_of(
            scope_of(request, self._intake.version, found, state.app_state),
            self.transport,
            self.flow,
            state.default_headers,
            self._completed,
            expects=expects,
            keep_alive=bool(keep),
            logged=state.log_asgi,
        )
        if self._running is None and not self.turns and not self.flow.write_paused:
            self._run(cycle)
        else:
            self.turns.append(Turn(request, found, keep, cycle=cycle))
        return cycle

    def _run(self, cycle: RequestResponseCycle) -> None:
        self._running = cycle
        self._tail = None
        state = self.state
        task = state.loop.create_task(cycle.run_asgi(state.application.asgi))  # type: ignore[arg-type]  # typed by Starlette
        state.tasks.add(task)
        task.add_done_callback(state.tasks.discard)

    def _completed(self) -> None:
        """An ASGI answer is complete."""
        cycle, self._running = self._running, None
        self.state.total_requests += 1
        if self.transport.is_closing():
            return
        if self._intake.cycle is cycle:
            self._close()  # answered before the body was read: its rest is not worth reading
            return
        self._advance()

    def _hand_over(self, upgrade: Upgrade) -> None:
        """Give the connection to a websocket protocol."""
        self.state.connections.discard(self)
        protocol = self.state.websocket(upgrade, self.state)
        if self._read_paused:
            self._read_paused = False
            self.transport.resume_reading()
        protocol.connection_made(self.transport)
        protocol.data_received(upgrade.handshake() + upgrade.leftover)
        self.transport.set_protocol(protocol)
        self._intake.close()

    # The server's side

    def sweep(self, now: float) -> None:
        """Close what takes too long. Called about once a second for every connection; no request pays for a timer."""
        settings, draining = self.settings, self.state.draining
        if self._stalled is not None:
            self._sweep_stalled(now)
            return
        if not self._intake.since:
            self._intake.since = now
            return
        elapsed = now - self._intake.since
        phase = self._intake.phase
        if phase == LINGERING:
            if elapsed >= (settings.patience_seconds if draining else settings.linger_seconds):
                self.transport.abort()
        elif phase == BODY:
            if self._read_paused:
                self._intake.since = now  # we are slow, not the client
            elif draining and elapsed >= settings.patience_seconds:
                self._time_out(Problem(503, "this server is ending", headers={"Retry-After": "1"}))
            elif elapsed >= settings.body_seconds + self._intake.size / settings.body_bytes_per_second:
                self._time_out(Problem(408, "the body took too long"))
        elif self._running is not None or self.turns:
            return
        elif phase == HEAD:
            if draining and elapsed >= settings.patience_seconds:
                self._time_out(Problem(503, "this server is ending", headers={"Retry-After": "1"}))
            elif elapsed >= settings.head_seconds:
                self._time_out(Problem(408, "the head took too long"))
        elif elapsed >= (settings.keep_alive_seconds if self._intake.requests else settings.head_seconds):
            self.closing = True
            self.transport.close()

    def _sweep_stalled(self, now: float) -> None:
        assert self._stalled is not None
        since, size = self._stalled
        left = self.transport.get_write_buffer_size()
        settings = self.settings
        if left < size:
            self._stalled = (now, left)
        elif now - since >= (settings.patience_seconds if self.state.draining else settings.stall_seconds):
            self.transport.abort()

    def _time_out(self, problem: Problem) -> None:
        self.state.timed_out += 1
        if self._intake.cycle is not None:
            self.transport.abort()
        else:
            self.refuse(problem)

    def shutdown(self) -> None:
        """Finish what is under way, then close; close at once when nothing is."""
        self._tail = None
        if self._running is None and not self.turns and self._intake.phase == IDLE:
            self.closing = True
            self.transport.close()
        elif isinstance(self._running, RequestResponseCycle):
            self._running.keep_alive = False

    @property
    def idle(self) -> bool:
        """Between two requests, with nothing read of the next one."""
        return (
            self._intake.phase == IDLE
            and self._running is None
            and not self.turns
            and not self._stash
            and not self.closing
            and not self._read_paused
        )

    def release(self) -> socket.socket | None:
        """Let go of an idle connection without closing it: the socket, for another process to serve. None while a
        request is under way or half read, and for TLS, whose keys are here."""
        transport = self.transport
        if not self.idle or transport.get_write_buffer_size() or is_ssl(transport):
            return None
        # What arrives from here on stays in the kernel, for whoever reads next.
        transport.pause_reading()
        self.closing = True
        self._tail = None
        taken = socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno()))
        transport.abort()  # closes this copy only
        return taken

    # What a Request asks of its peer

    @property
    def peer(self) -> Ends:
        if self._peer is None:
            transport = self.transport
            scheme = "https" if is_ssl(transport) else "http"
            self._peer = Ends(get_remote_addr(transport), get_local_addr(transport), scheme)
        return self._peer

    @property
    def client(self) -> tuple[str, int] | None:
        return self.peer.client

    @property
    def server(self) -> tuple[str, int | None] | None:
        return self.peer.server

    @property
    def scheme(self) -> str:
        return self.peer.scheme
