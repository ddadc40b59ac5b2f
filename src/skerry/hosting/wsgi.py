"""A WSGI application as something that answers requests (PEP 3333): through an exchange of our own server, and as an
ASGI application where something stands between, a middleware or a foreign server.

Its threads start and end with its lifespan.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from importlib.metadata import version
from typing import Any

from starlette.types import Receive, Scope, Send

from skerry.exchange import Answerer, ClientDisconnected, Exchange
from skerry.hosting.answers import Answers
from skerry.hosting.call import Call
from skerry.hosting.environ import Environs
from skerry.hosting.errors import ErrorStream
from skerry.hosting.over_asgi import refuse_websocket, respond_over_asgi
from skerry.hosting.plain import answer
from skerry.hosting.pool import Pool
from skerry.hosting.release import Release
from skerry.hosting.settings import HostSettings
from skerry.hosting.strict import Strict
from skerry.hosting.wrapper import FileWrapper
from skerry.server.access import log_answer
from skerry.telemetry import Metric, Sample

logger = logging.getLogger("skerry.host")

OnAnswer = Callable[[str, int, float], None]
"""Told of an answer: `GET /items/<int:item>`, its status (0: it was broken off), seconds since its head was read."""


class Wsgi:
    """`application`: the WSGI callable; `prefix`: the path that it lies under, percent-encoded, without a slash at the
    end (empty at the root). `on_exhausted` is called when too many of its threads are stuck."""

    def __init__(
        self,
        application: Callable[..., Any],
        settings: HostSettings | None = None,
        *,
        name: str = "host",
        prefix: bytes = b"",
        release: Release | None = None,
        on_exhausted: Callable[[], None] = lambda: None,
    ) -> None:
        self.application, self.name, self.prefix = application, name, prefix
        self.settings = settings or HostSettings()
        self.environs = Environs(_constant(self.settings), prefix)
        self.loop: asyncio.AbstractEventLoop = None  # type: ignore[assignment]  # until it starts
        self._release = release or Release([])
        self.release, self.route_of = self._release.release, self._release.route_of
        self.gather, self.begin = self._release.gather, self._release.begin
        self.pool = Pool(
            name, self.settings, on_thread_end=self._release.end_thread, on_exhausted=on_exhausted
        )
        self.strict = Strict(self.settings.strict, self._alone, self._release.receivers)
        self.late, self.queue_seconds = 503, self.settings.timeout
        self.drain_seconds = 10.0
        """How long its threads may take at the end."""
        self.answers = Answers(prefix.decode("ascii") or "/")
        self._posted: deque[Callable[[], None]] = deque()
        self._woken = False
        self.logs = False
        """Whether each answer is a line of the access log."""
        self.on_answer: OnAnswer | None = None
        self._started = False

    # Living

    def start(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.pool.start()
        self._started = True

    async def stop(self) -> None:
        self._started = False
        await self.pool.stop(self.drain_seconds)

    # Answering

    def respond(self, exchange: Exchange) -> Answerer:
        """See `skerry.exchange.Respond`."""
        call = Call(self, exchange)
        status = 413 if call.too_large else 0
        if not status and not (self._started and self.pool.submit(call)):
            status = 503
        if status:
            self.loop.call_soon(self._refuse, exchange, call, status)
        return call

    def _refuse(self, exchange: Exchange, call: Call, status: int) -> None:
        try:
            answer(exchange, status)
        except ClientDisconnected:
            status = 0
        self.answered(call, status)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "websocket":
            await refuse_websocket(scope, receive, send)
        else:
            await respond_over_asgi(self.respond, scope, receive, send, self.prefix)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        self.start()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self.stop()
        await send({"type": "lifespan.shutdown.complete"})

    # What a call tells

    def _alone(self) -> object:
        return self.pool.taken if self.pool.busy == 1 else None

    def post(self, work: Callable[[], None]) -> None:
        """Whatever is there by the time the loop comes to it is done together: it is woken once."""
        self._posted.append(work)
        if not self._woken:
            self._woken = True
            self.loop.call_soon_threadsafe(self._do_posted)

    def _do_posted(self) -> None:
        self._woken = False  # first: what is posted from here on wakes again
        posted = self._posted
        while posted:
            try:
                posted.popleft()()
            except Exception as error:
                self.loop.call_exception_handler(
                    {"message": f"{self.name}: an answer failed", "exception": error}
                )

    def answered(self, call: Call, status: int) -> None:
        seconds = time.monotonic() - call.began
        if self.logs:
            log_answer(call.head, status, seconds)
        if self.on_answer is not None:
            route = f"{call.head.method} {call.route or self.answers.place}"
            self.on_answer(route, status, time.monotonic() - call.received)
        self.answers.note(call.route, status, seconds)

    def collect(self) -> Iterator[Metric]:
        """This application's numbers."""
        pool, label = self.pool, (("host", self.name),)
        for name, text, number in (
            ("skerry_host_threads", "Threads of a hosted application.", pool.threads),
            ("skerry_host_threads_busy", "Threads that are at work.", pool.busy),
            ("skerry_host_threads_stuck", "Threads that are beyond their time.", pool.stuck),
            ("skerry_host_queue", "Requests that wait for a thread.", pool.waiting.qsize()),
        ):
            yield Metric(name, "gauge", text, (Sample(name, label, float(number)),))
        for name, text, number in (
            ("skerry_host_refused_total", "Requests answered 503 because the queue was full.", pool.refused),
            ("skerry_host_expired_total", "Requests whose time was over.", pool.expired),
        ):
            yield Metric(name, "counter", text, (Sample(name, label, float(number)),))
        yield from self.answers.collect(label)


def _constant(settings: HostSettings) -> dict[str, Any]:
    """What stands in every environ."""
    return {
        "GATEWAY_INTERFACE": "CGI/1.1",
        "SERVER_SOFTWARE": f"skerry/{version('skerry')}",
        "wsgi.version": (1, 0),
        "wsgi.errors": ErrorStream(sys.stderr),
        "wsgi.multithread": True,
        "wsgi.multiprocess": settings.processes != 1,
        "wsgi.run_once": False,
        "wsgi.file_wrapper": FileWrapper,
        "wsgi.input_terminated": True,
    }
