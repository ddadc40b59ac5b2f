"""Answers of a hosted ASGI application, counted by route for the platform's call statistics.

A route is its template (`GET /items/{id}`), as far as the application's scope has it (FastAPI's, and Django's with
`skerry.hosting.django.routes`); without one everything is counted at `/`, never at the path itself. WebSockets are not
counted: they have no answer.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from starlette.types import ASGIApp, Receive, Scope, Send

from skerry.http.outcome import Noting
from skerry.provenance import carried, provenance

TRACE_FIELD = b"traceparent"
Routed = Callable[[str, int, float], None]


class Counted:
    """`application`, with `routed(route, status, seconds)` called after each answer; status 500 when there was none."""

    def __init__(self, application: ASGIApp, routed: Routed) -> None:
        self.application, self._routed = application, routed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.application(scope, receive, send)
            return
        for field, value in scope["headers"]:
            if field == TRACE_FIELD:  # calls that the application makes belong to it
                carried.set(provenance(trace=value.decode("latin-1")))
        began, sending = time.monotonic(), Noting(send)
        try:
            await self.application(scope, receive, sending)
        finally:
            path = getattr(scope.get("route"), "path", None)
            root = scope.get("root_path", "") if path else ""
            route = f"{scope['method']} {root}{path or '/'}"
            self._routed(route, sending.status or 500, time.monotonic() - began)
