"""What may be answered while a projection is stopped: nothing that would look as if it were not.

A view, a query or a snapshot for listeners that reads from a stopped projection is refused (503), directly or through
a service that was made from one. A view that is declared `stale=True` gets the last state, and its answer says so. As
long as nothing has stopped, one look at an empty dict is all that this costs. Not here: which writes a projection
does not show (`skerry.journal.memory`), what readiness says of it (checks.py).
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sized
from contextvars import ContextVar
from typing import Any

from skerry.errors import Unavailable
from skerry.http.binding import Gate
from skerry.http.reply import Response, response_of
from skerry.journal.memory import Stopped
from skerry.journal.projection import Projection
from skerry.journal.projector import Projector
from skerry.kernel.services import Services
from skerry.position import Position

STALE_HEADER = "Skerry-Stale"
RETRY_SECONDS = 5.0
served_as_of: ContextVar[Position | None] = ContextVar("skerry_served_as_of", default=None)
"""Within a view that serves what has stopped: the position that this has."""


class ProjectionStopped(Unavailable):
    """What was asked for is read from a projection that does not follow the journal any more."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} has stopped following the journal", RETRY_SECONDS)
        self.projection = name


class Visibility:
    """The gates of one process, over what its projector says has stopped."""

    def __init__(self, projector: Projector, services: Services) -> None:
        self._projector, self._services = projector, services

    def gate(self, services: Iterable[object], stale: bool) -> Gate | None:
        """The gate before a view that is given these services; None when no projection is behind them."""
        names = self._names(services)
        return _ViewGate(self._projector, names, stale) if names else None

    def guarded(self, function: Callable[..., Any], services: Iterable[object]) -> Callable[..., Any]:
        """A query's handler or a snapshot function that is refused while one of its projections is stopped."""
        names = self._names(services)
        if not names:
            return function
        stopped = self._projector.stopped

        def guarded(*given: Any, **named: Any) -> Any:
            if stopped and served_as_of.get() is None and (found := _first(stopped, names)) is not None:
                raise ProjectionStopped(found.projection)
            return function(*given, **named)

        return guarded

    def _names(self, services: Iterable[object]) -> frozenset[str]:
        parts = (part for service in services for part in self._services.parts(service))
        return frozenset(type(part).__name__ for part in parts if isinstance(part, Projection))


class _ViewGate:
    """See `skerry.http.binding.Gate`. `names`: the projections that the view reads from."""

    def __init__(self, projector: Projector, names: frozenset[str], stale: bool) -> None:
        self._projector, self._names, self._stale = projector, names, stale
        self.closed: Sized = projector.stopped

    def enter(self, view: Callable[..., Any], *given: Any) -> Any:
        found = _first(self._projector.stopped, self._names)
        if found is None:
            result = view(*given)
            return self.leave(result) if inspect.iscoroutine(result) else result
        if not self._stale:
            raise ProjectionStopped(found.projection)
        held = Position(self._projector.position.epoch, found.held)
        token = served_as_of.set(held)
        try:
            answer = view(*given)
        finally:
            served_as_of.reset(token)
        if inspect.iscoroutine(answer):
            return _as_of(held, found, answer)
        if isinstance(answer, asyncio.Future):
            return _following(answer, lambda done: _marked(done, held, found))
        return _marked(answer, held, found)

    async def leave(self, result: Awaitable[Any]) -> Any:
        answer = await result
        found = _first(self._projector.stopped, self._names) if self.closed else None
        if found is None:
            return answer
        if not self._stale:  # it has stopped while the view was at work
            raise ProjectionStopped(found.projection)
        return _marked(answer, Position(self._projector.position.epoch, found.held), found)


async def _as_of(held: Position, found: Stopped, answer: Awaitable[Any]) -> Any:
    token = served_as_of.set(held)
    try:
        return _marked(await answer, held, found)
    finally:
        served_as_of.reset(token)


def _following(future: asyncio.Future[Any], then: Callable[[Any], Any]) -> asyncio.Future[Any]:
    """A future of what `then` makes of the result of another one."""
    result: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def done(_: asyncio.Future[Any]) -> None:
        if result.done():
            return
        try:
            result.set_result(then(future.result()))
        except asyncio.CancelledError:
            result.cancel()
        except Exception as error:
            result.set_exception(error)

    future.add_done_callback(done)
    return result


def _marked(answer: Any, held: Position, found: Stopped) -> Any:
    """The answer of a view, saying of what it is the last state."""
    said = f"{found.projection}; position={held}"
    if answer.__class__ is not Response and callable(answer) and hasattr(answer, "status_code"):
        answer.headers[STALE_HEADER] = said  # Starlette's
        return answer
    return response_of(answer).with_header(STALE_HEADER, said)


def _first(stopped: Mapping[str, Stopped], names: frozenset[str]) -> Stopped | None:
    """The one that holds least of those that have stopped."""
    found = [each for name, each in stopped.items() if name in names]
    return min(found, key=lambda each: each.held) if found else None
