"""Handlers: which function decides a command, answers a query or hears an event, and what it needs.

All is resolved once at start: the parameters of a handler are the message (by its class), the `Unit` (commands)
or the `Record` (events), and services by their type. What cannot be resolved, or is declared twice, is an error
before the first request.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Any, Generic, Never, NoReturn, TypeVar, Union, get_args, get_origin, get_type_hints

from skerry.errors import DeclarationError
from skerry.journal.journal import Record
from skerry.journal.table import AnyTable
from skerry.journal.unit import Unit
from skerry.messages.message import Command, Event, Message, Query

M = TypeVar("M", bound=Message)
Resolve = Callable[[type], Any]
Loads = Callable[[Any], Iterable[tuple[AnyTable, Any]]]


@dataclass(frozen=True, slots=True)
class Handler(Generic[M]):
    """One declared handler.

    `loads`: a table (the row of the command's own key), or a function of the command giving (table, key) pairs
    that are read for the whole batch beforehand. `sql`: run in SQL mode. `hold`: after a failure later commands
    of the same key are parked too. `timeout_seconds`: of an asynchronous handler.
    """

    message: type[M]
    function: Callable[..., Any]
    loads: AnyTable | Loads | None = None
    sql: bool = False
    hold: bool = False
    timeout_seconds: float = 5.0

    @property
    def name(self) -> str:
        return f"{self.function.__module__}.{self.function.__qualname__}"

    @property
    def is_async(self) -> bool:
        return inspect.iscoroutinefunction(self.function)

    @property
    def returns_nothing(self) -> bool:
        """Whether the annotation says `-> None`: then the event alone is the answer."""
        return self.result is type(None)

    @property
    def result(self) -> Any:
        """The declared type of what it returns; Any when nothing is said."""
        hint = _hints(self.function, include_extras=True).get("return", Any)
        return Any if hint in (NoReturn, Never, object) else hint

    def places(self, message: Any) -> list[tuple[str, str]]:
        """The (table, key text) pairs to load for this command."""
        if self.loads is None:
            return []
        if callable(self.loads):
            return [(table.name, table.key_text(key)) for table, key in self.loads(message)]
        key = message.routing_key()
        return [(self.loads.name, key)] if key else []


def message_of(function: Callable[..., Any], kind: type[M]) -> type[M]:
    """The message class that a function takes, by the annotation of its first parameter of that kind."""
    for hint in _hints(function).values():
        origin = getattr(hint, "__origin__", hint)
        if isinstance(origin, type) and issubclass(origin, kind):
            return origin
    raise DeclarationError(f"{function.__qualname__} has no parameter annotated with a {kind.__name__}")


def bind(handler: Handler[Any], resolve: Resolve, given: dict[type, int]) -> Callable[..., Any]:
    """One callable that takes the `given` values by position and fills in the services.

    `given` maps a type to its place among the arguments of the result; the message's own class is one of them.
    Raises DeclarationError for a parameter that nothing fills.
    """
    function = handler.function
    hints = _hints(function)
    positions: list[int] = []
    services: dict[str, Any] = {}
    ordered = True
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise DeclarationError(f"{handler.name}: *{name} cannot be injected")
        hint = hints.get(name)
        kinds = tuple(k for k in (get_args(hint) or (hint,)) if isinstance(k, type))
        place = next((p for t, p in given.items() if issubclass(t, kinds)), None)
        if hint is None and not positions:
            place = 0  # an unannotated first parameter is the message
        if place is not None and hint is not object:
            if services:
                ordered = False
            positions.append(place)
            continue
        optional = parameter.default is not parameter.empty
        hint = without_none(hint)
        if not isinstance(hint, type):
            if optional:
                continue
            raise DeclarationError(
                f"{handler.name}: parameter {name} needs a type to be injected by, not {hint!r}"
            )
        try:
            services[name] = resolve(hint)
        except LookupError as error:
            if optional:
                continue
            raise DeclarationError(
                f"{handler.name}: nothing of type {hint.__name__} for parameter {name}"
            ) from error
    if not ordered:
        raise DeclarationError(f"{handler.name}: put the message (and the Unit) before the services")
    return _compose(function, positions, services)


def without_none(hint: Any) -> Any:
    """`Mailer` of `Mailer | None`: what is looked for."""
    if get_origin(hint) in (Union, UnionType):
        options = [each for each in get_args(hint) if each is not NoneType]
        return options[0] if len(options) == 1 else hint
    return hint


def _compose(
    function: Callable[..., Any], positions: list[int], services: dict[str, Any]
) -> Callable[..., Any]:
    if positions == [0, 1] and not services:
        return function
    if positions == [0] and not services:
        return lambda first, *_: function(first)
    if positions == [0, 1]:
        return lambda first, second, *_: function(first, second, **services)
    if positions == [0]:
        return lambda first, *_: function(first, **services)
    return lambda *values: function(*(values[p] for p in positions), **services)


def _hints(function: Callable[..., Any], *, include_extras: bool = False) -> dict[str, Any]:
    try:
        return get_type_hints(function, include_extras=include_extras)
    except NameError as error:
        raise DeclarationError(
            f"{function.__qualname__}: annotation {error.name} is not known at run time"
        ) from error


class Handlers:
    """What an application declared, one handler per command and query, any number per event."""

    def __init__(self) -> None:
        self.commands: dict[type[Command], Handler[Command]] = {}
        self.queries: dict[type[Query[Any]], Handler[Query[Any]]] = {}
        self.events: dict[type[Event], list[Handler[Event]]] = {}

    def add_command(self, handler: Handler[Any]) -> None:
        _once(self.commands, handler, "command")

    def add_query(self, handler: Handler[Any]) -> None:
        _once(self.queries, handler, "query")

    def add_listener(self, handler: Handler[Any]) -> None:
        self.events.setdefault(handler.message, []).append(handler)


def _once(found: dict[Any, Handler[Any]], handler: Handler[Any], what: str) -> None:
    other = found.setdefault(handler.message, handler)
    if other is not handler:
        raise DeclarationError(
            f"two handlers for the {what} {handler.message.__name__}: {other.name} and {handler.name}; a {what} has one"
        )


COMMAND_ARGUMENTS: Callable[[type], dict[type, int]] = lambda message: {message: 0, Unit: 1}  # noqa: E731
EVENT_ARGUMENTS: Callable[[type], dict[type, int]] = lambda message: {message: 0, Record: 1}  # noqa: E731
QUERY_ARGUMENTS: Callable[[type], dict[type, int]] = lambda message: {message: 0}  # noqa: E731
