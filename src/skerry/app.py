"""App: what the user declares. It only collects and delegates; roles read its `declaration` and do the work.

app = App("livekv")

@app.handles(PutValue)
async def put(command: PutValue, unit: Unit) -> None: ...
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar, Unpack, cast, overload

from starlette.types import ASGIApp

from skerry.bus.pipeline import DeclaredMiddleware, Middleware
from skerry.errors import DeclarationError, SettingsError
from skerry.hosting.detection import kind_of
from skerry.hosting.host import Host
from skerry.hosting.settings import threads_of
from skerry.http.application import Application, ApplicationSettings
from skerry.http.cors import CorsOptions
from skerry.http.path import encode_path
from skerry.http.routes import BY_METHOD, Rights
from skerry.journal.migration import migrations_in
from skerry.kernel.declaration import Declaration, Live
from skerry.kernel.importing import load_application
from skerry.kernel.router import Declares
from skerry.kernel.settings import check_declared
from skerry.kernel.supervised import ProcessPlugin
from skerry.supervision.rules import SolverPlugin
from skerry.tracing import Tracer

View = TypeVar("View", bound=Callable[..., Any])


class App(Declares):
    """An application: commands and their handlers, projections kept in memory, and its HTTP interface.

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
        application = Application(http or ApplicationSettings(title=title or name, version=version))
        super().__init__(Declaration(name, application, settings=tuple(settings)))
        check_declared(self.declaration.settings)

    @property
    def http(self) -> Application:
        """The HTTP side of the application, for everything that `App` has no shortcut for."""
        return self._http

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

    def migrations(self, directory: str | Path) -> None:
        """SQL mode: the application's own tables, as numbered SQL files (`skerry.journal.migration`). The
        consumer runs new files before it takes commands."""
        if self.declaration.migrations is not None:
            raise DeclarationError("app.migrations was called twice")
        self.declaration.migrations = migrations_in(Path(directory))

    def middleware(self, middleware: Middleware) -> DeclaredMiddleware:
        """Wrap the decision of commands: `async def m(command, unit, proceed, services...)`, where `await
        proceed(command, unit)` calls the next one and returns the result. The first declared is outermost.
        Middleware of requests is `app.http.middleware`."""
        if not inspect.iscoroutinefunction(middleware) and not inspect.iscoroutinefunction(
            type(middleware).__call__
        ):
            raise DeclarationError(
                f"middleware {getattr(middleware, '__name__', middleware)!r} must be an async def"
            )
        self.declaration.middlewares.append(middleware)
        return cast(DeclaredMiddleware, middleware)

    def plug(self, plugin: SolverPlugin | ProcessPlugin) -> None:
        """Run a plugin in every process: its `rules()`, if it has them, are rules like those of `supervise`;
        its `start()`, whose parameters are services, runs before the first role starts, its `stop()` after
        the last one has ended. Raises DeclarationError, SupervisionError."""
        self.declaration.supervised.add_plugin(plugin)

    @overload
    def authenticate(self, function: View) -> View: ...

    @overload
    def authenticate(
        self,
        *,
        remember_seconds: float = 10.0,
        timeout_seconds: float = 5.0,
        scheme: Mapping[str, Any] | None = None,
    ) -> Callable[[View], View]: ...

    def authenticate(
        self,
        function: Any = None,
        *,
        remember_seconds: float = 10.0,
        timeout_seconds: float = 5.0,
        scheme: Mapping[str, Any] | None = None,
    ) -> Any:
        """Declare the function that returns the identity of a request: `Application.authenticate`."""
        return self.http.authenticate(
            function, remember_seconds=remember_seconds, timeout_seconds=timeout_seconds, scheme=scheme
        )

    def mount(self, path: str, app: ASGIApp, *, name: str | None = None, rights: Rights = BY_METHOD) -> None:
        """Serve any ASGI application under a path; its lifespan runs within the App's. Use `host` for
        applications that were written without Skerry."""
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

    def static(
        self, path: str, directory: str | Path, *, name: str | None = None, rights: Rights = BY_METHOD
    ) -> None:
        """Serve the files of a directory: `Application.static`."""
        self.http.static(path, directory, name=name, rights=rights)

    def traces(self, tracer: Tracer) -> None:
        """Make spans of views, mounted applications, commands, commits, projections, reactors and listeners, in the
        trace of the request that caused them: `skerry.otel.OpenTelemetry()`, or a `skerry.tracing.Tracer`. Views with
        `documented=False` make none."""
        self.http.tracer = tracer

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
