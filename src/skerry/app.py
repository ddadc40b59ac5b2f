"""App: what the user declares. It only collects and delegates; roles read its `declaration` and do the work.

app = App("livekv")

@app.handles(PutValue)
async def put(command: PutValue, unit: Unit) -> None: ...
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar, Unpack, cast, get_args, get_type_hints, overload

from starlette.types import ASGIApp

from skerry.bus.handlers import Answers, Decides, DecidesAny, Handler, Hears, Loads, message_of
from skerry.bus.pipeline import DeclaredMiddleware, Middleware
from skerry.errors import DeclarationError, SettingsError
from skerry.hosting.detection import kind_of
from skerry.hosting.host import Host
from skerry.hosting.settings import threads_of
from skerry.http.application import Application, ApplicationSettings
from skerry.http.auth import Right
from skerry.http.cors import CorsOptions
from skerry.http.path import encode_path
from skerry.http.routes import BY_METHOD, Rights, RouteOptions
from skerry.injection import Scoped
from skerry.journal.migration import migrations_in
from skerry.journal.mirror import Mirror
from skerry.journal.projection import Projection
from skerry.journal.reactor import Reactor, ReactorOptions
from skerry.journal.table import AnyTable
from skerry.kernel.declaration import Declaration, Live
from skerry.kernel.importing import load_application
from skerry.kernel.settings import check_declared
from skerry.kernel.supervised import Part, ProcessPlugin, RoleName, checked_roles
from skerry.messages.message import Command, Event, Query
from skerry.supervision.policy import Intensity
from skerry.supervision.rules import SolverPlugin
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


class App:
    """An application: commands and who decides them, what is kept in memory, and what is said over HTTP.

    `name` is also the default namespace of its queues and tables. Nothing is started or connected by declaring;
    contradictions (two handlers for a command, a parameter that nothing fills) are DeclarationErrors at start.
    """

    def __init__(
        self,
        name: str,
        *,
        title: str = "",
        version: str = "0",
        http: ApplicationSettings | None = None,
        settings: Iterable[object] = (),
    ) -> None:
        """`settings`: records of parts, as `HubSettings(replay_events=50_000)`; files, environment and flags beat
        them. Raises SettingsError for a value that is not allowed."""
        self.http = Application(http or ApplicationSettings(title=title or name, version=version))
        self.declaration = Declaration(name, self.http, settings=tuple(settings))
        check_declared(self.declaration.settings)

    @property
    def name(self) -> str:
        return self.declaration.name

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Not an ASGI application: tell so to a server that was given one, before it listens.

        An application needs more than a server of its requests: its journal, memory and consumer. Raises
        DeclarationError for a request; ASGI's lifespan is answered with the same sentence, which ends the start.
        """
        cure = (
            "an App is not an ASGI application by itself: start it with `skerry run MODULE:NAME`, which "
            "opens its journal and memory too. Its HTTP side alone, without them, is the ASGI application `.http`"
        )
        if scope["type"] != "lifespan":
            raise DeclarationError(cure)
        await receive()
        await send({"type": "lifespan.startup.failed", "message": cure})

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

    def migrations(self, directory: str | Path) -> None:
        """SQL mode: the tables of the application's own, as numbered SQL files (`skerry.journal.migration`). The
        consumer runs what is new before it takes commands."""
        if self.declaration.migrations is not None:
            raise DeclarationError("app.migrations was called twice")
        self.declaration.migrations = migrations_in(Path(directory))

    def middleware(self, middleware: Middleware) -> DeclaredMiddleware:
        """Wrap the decision of commands: `async def m(command, unit, proceed)`, where `await proceed(command, unit)`
        goes on and gives the result. The first declared is outermost. Middleware of requests is
        `app.http.middleware`."""
        if not inspect.iscoroutinefunction(middleware) and not inspect.iscoroutinefunction(
            type(middleware).__call__
        ):
            raise DeclarationError(
                f"middleware {getattr(middleware, '__name__', middleware)!r} must be an async def"
            )
        self.declaration.middlewares.append(middleware)
        return cast(DeclaredMiddleware, middleware)

    def renders(self, event: type[E1]) -> Hears[E1]:
        """Declare how an event looks to live listeners: `(event, record) -> dict`. By default its fields."""
        _class(event, Event, "renders")

        def declare(function: Callable[..., Any]) -> None:
            self.emits(event)
            if self.declaration.renderers.setdefault(event, function) is not function:
                raise DeclarationError(f"two functions render {event.__name__}")

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
        projection.check_declaration()
        for event in projection.applied_events():
            self.declaration.messages.add(event)
        for table in projection.source_tables():
            self.declaration.use_table(table)
        self.declaration.projections.append(projection)
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
        if any(other.name == reactor.name for other in self.declaration.reactors):
            raise DeclarationError(f"two reactors are named {reactor.name!r}")
        self.emits(*reactor.events)
        self.declaration.reactors.append(reactor)
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
            made = kind or (function if isinstance(function, type) else _made_by(function))
            if not isinstance(made, type):
                raise DeclarationError(
                    f"{function.__qualname__}: annotate what it returns, or name it: @app.service(Kind)"
                )
            self.declaration.services[made] = Scoped(function) if scope == "call" else function
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
        roles: Iterable[RoleName] = ("server",),
        intensity: Intensity | None = None,
        ends: bool = False,
    ) -> Callable[[F], F]: ...

    def supervise(
        self,
        failing: object = None,
        /,
        *solvers: Solver,
        name: str = "",
        roles: Iterable[RoleName] = ("server",),
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

    def plug(self, plugin: SolverPlugin | ProcessPlugin) -> None:
        """Have a plugin in every process: its `rules()`, if it has them, are as those of `supervise`; its `start()`,
        whose parameters are services, runs before the first role begins, its `stop()` when the last one has ended.
        Raises DeclarationError, SupervisionError."""
        self.declaration.supervised.add_plugin(plugin)

    # --- HTTP: all of it is `app.http`; these are the everyday names

    def route(
        self, path: str, methods: Iterable[str], **options: Unpack[RouteOptions]
    ) -> Callable[[View], View]:
        """Declare a view. A plain `def` that only reads memory is answered on the lane, an `async def` by ASGI."""
        return self.http.route(path, methods, **options)

    def get(self, path: str, **options: Unpack[RouteOptions]) -> Callable[[View], View]:
        return self.http.get(path, **options)

    def post(self, path: str, **options: Unpack[RouteOptions]) -> Callable[[View], View]:
        return self.http.post(path, **options)

    def put(self, path: str, **options: Unpack[RouteOptions]) -> Callable[[View], View]:
        return self.http.put(path, **options)

    def patch(self, path: str, **options: Unpack[RouteOptions]) -> Callable[[View], View]:
        return self.http.patch(path, **options)

    def delete(self, path: str, **options: Unpack[RouteOptions]) -> Callable[[View], View]:
        return self.http.delete(path, **options)

    def websocket(
        self, path: str, *, name: str | None = None, rights: Right | None = "read"
    ) -> Callable[[View], View]:
        return self.http.websocket(path, name=name, rights=rights)

    @overload
    def authenticate(self, function: View) -> View: ...

    @overload
    def authenticate(
        self, *, remember_seconds: float = 10.0, timeout_seconds: float = 5.0
    ) -> Callable[[View], View]: ...

    def authenticate(
        self,
        function: Any = None,
        *,
        remember_seconds: float = 10.0,
        timeout_seconds: float = 5.0,
    ) -> Any:
        """Declare how it is found out who sends a request: `Application.authenticate`."""
        return self.http.authenticate(
            function, remember_seconds=remember_seconds, timeout_seconds=timeout_seconds
        )

    def mount(self, path: str, app: ASGIApp, *, name: str | None = None, rights: Rights = BY_METHOD) -> None:
        """Serve any ASGI application under a path; its lifespan runs with ours. What was made without Skerry is better
        hosted: `host`."""
        try:
            kind = kind_of(app, "it")
        except SettingsError:
            kind = "asgi"  # whatever it is, it says so when it is called
        if kind == "wsgi":
            raise DeclarationError(
                f"app.mount({path!r}) takes an ASGI application, and this one is WSGI: use app.host"
            )
        self.http.mount(path, app, name=name, rights=rights)

    def host(
        self,
        path: str,
        target: str | Any,
        *,
        kind: Literal["auto", "wsgi", "asgi"] = "auto",
        threads: int | str | None = None,
        rights: Rights = None,
    ) -> None:
        """Serve an existing WSGI or ASGI application (Django, Flask, FastAPI, ...) under a path, as it is.

        `target`: MODULE:NAME, MODULE or MODULE:FACTORY(), imported only in the processes that serve it, or the
        application itself. `threads` of a WSGI application, N or LEAST..MOST, instead of SKERRY_HOST_THREADS. `rights`:
        it keeps its own login, unless Skerry's tokens shall stand before it. At "/" it gets every path that is not
        declared here; Skerry's own pages then lie under /-/skerry/.
        """
        given: object = path
        if not isinstance(given, str) or not path.startswith("/"):
            raise DeclarationError(f'write app.host("/...", TARGET): {given!r} is no path')
        own: dict[str, Any] = {} if kind == "auto" else {"kind": kind}
        if threads is not None:
            own["threads"] = str(threads)
            try:
                threads_of(own["threads"])
            except SettingsError as error:
                raise DeclarationError(f"app.host({path!r}): {error}") from None
        named = isinstance(target, str)
        shown = target if named else f"{type(target).__module__}.{type(target).__qualname__}"
        load = partial(load_application, target) if named else lambda: target
        host = Host(shown, load, prefix=encode_path(path.rstrip("/")), own=own)
        if not named:
            try:
                host.load()
            except SettingsError as error:
                raise DeclarationError(f"app.host({path!r}): {error.problem}") from None
        self.http.mount(path, host, name=shown, rights=rights, hosted=True)

    def static(self, path: str, directory: str | Path, *, name: str | None = None) -> None:
        self.http.static(path, directory, name=name)

    def cors(self, *origins: str, **options: Unpack[CorsOptions]) -> None:
        """Let pages of these origins read and write: `Application.cors`."""
        self.http.cors(*origins, **options)

    def live(
        self, path: str = "/events", snapshot: Callable[..., Iterable[Mapping[str, Any]]] | None = None
    ) -> None:
        """Serve the stream of events at `path`, as WebSocket and as server-sent events.
        `snapshot(services...)` gives the payloads of the current state for `?snapshot=1`."""
        if self.declaration.live is not None:
            raise DeclarationError("app.live was called twice")
        self.declaration.live = Live(path, snapshot)


def _made_by(factory: Callable[..., Any]) -> Any:
    """What a factory returns or, a generator function, yields, by its annotation."""
    made = get_type_hints(factory).get("return")
    if inspect.isgeneratorfunction(factory) or inspect.isasyncgenfunction(factory):
        return next(iter(get_args(made)), None)
    return made


def _class(given: object, kind: type, name: str) -> None:
    """Find out at once when a decorator was written without its parentheses: it would swallow the function."""
    if given is not None and not (isinstance(given, type) and issubclass(given, kind)):
        raise DeclarationError(
            f"write @app.{name}({kind.__name__} class), not @app.{name} alone: got {given!r}"
        )
