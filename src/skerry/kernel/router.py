"""Routers: a part of an application that another module declares, and the application includes.

A router takes the declarations that an `App` takes, but for what there is once in a process (its settings, hosts, live
stream, login, middleware). Here they only are collected; `kernel/declaration.py` puts them together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, TypeVar, Unpack, overload

from skerry.bus.handlers import Answers, Decides, DecidesAny, Handler, Hears, Loads, message_of
from skerry.errors import DeclarationError
from skerry.http.application import Application
from skerry.http.auth import Right
from skerry.http.routes import RouteOptions
from skerry.injection import Scoped, made_by
from skerry.journal.mirror import Mirror
from skerry.journal.projection import Projection
from skerry.journal.reactor import Reactor, ReactorOptions
from skerry.journal.table import AnyTable
from skerry.kernel.declaration import Declaration
from skerry.kernel.supervised import Part, checked_roles
from skerry.messages.message import Command, Event, Query
from skerry.supervision.policy import Intensity
from skerry.supervision.solvers import Solver

F = TypeVar("F", bound=Callable[..., Any])
P = TypeVar("P", bound=type[Projection])
View = TypeVar("View", bound=Callable[..., Any])
C = TypeVar("C", bound=Command[Any])
Q = TypeVar("Q", bound=Query[Any])
Row = TypeVar("Row")
E1 = TypeVar("E1", bound=Event)
E2 = TypeVar("E2", bound=Event)
E3 = TypeVar("E3", bound=Event)


class Declares:
    """What an `App` and a `Router` may declare alike."""

    def __init__(self, declaration: Declaration) -> None:
        self._declaration = declaration

    @property
    def declaration(self) -> Declaration:
        """What was declared so far."""
        return self._declaration

    @property
    def name(self) -> str:
        return self._declaration.name

    @property
    def _http(self) -> Application:
        return self.declaration.http

    def include(self, router: Router, *, prefix: str = "", tags: Iterable[str] = ()) -> None:
        """Have everything that a router declares: its paths under `prefix` and then its own, its operations with these
        `tags` and its own. What it declares afterwards would be lost, and is a DeclarationError, as is what contradicts
        something that is declared here; the error names both places."""
        given: object = router
        if not isinstance(given, Router):
            raise DeclarationError(f"include takes a Router, not {given!r}")
        if given is self:
            raise DeclarationError(f"router {router.name} includes itself")
        part = router._declaration
        under = checked_prefix(prefix) + router.prefix
        self.declaration.include(part, under, (*tags, *router.tags))
        router._included_in = self.name

    # --- commands, queries, events

    @overload
    def handles(
        self,
        command: type[C],
        *,
        loads: AnyTable | Callable[[C], Iterable[tuple[AnyTable, Any]]] | None = None,
        sql: bool = False,
        hold: bool = False,
        timeout_seconds: float = 5.0,
    ) -> Decides[C]: ...

    @overload
    def handles(
        self,
        command: None = None,
        *,
        loads: AnyTable | Loads | None = None,
        sql: bool = False,
        hold: bool = False,
        timeout_seconds: float = 5.0,
    ) -> DecidesAny: ...

    def handles(
        self,
        command: type[Command[Any]] | None = None,
        *,
        loads: AnyTable | Loads | None = None,
        sql: bool = False,
        hold: bool = False,
        timeout_seconds: float = 5.0,
    ) -> Decides[Any] | DecidesAny:
        """Declare the one handler that decides a command: `(command, unit, services...)`, `def` or `async def`.

        `loads`: the table whose row of the command's own key is read for the whole batch beforehand, or a function
        of the command giving (table, key) pairs. `sql`: SQL mode, `unit.connection` is the transaction's own.
        `hold`: after a failure, later commands of the same key are parked behind it. `timeout_seconds`: of an async
        handler. A rule that says no raises `Rejected`; what the handler returns becomes the receipt's `result`.
        """

        _class(command, Command, "handles")

        def declare(function: Callable[..., Any]) -> None:
            kind = command or message_of(function, Command)
            self.declaration.messages.add(kind)
            if loads is not None and not callable(loads):
                self.declaration.use_table(loads)
            self.declaration.handlers.add_command(Handler(kind, function, loads, sql, hold, timeout_seconds))

        return Decides(declare) if command else DecidesAny(declare)

    @overload
    def answers(self, query: type[Q], *, timeout_seconds: float = 5.0) -> Answers[Q]: ...

    @overload
    def answers(self, query: None = None, *, timeout_seconds: float = 5.0) -> Callable[[F], F]: ...

    def answers(self, query: type[Query[Any]] | None = None, *, timeout_seconds: float = 5.0) -> Any:
        """Declare the one handler that answers a query: `(query, services...)`. A plain `def` may be asked from a
        lane view."""
        _class(query, Query, "answers")

        def declare(function: Callable[..., Any]) -> None:
            kind: type[Query[Any]] = query or message_of(function, Query)
            self.declaration.handlers.add_query(Handler(kind, function, timeout_seconds=timeout_seconds))

        return Answers(declare)

    def on(self, event: type[E1]) -> Hears[E1]:
        """Declare a listener `(event, record?, services...)`: called in every server process when its memory has
        applied the event. For work within the process; what must happen once outside is a reactor's."""
        _class(event, Event, "on")

        def declare(function: Callable[..., Any]) -> None:
            self.emits(event)
            self.declaration.handlers.add_listener(Handler(event, function))

        return Hears(declare)

    def emits(self, *events: type[Event], foreign: bool = False) -> None:
        """Make events known that no projection, listener or reactor names. `foreign`: they may also be left by the
        application's own transactions (`skerry.hosting.emit`); of others it is a dead letter."""
        for event in events:
            self.declaration.messages.add(event)
            if foreign:
                self.declaration.foreign.add(event.message_name)

    def uses(self, *tables: AnyTable) -> None:
        """Make tables known that neither a projection nor a handler's `loads=` names."""
        for table in tables:
            self.declaration.use_table(table)

    def renders(self, event: type[E1]) -> Hears[E1]:
        """Declare how an event looks to live listeners: `(event, record, services...) -> dict`, plain. By default its
        fields."""
        _class(event, Event, "renders")

        def declare(function: Callable[..., Any]) -> None:
            self.declaration.add_renderer(event, function)

        return Hears(declare)

    # --- memory and the world outside

    def projection(self, projection: P) -> P:
        """Declare a projection: every server process keeps one, injected by its class. Raises DeclarationError for
        methods that are missing or take something else than they will be called with."""
        given: object = projection
        if not (isinstance(given, type) and issubclass(given, Projection)):
            raise DeclarationError(
                f"@app.projection stands above a subclass of Projection, not {projection!r}"
            )
        self.declaration.add_projection(projection)
        return projection

    def mirror(
        self, table: Any, *, key: str | Sequence[str] | None = None, row: type[Row], live: bool = False
    ) -> Mirror[Row]:
        """Keep a table that others write in memory (PostgreSQL): a mapping of key to row, a table for projections, and
        the events `Put` and `Deleted`. See `skerry.journal.mirror`.

        `table`: its name, a Django model, or a table or mapped class of SQLAlchemy. `key`: the column of its primary
        key, or several; known of models. `row`: a msgspec.Struct or dataclass whose fields are the columns that leave
        the database. `live`: let the stream of `app.live` tell of its changes. Its triggers are made by `skerry infra
        create` only. Raises DeclarationError for what cannot be mirrored.
        """
        made = Mirror(table, key=key, row=row, live=live)
        self.declaration.use_mirror(made)
        return made

    @overload
    def reactor(self, name: str, event: type[E1], /, **options: Unpack[ReactorOptions]) -> Hears[E1]: ...

    @overload
    def reactor(
        self, name: str, event: type[E1], second: type[E2], /, **options: Unpack[ReactorOptions]
    ) -> Hears[E1 | E2]: ...

    @overload
    def reactor(
        self,
        name: str,
        event: type[E1],
        second: type[E2],
        third: type[E3],
        /,
        **options: Unpack[ReactorOptions],
    ) -> Hears[E1 | E2 | E3]: ...

    @overload
    def reactor(self, name: str, *events: type[Event], **options: Unpack[ReactorOptions]) -> Hears[Any]: ...

    def reactor(self, name: str, *events: type[Event], **options: Unpack[ReactorOptions]) -> Hears[Any]:
        """Declare a reactor: `(event, record?, services...)`, run by one consumer at a time, at least once per
        event, with retries. Options are the fields of `Reactor`."""
        if not isinstance(name, str):
            raise DeclarationError("write @app.reactor(NAME, Event): a reactor is known by its name")

        def declare(function: Callable[..., Any]) -> None:
            self.react(Reactor(name, function, events, **options))

        return Hears(declare)

    def react(self, reactor: Reactor) -> Reactor:
        """Declare a reactor that was made elsewhere."""
        if not reactor.events:
            raise DeclarationError(f"reactor {reactor.name} names no event")
        if reactor.concurrency < 1:
            raise DeclarationError(f"reactor {reactor.name}: concurrency is at least 1")
        self.declaration.add_reactor(reactor)
        return reactor

    def service(
        self, kind: type | None = None, *, scope: Literal["process", "call"] = "process"
    ) -> Callable[[F], F]:
        """Declare a factory whose result is injected by its type (the return annotation unless `kind` is given; of a
        generator function what it yields).

        `process`: made once, before the first request. `call`: made for each call of a view, handler, listener or
        reactor that asks for it, from services and, in a view, from the request; a factory that yields it cleans up
        after the call.
        """
        if kind is not None and not isinstance(kind, type):
            raise DeclarationError("write @app.service(), with parentheses")
        token = object()
        if kind is not None:
            self.declaration.unfinished[token] = (
                f"service {kind.__name__}: nothing makes it. Write @app.service() with parentheses above the class, or "
                f"@app.service({kind.__name__}) above the function that makes one"
            )

        def declare(function: F) -> F:
            self.declaration.unfinished.pop(token, None)
            made = kind or (function if isinstance(function, type) else made_by(function))
            if not isinstance(made, type):
                raise DeclarationError(
                    f"{function.__qualname__}: annotate what it returns, or name it: @app.service(Kind)"
                )
            self.declaration.add_service(made, Scoped(function) if scope == "call" else function)
            return function

        return declare

    # --- what may fail, and what is done then

    @overload
    def supervise(self, failing: type[BaseException], solver: Solver, /, *further: Solver) -> None: ...

    @overload
    def supervise(
        self,
        /,
        *,
        name: str = "",
        roles: Iterable[str] = ("server",),
        intensity: Intensity | None = None,
        ends: bool = False,
    ) -> Callable[[F], F]: ...

    def supervise(
        self,
        failing: object = None,
        /,
        *solvers: Solver,
        name: str = "",
        roles: Iterable[str] = ("server",),
        intensity: Intensity | None = None,
        ends: bool = False,
    ) -> Any:
        """`app.supervise(ConnectionError, log, restart)`: a rule, for failures of that class anywhere in a process of
        this application: its roles, listeners, callbacks and supervised parts. The nearest class wins.

        `@app.supervise()`: have the function or class below it as a supervised part of each process with one of these
        `roles`. An `async def` is a task, started again when it raises or returns (`ends=True`: it may return); a
        class, or a function that makes an object, is something with `start()` and `stop()`, and `hold()` and `resume()`
        if it has them. Parameters are services. It starts when the roles work and is stopped before they are.
        `intensity`: how often it may be restarted (20 times in 10 s) before the process enters the failed state.
        Raises DeclarationError, SupervisionError.
        """
        if failing is not None and isinstance(failing, type) and issubclass(failing, BaseException):
            self.declaration.supervised.add_rule(failing, solvers)
            return None
        if failing is not None:
            raise DeclarationError(
                "write @app.supervise(), with parentheses, or app.supervise(ERROR, SOLVER)"
            )

        def declare(function: F) -> F:
            called = name or getattr(function, "__name__", "")
            self.declaration.supervised.add_part(
                Part(called, function, checked_roles(roles), intensity, ends)
            )
            return function

        return declare

    # --- HTTP

    def route(
        self, path: str, methods: Iterable[str], **options: Unpack[RouteOptions]
    ) -> Callable[[View], View]:
        """Declare a view. A plain `def` that only reads memory is answered on the lane, an `async def` by ASGI."""
        return self._http.route(path, methods, **options)

    def get(self, path: str, **options: Unpack[RouteOptions]) -> Callable[[View], View]:
        """Declare a view of GET, with the options of `route`."""
        return self._http.get(path, **options)

    def post(self, path: str, **options: Unpack[RouteOptions]) -> Callable[[View], View]:
        """Declare a view of POST, with the options of `route`."""
        return self._http.post(path, **options)

    def put(self, path: str, **options: Unpack[RouteOptions]) -> Callable[[View], View]:
        """Declare a view of PUT, with the options of `route`."""
        return self._http.put(path, **options)

    def patch(self, path: str, **options: Unpack[RouteOptions]) -> Callable[[View], View]:
        """Declare a view of PATCH, with the options of `route`."""
        return self._http.patch(path, **options)

    def delete(self, path: str, **options: Unpack[RouteOptions]) -> Callable[[View], View]:
        """Declare a view of DELETE, with the options of `route`."""
        return self._http.delete(path, **options)

    def websocket(
        self, path: str, *, name: str | None = None, rights: Right | None = "read"
    ) -> Callable[[View], View]:
        return self._http.websocket(path, name=name, rights=rights)


