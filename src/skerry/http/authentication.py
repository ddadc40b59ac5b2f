"""The client of a request: by a token, by the session of a browser, or by what the application finds out itself.

The identity that a header block has proved is remembered with it: on a connection that repeats the block, byte for
byte, it is not proved again until the identity expires or `forget` raises the generation. A route of the lane waits
for an answer that comes later (an `async def`) at its first request only.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any

from skerry.clock import Clock, SystemClock
from skerry.http.auth import SAFE_METHODS, Tokens, permit, same_origin
from skerry.http.headers import Headers
from skerry.http.identity import Identity, Remembered
from skerry.http.problems import Problem
from skerry.http.request import Request

Ask = Callable[[Request], Any]
"""Finds the identity of a request, or an awaitable of it; None for nobody."""


class Authentication:
    """What stands before the guarded routes of one application.

    `ask` is the application's own way to find an identity, asked where no token of ours says who it is (`asks_later`:
    it gives an awaitable); what it finds is remembered for `remember_seconds` at most. `writers`: origins whose pages
    may write.
    """

    def __init__(
        self,
        tokens: Tokens | None = None,
        ask: Ask | None = None,
        *,
        clock: Clock | None = None,
        asks_later: bool = False,
        remember_seconds: float = 10.0,
        timeout_seconds: float = 5.0,
        writers: Iterable[str] = (),
    ) -> None:
        self.tokens = tokens if tokens else None
        self.clock = clock or (tokens.clock if tokens is not None else SystemClock())
        self.now = self.clock.now
        self.generation = 0
        self.listeners: list[Callable[[], None]] = []
        """Called when `forget` is: who was let in before may have lost the right to be there."""
        self._ask, self._remember_seconds, self._timeout_seconds = ask, remember_seconds, timeout_seconds
        self._writers = tuple(writers)
        self._asks_later = asks_later
        self._tasks: set[asyncio.Task[Any]] = set()

    def __bool__(self) -> bool:
        return self.tokens is not None or self._ask is not None

    def forget(self) -> None:
        """Every remembered identity has to be proved again."""
        self.generation += 1
        for listener in self.listeners:
            listener()

    def holds(self, identity: Identity) -> bool:
        """Whether an identity that was let in still counts: it has not expired, and its session was not revoked."""
        if identity.expires is not None and identity.expires <= self.now():
            return False
        return not identity.session or self.tokens is None or identity.session not in self.tokens.revoked

    def known(self, headers: Headers) -> Identity | None:
        """The identity that this header block has proved before, if that still counts."""
        found = headers.remembered
        if found is None or found.generation != self.generation:
            return None
        if found.until is not None and found.until <= self.now():
            return None
        return found.identity

    def authorize(self, right: str, request: Request) -> Identity | Awaitable[Identity]:
        """The identity that may do this, or the promise of it. Raises Problem 401 or 403."""
        found = self._find(request)
        if found is None or isinstance(found, Identity):
            return self._permit(found, right, request)
        return self._permit_later(found, right, request)

    def recognize(self, request: Request) -> Identity | Awaitable[Identity | None] | None:
        """The identity of the client of an open route, or the promise of it; None for a client that proves none."""
        found = self._find(request)
        if found is None or isinstance(found, Identity):
            return _own(found, request)
        return self._own_later(found, request)

    def check(self, right: str, request: Request) -> None:
        """The same before the body has come, as far as it can be told at once: an answer that has to be waited for is
        not asked for. Raises Problem 401 or 403."""
        identity = self.known(request.headers)
        if identity is None and self.tokens is not None:
            identity = self.tokens.identify(request.headers)
        if identity is not None or self._ask is None:
            self._permit(identity, right, request)
        elif not self._asks_later:
            self.authorize(right, request)

    async def admit(self, right: str, request: Request) -> Identity:
        """The same, where one may wait."""
        found = self.authorize(right, request)
        return found if isinstance(found, Identity) else await found

    def later(self, work: Coroutine[Any, Any, Any]) -> asyncio.Future[Any]:
        """Run what comes after an answer that has to be waited for."""
        task = asyncio.get_running_loop().create_task(work, name="skerry-authentication")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _find(self, request: Request) -> Identity | Awaitable[Identity | None] | None:
        headers = request.headers
        identity = self.known(headers)
        if identity is None:
            generation = self.generation
            if self.tokens is not None:
                identity = self.tokens.identify(headers)
            if identity is None and self._ask is not None:
                asked = self._ask(request)
                if inspect.isawaitable(asked):
                    return self._await(asked, request, generation)
                identity = _checked(asked)
            self._remember(request, identity, generation)
        return identity

    def _permit(self, identity: Identity | None, right: str, request: Request) -> Identity:
        return permit(identity, right, request.method, request.headers, self._writers, request.peer)

    async def _permit_later(
        self, found: Awaitable[Identity | None], right: str, request: Request
    ) -> Identity:
        return self._permit(await found, right, request)

    async def _own_later(self, found: Awaitable[Identity | None], request: Request) -> Identity | None:
        return _own(await found, request)

    async def _await(self, asked: Awaitable[Any], request: Request, generation: int) -> Identity | None:
        try:
            async with asyncio.timeout(self._timeout_seconds):
                identity = _checked(await asked)
        except TimeoutError:
            what = "who sends this could not be found out in time"
            raise Problem(503, what, headers={"Retry-After": "1"}) from None
        self._remember(request, identity, generation)
        return identity

    def _remember(self, request: Request, identity: Identity | None, generation: int) -> None:
        if identity is None:
            return
        until = identity.expires
        if identity.source == "application":
            if b"?" in request.target:
                return  # perhaps it was proved by the query, which another request with these fields has not
            now = self.now()
            until = min(until or now + self._remember_seconds, now + self._remember_seconds)
        request.headers.remembered = Remembered(identity, generation, until)


def _own(identity: Identity | None, request: Request) -> Identity | None:
    """The identity, unless a page that is not known to be ours made a browser send its cookie to change something."""
    if identity is None or not identity.by_cookie or request.method in SAFE_METHODS:
        return identity
    return identity if same_origin(request.headers, request.peer.host) else None


def _checked(found: Any) -> Identity | None:
    """What the application's own way gave. Raises TypeError for anything but an Identity or None."""
    if found is not None and not isinstance(found, Identity):
        raise TypeError(f"app.authenticate gives an Identity or None, not {type(found).__name__}")
    return found
