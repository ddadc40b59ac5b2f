"""A hosted application as it is declared: perhaps by a name only, imported where it is served.

It is an ASGI application that can be mounted; a WSGI one also answers through exchanges (`respond`), as soon as it is
loaded.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from importlib import import_module
from typing import Any

from starlette.types import Receive, Scope, Send

from skerry.errors import DeclarationError, LifecycleError
from skerry.exchange import Respond
from skerry.hosting.answers import Answers, template_of
from skerry.hosting.detection import kind_of
from skerry.hosting.release import Release, tell_routes
from skerry.hosting.settings import HostSettings
from skerry.hosting.slope import LeakSlope
from skerry.hosting.strict import Standing, Strict
from skerry.hosting.wsgi import OnAnswer, Wsgi
from skerry.http.dispatch import carrying
from skerry.http.outcome import Noting
from skerry.http.routes import Entered
from skerry.telemetry import Metric, Sample

logger = logging.getLogger("skerry.host")


class Host:
    """`target`: what to say of it; `load` gives the application (an import, where it is declared by its name).
    `prefix`: the path it lies under, percent-encoded, without a slash at the end. `own`: settings of this one."""

    def __init__(
        self, target: str, load: Callable[[], Any], *, prefix: bytes = b"", own: dict[str, Any] | None = None
    ) -> None:
        self.target, self.prefix = target, prefix
        self._load, self._own = load, own or {}
        self._application: Any = None
        self.kind = ""
        """`wsgi` or `asgi`, once it is loaded."""
        self._wsgi: Wsgi | None = None
        self._sees_files = False
        """Files are not to be sent by their names: a middleware of its own may change them."""
        self._asked = 0
        self._answers = Answers(prefix.decode("ascii") or "/")
        self._running = 0
        self._strict = Strict(0, self._alone)
        self._slope = LeakSlope()
        self.on_answer: OnAnswer | None = None
        """Told of the answers of a WSGI application; set it, and the next two, before `open`."""
        self.late = 503
        """The status of a WSGI application's answer that did not come in time."""
        self.queue_seconds: float | None = None
        """How long a request may wait for one of its threads; None: as long as for an answer."""

    def load(self, kind: str = "auto") -> None:
        """Import it, once, as that kind unless it has been declared as one; best where no loop runs yet, as what it
        imports may ask a database. Raises SettingsError, DeclarationError."""
        if self.kind:
            return
        found = self._load()
        if hasattr(found, "declaration") and hasattr(found, "http"):
            raise DeclarationError(f"{self.target} is a skerry.App: run it with skerry up")
        kind = self._own.get("kind", kind)
        self.kind = kind_of(found, self.target) if kind == "auto" else kind
        self._application = found
        if self.kind == "asgi":
            self._sees_files = _has_middleware(found)
            _advise(found, self.target)

    def open(
        self,
        settings: HostSettings,
        *,
        logs: bool = False,
        drain_seconds: float = 10.0,
        on_exhausted: Callable[[], None] = lambda: None,
    ) -> None:
        """Prepare to serve it with these settings, where it has none of its own; before its lifespan starts."""
        self.load(settings.kind)
        if self.kind != "wsgi":
            self._strict.every = settings.strict
            tell_routes()
            logger.info("hosting %s (ASGI)", self.target)
            return
        self._wsgi = Wsgi(
            self._application,
            replace(settings, **self._own),
            name=self.target,
            prefix=self.prefix,
            release=Release.of_what_is_loaded(),
            on_exhausted=on_exhausted,
        )
        logger.info("hosting %s (WSGI, %s threads)", self.target, self._wsgi.settings.threads)
        self._wsgi.logs, self._wsgi.drain_seconds = logs, drain_seconds
        self._wsgi.on_answer, self._wsgi.late = self.on_answer, self.late
        if self.queue_seconds is not None:
            self._wsgi.queue_seconds = self.queue_seconds

    @property
    def respond(self) -> Respond | None:
        """How it answers through an exchange; None for an ASGI application."""
        return self._wsgi.respond if self._wsgi is not None else None

    @property
    def busy(self) -> int:
        """Requests that are in a thread; 0 for an ASGI application, whose requests are in none of ours."""
        return self._wsgi.pool.busy if self._wsgi is not None else 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not self.kind or (self.kind == "wsgi" and self._wsgi is None):
            if scope["type"] != "lifespan":
                raise LifecycleError(f"serve {self.target}", "declared", ("load",))
            self.open(HostSettings())
        if scope["type"] == "lifespan" or self._wsgi is not None:
            await (self._wsgi if self._wsgi is not None else self._application)(scope, receive, send)
            return
        if scope["type"] != "http":
            self._asked += 1
            await self._application(scope, receive, send)
            return
        application, told = self.enter(scope)
        began, sending = time.monotonic(), Noting(send)
        try:
            await application(scope, receive, sending)
        finally:
            if told is not None:
                told(scope, sending.status, time.monotonic() - began)

    def enter(self, scope: Scope) -> Entered:
        """What answers a scope of our own server, where nothing stands before it."""
        if not self.kind or self._wsgi is not None:
            return self, None
        self._asked += 1
        self._running += 1
        if self._sees_files:
            scope.get("extensions", {}).pop("http.response.pathsend", None)
        standing = self._strict.begin()
        application = carrying(self._application, scope)
        return application, self._told if standing is None else partial(self._compare, standing)

    def _told(self, scope: Scope, status: int, seconds: float) -> None:
        self._running -= 1
        self._answers.note(template_of(scope), status, seconds)

    def _compare(self, standing: Standing, scope: Scope, status: int, seconds: float) -> None:
        self._strict.end(standing, f"{scope['method']} {template_of(scope) or scope['path']}")
        self._told(scope, status, seconds)

    def _alone(self) -> object:
        return self._asked if self._running == 1 else None

    @property
    def answered(self) -> int:
        """Requests that it has answered so far; of an ASGI application those that it was given."""
        return self._wsgi.answers.total if self._wsgi is not None else self._asked

    @property
    def leak_slope(self) -> float:
        """Blocks of memory that each request leaves behind, where they grow significantly; else 0. It goes by what was
        seen when its numbers were asked for, every ten seconds at most."""
        return self._slope.per_request

    def collect(self) -> Iterator[Metric]:
        """Its numbers."""
        if self._wsgi is not None:
            yield from self._wsgi.collect()
        else:
            yield from self._answers.collect((("host", self.target),))
        name, text = (
            "skerry_host_leak_slope",
            "Blocks of memory that each request leaves behind, if significant.",
        )
        slope = self._slope.look(self.answered)
        yield Metric(name, "gauge", text, (Sample(name, (("host", self.target),), slope),))


def _has_middleware(application: Any) -> bool:
    """Whether something stands around the views of an ASGI application: middleware of Starlette or FastAPI, or an
    application around another one. Starlette's GZipMiddleware lets files that are sent by name pass unchanged."""
    return bool(getattr(application, "user_middleware", None)) or hasattr(application, "app")


def _advise(application: Any, target: str) -> None:
    """Say so when a Django project without asynchronous views is given as ASGI."""
    if "django.core.handlers.asgi" not in sys.modules:
        return
    try:
        plain = import_module("skerry.hosting.django.views").is_plain(application)
    except Exception as error:  # of its own urls: whoever asks for a page will see it
        logger.debug("the views of %s cannot be looked at: %r", target, error)
        return
    if plain:
        logger.warning(
            "%s is Django without asynchronous views: its WSGI application (wsgi.py) serves the same for a third of "
            "the CPU",
            target,
        )
