"""Middleware: what it covers, and the edge where exceptions become answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from skerry.http.endpoint import Failure
from skerry.http.path import PathTemplate
from skerry.http.scope import decoded_path, relative_path_of, request_of


@dataclass(frozen=True, slots=True)
class Covering:
    """A declared middleware: `factory(app, **options)` around what lies under `prefix` (empty: everything)."""

    factory: Callable[..., ASGIApp]
    options: dict[str, Any]
    prefix: str

    @property
    def lane_safe(self) -> bool:
        return bool(getattr(self.factory, "lane_safe", False))

    @property
    def name(self) -> str:
        return getattr(self.factory, "__name__", repr(self.factory))

    def covers(self, path: str) -> bool:
        """Whether this decoded path lies under the prefix."""
        return not self.prefix or path == self.prefix or path.startswith(self.prefix + "/")

    def reached_by(self, template: PathTemplate) -> str | None:
        """A path of this template that is covered; None when no path of it can be."""
        return template.example_under(self.prefix)


class Covered:
    """A middleware in its place: what lies under its prefix goes through it, everything else past it.

    It gets a plain ASGI scope. What our server knew when it made the scope is dropped here, so that the view behind
    sees what the middleware left, as it would on any other server; and files are not offered to be sent by name, as
    a middleware that changes bodies (Starlette's GZipMiddleware) would let them pass unchanged.
    """

    def __init__(self, covering: Covering, inside: ASGIApp, outside: ASGIApp) -> None:
        self._covering, self._inside, self._outside = covering, inside, outside

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._covers(scope):
            scope.pop("skerry", None)
            scope.get("extensions", {}).pop("http.response.pathsend", None)
            await self._inside(scope, receive, send)
        else:
            await self._outside(scope, receive, send)

    def _covers(self, scope: Scope) -> bool:
        # A guard looks at the path that the routes are found by, below the root path of whoever serves us.
        return not self._covering.prefix or self._covering.covers(decoded_path(relative_path_of(scope)))


class Edge:
    """The edge of middleware and mounts: what escapes before an answer began becomes one."""

    def __init__(self, app: ASGIApp, failure: Failure) -> None:
        self._app, self._failure = app, failure

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def noting(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, receive, noting)
        except Exception as error:
            if started:
                raise
            await self._failure(error, request_of(scope))(scope, receive, send)
