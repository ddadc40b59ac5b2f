"""The lane: routes that are answered where their bytes arrive, without a task, a scope or an await. Pure.

A plain `def` view is a lane route. It is called in the loop's own turn, so it reads memory and returns; work that
waits is an `async def` view, or hands back a future (a write that waits for its event), which the protocol answers
when it is done, in the order of the requests. The protocol brings bytes and writes bytes; what is answered is decided
here.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any

from skerry.http.auth import refuse_foreign_page
from skerry.http.authentication import Authentication
from skerry.http.caching import private
from skerry.http.conditional import not_modified
from skerry.http.cors import Crossing
from skerry.http.hosts import Hosts
from skerry.http.identity import Identity
from skerry.http.kept import KeptAnswers
from skerry.http.path import decode, decode_path
from skerry.http.problems import Problem, refuse_encoded
from skerry.http.reply import Response, response_of
from skerry.http.request import Request
from skerry.http.routes import Found, Missing, Route, RouteTable
from skerry.provenance import carried

Failure = Callable[[Exception, Request], Response]
Answer = Response | asyncio.Future[Any]


class Lane:
    """The memory routes of one application.

    `direct` is the shortcut for `GET PREFIX/{parameter}`: with a plain last segment, what stands before it is looked
    up once, method included.
    `failure` turns an exception into an answer (and logs it). `decides_misses`: 404, 405 and OPTIONS are answered
    here too, because no middleware wants to see them. `hosts`: the names that are served; the protocol checks each head
    that it parses, once for those that are repeated. `kept`: answers that are sent again.
    """

    def __init__(
        self,
        table: RouteTable,
        failure: Failure,
        guard: Authentication | None,
        *,
        decides_misses: bool,
        crossing: Crossing | None = None,
        hosts: Hosts | None = None,
    ) -> None:
        self.table = table
        self.direct = {b"GET " + prefix: route for prefix, route in table.direct().items()}
        self.decides_misses = decides_misses
        self._failure = failure
        self.guard = guard
        self.hosts = hosts
        self.kept = KeptAnswers()
        self._crossing = crossing
        self._writers = crossing.cors.writers if crossing is not None else ()

    def answer(self, route: Route, request: Request, raw: tuple[bytes, ...]) -> Answer:
        """Call the view with its decoded parameters. Never raises."""
        try:
            if route.guarded:
                assert self.guard is not None
                assert route.right is not None
                found = self.guard.authorize(route.right, request)
                if not isinstance(found, Identity):
                    return self.guard.later(self._answer_later(found, route, request, raw))
                request.identity = found
            else:
                if route.writes:
                    refuse_foreign_page(request.method, request.headers, self._writers, request.peer)
                if route.recognizes:
                    assert self.guard is not None
                    known = self.guard.recognize(request)
                    if known is not None and not isinstance(known, Identity):
                        return self.guard.later(self._answer_later(known, route, request, raw))
                    request.identity = known
            if route.writes:
                refuse_encoded(request.headers)
                cause = carried.set(request.provenance)
                try:
                    return self.complete(route, request, route.call(request, *decoded(route, raw)))
                finally:
                    carried.reset(cause)
            return self.complete(route, request, route.call(request, *decoded(route, raw)))
        except Exception as error:
            return self.failed(route, error, request)

    async def _answer_later(
        self, asked: Awaitable[Identity | None], route: Route, request: Request, raw: tuple[bytes, ...]
    ) -> Any:
        """What the view returns once the client's identity is known; `settle` makes an answer of it."""
        request.identity = await asked
        if route.writes:
            refuse_encoded(request.headers)
        carried.set(request.provenance)
        result = route.call(request, *decoded(route, raw))
        # A future belongs to whoever made it: it must not be cancelled with this.
        return await asyncio.shield(result) if isinstance(result, asyncio.Future) else result

    def complete(self, route: Route, request: Request, result: Any) -> Answer:
        """What a view returned, as an answer. Raises what cannot be made one."""
        if isinstance(result, asyncio.Future):
            return result
        response = self._complete(route, result)
        if route.personal:
            response = private(response)
        if request.headers.conditional and request.method in ("GET", "HEAD"):
            return not_modified(response, request.headers)
        return response

    def settle(self, route: Route, request: Request, future: asyncio.Future[Any]) -> Response:
        """The answer of a future that is done. Never raises."""
        try:
            result = self._complete(route, future.result())
            if route.personal:
                result = private(result)
            if request.headers.conditional and request.method in ("GET", "HEAD"):
                return not_modified(result, request.headers)
            return result
        except asyncio.CancelledError:
            # The view's own future was cancelled by its owner: nobody waits here that could be cancelled.
            return self.failed(
                route, Problem(503, "the answer was given up", headers={"Retry-After": "1"}), request
            )
        except Exception as error:
            return self.failed(route, error, request)

    def refuse(self, error: Exception, request: Request) -> Response:
        """The answer for a request that never reached a view."""
        return self._failure(error, request)

    def refusal(self, found: Found | Missing, request: Request) -> Response | None:
        """The answer that follows from the head alone: no such path or method, no right. None: the body is wanted."""
        if isinstance(found, Missing):
            return answer_missing(found, request, self._crossing)
        route = found.route
        try:
            if route.guarded:
                assert self.guard is not None
                assert route.right is not None
                self.guard.check(route.right, request)
            elif route.writes:
                refuse_foreign_page(request.method, request.headers, self._writers, request.peer)
            refuse_encoded(request.headers)
        except Exception as error:
            return self.failed(route, error, request)
        return None

    def missing(self, missing: Missing, request: Request) -> Response:
        """404, 405, or the answer to OPTIONS."""
        return answer_missing(missing, request, self._crossing)

    def failed(self, route: Route, error: Exception, request: Request) -> Response:
        """The answer for what a view, or what stands before it, has raised."""
        answer = self._failure(error, request)
        return private(answer) if route.personal else answer

    def _complete(self, route: Route, result: Any) -> Response:
        if inspect.iscoroutine(result):
            result.close()
            raise TypeError(
                f"view {route.name} is a plain def and returned a coroutine: make it an async def"
            )
        return response_of(result)


def decoded(route: Route, raw: tuple[bytes, ...]) -> list[str]:
    """The path parameters as text. Raises Problem 400 for what is not strictly valid."""
    kinds = route.template.kinds
    if len(raw) == 1 and kinds[0] != "path":
        return [decode(raw[0])]
    return [
        decode_path(part) if kind == "path" else decode(part) for part, kind in zip(raw, kinds, strict=True)
    ]


def answer_missing(missing: Missing, request: Request, crossing: Crossing | None) -> Response:
    """No such path is 404, no such method 405 with `Allow`; OPTIONS of a known path is 204 with `Allow`, or the answer
    to a page that asks what it may do."""
    method = request.method
    if crossing is None:
        return _missing(missing, method)
    if method == "OPTIONS" and missing.allowed:
        told = crossing.preflight(missing, request.headers, request.peer.host)
        if told is not None:
            return told
    answer: Response = crossing.crossed(_missing(missing, method), request)
    return answer


def _missing(missing: Missing, method: str) -> Response:
    if not missing.allowed:
        return Problem(404, "nothing is here").response()
    allow = {"Allow": ", ".join(sorted(missing.allowed))}
    if method == "OPTIONS":
        return Response(b"", 204, headers=allow)
    return Problem(405, f"{method} is not possible here", headers=allow).response()


__all__ = ["Answer", "Failure", "Found", "Lane", "answer_missing", "decoded"]
