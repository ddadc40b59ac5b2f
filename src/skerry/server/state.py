"""What all connections of one server share: limits, the ready Date line, who answers what, and the count of it all."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from email.utils import formatdate
from typing import Any, Protocol

from starlette.types import ASGIApp

from skerry.http.application import Application
from skerry.http.identity import Identity
from skerry.http.problems import Problem
from skerry.http.routes import WEBSOCKET, Found, Missing, Mount, Route
from skerry.server.http1 import Early, Turn
from skerry.server.settings import ServerSettings
from skerry.telemetry import SECONDS, Histogram

logger = logging.getLogger("skerry.server")
QUICK_SECONDS = SECONDS[0]
"""Within the first bucket of durations, where nearly all answers of the lane are."""

SlowView = Callable[[str, float], None]
OnAnswer = Callable[[Found | Mount | Missing, int, float, bool], None]
"""Told of an answer: who gave it, its status, how long it took (off the lane: to its head), whether on the lane."""

Around = Callable[[ASGIApp], ASGIApp]
"""Makes an application around another one."""

BUSY = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/problem+json\r\nContent-Length: 86\r\n"
    b"Retry-After: 1\r\nConnection: close\r\n\r\n"
    b'{"type":"about:blank","title":"Service Unavailable","status":503,"detail":"too busy"}\n'
)

_ENDING_BODY = (
    b'{"type":"about:blank","title":"Service Unavailable","status":503,"detail":"this server ends; '
    b'whether the request took effect is not known: repeat it, a write under the same Idempotency-Key"}\n'
)
ENDING = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/problem+json\r\nContent-Length: "
    + str(len(_ENDING_BODY)).encode()
    + b"\r\nRetry-After: 1\r\nConnection: close\r\n\r\n"
    + _ENDING_BODY
)
"""What a request is told whose answer has not begun when the time to drain is over."""


class Served(Protocol):
    """A connection as its server has it, HTTP or websocket."""

    transport: asyncio.Transport

    @property
    def idle(self) -> bool:
        """Between two requests, with nothing read of the next one."""
        ...

    def sweep(self, now: float) -> None:
        """End what takes too long; called about once a second."""
        ...

    def shutdown(self) -> None:
        """Finish what is under way, then close."""
        ...

    def give_up(self) -> None:
        """The time for that is over: close at once."""
        ...

    def expel(self) -> None:
        """Its client may not listen any more: end what goes on."""
        ...


WebSocketFactory = Callable[[Turn, "State"], asyncio.Protocol]


class Applications:
    """The tasks of ASGI applications that run, each in one of three: `pending` (its answer has not begun: these are
    limited), `streams` (the body of its answer goes on: it counts as a connection), `abandoned` (its client has gone).
    An accepted websocket is in none of them.

    Nobody waits for an abandoned one. It may finish its work; a stream is cancelled after `gone_seconds`, as it would
    wait for something to send, and beyond the limit the oldest is.
    """

    def __init__(self, settings: ServerSettings, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings, self._clock = settings, clock
        self.pending: set[asyncio.Task[None]] = set()
        self.streams: set[asyncio.Task[None]] = set()
        self.abandoned: dict[asyncio.Task[None], float] = {}  # until when; in the order of their loss
        self.tasks: set[asyncio.Task[None]] = set()
        self.cancelled = 0

    @property
    def full(self) -> bool:
        return len(self.pending) >= self._settings.max_pending

    def run(self, task: asyncio.Task[None]) -> None:
        self.tasks.add(task)
        self.pending.add(task)
        task.add_done_callback(self._ended)

    def stream(self, task: asyncio.Task[None]) -> None:
        if task in self.pending:
            self.pending.discard(task)
            self.streams.add(task)

    def settle(self, task: asyncio.Task[None]) -> None:
        """A websocket was accepted: it counts as a connection from now on."""
        self.pending.discard(task)

    def abandon(self, task: asyncio.Task[None]) -> None:
        if task in self.abandoned or task not in self.tasks:
            return
        streams = task in self.streams
        self.pending.discard(task)
        self.streams.discard(task)
        ends = self._clock() + self._settings.gone_seconds if streams else float("inf")
        self.abandoned[task] = ends
        if len(self.abandoned) > self._settings.max_abandoned:
            self._cancel(next(iter(self.abandoned)))

    def sweep(self, now: float) -> None:
        """About once a second: end the streams that went on for nobody."""
        for task in [task for task, ends in self.abandoned.items() if now >= ends]:
            self._cancel(task)

    def _cancel(self, task: asyncio.Task[None]) -> None:
        self.abandoned.pop(task)
        self.cancelled += 1
        task.cancel()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self.tasks.discard(task)
        self.pending.discard(task)
        self.streams.discard(task)
        self.abandoned.pop(task, None)


class State:
    """Shared by the connections of a server; the `Reception` of each."""

    busy = BUSY

    def __init__(
        self,
        application: Application,
        settings: ServerSettings,
        *,
        websocket: WebSocketFactory,
        on_slow: SlowView | None = None,
        on_answer: OnAnswer | None = None,
        on_closed: Callable[[], None] | None = None,
        around: Around | None = None,
    ) -> None:
        self.application, self.settings = application, settings
        self.around = around
        self.asgi = application.asgi if around is None else around(application.asgi)
        """What answers off the lane."""
        self.lane = application.lane
        self.lane.kept.most_bytes = settings.kept_bytes
        self.loop = asyncio.get_running_loop()
        self.websocket = websocket
        self.connections: set[Served] = set()
        self.websockets = 0  # of the connections
        self.applications = Applications(settings)
        self.held: dict[Served, Identity] = {}
        """Of the long-lived connections those whose client may lose the right to listen."""
        self._reviews = False
        self._soon: list[Callable[[], None]] = []
        self.followed: set[Served] = set()
        """Answers that go on without an application (event streams)."""
        self.app_state: dict[str, Any] = {}
        self.max_body_bytes = application.settings.max_body_bytes
        self.draining = self.closing = False  # closing: connections between two requests too
        self.counts: dict[int, int] = {}  # answers that belong to no route
        self.refused = 0
        self.timed_out = 0
        self.slow = 0
        self.lane_seconds = 0.0
        """Of all answers of the lane together."""
        self.long_lane = Histogram()
        """Those over QUICK_SECONDS. The others are not observed one by one: there are as many as answers are left."""
        self.asgi_seconds = Histogram()
        """From a request to the head of its answer, off the lane."""
        self.log_lane = settings.access_log == "all"
        self.log_asgi = settings.access_log != "off"
        self.common: tuple[bytes, bytes, bytes] = (b"", b"", b"")
        self.common_keep = b""
        self.date = b""
        self._find = application.lane.table.find
        self._on_slow, self._on_closed, self.on_answer = on_slow, on_closed, on_answer
        if self.lane.guard is not None:
            self.lane.guard.listeners.append(self._forgot)
        self.tick()

    @property
    def full(self) -> bool:
        return len(self.connections) >= self.settings.max_connections or self.draining

    @property
    def tasks(self) -> set[asyncio.Task[None]]:
        """Everything that an application does here."""
        return self.applications.tasks

    def admit(self, turn: Turn) -> int | None:
        """See `http1.Reception`. The lane collects a body before its view is called; the ASGI side streams it."""
        request, lane = turn.request, self.lane
        found = turn.found = self._find(
            WEBSOCKET if turn.websocket else request.method, request.target.partition(b"?")[0]
        )
        if lane.hosts is not None and (lane.hosts.given or not (isinstance(found, Mount) and found.hosted)):
            lane.hosts.check(request.headers)
        if turn.websocket:
            return 0
        if found.__class__ is Mount and (found.elsewhere or found.respond is not None):
            return None  # whoever answers has a limit of its own
        if isinstance(found, Found):
            on_lane, limit = found.route.lane, found.route.max_body_bytes
        else:
            on_lane, limit = isinstance(found, Missing) and lane.decides_misses, self.max_body_bytes
        if not on_lane:
            if self.applications.full:
                raise Problem(503, "too many requests are under way", headers={"Retry-After": "1"})
            return None
        if turn.expects and not isinstance(found, Mount):
            refusal = lane.refusal(found, request)
            if refusal is not None:
                raise Early(refusal)
        return limit

    def soon(self, work: Callable[[], None]) -> None:
        """Have it done in the next turn of the loop, with what others want done then: the loop is asked once."""
        self._soon.append(work)
        if len(self._soon) == 1:
            self.loop.call_soon(self._do_soon)

    def _do_soon(self) -> None:
        found, self._soon = self._soon, []
        for work in found:
            try:
                work()
            except Exception as error:
                self.loop.call_exception_handler({"message": f"{work} failed", "exception": error})

    def tick(self) -> None:
        """Set the Date (RFC 9110 section 6.6.1); called every second."""
        date = formatdate(time.time(), usegmt=True).encode("ascii")
        line = b"Date: " + date + b"\r\n"
        self.common = (line + b"Connection: close\r\n", line, line + b"Connection: keep-alive\r\n")
        self.common_keep = line
        self.date = b"date: " + date + b"\r\n"

    def hold(self, connection: Served, identity: object) -> None:
        """A long-lived connection has begun; `identity` of its client, where it was asked for."""
        if isinstance(identity, Identity) and (identity.session or identity.expires is not None):
            self.held[connection] = identity

    def long_ended(self, connection: Served) -> None:
        """Its answer does not go on any more."""
        if self.held:
            self.held.pop(connection, None)
        if self.followed:
            self.followed.discard(connection)

    def review(self) -> None:
        """End what was begun by those whose session was revoked meanwhile, or who have expired."""
        self._reviews = False
        guard = self.lane.guard
        for connection, identity in list(self.held.items()):
            if guard is not None and not guard.holds(identity):
                del self.held[connection]
                connection.expel()

    def close(self) -> None:
        """The server has stopped."""
        if self.lane.guard is not None:
            self.lane.guard.listeners.remove(self._forgot)

    def _forgot(self) -> None:
        if self.held and not self._reviews:
            self._reviews = True
            self.loop.call_soon(self.review)

    def lane_times(self) -> Histogram:
        """How long the answers of the lane took: the view, and what it waited for."""
        made, long = Histogram(), self.long_lane
        of_lane = (route.counts for route in self.application.table.routes if route.lane)
        answers = sum(sum(counts.values()) for counts in (*of_lane, self.counts))
        made.counts, made.total = list(long.counts), self.lane_seconds
        made.counts[0] += max(0, answers - sum(long.counts))
        return made

    def note_view(self, route: Route, seconds: float) -> None:
        """What a lane view took, where it may be long: one that held the loop is told."""
        if seconds <= self.settings.slow_view_seconds:
            return
        self.slow += 1
        logger.warning(
            "view %s (%s) held the loop for %.0f ms: a plain def reads memory and returns; "
            "what waits or computes belongs in an async def or a thread",
            route.name,
            route.path,
            seconds * 1000,
        )
        if self._on_slow is not None:
            self._on_slow(route.name, seconds)

    def note_long(self, found: Found | Mount | Missing, status: int, seconds: float) -> None:
        """An answer of the lane that took longer than QUICK_SECONDS."""
        self.long_lane.observe(seconds)
        if self.on_answer is not None:
            self.on_answer(found, status, seconds, True)

    def note_closed(self) -> None:
        if self._on_closed is not None:
            self._on_closed()