class Router(Declares):
    """A part of an application, declared by a module of its own and included by the application or another router:

        router = Router("orders", prefix="/orders")

        @router.get("/{key}")
        def order(key: int, orders: Orders) -> Order: ...

        app.include(router)

    `prefix`: of the paths of its views; one of "" is the prefix itself. `tags`: of its operations in the OpenAPI
    description. `name` is what errors call it.
    """

    def __init__(self, name: str, *, prefix: str = "", tags: Iterable[str] = ()) -> None:
        super().__init__(Declaration(name, Application()))
        self.prefix, self.tags = checked_prefix(prefix), tuple(tags)
        self._included_in = ""

    @property
    def declaration(self) -> Declaration:
        """The declarations so far. Raises DeclarationError once the router is included: later ones would be
        lost."""
        if self._included_in:
            raise DeclarationError(
                f"router {self.name} is included in {self._included_in} already: declare first, include then (import "
                "the module that declares before the line that includes)"
            )
        return self._declaration


def checked_prefix(prefix: str) -> str:
    """Raises DeclarationError for what no path can begin with."""
    given: object = prefix
    if not isinstance(given, str) or (prefix and (not prefix.startswith("/") or prefix.endswith("/"))):
        raise DeclarationError(
            f"prefix {given!r}: it begins with a slash and does not end with one, as /orders"
        )
    return prefix


def _class(given: object, kind: type, name: str) -> None:
    """Find out at once when a decorator was written without its parentheses: it would swallow the function."""
    if given is not None and not (isinstance(given, type) and issubclass(given, kind)):
        raise DeclarationError(
            f"write @app.{name}({kind.__name__} class), not @app.{name} alone: got {given!r}"
        )
