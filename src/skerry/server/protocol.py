"""A connection: executes on a transport what the state machine (`http1`) decides, and lets requests be answered.

A header block that the parser has accepted on this connection is remembered: a GET that repeats it, byte for byte, is
read without the machine, and answered inside `data_received` with one write. Everything else is the machine's, which
says whose turn it is. Decisions about content are in `http`; answers come from the lane, an ASGI application through an
`Answer`, or after an upgrade a websocket protocol.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Sequence
from functools import partial
from time import monotonic
from typing import Any

from skerry.http.caching import private
from skerry.http.headers import Headers
from skerry.http.lane import Answer as LaneAnswer
from skerry.http.reply import OK, Response
from skerry.http.request import Ends, Peer, Request
from skerry.http.routes import Found, Mount
from skerry.loop.passing import Passed
from skerry.loop.proxy_head import ProxyReport
from skerry.server import lane
from skerry.server.actions import Send, Signal
from skerry.server.answer import Answer
from skerry.server.asgi import AsgiAnswer, scope_of, scope_within
from skerry.server.deadlines import stalled
from skerry.server.framing import CLOSE
from skerry.server.http1 import Action, Http1, Turn
from skerry.server.peer import ends_of, has_left, is_tls, passed_of
from skerry.server.settings import ServerSettings
from skerry.server.state import ENDING, QUICK_SECONDS, State
from skerry.server.transfer import Transfer

UNRESERVED = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"
# Leaves a plain segment as it is and changes any other: escapes, queries and the like take the longer way.
PLAIN = bytes(byte if byte in UNRESERVED else byte ^ 0xFF for byte in range(256))
TARGET = bytes(byte for byte in range(0x21, 0x7F) if byte != 0x23)  # what a request target may hold
DOTS = (b".", b"..")
NONE = Headers()
_READING = (Signal.PAUSE, Signal.RESUME, Signal.LINGER, Signal.CLOSE)


class Connection(asyncio.Protocol):
    """One client's connection. Made by `HttpServer`; `state` is what all connections of a server share, `http` says
    where this one stands. What answers the present turn: an `Answer`, the future of a lane view, or nothing."""

    __slots__ = (
        "_answering",
        "_block",
        "_direct",
        "_from",
        "_guard",
        "_headers",
        "_kept",
        "_lane",
        "_long",
        "_longest",
        "_memory",
        "_peer",
        "_relayed",
        "_rest",
        "_stalled",
        "_told",
        "_work",
        "http",
        "settings",
        "state",
        "transport",
    )  # fmt: skip

    transport: asyncio.Transport

    def __init__(self, state: State) -> None:
        self.state = state
        self.settings: ServerSettings = state.settings
        self._lane = state.lane
        self._direct = state.lane.direct
        self._guard = state.lane.guard
        self._kept = state.lane.kept.answers
        self._long = min(self.settings.slow_view_seconds, QUICK_SECONDS)  # over it an answer is looked at
        self._longest = self.settings.max_target_bytes  # of a request that may skip the parser
        self._memory: bytes | None = None  # the header block that may be repeated now
        self._block: bytes | None = None  # the last one, what it says, and who sent it
        self._headers = NONE
        self._from: Peer = self
        self.http = Http1(self.settings, state, self, monotonic)
        self._answering: Answer | asyncio.Future[Any] | None = None
        self._work: list[Action] | None = None  # what is being executed
        self._peer: Ends | None = None
        self._told: ProxyReport | None = None  # by a PROXY head, or by the process that has passed it on
        self._relayed = False
        self._rest = b""
        self._stalled: tuple[float, int] | None = None

    # The transport's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport) or hasattr(transport, "write")
        self.transport = transport  # type: ignore[assignment]
        state = self.state
        if state.full:
            state.refused += 1
            self.http.lost()
            self.transport.write(state.busy)
            self.transport.close()
            return
        state.connections.add(self)
        if self._rest:
            rest, self._rest = self._rest, b""
            self.data_received(rest)

    def connection_lost(self, exc: Exception | None) -> None:
        self.state.connections.discard(self)
        self.state.long_ended(self)
        self._memory = None
        answering, self._answering = self._answering, None
        self.http.lost()
        # A future that runs stays what it is: a durable write without a receiver.
        if isinstance(answering, Answer):
            answering.close()
        self.state.note_closed()

    def data_received(self, data: bytes) -> None:
        memory = self._memory
        if memory is None or not data.endswith(memory) or len(data) > self._longest:
            self._memory = None
            self._execute(self.http.receive(data))
            return
        # Nothing is hashed where no answer is kept.
        kept = self._kept.get(data) if self._kept else None
        if kept is not None:
            self.http.since = 0.0
            began = monotonic()
            counts, rest, is_placed = kept
            counts[200] += 1
            state = self.state
            position = self._lane.kept.position if is_placed else b""
            self.transport.write(b"".join((OK, state.common_keep, position, rest)))
            state.lane_seconds += monotonic() - began
            return
        # The header block is the one that was parsed before, byte for byte: what is left is `GET target`.
        line = data[: -len(memory)]
        opening, _, last = line.rpartition(b"/")
        route = self._direct.get(opening)
        if route is None or not last or last.translate(PLAIN) != last or last in DOTS:
            self._repeat(line, data)
            return
        http, headers = self.http, self._headers
        request = Request("GET", line[4:], headers, b"", self._from)
        if route.guarded:
            known = headers.remembered
            guard = self._guard
            if (
                known is None
                or known.generation != guard.generation  # type: ignore[union-attr]  # where a route is guarded
                or (known.until is not None and known.until <= guard.now())  # type: ignore[union-attr]
                or (known.route is not route and not known.opens(route))
            ):
                self._repeat(line, data)
                return
            request.identity = known.identity
        http.since = 0.0
        key = last.decode("ascii")
        began = monotonic()
        try:
            answer = route.call(request, key)
            if answer.__class__ is not Response or headers.conditional:
                answer = self._lane.complete(route, request, answer)
            elif route.guarded and not answer.private:
                answer = private(answer)
        except Exception as error:
            answer = self._lane.failed(route, error, request)
        took = monotonic() - began
        state = self.state
        if took > self._long:
            state.note_view(route, took)
            if took > QUICK_SECONDS and answer.__class__ is Response and not state.log_lane:
                state.note_long(Found(route), answer.status, took)
        if answer.__class__ is not Response or state.log_lane:
            self._memory = None
            turn = http.begin(request)
            turn.found, turn.began = Found(route), began
            self._execute(self._reply(turn, answer, took))
            return
        state.lane_seconds += took
        counts, status = route.counts, answer.status
        try:
            counts[status] += 1
        except KeyError:
            counts[status] = 1
        if route.keep:
            self._lane.kept.offer(data, headers, route, answer, key)
        ready = answer.rest
        self.transport.write(
            answer.render(state.common_keep) if ready is None else b"".join((OK, state.common_keep, ready))
        )

    def _repeat(self, line: bytes, data: bytes) -> None:
        """A header block as before, but another route or no plain path: only the parser is spared."""
        self._memory = None
        target = line[4:] if line.startswith(b"GET /") else b""
        plain = target and not target.translate(None, TARGET)
        self._execute(self.http.again(target) if plain else self.http.receive(data))

    def eof_received(self) -> bool:
        """The client says no more; what is due is still sent, except over TLS, which has no half-closed state."""
        self._memory = None
        self._execute(self.http.receive_eof())
        return self.transport.can_write_eof() and not self.transport.is_closing()

    def pause_writing(self) -> None:
        self._memory = None
        answering = self._answering
        if isinstance(answering, Answer):
            answering.room = False
            if answering.follower is not None:
                answering.follower.pause()
        self._stalled = (monotonic(), self.transport.get_write_buffer_size())
        self.http.room(False)

    def resume_writing(self) -> None:
        self._stalled = None
        actions = self.http.room(True)
        answering = self._answering
        if isinstance(answering, Answer):
            answering.room = True
            if answering.transfer is not None:
                answering.transfer.resume()
            elif answering.answerer is not None:
                answering.answerer.writable()
            elif answering.follower is not None:
                answering.follower.resume()
        self._execute(actions)

    # What the machine decides

    def _execute(self, actions: Sequence[Action]) -> None:
        """Do it in order. What comes of it in the meantime is done behind it, by the same call."""
        if self._work is not None:
            self._work.extend(actions)
            return
        http = self.http
        actions = actions or http.settle()
        try:
            while actions:
                work = self._work = actions if actions.__class__ is list else list(actions)
                for action in work:
                    kind = action.__class__
                    if kind is Turn:
                        more = self._start(action)  # type: ignore[arg-type]  # it is one
                        if more:
                            work.extend(more)
                    elif kind is Send:
                        self.transport.write(action.data)  # type: ignore[union-attr]  # it is one
                    else:
                        self._obey(action)
                actions = http.settle()
        finally:
            self._work = None
        memory = http.memory
        if memory is not None and memory is not self._block:
            self._block, self._headers, self._from = memory, http.memory_headers, http.memory_peer
            # Below a root path a target is not what is looked up.
            below = self._from.root_path
            self._direct, self._kept = ({}, {}) if below else (self._lane.direct, self._lane.kept.answers)
        self._memory = memory

    def _obey(self, signal: Action) -> None:
        transport, answering = self.transport, self._answering
        answer = answering if isinstance(answering, Answer) else None
        if transport.is_closing() and signal in _READING:
            return
        match signal:
            case Signal.PAUSE:
                transport.pause_reading()
            case Signal.RESUME:
                transport.resume_reading()
            case Signal.REST:
                self.state.loop.call_soon(self._rested)
            case Signal.READABLE:
                if answer is not None and answer.answerer is not None:
                    answer.answerer.readable()
            case Signal.GONE:
                if answer is not None:
                    answer.tell_gone()
            case Signal.DROP:
                self._answering = None
                if answer is not None:
                    answer.close()
            case Signal.LATE:
                self.state.timed_out += 1
            case Signal.LINGER:
                if transport.can_write_eof():
                    transport.write_eof()
                else:
                    transport.close()
            case Signal.CLOSE:
                transport.close()
            case Signal.ABORT:
                transport.abort()

    def _rested(self) -> None:
        self._execute(self.http.rested())

    def _start(self, turn: Turn) -> Sequence[Action]:
        """A request's turn has come. What comes of it at once."""
        if self.transport.is_closing():
            return ()
        if turn.websocket:
            self._hand_over(turn)
        elif turn.streamed:
            self._serve(turn)
        else:
            answer, took = lane.answer(turn, self.state)
            if answer.__class__ is Response:
                self.transport.write(lane.rendered(turn, answer, self.state))
                return self.http.answered(took)
            return self._reply(turn, answer, took)
        return ()

    def _reply(self, turn: Turn, answer: LaneAnswer, took: float) -> Sequence[Action]:
        """Write what a view gave, or wait for it."""
        if isinstance(answer, asyncio.Future):
            if not answer.done():
                self._answering = answer
                answer.add_done_callback(partial(self._settled, turn))
                return ()
            answer = lane.settled(turn, answer, self.state)
        self.transport.write(lane.rendered(turn, answer, self.state))
        return self.http.answered(took)

    def _settled(self, turn: Turn, future: asyncio.Future[Any]) -> None:
        response = lane.settled(turn, future, self.state)
        if self._answering is not future:
            return  # the client is lost
        self._answering = None
        self.transport.write(lane.rendered(turn, response, self.state))
        self._execute(self.http.answered())

    def _serve(self, turn: Turn) -> None:
        """Hand a request to the application; it answers through an exchange."""
        state, found = self.state, turn.found
        self._answering = answer = Answer(self, turn, state.date)
        turn.began = monotonic()
        if found.__class__ is Mount and found.respond is not None:
            answer.answerer = answerer = found.respond(answer)
            if self.http.gone:
                answerer.gone()
            return
        request = turn.request
        peer = self.ends(request)
        if found.__class__ is Mount and found.enter is not None:
            scope = scope_within(request, peer, turn.version, found, state.app_state)
            entered, told = found.enter(scope)
            if state.around is not None:
                entered = state.around(entered)
            application = AsgiAnswer(
                answer, scope, entered, state.applications,
                loop=state.loop, began=turn.began, logged=state.log_asgi, failure=state.application.failure, told=told,
            )  # fmt: skip
        else:
            scope = scope_of(request, peer, turn.version, found, state.app_state)
            application = AsgiAnswer(
                answer, scope, state.asgi, state.applications,
                loop=state.loop, began=turn.began, logged=state.log_asgi,
            )  # fmt: skip
        answer.answerer = application
        if self.http.gone:
            application.gone()

    def _hand_over(self, turn: Turn) -> None:
        """Give the connection to a websocket protocol."""
        transport, state = self.transport, self.state
        state.connections.discard(self)
        if self.http.paused:
            transport.resume_reading()
        self.http.lost()
        protocol = state.websocket(turn, state)
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        if turn.leftover:
            protocol.data_received(turn.leftover)

    # What an answer has of its connection

    @property
    def gone(self) -> bool:
        return self.http.gone

    @property
    def room(self) -> bool:
        return self.http.writable

    @property
    def takes(self) -> bool:
        http = self.http
        return not self.transport.is_closing() and (http.writable or not http.gone)

    def ends(self, request: Request) -> Peer:
        peer = request.peer
        return (self._peer or self.peer) if peer is self else peer

    def write(self, data: bytes) -> None:
        self.transport.write(data)

    def soon(self, work: Callable[[], None]) -> None:
        self.state.soon(work)

    def started(self, turn: Turn, status: int) -> None:
        seconds, state = monotonic() - turn.began, self.state
        state.asgi_seconds.observe(seconds)
        if state.on_answer is not None:
            state.on_answer(turn.found, status, seconds, False)

    def streams(self) -> None:
        application = self._answering.answerer if isinstance(self._answering, Answer) else None
        if isinstance(application, AsgiAnswer):
            application.stream()
            self.state.hold(self, application.identity)

    def follow(self) -> Callable[[bytes], None]:
        self.state.followed.add(self)
        return self.transport.write

    def send_file(self, transfer: Transfer) -> None:
        transfer.start(self.transport, self.state.loop)

    def take(self, turn: Turn) -> bytes:
        data, actions = self.http.take(turn)
        self._execute(actions)
        return data

    def answered(self) -> None:
        self._answering = None
        state = self.state
        if state.held or state.followed:
            state.long_ended(self)
        self._execute(self.http.answered())

    def abort(self) -> None:
        """What was written is still sent, where somebody may read it; then the connection ends."""
        current = self.http.current
        if self.http.gone or current is None:
            self.transport.abort()
        else:
            current.keep = CLOSE
            self.answered()

    def end(self) -> None:
        """An answerer failed after its answer: take no further requests."""
        self._memory = None
        self._execute(self.http.shutdown())

    # The server's side

    def sweep(self, now: float) -> None:
        """End what takes too long. The server calls it about once a second for every connection."""
        answering = self._answering
        transfer = answering.transfer if isinstance(answering, Answer) else None
        if transfer is not None and stalled(
            self.settings, transfer.idle_seconds(now), draining=self.state.draining
        ):
            self.transport.abort()
            return
        if self._stalled is not None:
            since, size = self._stalled
            left = self.transport.get_write_buffer_size()
            if left < size:
                self._stalled = (now, left)
            elif stalled(self.settings, now - since, draining=self.state.draining):
                self.transport.abort()
                return
        if self.http.waits_unread and has_left(self.transport):
            self._execute(self.http.left())
        self._execute(self.http.tick(now))

    def shutdown(self) -> None:
        """Finish what is under way, then close; close at once when nothing is."""
        self._memory = None
        self._execute(self.http.shutdown())

    def give_up(self) -> None:
        """The time is over: close at once. A request whose answer has not begun is told so."""
        current, transport = self.http.current, self.transport
        if current is None or current.started or self._stalled is not None or transport.is_closing():
            transport.abort()
            return
        answering, self._answering = self._answering, None
        self.http.lost()
        if isinstance(answering, Answer):
            answering.close()
        transport.write(ENDING)
        transport.close()

    def expel(self) -> None:
        """Cut off an answer that goes on: its client may not have the rest."""
        if isinstance(self._answering, Answer):
            self._answering.break_off()

    @property
    def idle(self) -> bool:
        """Between two requests, with nothing read of the next one."""
        return self.http.idle

    def release(self) -> socket.socket | None:
        """Release an idle connection without closing it: the socket, for another process to serve, together with
        what is `passed`. None while a request is under way or half read, and for TLS, whose keys are here."""
        transport = self.transport
        if not self.idle or transport.get_write_buffer_size() or is_tls(transport):
            return None
        return self.let_go()

    def let_go(self) -> socket.socket:
        """Give the socket away, whatever is under way."""
        transport = self.transport
        # What arrives from here on stays in the kernel, for whoever reads next.
        transport.pause_reading()
        self._memory = None
        self.http.lost()
        taken = socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno()))
        transport.abort()  # closes this copy only
        return taken

    # What a Request asks of its peer

    def arrived(self, told: ProxyReport | None, rest: bytes, *, relayed: bool = False) -> None:
        """What the proxy says that passes this connection on, and what was taken of it already; before it is made.
        `relayed`: it is that of a process which passes on single requests."""
        self._told, self._rest, self._relayed = told, rest, relayed

    @property
    def passed(self) -> Passed | None:
        """What has to go with it to another process; None where its socket says everything."""
        if self._told is None:
            return None
        return passed_of(self.peer, relayed=self._relayed)

    @property
    def peer(self) -> Ends:
        if self._peer is None:
            own, told = ends_of(self.transport), self._told
            if told is not None:
                scheme = "https" if told.tls else own.scheme
                own = Ends(told.client or own.client, told.server or own.server, scheme)
            self._peer = own
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

    @property
    def host(self) -> str | None:
        return None

    @property
    def root_path(self) -> str:
        return ""
