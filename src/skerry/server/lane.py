"""Answers of the lane: routes that are answered where their bytes arrive, misses, and what was refused.

What is answered is decided in `http.lane`, when it is a request's turn in `http1`. Here the view is called, and its
answer is counted and put into bytes.
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import Any

from skerry.http.lane import Answer
from skerry.http.reply import Response
from skerry.http.routes import Found, Missing, Route
from skerry.server.access import log_access
from skerry.server.asgi import scope_of
from skerry.server.framing import CLOSE
from skerry.server.http1 import Early, Turn
from skerry.server.state import QUICK_SECONDS, State


def answer(turn: Turn, state: State) -> tuple[Answer, float]:
    """The answer to a request of the lane, perhaps a future, and how long the view took."""
    request, found, lane = turn.request, turn.found, state.lane
    error = turn.error
    if error is not None:
        state.refused += 1
        turn.found = Missing()
        return (error.response if isinstance(error, Early) else lane.refuse(error, request)), 0.0
    if not isinstance(found, Found):
        assert isinstance(found, Missing)
        return lane.missing(found, request), 0.0
    route = found.route
    turn.began = began = monotonic()
    result = lane.answer(route, request, found.raw)
    took = monotonic() - began
    state.note_view(route, took)
    return result, took


def settled(turn: Turn, future: asyncio.Future[Any], state: State) -> Response:
    """The answer of a future that a view gave and that is done."""
    return state.lane.settle(_route(turn), turn.request, future)


def rendered(turn: Turn, response: Response, state: State) -> bytes:
    """Count an answer and put it into bytes."""
    found, request = turn.found, turn.request
    counts = found.route.counts if isinstance(found, Found) else state.counts
    status = response.status
    try:
        counts[status] += 1
    except KeyError:
        counts[status] = 1
    if turn.keep and state.draining:
        turn.keep = CLOSE
    seconds = monotonic() - turn.began if turn.began else 0.0
    if seconds > QUICK_SECONDS:
        state.note_long(found, status, seconds)
    state.lane_seconds += seconds
    if state.log_lane:
        log_access(
            scope_of(request, request.peer, turn.version, Missing(), {}), status, seconds, request.identity
        )
    common, with_body = state.common[turn.keep], request.method != "HEAD"
    try:
        return response.render(common, with_body=with_body)
    except Exception as error:  # somebody has changed it into what is no answer
        return state.lane.failed(_route(turn), error, request).render(common, with_body=with_body)


def _route(turn: Turn) -> Route:
    assert isinstance(turn.found, Found)
    return turn.found.route
