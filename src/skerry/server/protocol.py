"""A connection: bytes become requests, which are answered in order, by the lane at once or by the ASGI side.

A header block that the parser has accepted on this connection is remembered: a GET that repeats it, byte for byte, is
read without the parser, and answered inside `data_received` with one write. Everything else is parsed (`intake`) and
becomes a turn; turns are answered only while the transport takes more, and while any waits, nothing is read
(`reading`). Decisions about content are in `http`, about the form of a head in `strict`, about time in `deadlines`.
"""

from __future__ import annotations

import asyncio
import os
import socket
from time import monotonic

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle
from uvicorn.protocols.utils import get_local_addr, get_remote_addr, is_ssl

from skerry.http.lane import Lane
from skerry.http.problems import Problem
from skerry.http.reply import Response
from skerry.http.request import Ends, Request
from skerry.server.asgi import AsgiSide, Flow
from skerry.server.deadlines import End, overdue, stalled
from skerry.server.intake import BODY, IDLE, LINGERING, Intake
from skerry.server.lane import LaneSide
from skerry.server.order import Order
from skerry.server.reading import Reading
from skerry.server.settings import ServerSettings
from skerry.server.state import ENDING, State
from skerry.server.turns import KEEP

UNRESERVED = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"
# Leaves a plain segment as it is and changes any other: escapes, queries and the like take the longer way.
PLAIN = bytes(byte if byte in UNRESERVED else byte ^ 0xFF for byte in range(256))
TARGET = bytes(byte for byte in range(0x21, 0x7F) if byte != 0x23)  # what a request target may hold
DOTS = (b".", b"..")


