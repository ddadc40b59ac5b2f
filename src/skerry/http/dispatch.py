"""The ASGI side of an application: finds what answers a request, a route or a mounted application, and calls it.

What a middleware covers stands around this; what the lane answers never comes here, unless a foreign server serves us.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from operator import attrgetter

from starlette.types import ASGIApp, Receive, Scope, Send

from skerry.http.auth import SAFE_METHODS
from skerry.http.authentication import Authentication
from skerry.http.caching import keeping_private
from skerry.http.cors import Crossing
from skerry.http.endpoint import Failure, introduce, refuse_websocket, serve, serve_websocket
from skerry.http.lane import answer_missing
from skerry.http.middleware import Edge
from skerry.http.problems import Problem, problem_of
from skerry.http.routes import BY_METHOD, WEBSOCKET, Found, Mount, RouteTable
from skerry.http.scope import cause_of, foreign_headers, relative_path_of, request_of
from skerry.provenance import carried


class Dispatch:
    """An ASGI application over a table of routes. `failure` turns an exception into an answer, `mounted` gives the
    application of a mount, where it is not as it was declared."""

    def __init__(
        self,
        table: RouteTable,
        guard: Authentication | None,
        failure: Failure,
        crossing: Crossing | None = None,
        mounted: Callable[[Mount], ASGIApp] | None = None,
    ) -> None:
        self._table, self._guard, self._failure = table, guard, failure
        self._mounted = mounted or attrgetter("app")
        self._crossing = crossing
        self._writers = crossing.cors.writers if crossing is not None else ()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        known = scope.get("skerry")
        if known is not None:
            found = known.found
        else:
            method = WEBSOCKET if scope["type"] == "websocket" else scope["method"]
            found = self._table.find(method, relative_path_of(scope))
        if found.__class__ is Found:
            if scope["type"] == "http":
                await serve(found, scope, receive, send, self._guard, self._failure, self._writers)
            else:
                await serve_websocket(found, scope, receive, send, self._guard)
        elif found.__class__ is Mount:
            await self._serve_mount(found, scope, receive, send)
        elif scope["type"] == "http":
            await answer_missing(found, request_of(scope), self._crossing)(scope, receive, send)
        else:
            await refuse_websocket(Problem(404, "nothing is here"), scope, receive, send)

    async def _serve_mount(self, mount: Mount, scope: Scope, receive: Receive, send: Send) -> None:
        if self._guard is not None and mount.right is not None:
            method = scope.get("method", "GET")
            right = mount.right if mount.right != BY_METHOD else "read" if method in SAFE_METHODS else "write"
            request = request_of(scope)
            if scope["type"] == "http":
                send = keeping_private(send)
            try:
                introduce(scope, await self._guard.admit(right, request))
            except Exception as error:
                if scope["type"] == "http":
                    await self._failure(error, request)(scope, receive, send)
                    return
                problem = problem_of(error)
                if problem is None:
                    raise
                await refuse_websocket(problem, scope, receive, send)
                return
        inner = dict(scope)
        inner.pop("skerry", None)
        inner["root_path"] = scope.get("root_path", "") + mount.root_path
        inner["state"] = {**scope.get("state", {}), **mount.state}
        inner["headers"] = foreign_headers(scope["headers"])
        await Edge(carrying(self._mounted(mount), inner), self._failure)(inner, receive, send)


def carrying(application: ASGIApp, scope: Scope) -> ASGIApp:
    """An application that answers this request, in a task of its own: what it emits and sends is part of the trace
    that the request brings."""
    cause = cause_of(scope)
    return partial(_within, application, cause) if cause else application


async def _within(
    application: ASGIApp, cause: Mapping[str, str], scope: Scope, receive: Receive, send: Send
) -> None:
    carried.set(cause)
    await application(scope, receive, send)
