"""The ASGI side of a route: from a scope to the view and back. One endpoint per request, no state of its own."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable

from starlette.requests import Request as StarletteRequest
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from skerry.errors import Unavailable
from skerry.http.auth import SAFE_METHODS, refuse_foreign_page
from skerry.http.authentication import Authentication
from skerry.http.caching import keeping_private, private
from skerry.http.conditional import not_modified
from skerry.http.headers import Headers
from skerry.http.identity import IDENTITY, Identity
from skerry.http.lane import decoded
from skerry.http.problems import Problem, problem_of, refuse_encoded
from skerry.http.reply import Response, response_of
from skerry.http.request import Request
from skerry.http.routes import Found
from skerry.http.scope import request_of
from skerry.provenance import carried

Failure = Callable[[Exception, Request], Response]


class ClientGone(Exception):
    """The client went away before its request was complete; there is nobody to answer."""


async def read_body(scope: Scope, receive: Receive, limit: int) -> bytes:
    """The whole body, as `receive` gives it. Raises Problem 413 beyond `limit` bytes, 415 for a coded one, ClientGone
    when the client leaves.

    Without a length in the fields there is none, except where a middleware took the length away with what it did to
    the body. Safe methods are not asked then: what has consumed their empty body would wait for the client to leave.
    """
    announced = False
    for name, value in scope["headers"]:
        if name == b"content-encoding" and value.strip().lower() != b"identity":
            refuse_encoded(Headers([(name, value)]))
        if name == b"content-length":
            announced = True
            if value.isdigit() and int(value) > limit:
                raise too_large(limit)
        elif name == b"transfer-encoding":
            announced = True
    if not announced and ("skerry" in scope or scope["method"] in SAFE_METHODS):
        return b""
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        part = message.get("body", b"")
        size += len(part)
        if size > limit:
            raise too_large(limit)
        parts.append(part)
        if not message.get("more_body", False):
            return parts[0] if len(parts) == 1 else b"".join(parts)


def too_large(limit: int) -> Problem:
    return Problem(413, f"the body is over {limit} bytes", headers={"Connection": "close"})


async def serve(
    found: Found,
    scope: Scope,
    receive: Receive,
    send: Send,
    guard: Authentication | None,
    failure: Failure,
    writers: tuple[str, ...] = (),
) -> None:
    """Answer one HTTP request by its view."""
    route = found.route
    request = request_of(scope)
    # With nobody in between, neither a complete answer nor a stream of our own needs messages.
    own = getattr(send, "__self__", None) if "skerry" in scope else None
    reply_whole = getattr(own, "reply", None)
    if route.personal:
        send = keeping_private(send)
    answer: ASGIApp
    try:
        if route.guarded:
            assert guard is not None
            assert route.right is not None
            request.identity = await guard.admit(route.right, request)
            introduce(scope, request.identity)
        else:
            if route.writes:
                refuse_foreign_page(request.method, request.headers, writers, request.peer)
            if route.recognizes:
                await recognize(request, scope, guard)
        carried.set(request.provenance)  # of this task, which ends with the request
        if route.needs_connection:
            scope["path_params"] = dict(zip(route.template.names, decoded(route, found.raw), strict=True))
            scope["skerry.connection"] = StarletteRequest(scope, receive, send)
        else:
            request.body = await read_body(scope, receive, route.max_body_bytes)
        result = route.call(request, *decoded(route, found.raw)) if found.raw else route.call(request)
        if inspect.iscoroutine(result):
            result = await result
        if isinstance(result, asyncio.Future):
            # A future belongs to whoever made it: a client that goes away must not cancel a durable write.
            result = await asyncio.shield(result)
        if result.__class__ is not Response and callable(result) and hasattr(result, "status_code"):
            answer = result  # a Starlette response, perhaps a stream
        else:
            reply = response_of(result)
            if request.headers.conditional and request.method in ("GET", "HEAD"):
                reply = not_modified(reply, request.headers)
            answer = reply
    except ClientGone:
        return
    except Exception as error:
        answer = failure(error, request)
    status = answer.status if answer.__class__ is Response else getattr(answer, "status_code", 200)
    route.counts[status] = route.counts.get(status, 0) + 1
    if reply_whole is not None and answer.__class__ is Response:
        await reply_whole(private(answer) if route.personal else answer)
    elif reply_whole is not None and hasattr(answer, "follow") and scope["method"] == "GET":
        await answer.follow(await own.lend(), private=route.personal)  # type: ignore[union-attr]  # it has a reply
    else:
        await answer(scope, receive, send)


async def serve_websocket(
    found: Found, scope: Scope, receive: Receive, send: Send, guard: Authentication | None
) -> None:
    """Hand a websocket to its view. A refusal before `accept` is an HTTP answer (403 by the server's close)."""
    route = found.route
    keep_direct(scope, receive, send)
    websocket = WebSocket(scope, receive, send)
    scope["skerry.connection"] = websocket
    request = request_of(scope)
    try:
        if route.guarded:
            assert guard is not None
            assert route.right is not None
            request.identity = await guard.admit(route.right, request)
            introduce(scope, request.identity)
        elif route.recognizes:
            await recognize(request, scope, guard)
        carried.set(request.provenance)
        conversation = route.call(request, *decoded(route, found.raw))
    except (Problem, Unavailable) as error:  # Unavailable: what it would read from has stopped
        problem = problem_of(error)
        assert problem is not None
        await refuse_websocket(problem, scope, receive, send)
        return
    await conversation


async def recognize(request: Request, scope: Scope, guard: Authentication | None) -> None:
    """Find out who it is where nobody has to say so."""
    assert guard is not None
    found = guard.recognize(request)
    request.identity = found if found is None or isinstance(found, Identity) else await found
    if request.identity is not None:
        introduce(scope, request.identity)


def introduce(scope: Scope, identity: Identity) -> None:
    """Leave the identity where middleware, mounted applications and the access log find it."""
    state = scope.get("state")
    if state is not None:
        state[IDENTITY] = identity


def keep_direct(scope: Scope, receive: Receive, send: Send) -> None:
    """Take back the offer that a hub may write past the application (`skerry.direct`) where somebody stands between
    the connection and the view: a middleware that hears or changes messages would not see them."""
    extensions = scope.get("extensions") or {}
    direct = extensions.get("skerry.direct")
    if direct is not None and not direct["connection"].carries(receive, send):
        scope["extensions"] = {name: value for name, value in extensions.items() if name != "skerry.direct"}


async def refuse_websocket(problem: Problem, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer the handshake with the problem where the server can (websocket.http.response), else close it."""
    if "websocket.http.response" in scope.get("extensions", {}):
        await receive()
        reply = problem.response()
        headers = [*reply.raw_headers(), (b"content-length", b"%d" % len(reply.body))]
        await send({"type": "websocket.http.response.start", "status": reply.status, "headers": headers})
        await send({"type": "websocket.http.response.body", "body": reply.body})
        return
    await receive()
    await send({"type": "websocket.close", "code": 1008, "reason": problem.title})
