"""A connection that may move to another process: where an application is served by processes of its own, what a client
asks of it is passed on, and a client that goes on asking is served there, without anybody between.

A single request is relayed (relay.py). After the second in a row the connection itself moves, between two requests, so
that nothing of one is under way; a websocket moves with its handshake. What cannot move, as the keys of TLS are here,
is relayed for good. In the processes of the application it is the other way round: what is not theirs is relayed back,
and a connection that is idle for a second goes home.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Iterator, Sequence
from time import monotonic

from skerry.exchange import ClientDisconnected
from skerry.http.routes import WEBSOCKET, Mount
from skerry.loop.handover import HandoverReceiver
from skerry.loop.passing import Passed
from skerry.server.answer import Answer
from skerry.server.http1 import Action, Http1, Turn
from skerry.server.peer import is_tls, passed_of
from skerry.server.protocol import Connection
from skerry.server.relay import Channel, Relay, rendered
from skerry.server.state import State
from skerry.telemetry import Metric, Sample

logger = logging.getLogger("skerry.server")

ROW = 2
"""Requests in a row for processes elsewhere, after which a connection moves there."""
PARKED_SECONDS = 1.0
"""That a connection which has moved may be idle before it goes back."""
WAIT_SECONDS = 5.0
"""That something waits for the balancer, which passes it on."""
AGAIN_SECONDS = 0.05


class Moves:
    """Where the connections of a server go. `group`: the processes that answer what this one does not.

    `is_ours(method, raw_path)`: in a process of an application, whether a request is for it; everything else is for the
    group. None in a server, where what is elsewhere are mounts that say so.
    """

    def __init__(self, group: str, is_ours: Callable[[str, bytes], bool] | None = None) -> None:
        self.group, self.is_ours = group, is_ours
        self.handover: HandoverReceiver | None = None
        self.moved = self.relayed = 0

    @property
    def are_possible(self) -> bool:
        """Whether somebody is there that would pass a connection on."""
        return self.handover is not None and self.handover.can_give

    def send(self, sock: socket.socket, passed: Passed, until: float | None = None) -> None:
        """Give a connection to the group; while the balancer is away, as soon as it is there again."""
        if self.handover is not None and self.handover.pass_on(sock, self.group, passed):
            return
        loop = asyncio.get_running_loop()
        until = loop.time() + WAIT_SECONDS if until is None else until
        if loop.time() < until:
            loop.call_later(AGAIN_SECONDS, self.send, sock, passed, until)
        else:
            logger.warning("a connection could not be passed on to a %s: there is no balancer", self.group)
            sock.close()

    def collect(self) -> Iterator[Metric]:
        """How much goes elsewhere."""
        for name, text, number in (
            ("skerry_http_moved_total", "Connections that moved to another process.", self.moved),
            ("skerry_http_relayed_total", "Requests that were passed on to another process.", self.relayed),
        ):
            yield Metric(name, "counter", text, (Sample(name, (("to", self.group),), float(number)),))


class Elsewhere:
    """The `Reception` of a connection in a process of an application: what is not its own is passed on."""

    def __init__(self, state: State, moves: Moves) -> None:
        self._state, self._is_ours = state, moves.is_ours
        self._mount = Mount(b"", unserved, moves.group, None, elsewhere=True)

    @property
    def draining(self) -> bool:
        return self._state.draining

    @property
    def closing(self) -> bool:
        return self._state.closing

    def admit(self, turn: Turn) -> int | None:
        request = turn.request
        assert self._is_ours is not None
        if self._is_ours(WEBSOCKET if turn.websocket else request.method, request.raw_path):
            return self._state.admit(turn)
        turn.found = self._mount
        return 0 if turn.websocket else None


class Moving(Connection):
    """One client's connection, of which some requests are answered elsewhere."""

    __slots__ = ("_channel", "_moves", "_parked", "_row")

    def __init__(self, state: State, moves: Moves) -> None:
        super().__init__(state)
        self._moves = moves
        self._channel: Channel | None = None
        self._row = 0  # requests for elsewhere
        self._parked = (-1, 0.0)  # since when so many requests are all
        if moves.is_ours is not None:
            self._direct = {}
            self.http = Http1(self.settings, Elsewhere(state, moves), self, monotonic)

    def _start(self, turn: Turn) -> Sequence[Action]:
        found = turn.found
        if found.__class__ is not Mount or not found.elsewhere:
            if self._row:
                self._row = 0
                if self._moves.is_ours is None and self.settings.outside is None:
                    self._direct = self.state.lane.direct
            return super()._start(turn)
        if not self.transport.is_closing():
            if turn.websocket:
                self._give_over(turn)
            else:
                self._relay(turn)
        return ()

    def _relay(self, turn: Turn) -> None:
        self._row += 1
        self._direct = {}  # what the lane answers by the short cut is not counted
        self._moves.relayed += 1
        self._answering = answer = Answer(self, turn, self.state.date)
        channel = self._channel
        if channel is None or channel.closed or channel.user is not None:
            channel = self._renewed()
        answer.answerer = relay = Relay(answer, channel, self._renewed)
        if self.http.gone:
            relay.gone()

    def _renewed(self) -> Channel:
        passed = passed_of(self.peer, relayed=True)
        self._channel = channel = Channel(lambda sock: self._moves.send(sock, passed))
        return channel

    def answered(self) -> None:
        super().answered()
        if self._row >= ROW and self.http.idle:
            self.state.loop.call_soon(self._move)

    def _move(self) -> None:
        """Go where the requests go, if nothing is under way here."""
        if self._row >= ROW and self._moves.are_possible:
            self.move()

    def move(self) -> bool:
        """Whether it has moved, being between two requests."""
        if self.transport.is_closing() or self.state.draining:
            return False
        passed = self.passed or Passed()
        sock = self.release()
        if sock is None:
            return False
        self._moves.moved += 1
        self._moves.send(sock, passed)
        return True

    def _give_over(self, turn: Turn) -> None:
        """A websocket: the connection goes with its handshake, or its bytes are passed on."""
        head = rendered(Answer(self, turn, b""), upgrade=True)
        transport = self.transport
        if not transport.get_write_buffer_size() and not is_tls(transport):
            self._moves.moved += 1
            data = head + turn.leftover
            passed = Passed(data) if self._told is None else passed_of(self.peer, data)
            self._moves.send(self.let_go(), passed)
            return
        self._moves.relayed += 1
        channel = self._renewed()
        self._channel = None
        channel.write(head + turn.leftover)
        state = self.state
        state.connections.discard(self)
        if self.http.paused:
            transport.resume_reading()
        self.http.lost()
        tunnel = Tunnel(transport, channel, state)
        transport.set_protocol(tunnel)
        state.connections.add(tunnel)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        channel, self._channel = self._channel, None
        if channel is not None and channel.user is None:
            channel.close()

    def sweep(self, now: float) -> None:
        super().sweep(now)
        if not self.idle:
            return
        requests, since = self._parked
        if requests != self.http.requests:
            self._parked = (self.http.requests, now)
        elif now - since >= PARKED_SECONDS:
            channel, self._channel = self._channel, None
            if channel is not None and channel.user is None:
                channel.close()
            if self._moves.is_ours is not None and self._moves.are_possible:
                self.move()


