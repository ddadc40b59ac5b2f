"""The lane's half of a connection: routes that are answered where their bytes arrive, and what is written for them.

What is answered is decided in `http.lane`; when it is a request's turn, by the connection.
"""

from __future__ import annotations

import asyncio
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any

from skerry.http.lane import Answer, Lane
from skerry.http.reply import Response
from skerry.http.request import Request
from skerry.http.routes import Found, Missing, Mount, Route
from skerry.server.access import log_access
from skerry.server.asgi import scope_of
from skerry.server.state import State
from skerry.server.turns import CLOSE, Turn

if TYPE_CHECKING:
    from skerry.server.protocol import Connection


class LaneSide:
    """Answers of one connection that come from memory, or from a future that a view gave."""

    __slots__ = ("_connection", "_lane", "_state")

    def __init__(self, connection: Connection, lane: Lane, state: State) -> None:
        self._connection, self._lane, self._state = connection, lane, state

    def answers(self, found: Found | Mount | Missing) -> bool:
        """Whether this is answered here: by a route of the lane, or as a miss that no middleware wants to see."""
        if isinstance(found, Found):
            return found.route.lane
        return isinstance(found, Missing) and self._lane.decides_misses

    def start(self, turn: Turn) -> None:
        """Answer a request whose turn it is."""
        found, request = turn.found, turn.request
        if turn.response is not None:
            self.write(None, request, turn.response, turn.keep)
        elif isinstance(found, Found):
            route = found.route
            began = monotonic()
            answer = self._lane.answer(route, request, found.raw)
            took = monotonic() - began
            self._connection.reading.spend(took)
            if took > self._state.settings.slow_view_seconds:
                self._state.note_slow(route, took)
            self.reply(route, request, answer, turn.keep)
        elif isinstance(found, Missing):
            self.write(None, request, self._lane.missing(found, request), turn.keep)

    def reply(self, route: Route, request: Request, answer: Answer, keep: int) -> None:
        """Write what a view gave, or wait for it; then the next turn may come."""
        if isinstance(answer, asyncio.Future) and not answer.done():
            self._connection.order.run(answer)
            answer.add_done_callback(partial(self._settled, route, request, keep))
        elif isinstance(answer, asyncio.Future):
            self.write(route, request, self._lane.settle(route, request, answer), keep)
        else:
            self.write(route, request, answer, keep)

    def _settled(self, route: Route, request: Request, keep: int, future: asyncio.Future[Any]) -> None:
        response = self._lane.settle(route, request, future)
        order = self._connection.order
        if order.running is not future:
            return  # the client is gone
        order.running = None
        self.write(route, request, response, keep)
        order.advance()

    def write(self, route: Route | None, request: Request, response: Response, keep: int) -> None:
        """Count and write an answer; `route` None for what belongs to no route. Closes unless `keep`."""
        connection, state, status = self._connection, self._state, response.status
        counts = state.counts if route is None else route.counts
        try:
            counts[status] += 1
        except KeyError:
            counts[status] = 1
        if keep and state.draining:
            keep = CLOSE
            connection.closing = True
        connection.transport.write(response.render(state.common[keep], with_body=request.method != "HEAD"))
        if not keep:
            connection.close()
        if state.log_lane:
            log_access(scope_of(request, connection.intake.version, Missing(), {}), status, 0.0)
