"""What an application says over HTTP: its routes, mounts, middleware and error handlers; an ASGI 3 application.

A plain `def` view is a lane route (`http.lane`), an `async def` view an ASGI route; both take the same arguments and
return the same answers. A middleware that covers a lane route moves it to the ASGI side, with a line at start, unless
it says `lane_safe = True` (its work is not needed for answers from memory). Nothing is looked up at run time that
`compile` can decide at start.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, Unpack

from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

from skerry.clock import Clock
from skerry.errors import DeclarationError
from skerry.http import openapi
from skerry.http.auth import COOKIE, SAFE_METHODS, Right, Tokens
from skerry.http.authentication import Authentication
from skerry.http.binding import Binding, Watch, bind, no_services
from skerry.http.cors import Cors, Crossing, reading
from skerry.http.dispatch import Dispatch, carrying
from skerry.http.documentation import documentation
from skerry.http.failures import answer_of
from skerry.http.hosts import Hosts
from skerry.http.lane import Lane
from skerry.http.lifespan import Lifespans, answer_lifespan
from skerry.http.middleware import Covered, Covering, Edge
from skerry.http.path import PathTemplate, encode_path
from skerry.http.reply import Response
from skerry.http.request import Request
from skerry.http.routes import (
    BY_METHOD,
    WEBSOCKET,
    DeclaredRoute,
    Entered,
    Missing,
    Mount,
    Rights,
    Route,
    RouteOptions,
    RouteTable,
)
from skerry.http.traced import traced, traced_mount
from skerry.injection import Resolve, plain_of
from skerry.tracing import Tracer

logger = logging.getLogger("skerry.http")
View = TypeVar("View", bound=Callable[..., Any])
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


@dataclass(frozen=True, slots=True)
class ApplicationSettings:
    """Settings of an application's own pages. `openapi` and `docs` are paths, None switches them off."""

    title: str = "Skerry application"
    version: str = "0"
    openapi: str | None = "/openapi.json"
    docs: str | None = "/docs"
    max_body_bytes: int = 1_048_576


@dataclass(frozen=True, slots=True)
class _Authenticate:
    function: Callable[..., Any]
    remember_seconds: float
    timeout_seconds: float
    scheme: Mapping[str, Any]


