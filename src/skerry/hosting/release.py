"""What frameworks need before a request, and what is always released after each: their leftovers. Pure.

It happens in the request's own thread and context, after `close()` (which is where Django sends `request_finished`),
and costs a microsecond or two when nothing was left. Context variables need no release: each request has a context of
its own. Which frameworks there are is looked up once, when the application was imported: nothing is imported here
that it does not use itself.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any, Protocol

FRAMEWORKS = (
    ("django.core.handlers.wsgi", "skerry.hosting.django.requests", "DjangoRequests"),
    ("flask.globals", "skerry.hosting.flask.requests", "FlaskRequests"),
)
"""A module that is loaded when a framework is used, and what knows its requests."""


def tell_routes() -> None:
    """Have the routes of ASGI requests in their scopes, for the frameworks that this process has imported and that do
    not do so by themselves."""
    if "django.core.handlers.asgi" in sys.modules:
        import_module("skerry.hosting.django.routes").tell_routes()


class Framework(Protocol):
    """What one framework leaves behind, and how it calls a route. All of it is called in the request's thread."""

    @property
    def begin(self) -> Callable[[dict[str, Any]], None] | None:
        """Called when the application calls `start_response`; None where nothing has to be noted by then."""
        ...

    def route_of(self, environ: dict[str, Any], result: Any) -> str | None:
        """The template of the route that answered; None when it was another framework's, or none."""
        ...

    def gather(self, environ: dict[str, Any]) -> None:
        """A request's body comes in chunks, without a length: what the framework needs before it reads any."""
        ...

    def release(self, environ: dict[str, Any]) -> None:
        """Release what was left, and say so."""
        ...

    def receivers(self) -> int:
        """How many receivers its signals have."""
        ...

    def end_thread(self) -> None:
        """The thread ends: so does what it kept."""
        ...


class Release:
    """All frameworks of one application."""

    def __init__(self, frameworks: list[Framework]) -> None:
        self._frameworks = frameworks
        self._releases = [each.release for each in frameworks]
        self._routes = [each.route_of for each in frameworks]
        noting = [each.begin for each in frameworks if each.begin is not None]
        self.begin = noting[0] if noting else None
        """See `Framework`; there is one at most that wants it."""
        if len(frameworks) == 1:  # nearly always
            self.release = frameworks[0].release  # type: ignore[method-assign]  # nothing is added to it

    @classmethod
    def of_what_is_loaded(cls) -> Release:
        """For the frameworks that this process has imported."""
        return cls(
            [
                getattr(import_module(ours), name)()
                for module, ours, name in FRAMEWORKS
                if module in sys.modules
            ]
        )

    def route_of(self, environ: dict[str, Any], result: Any) -> str:
        """The template of the route that answered; empty when nobody knows it."""
        for each in self._routes:
            found = each(environ, result)
            if found is not None:
                return found
        return ""

    def gather(self, environ: dict[str, Any]) -> None:
        for each in self._frameworks:
            each.gather(environ)

    def release(self, environ: dict[str, Any]) -> None:
        for each in self._releases:
            each(environ)

    def receivers(self) -> int:
        return sum(each.receivers() for each in self._frameworks)

    def end_thread(self) -> None:
        for each in self._frameworks:
            each.end_thread()
