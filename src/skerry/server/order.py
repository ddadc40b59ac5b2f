"""The answers of one connection, in the order of its requests (RFC 9112 section 9.3.2): one runs, the others wait.

A turn begins when nothing runs, the transport takes more, and the connection has a share of the loop left. Who
answers it is the lane's side, the ASGI side, or after an upgrade a websocket protocol.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from skerry.http.headers import Headers
from skerry.http.request import Request
from skerry.server.asgi import disconnect
from skerry.server.intake import IDLE
from skerry.server.turns import CLOSE, Turn, Upgrade

if TYPE_CHECKING:
    from skerry.server.protocol import Connection

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
ANSWER_SECONDS = 20e-6
"""What an answer costs beside its view, about."""


class Order:
    """Whose turn it is on one connection. `turns` wait; `running` is being answered: a cycle of the ASGI side, or the
    future that a lane view gave."""

    __slots__ = ("_connection", "running", "turns")

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.turns: deque[Turn] = deque()
        self.running: asyncio.Future[Any] | RequestResponseCycle | None = None

    @property
    def free(self) -> bool:
        """Whether nothing runs and nothing waits."""
        return self.running is None and not self.turns

    @property
    def hungry(self) -> RequestResponseCycle | None:
        """What runs while the body of its request still comes."""
        cycle = self._connection.intake.cycle
        return cycle if cycle is self.running else None

    @property
    def busy(self) -> bool:
        """Whether something runs whose request is complete."""
        return self.running is not None and self.hungry is None

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

    def run(self, answer: asyncio.Future[Any] | RequestResponseCycle) -> None:
        """Nothing else is answered before this is."""
        self.running = answer
        self._connection.no_shortcut()

    def advance(self) -> None:
        """Answer what waits, then read on. Never from within the parser, which must not be fed by itself."""
        self._answer()
        connection = self._connection
        if self.turns or connection.closing or connection.transport.is_closing() or connection.intake.closed:
            return
        if self.running is None:
            if connection.intake.owes_continue:
                self.encourage()
            if connection.reading.eof and not connection.reading.stash:
                connection.close()
                return
        elif self.busy:
            return
        connection.read_on()

    def _answer(self) -> None:
        """Start what waits, as far as it may; close after the last."""
        connection, turns = self._connection, self.turns
        reading, intake = connection.reading, connection.intake
        while turns and self.running is None and not connection.flow.write_paused and not reading.rests:
            self._start(turns.popleft())
            reading.spend(ANSWER_SECONDS)
        if self.running is not None or turns or connection.transport.is_closing() or intake.closed:
            return
        if connection.closing or (connection.state.draining and intake.phase == IDLE and not reading.stash):
            connection.close()

    def _start(self, turn: Turn) -> None:
        if turn.upgrade is not None:
            self._hand_over(turn.upgrade)
        elif turn.cycle is not None:
            self._connection.asgi_side.start(turn.cycle)
        else:
            self._connection.lane_side.start(turn)

    def _hand_over(self, upgrade: Upgrade) -> None:
        """Give the connection to a websocket protocol."""
        connection = self._connection
        state, transport = connection.state, connection.transport
        state.connections.discard(connection)
        protocol = state.websocket(upgrade, state)
        connection.reading.resume_transport()
        protocol.connection_made(transport)
        protocol.data_received(upgrade.handshake() + upgrade.leftover)
        transport.set_protocol(protocol)
        connection.intake.close()

    def encourage(self) -> None:
        """Tell a client that waits for it to send its body, once it is its turn."""
        if self.free:
            self._connection.intake.owes_continue = False
            self._connection.transport.write(CONTINUE)

    def refuse(self, error: Exception, request: Request | None = None) -> None:
        """Answer what cannot be read on, after everything before it, and close."""
        connection = self._connection
        if connection.closing:
            return
        connection.closing = True
        connection.state.refused += 1
        request = request or Request("GET", b"/", Headers(), b"", connection)
        response = connection.lane.refuse(error, request)
        cycle = connection.intake.cycle
        if cycle is not None:
            disconnect(cycle)  # the body of a request under way broke
            if self.running is cycle:
                if cycle.response_started:
                    connection.transport.abort()
                    return
                self.running = None
            elif self.turns and self.turns[-1].cycle is cycle:
                self.turns.pop()
        self.turns.append(Turn(request, None, CLOSE, response=response))
        self._answer()

    def abandon(self) -> None:
        """The client is gone. A future that runs stays what it is: a durable write without a receiver."""
        self.turns.clear()
        cycle = self.running
        if isinstance(cycle, RequestResponseCycle) and not cycle.response_complete:
            disconnect(cycle)
        self.running = None