async def unserved(*_: object) -> None:
    """Stands for an application that other processes serve."""
    raise ClientDisconnected("it is served by another process")


class Tunnel(asyncio.Protocol):
    """A websocket whose bytes are passed on: the connection cannot move, as its TLS is here, and nothing of what is
    said is looked at. This is the client's end; it uses the channel as its other one."""

    idle = False

    def __init__(self, transport: asyncio.Transport, channel: Channel, state: State) -> None:
        self.transport, self._channel, self._state = transport, channel, state
        channel.user = self

    # The client

    def data_received(self, data: bytes) -> None:
        self._channel.write(data)
        if not self._channel.writable:
            self.transport.pause_reading()

    def eof_received(self) -> bool:
        return False

    def pause_writing(self) -> None:
        self._channel.read(on=False)

    def resume_writing(self) -> None:
        self._channel.read(on=True)

    def connection_lost(self, exc: Exception | None) -> None:
        self._state.connections.discard(self)
        self._channel.close()
        self._state.note_closed()

    # The channel

    def received(self, data: bytes) -> None:
        self.transport.write(data)

    def room(self) -> None:
        self.transport.resume_reading()

    def ended(self) -> None:
        self.transport.close()

    # The server

    def sweep(self, now: float) -> None:
        """The other process has the deadlines."""

    def shutdown(self) -> None:
        """A websocket is closed by the process that serves it; nobody knows here when."""
        self.transport.close()

    def give_up(self) -> None:
        self.transport.abort()

    def expel(self) -> None:
        """Close it; the listener's identity is known to the other process only."""
        self.transport.abort()
