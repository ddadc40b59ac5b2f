"""Middleware: what it covers, and the edge where exceptions become answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from skerry.http.endpoint import Failure, request_of


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
        return not self.prefix or path == self.prefix or path.startswith(self.prefix + "/")


class Prefixed:
    """A middleware that covers only what lies under its prefix."""

    def __init__(self, covering: Covering, inside: ASGIApp, outside: ASGIApp) -> None:
        self._covering, self._inside, self._outside = covering, inside, outside

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        covered = scope["type"] != "lifespan" and self._covering.covers(scope["path"])
        await (self._inside if covered else self._outside)(scope, receive, send)


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
