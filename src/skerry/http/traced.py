"""Views and mounted applications as spans: the time until an answer is made, part of the trace that the request brings.
Composed at start, and only where an application is traced: elsewhere nothing of this is called."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from skerry.errors import SkerryError
from skerry.http.binding import Binding
from skerry.http.headers import Headers
from skerry.http.outcome import Noting
from skerry.http.problems import problem_of
from skerry.http.request import Request
from skerry.http.routes import Mount
from skerry.provenance import TRACE, carried, provenance
from skerry.tracing import OpenSpan, Tracer

FIELD = TRACE.encode()


def traced(binding: Binding, tracer: Tracer, path: str) -> Binding:
    """The binding whose calls are spans named by method and `path` (the route's, with its parameters' names)."""
    call = binding.call

    def begun(request: Request) -> OpenSpan:
        attributes = {"http.request.method": request.method, "http.route": path, "url.path": request.path}
        span = tracer.begin(f"{request.method} {path}", request.headers.get(TRACE), "server", **attributes)
        request.take_trace(span.traceparent)
        return span

    def answer(request: Request, *given: Any) -> Any:
        span = begun(request)
        with _failing(span), _cause(request, span):
            result = call(request, *given)
        if isinstance(result, asyncio.Future):
            result.add_done_callback(lambda done: span.end(_fault(done)))
        else:
            span.end()
        return result

    async def answer_later(request: Request, *given: Any) -> Any:
        span = begun(request)
        with _failing(span), _cause(request, span):
            work: Awaitable[Any] = call(request, *given)
            result = await work
        span.end()
        return result

    return replace(binding, call=answer_later if binding.is_async else answer)


def traced_mount(tracer: Tracer, mount: Mount) -> ASGIApp:
    """The mounted application, each of its HTTP requests a span until it has returned. It sees the span as the
    request's `traceparent`; an answer from 500 on is an error."""

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await mount.app(scope, receive, send)
            return
        method, prefix = scope["method"], mount.root_path or "/"
        brought = Headers(scope["headers"]).get(TRACE)
        attributes = {"http.request.method": method, "http.route": prefix, "url.path": scope["path"]}
        sending = Noting(send)
        span = tracer.begin(f"{method} {prefix}", brought, "server", **attributes)
        fields = [field for field in scope["headers"] if field[0] != FIELD]
        inner = dict(scope, headers=[*fields, (FIELD, span.traceparent.encode())])
        carried.set(provenance(trace=span.traceparent))  # of this task, which ends with the request
        try:
            with span.current():
                await mount.app(inner, receive, sending)
        except BaseException as error:
            span.end(error)
            raise
        status = sending.status
        span.end(SkerryError(f"answered {status}") if status >= 500 else None)

    return serve


@contextmanager
def _cause(request: Request, span: OpenSpan) -> Iterator[None]:
    """Commands that are sent within are parts of the span."""
    token = carried.set(request.provenance)
    try:
        with span.current():
            yield
    finally:
        carried.reset(token)


@contextmanager
def _failing(span: OpenSpan) -> Iterator[None]:
    """An exception ends the span; an answer below 500 that is raised is no error of the server."""
    try:
        yield
    except BaseException as error:
        span.end(_counted(error))
        raise


def _fault(done: asyncio.Future[Any]) -> BaseException | None:
    return None if done.cancelled() else _counted(done.exception())


def _counted(error: BaseException | None) -> BaseException | None:
    problem = None if error is None else problem_of(error)
    return None if problem is not None and problem.status < 500 else error
