"""Handlers: which function decides a command, answers a query or hears an event, and what it needs.

All is resolved once at start: the parameters of a handler are the message (by its class), the `Unit` (commands)
or the `Record` (events), and services by their type. What cannot be resolved, or is declared twice, is an error
before the first request.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass
from types import UnionType
from typing import (
    Any,
    Concatenate,
    Generic,
    Never,
    NoReturn,
    ParamSpec,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    overload,
)

from skerry.errors import DeclarationError
from skerry.injection import EMPTY, Parameter, Plan, Resolve, named
from skerry.journal.journal import Record
from skerry.journal.table import AnyTable
from skerry.journal.unit import Unit
from skerry.messages.message import Command, Event, Message, Query

M = TypeVar("M", bound=Message)
M_co = TypeVar("M_co", covariant=True)
C = TypeVar("C", bound=Command[Any])
P = ParamSpec("P")
Out = TypeVar("Out")
Result = TypeVar("Result")
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
        return place_of(self.function)

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


class Decides(Generic[M_co]):
    """What `app.handles(Command)` gives: a decorator for functions whose first parameter takes that command, and that
    return what `Command[R]` says: R, or a coroutine of it. It returns the function itself."""

    def __init__(self, declare: Callable[[Any], Any]) -> None:
        self._declare = declare

    @overload
    def __call__(
        self: Decides[Command[Result]], function: Callable[Concatenate[M_co, P], Result]
    ) -> Callable[Concatenate[M_co, P], Result]: ...

    @overload
    def __call__(
        self: Decides[Command[Result]],
        function: Callable[Concatenate[M_co, P], Coroutine[Any, Any, Result]],
    ) -> Callable[Concatenate[M_co, P], Coroutine[Any, Any, Result]]: ...

    def __call__(self, function: Any) -> Any:
        self._declare(function)
        return function


class DecidesAny:
    """What `app.handles()` gives: the function says by its first parameter which command it decides."""

    def __init__(self, declare: Callable[[Any], Any]) -> None:
        self._declare = declare

    def __call__(self, function: Callable[Concatenate[C, P], Out]) -> Callable[Concatenate[C, P], Out]:
        self._declare(function)
        return function


class Answers(Generic[M_co]):
    """What `app.answers(Query)` gives: a decorator for functions that take that query, and return what `Query[R]`
    says: R, or a coroutine of it. It returns the function itself."""

    def __init__(self, declare: Callable[[Any], Any]) -> None:
        self._declare = declare

    @overload
    def __call__(
        self: Answers[Query[Result]], function: Callable[Concatenate[M_co, P], Result]
    ) -> Callable[Concatenate[M_co, P], Result]: ...

    @overload
    def __call__(
        self: Answers[Query[Result]],
        function: Callable[Concatenate[M_co, P], Coroutine[Any, Any, Result]],
    ) -> Callable[Concatenate[M_co, P], Coroutine[Any, Any, Result]]: ...

    def __call__(self, function: Any) -> Any:
        self._declare(function)
        return function


class Hears(Generic[M_co]):
    """What `app.on`, `app.renders` and `app.reactor` give: a decorator for functions whose first parameter takes these
    events. It returns the function itself, which several such decorators may stand above: so the type of what it
    returns says nothing of its first parameter."""

    def __init__(self, declare: Callable[[Any], Any]) -> None:
        self._declare = declare

    def __call__(self, function: Callable[Concatenate[M_co, P], Out]) -> Callable[Concatenate[Any, P], Out]:
        self._declare(function)
        return function


def message_of(function: Callable[..., Any], kind: type[M]) -> type[M]:
    """The message class that a function takes, by the annotation of its first parameter of that kind."""
    for hint in _hints(function).values():
        origin = getattr(hint, "__origin__", hint)
        if isinstance(origin, type) and issubclass(origin, kind):
            return origin
    raise DeclarationError(f"{function.__qualname__} has no parameter annotated with a {kind.__name__}")


def bind(handler: Handler[Any], resolve: Resolve, given: Mapping[type, str]) -> Plan:
    """How a handler is called: `given` maps the types of the call's own values to their names as arguments, in order;
    the message's class is the first. Raises DeclarationError for a parameter that nothing fills."""
    return plan_of(handler.function, handler.name, resolve, given)


def plan_of(function: Callable[..., Any], where: str, resolve: Resolve, given: Mapping[type, str]) -> Plan:
    """The same for a function that is no handler. A parameter without type and default is the value at its place."""
    names = list(given.values())
    places = dict(zip(inspect.signature(function).parameters, names, strict=False))

    def source(parameter: Parameter) -> str | None:
        if parameter.annotation in (EMPTY, Any):
            return places.get(parameter.name) if parameter.required else None
        plain = parameter.plain
        options = get_args(plain) if get_origin(plain) in (Union, UnionType) else (plain,)
        kinds = tuple(kind for each in options if isinstance(kind := get_origin(each) or each, type))
        if object in kinds:
            return None
        return next((name for kind, name in given.items() if _is_below(kind, kinds)), None)

    what = " or ".join(named(kind) for kind in given)
    return Plan(function, where, names, (source,), resolve, otherwise=f"the {what}")


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
        self.commands: dict[type[Command[Any]], Handler[Command[Any]]] = {}
        self.queries: dict[type[Query[Any]], Handler[Query[Any]]] = {}
        self.events: dict[type[Event], list[Handler[Event]]] = {}

    def add_command(self, handler: Handler[Any]) -> None:
        _once(self.commands, handler, "command")

    def add_query(self, handler: Handler[Any]) -> None:
        _once(self.queries, handler, "query")

    def add_listener(self, handler: Handler[Any]) -> None:
        self.events.setdefault(handler.message, []).append(handler)

    def include(self, others: Handlers) -> None:
        """Take over what a part of the application declares. Raises DeclarationError."""
        for handler in others.commands.values():
            self.add_command(handler)
        for asked in others.queries.values():
            self.add_query(asked)
        for listeners in others.events.values():
            for listener in listeners:
                self.add_listener(listener)


def place_of(declared: Any) -> str:
    """Where a function, class or callable object is, as errors name it."""
    named = declared if hasattr(declared, "__qualname__") else type(declared)
    return f"{named.__module__}.{named.__qualname__}"


def _is_below(kind: type, kinds: tuple[type, ...]) -> bool:
    try:
        return kind in kinds or issubclass(kind, kinds)
    except TypeError:  # a Protocol that is not for checks at run time
        return False


def _once(found: dict[Any, Handler[Any]], handler: Handler[Any], what: str) -> None:
    other = found.setdefault(handler.message, handler)
    if other is not handler:
        raise DeclarationError(
            f"two handlers for the {what} {handler.message.__name__}: {other.name} and {handler.name}; a {what} has one"
        )


def command_arguments(message: type) -> dict[type, str]:
    """The values of a decision, by their types."""
    return {message: "command", Unit: "unit"}


def event_arguments(message: type) -> dict[type, str]:
    """The values of a listener's or reactor's call."""
    return {message: "event", Record: "record"}


def query_arguments(message: type) -> dict[type, str]:
    """The value of a question."""
    return {message: "query"}
