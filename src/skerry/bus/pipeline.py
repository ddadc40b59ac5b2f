"""Middleware, composed once.

A middleware wraps the decision of one command: `async def timing(command, unit, proceed)`, where
`await proceed(command, unit)` goes on and gives the handler's result; further parameters are services. What it raises
counts as if the handler had. `only = (PutValue, ...)` limits it to some classes of commands, base classes included.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Generator, Sequence
from typing import Any, Concatenate, Protocol

from skerry.bus.handlers import place_of, plan_of
from skerry.errors import DeadlineExceeded
from skerry.injection import Resolve
from skerry.journal.unit import Unit
from skerry.messages.message import Command

Decide = Callable[[Command[Any], Unit], Any]


class Proceed(Protocol):
    """The next step of a middleware: `await proceed(command, unit)` returns the handler's result."""

    def __call__(self, command: Command[Any], unit: Unit, /) -> Awaitable[Any]: ...


Middleware = Callable[Concatenate[Any, Unit, Proceed, ...], Awaitable[Any]]


class DeclaredMiddleware(Protocol):
    """What `app.middleware` returns: the middleware itself, which may be told to which commands it is limited."""

    only: tuple[type[Command[Any]], ...]

    def __call__(self, command: Any, unit: Unit, proceed: Proceed, /, *services: Any) -> Awaitable[Any]: ...


def applies_to(middleware: Middleware, message: type[Command[Any]]) -> bool:
    """Whether a middleware wants to see this class of commands."""
    only = getattr(middleware, "only", None)
    return only is None or issubclass(message, tuple(only))


def compose(
    middlewares: Sequence[Middleware],
    message: type[Command[Any]],
    terminal: Decide,
    is_async: bool,
    resolve: Resolve,
) -> Decide:
    """The chain for one command class, outermost first. Without middleware it is the handler itself. Raises
    DeclarationError for a parameter that nothing fills."""
    chosen = [m for m in middlewares if applies_to(m, message)]
    if not chosen:
        return terminal
    chain: Proceed = terminal if is_async else _lift(terminal)
    given = {message: "command", Unit: "unit", Proceed: "proceed"}
    for middleware in reversed(chosen):
        plan = plan_of(middleware, f"middleware {place_of(middleware)}", resolve, given)
        chain = _wrap(plan.compile(), chain)
    return chain


def _wrap(middleware: Middleware, proceed: Proceed) -> Proceed:
    def chain(command: Command[Any], unit: Unit) -> Awaitable[Any]:
        return middleware(command, unit, proceed)

    return chain


def _lift(function: Decide) -> Proceed:
    async def chain(command: Command[Any], unit: Unit) -> Any:
        return function(command, unit)

    return chain


async def within(work: Coroutine[Any, Any, Any], seconds: float, what: str) -> Any:
    """Run a coroutine with a deadline. One that never has to wait costs no timer.
    Raises DeadlineExceeded; the coroutine is cancelled then."""
    try:
        waits_for = work.send(None)
    except StopIteration as done:
        return done.value
    try:
        async with asyncio.timeout(seconds):
            return await _Begun(work, waits_for)
    except TimeoutError as error:
        raise DeadlineExceeded(what, seconds) from error


class _Begun:
    """The rest of a coroutine that was stepped once."""

    __slots__ = ("_waits_for", "_work")

    def __init__(self, work: Coroutine[Any, Any, Any], waits_for: Any) -> None:
        self._work, self._waits_for = work, waits_for

    def __await__(self) -> Generator[Any, Any, Any]:
        work, value = self._work, self._waits_for
        while True:
            thrown: BaseException | None = None
            sent = None
            try:
                sent = yield value
            except BaseException as error:
                thrown = error
            try:
                value = work.send(sent) if thrown is None else work.throw(thrown)
            except StopIteration as done:
                return done.value