class Application:
    """Routes, middleware, mounts and error handlers. Declare first, `compile` once, then serve.

    `table` and `lane` exist after `compile`; an application that is served without having been compiled is compiled
    with no services.
    """

    table: RouteTable
    lane: Lane
    _stack: ASGIApp

    def __init__(self, settings: ApplicationSettings | None = None) -> None:
        self.settings = settings or ApplicationSettings()
        self.compiled = False
        self.login_path: str | None = None  # where browsers without a token are sent
        self._declared: list[DeclaredRoute] = []
        self._mounts: list[Mount] = []
        self._covering: list[Covering] = []
        self._handlers: dict[type[Exception], Callable[[Request, Any], Any]] = {}
        self._lifespans = Lifespans()
        self._authenticate: _Authenticate | None = None
        self.guard: Authentication | None = None
        self._cors: Cors | None = None
        self._crossing: Crossing | None = None
        self.tracer: Tracer | None = None
        """Makes spans of the views that are documented, and of mounts; None: nothing of it is called."""

    # Declaring

    def route(
        self,
        path: str,
        methods: Iterable[str],
        *,
        name: str | None = None,
        rights: Rights = BY_METHOD,
        max_body_bytes: int | None = None,
        documented: bool = True,
        stale: bool = False,
        keep: bool | str = False,
        tags: Iterable[str] = (),
        response: Any = None,
    ) -> Callable[[View], View]:
        """Declare a view for a path. `rights`: "read", "write" or None (everybody); by default the method decides.
        `stale`: served although a projection that it reads from has stopped; its answer says so (else it is 503).
        `tags`: of its operation in the OpenAPI description.
        `response`: the type of the JSON in its 200, for OpenAPI, where the view's annotation does not say it.

        `max_body_bytes` limits this route's body (413 beyond); views that take Starlette's request limit themselves.
        `keep`: a 200 of this GET route follows from its path and from memory that events change, and from nothing
        else (no clock, no header field, no other state); it is sent again to a client that repeats the request, until
        an event is applied. The name of the path's last parameter instead of True: from what is told by events of that
        key (`subject_key`), so that events of other keys let it be.
        """
        chosen = frozenset(method.upper() for method in methods)
        if not isinstance(path, str):
            verb = min(chosen, default="route").lower()
            called = getattr(path, "__name__", path)
            raise DeclarationError(f'{called}: a route needs its path: write @app.{verb}("/...")')
        if not chosen or not chosen <= METHODS:
            raise DeclarationError(
                f"{path}: methods are some of {', '.join(sorted(METHODS))}, not {sorted(chosen)}"
            )
        if rights not in ("read", "write", None, BY_METHOD):
            raise DeclarationError(f"{path}: rights are read, write or None, not {rights!r}")

        if keep and (chosen != {"GET"} or stale):
            raise DeclarationError(f"{path}: keep=True is for GET routes, and not for stale=True")
        if isinstance(keep, str) and not path.endswith(f"/{{{keep}}}"):
            raise DeclarationError(f'{path}: keep="{keep}" names the parameter at the end of the path')

        def declare(view: View) -> View:
            chosen_name = name or str(getattr(view, "__name__", type(view).__name__))
            if keep and inspect.iscoroutinefunction(view):
                raise DeclarationError(f"{path}: keep=True is for plain def views, which read memory only")
            limits = max_body_bytes, documented, stale, keep
            self._declare(
                DeclaredRoute(path, chosen, view, chosen_name, rights, *limits, tuple(tags), response)
            )
            return view

        return declare

    def get(self, path: str, **options: Unpack[RouteOptions]) -> Callable[[View], View]:
        """Declare a view of GET, with the options of `route`."""
        return self.route(path, ("GET",), **options)

    def head(self, path: str, **options: Unpack[RouteOptions]) -> Callable[[View], View]:
        """Declare a view of HEAD, with the options of `route`."""
        return self.route(path, ("HEAD",), **options)

    def post(self, path: str, **options: Unpack[RouteOptions]) -> Callable[[View], View]:
        """Declare a view of POST, with the options of `route`."""
        return self.route(path, ("POST",), **options)

    def put(self, path: str, **options: Unpack[RouteOptions]) -> Callable[[View], View]:
        """Declare a view of PUT, with the options of `route`."""
        return self.route(path, ("PUT",), **options)

    def patch(self, path: str, **options: Unpack[RouteOptions]) -> Callable[[View], View]:
        """Declare a view of PATCH, with the options of `route`."""
        return self.route(path, ("PATCH",), **options)

    def delete(self, path: str, **options: Unpack[RouteOptions]) -> Callable[[View], View]:
        """Declare a view of DELETE, with the options of `route`."""
        return self.route(path, ("DELETE",), **options)

    def websocket(
        self, path: str, *, name: str | None = None, rights: Right | None = "read"
    ) -> Callable[[View], View]:
        """Declare an `async def` view that takes a Starlette WebSocket. It may share its path with a GET route."""
        if not isinstance(path, str):
            called = getattr(path, "__name__", path)
            raise DeclarationError(f'{called}: a route needs its path: write @app.websocket("/...")')

        def declare(view: View) -> View:
            if not inspect.iscoroutinefunction(view):
                raise DeclarationError(f"websocket {path}: the view must be an async def")
            chosen = frozenset({WEBSOCKET})
            self._declare(DeclaredRoute(path, chosen, view, name or view.__name__, rights, documented=False))
            return view

        return declare

    def mount(
        self,
        path: str,
        app: ASGIApp,
        *,
        name: str | None = None,
        rights: Rights = BY_METHOD,
        hosted: bool = False,
    ) -> None:
        """Serve any ASGI application under `path` ("/" for everything else). Its lifespan runs with ours.
        `hosted`: it was written without Skerry; at "/" it gets every path that is not declared, including
        those of Skerry's own pages."""
        if not isinstance(path, str):
            raise DeclarationError(f'write app.mount("/...", application): {path!r} is no path')
        if not path.startswith("/"):
            raise DeclarationError(f"mount {path!r} does not start with a slash")
        prefix = encode_path(path.rstrip("/"))
        if any(mount.prefix == prefix for mount in self._mounts):
            raise DeclarationError(f"two applications are mounted at {path}")
        self.compiled = False
        self._mounts.append(Mount(prefix, app, name or path, rights, hosted=hosted))

    @property
    def hosts_everything(self) -> bool:
        """Whether a hosted application gets every path that is not declared: Skerry's own pages are under one
        prefix then."""
        return any(mount.hosted and not mount.prefix for mount in self._mounts)

    @property
    def mounts(self) -> Sequence[Mount]:
        """The mounted applications, in the order of their declaration."""
        return tuple(self._mounts)

    def static(
        self, path: str, directory: str | Path, *, name: str | None = None, rights: Rights = BY_METHOD
    ) -> None:
        """Serve the files of a directory: safe against traversal, with ETag, ranges and 304."""
        self.mount(path, StaticFiles(directory=directory), name=name or f"files {path}", rights=rights)

    def middleware(self, factory: Callable[..., ASGIApp], *, prefix: str = "", **options: Any) -> None:
        """Wrap the application (or its paths under `prefix`) in `factory(app, **options)`. The first is
        outermost.

        A lane route of which any path can lie under `prefix` leaves the lane, with a line at start, unless the
        factory has `lane_safe = True`.
        """
        self.compiled = False
        self._covering.append(Covering(factory, options, prefix.rstrip("/")))

    def cors(
        self,
        *origins: str,
        request_fields: Iterable[str] = (),
        answer_fields: Iterable[str] = (),
        credentials: bool = False,
        max_age_seconds: int = 600,
    ) -> None:
        """Let pages of these origins read and write here (`*`: every page), on the lane as on the ASGI side. Fields
        beyond the usual ones that they may send and see; `credentials`: with cookies. Not for mounted applications."""
        if self._cors is not None:
            raise DeclarationError("cors was declared twice: name all origins at once")
        if not origins:
            raise DeclarationError("cors: name the origins, as in cors('https://page.example')")
        self.compiled = False
        self._cors = Cors(
            origins, (), tuple(request_fields), tuple(answer_fields), credentials, max_age_seconds
        )

    def authenticate(
        self,
        function: Callable[..., Any] | None = None,
        *,
        remember_seconds: float = 10.0,
        timeout_seconds: float = 5.0,
        scheme: Mapping[str, Any] | None = None,
    ) -> Any:
        """Declare the function that identifies the sender of a request which has no token of `SKERRY_TOKENS`:
        a `def` or `async def`, injected as views are, that gives an `Identity`, or None for nobody.

        Routes need rights from then on, as with tokens. On a connection that repeats its header fields the identity is
        remembered for `remember_seconds`, and no longer than it says itself (`expires`), unless there is a query; 0:
        it is asked for each request. So it may look at fields and the query, but not at the path. `timeout_seconds`: of
        an `async def`, then 503. To refuse with an answer of its own, it raises `Problem`. `scheme`: how OpenAPI
        describes it (a Security Scheme Object); a bearer token by default.
        """

        def declare(given: Callable[..., Any]) -> Callable[..., Any]:
            if self._authenticate is not None:
                raise DeclarationError("app.authenticate was declared twice")
            self.compiled = False
            described = scheme or {"type": "http", "scheme": "bearer"}
            self._authenticate = _Authenticate(given, remember_seconds, timeout_seconds, described)
            return given

        return declare if function is None else declare(function)

    @property
    def authenticates(self) -> bool:
        """Whether the application has an `authenticate` function."""
        return self._authenticate is not None

    def exception_handler(self, kind: type[Exception]) -> Callable[[View], View]:
        """Declare the answer to exceptions of that class: a plain `def` (request, error) -> answer."""

        def declare(handler: View) -> View:
            if inspect.iscoroutinefunction(handler):
                raise DeclarationError(
                    f"the handler of {kind.__name__} must be a plain def: it serves the lane too"
                )
            self._handlers[kind] = handler
            return handler

        return declare

    def include(self, other: Application, prefix: str, tags: tuple[str, ...] = ()) -> None:
        """Declare the routes of another application here too, under `prefix`, with further `tags`."""
        for each in other._declared:
            self._declare(replace(each, path=prefix + each.path, tags=(*tags, *each.tags)))

    def _declare(self, declared: DeclaredRoute) -> None:
        self.compiled = False
        self._declared.append(declared)

    def copy(self) -> Application:
        """Another application with the same declarations; later declarations and `compile` of either do not
        affect the other."""
        other = self.surroundings(self.settings)
        other._declared = list(self._declared)
        other._mounts = [replace(mount) for mount in self._mounts]
        other.login_path = self.login_path
        return other

    def surroundings(self, settings: ApplicationSettings) -> Application:
        """Another application without routes, with the same middleware and error handlers around it."""
        other = Application(settings)
        other._covering = list(self._covering)
        other._handlers = dict(self._handlers)
        other._cors = self._cors
        other.tracer = self.tracer
        other._authenticate = self._authenticate
        return other

    def mounted(self, which: Callable[[Mount], bool] = lambda mount: True) -> Application:
        """Another application that has only what is mounted, with the same middleware and error handlers around it."""
        other = self.surroundings(replace(self.settings, openapi=None, docs=None))
        other._mounts = [replace(mount) for mount in self._mounts if which(mount)]
        return other

    def outline(self) -> RouteTable:
        """The paths and their owners as declared so far; its views cannot be called."""
        table = RouteTable()
        for each in self._declared:
            nothing = Binding(each.view, (), None)
            table.add(
                Route(PathTemplate(each.path), each.methods, each.name, each.view, nothing, False, None, 0)
            )
        for mount in self._mounts:
            table.mount(mount)
        return table

    # Composing

    def check(self, resolve: Resolve = no_services) -> None:
        """Compose every view and keep none; middleware and pages of its own are not made. Raises DeclarationError."""
        plain, table = self.copy(), RouteTable()
        plain._covering = []  # what they cover is a question of the lane only
        plain._ask(resolve, None)
        for declared in plain._declared:
            table.add(plain._compose(declared, resolve, None))

    def compile(
        self,
        resolve: Resolve = no_services,
        tokens: Tokens | None = None,
        watch: Watch | None = None,
        *,
        readers: Iterable[str] = (),
        hosts: Hosts | None = None,
        clock: Clock | None = None,
    ) -> None:
        """Compose everything. Raises DeclarationError for contradictions. `resolve` finds services by type,
        `watch` puts a gate before views whose services may stop, `readers` are origins whose pages may read,
        `hosts` the names that are served (None: every name); `clock` tells when an identity expires."""
        cors = reading(self._cors, readers)
        self._crossing = Crossing(cors) if cors else None
        declared_ask, asked = self._authenticate, self._ask(resolve, watch)
        guard = Authentication(
            tokens,
            None if asked is None else asked.call,
            asks_later=asked is not None and asked.is_async,
            clock=clock,
            remember_seconds=0.0 if declared_ask is None else declared_ask.remember_seconds,
            timeout_seconds=0.0 if declared_ask is None else declared_ask.timeout_seconds,
            writers=cors.writers,
        )
        self.guard = guard if guard else None
        table = RouteTable()
        self.table = table
        described = documentation(self.settings.openapi, self.settings.docs, self.describe)
        for declared in (*self._declared, *(() if self.hosts_everything else described)):
            table.add(self._compose(declared, resolve, watch))
        for mount in self._mounts:
            mount.respond = mount.enter = None
            if not self._covering and self.tracer is None and (self.guard is None or mount.right is None):
                mount.respond = getattr(mount.app, "respond", None)
                mount.enter = getattr(mount.app, "enter", None) or partial(_entered, mount.app)
            table.mount(mount)
        unseen = not any(not each.lane_safe for each in self._covering)
        self.lane = Lane(
            table, self.failure, self.guard, decides_misses=unseen, crossing=self._crossing, hosts=hosts
        )
        mounted = None if self.tracer is None else partial(traced_mount, self.tracer)
        stack: ASGIApp = Dispatch(table, self.guard, self.failure, self._crossing, mounted)
        for covering in reversed(self._covering):
            stack = Covered(covering, covering.factory(stack, **covering.options), stack)
        self._stack = Edge(stack, self.failure) if self._covering else stack
        self.compiled = True

    def _ask(self, resolve: Resolve, watch: Watch | None) -> Binding | None:
        """The declared way to find an identity, with its services."""
        declared = self._authenticate
        if declared is None:
            return None
        where = f"app.authenticate ({getattr(declared.function, '__name__', 'function')})"
        binding = bind(declared.function, where, (), frozenset({"GET"}), resolve, watch)
        if binding.needs_connection:
            raise DeclarationError(f"{where}: Starlette's request exists on the ASGI side only; take Request")
        return binding

    def _compose(self, declared: DeclaredRoute, resolve: Resolve, watch: Watch | None) -> Route:
        template = PathTemplate(declared.path)
        where = f"{'/'.join(sorted(declared.methods))} {declared.path} ({declared.name})"
        binding = bind(declared.view, where, template.names, declared.methods, resolve, watch, declared.stale)
        if isinstance(declared.keep, str):
            _check_key(binding, declared.keep, where)
        lane = not binding.is_async
        if lane and binding.needs_connection:
            raise DeclarationError(
                f"{where}: Starlette's request exists on the ASGI side only; use an async def"
            )
        right = declared.right
        if right == BY_METHOD:
            right = "read" if declared.methods <= SAFE_METHODS else "write"
        for each in binding.arguments:
            if right is None and each.kind == "identity" and not plain_of(each.type)[1]:
                raise DeclarationError(
                    f"{where}: parameter {each.name}: everybody may ask (rights=None), write Identity | None"
                )
        if lane:
            for covering in self._covering:
                example = None if covering.lane_safe else covering.reached_by(template)
                if example is not None:
                    at = "" if covering.prefix in ("", declared.path) else f", at {example} for one"
                    logger.info("%s leaves the lane: middleware %s covers it%s", where, covering.name, at)
                    lane = False
                    break
        if self.tracer is not None and declared.documented:
            binding = traced(binding, self.tracer, declared.path)
        if self._crossing is not None and WEBSOCKET not in declared.methods:
            binding = replace(binding, call=self._crossing.wrap(binding.call))
        return Route(
            template,
            declared.methods,
            declared.name,
            declared.view,
            binding,
            lane and WEBSOCKET not in declared.methods,
            right,
            self.settings.max_body_bytes if declared.max_body_bytes is None else declared.max_body_bytes,
            declared.documented,
            guarded=self.guard is not None and right is not None,
            tags=declared.tags,
            keep=declared.keep,
            response=declared.response,
            recognizes=self.guard is not None and right is None and binding.asks_identity,
        )

    def describe(self) -> dict[str, Any]:
        """The OpenAPI document of its routes; it must have been compiled."""
        return openapi.document(
            self.settings.title, self.settings.version, self.table.routes, schemes=self._schemes()
        )

    def _schemes(self) -> dict[str, Mapping[str, Any]]:
        """The ways to prove who one is, as OpenAPI has them."""
        found: dict[str, Mapping[str, Any]] = {}
        if self.guard is not None and self.guard.tokens is not None:
            found["token"] = {"type": "http", "scheme": "bearer"}
            if self.login_path is not None:
                text = f"A browser's session, from {self.login_path}"
                found["session"] = {"type": "apiKey", "in": "cookie", "name": COOKIE, "description": text}
        if self._authenticate is not None:
            found["application"] = self._authenticate.scheme
        return found

    # Answering

    def failure(self, error: Exception, request: Request) -> Response:
        """The answer for an exception: its declared handler, its problem, or 500 and a log line with the stack."""
        answer = answer_of(error, request, self._handlers, self.login_path)
        if self._crossing is not None:
            answer = self._crossing.crossed(answer, request)
        return answer

    @property
    def asgi(self) -> ASGIApp:
        """The composed application, for a server that keeps its lifespan itself."""
        return self._stack

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not self.compiled:
            self.compile()
        if scope["type"] == "lifespan":
            await answer_lifespan(receive, send, self.startup, self.shutdown)
        else:
            await self._stack(scope, receive, send)

    # Living

    async def startup(self) -> None:
        """Start every mounted application's lifespan, in the order of the mounts.

        When one fails, those that started are stopped again and its LifecycleError is raised.
        """
        for mount in self._mounts:
            mount.state = await self._lifespans.start(mount.app, mount.name)

    async def shutdown(self) -> None:
        """Stop the mounted applications, the last one first."""
        await self._lifespans.stop()


def _check_key(binding: Binding, name: str, where: str) -> None:
    """Of other types one value can be written in several ways: the events' key would drop one of them only."""
    kind = next(argument.type for argument in binding.arguments if argument.name == name)
    if getattr(kind, "__origin__", kind) is not str:
        raise DeclarationError(
            f'{where}: keep="{name}" needs a parameter that is a str, as keys of events are'
        )


def _entered(app: ASGIApp, scope: Scope) -> Entered:
    return carrying(app, scope), None


__all__ = ["BY_METHOD", "Application", "ApplicationSettings", "Missing"]