class Connection(asyncio.Protocol):
    """One client's connection. Made by `HttpServer`; `state` is what all connections of a server share.

    `closing`: no further request is taken. What it is being told is `intake`'s, what it answers when is `order`'s.
    """

    __slots__ = (
        "_direct", "_longest", "_peer", "_slow", "_stalled", "_tail", "asgi_side",
        "closing", "flow", "intake", "lane", "lane_side", "order", "reading", "settings", "state", "transport",
    )  # fmt: skip

    transport: asyncio.Transport

    def __init__(self, state: State) -> None:
        self.state = state
        self.settings: ServerSettings = state.settings
        self.lane: Lane = state.application.lane
        self._direct = self.lane.direct
        self._slow = self.settings.slow_view_seconds
        self._longest = self.settings.max_target_bytes  # of a request that may skip the parser
        self._tail: bytes | None = None  # the intake's memory while it may be used
        self.intake = Intake(self)
        self.reading = Reading(self)
        self.flow = Flow(self.reading)
        self.order = Order(self)
        self.lane_side = LaneSide(self, self.lane, state)
        self.asgi_side = AsgiSide(self, state)
        self.closing = False
        self._peer: Ends | None = None
        self._stalled: tuple[float, int] | None = None

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
        self.reading.stash = b""
        self.order.abandon()
        self.flow.resume_writing()
        self.intake.close()
        self.state.note_closed()

    def data_received(self, data: bytes) -> None:
        tail = self._tail
        if tail is None or not data.endswith(tail) or len(data) > self._longest:
            self._feed(data)
            return
        # The header block is the one that was parsed before, byte for byte: what is left is `GET target`.
        line = data[: -len(tail)]
        opening, _, last = line.rpartition(b"/")
        route = self._direct.get(opening)
        if route is None or not last or last.translate(PLAIN) != last or last in DOTS:
            self._repeat(line, data)
            return
        intake = self.intake
        intake.since = 0.0
        request = Request("GET", line[4:], intake.memory_headers, b"", self)
        began = monotonic()
        try:
            answer = route.call(request, last.decode("ascii"))
            if answer.__class__ is not Response or request.headers.conditional:
                answer = self.lane.complete(route, request, answer)
        except Exception as error:
            answer = self.lane.refuse(error, request)
        took = monotonic() - began
        state = self.state
        if took > self._slow:
            state.note_slow(route, took)
        if answer.__class__ is not Response or state.log_lane:
            self.lane_side.reply(route, request, answer, KEEP)
            return
        counts, status = route.counts, answer.status
        try:
            counts[status] += 1
        except KeyError:
            counts[status] = 1
        self.transport.write(answer.render(state.common_keep))

    def _repeat(self, line: bytes, data: bytes) -> None:
        """A header block as before, but another route or no plain path: only the parser is spared."""
        target = line[4:] if line.startswith(b"GET /") else b""
        if target and not target.translate(None, TARGET):
            self.reading.refresh()
            self.intake.again(target)
        else:
            self._feed(data)

    def _feed(self, data: bytes) -> None:
        """The long way: through the parser."""
        self._tail = None
        if not self.closing:
            self.reading.take(data)
            self._arm()

    def _arm(self) -> None:
        """The shortcut is open while the connection is between requests with nothing waiting."""
        if (
            self.intake.phase == IDLE
            and self.order.free
            and not self.reading.stash
            and not self.closing
            and not self.flow.write_paused
            and not self.state.draining
        ):
            self._tail = self.intake.memory

    def eof_received(self) -> bool:
        """The client has said all it had to say; while an answer is due it still listens."""
        order, running = self.order, self.order.running
        started = isinstance(running, RequestResponseCycle) and running.response_started
        self._tail = None
        self.reading.eof = True
        if (order.busy and not started) or order.turns or self.reading.stash:
            return self.transport.can_write_eof()
        return False

    def pause_writing(self) -> None:
        self.flow.pause_writing()
        self._tail = None
        self._stalled = (monotonic(), self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        self._stalled = None
        self.flow.resume_writing()
        self.order.advance()

    def read_on(self) -> None:
        """What was waited for is answered: read, unless too much is there already."""
        if not self.reading.full:
            self.reading.resume_reading()
            self._arm()

    def no_shortcut(self) -> None:
        """Not before everything under way is answered."""
        self._tail = None

    def close(self) -> None:
        """Close after the last answer. A client that is still sending gets it before it meets a closed door."""
        self.closing = True
        self._tail = None
        if self.intake.phase == IDLE or not self.transport.can_write_eof():
            self.transport.close()
        elif self.intake.phase != LINGERING:
            self.intake.phase = LINGERING
            self.intake.since = 0.0
            self.transport.write_eof()
            self.reading.resume_transport()

    # The server's side

    def sweep(self, now: float) -> None:
        """End what takes too long. The server calls it about once a second for every connection."""
        intake, settings, draining = self.intake, self.settings, self.state.draining
        if self._stalled is not None:
            since, size = self._stalled
            left = self.transport.get_write_buffer_size()
            if left < size:
                self._stalled = (now, left)
            elif stalled(settings, now - since, draining=draining):
                self.transport.abort()
            return
        if not intake.since or (intake.phase == BODY and self.reading.paused):
            intake.since = now  # it began after the last sweep, or we are slow, not the client
            return
        waited = now - intake.since
        match overdue(intake, settings, waited, draining=draining, answering=not self.order.free):
            case Problem() as problem:
                self.state.timed_out += 1
                if intake.cycle is not None:
                    self.transport.abort()
                else:
                    self.order.refuse(problem)
            case End.CUT:
                self.transport.abort()
            case End.CLOSE:
                self.closing = True
                self.transport.close()

    def shutdown(self) -> None:
        """Finish what is under way, then close; close at once when nothing is."""
        self._tail = None
        running = self.order.running
        if self.order.free and self.intake.phase == IDLE:
            self.closing = True
            self.transport.close()
        elif isinstance(running, RequestResponseCycle):
            running.keep_alive = False

    def give_up(self) -> None:
        """The time is over: close at once. A request whose answer has not begun is told so."""
        running, transport = self.order.running, self.transport
        begun = isinstance(running, RequestResponseCycle) and running.response_started
        if running is None or begun or self._stalled is not None or transport.is_closing():
            transport.abort()
            return
        self.order.abandon()
        self.closing = True
        transport.write(ENDING)
        transport.close()

    @property
    def idle(self) -> bool:
        """Between two requests, with nothing read of the next one."""
        return (
            self.intake.phase == IDLE
            and self.order.free
            and not self.reading.stash
            and not self.closing
            and not self.reading.paused
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
