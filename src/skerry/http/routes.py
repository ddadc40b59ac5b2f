"""Which route answers a path. One table for both sides, so that precedence does not depend on the side.

Static paths win over templates, templates are tried in the order of their declaration, mounts come last, the longest
prefix first. A GET route answers HEAD too unless a HEAD route is declared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypedDict
from urllib.parse import unquote

from starlette.types import ASGIApp, Scope

from skerry.errors import DeclarationError
from skerry.http.auth import SAFE_METHODS, Right
from skerry.http.binding import Binding
from skerry.http.path import PERCENT, PathTemplate, normalize

WEBSOCKET = "WEBSOCKET"
BY_METHOD: Final = "method"  # the right that is needed unless declared: read for safe methods, else write
Rights = Literal["read", "write", "method"] | None


class RouteOptions(TypedDict, total=False):
    """What every declaration of a route takes beside its path: see `Application.route`."""

    name: str | None
    rights: Rights
    max_body_bytes: int | None
    documented: bool
    stale: bool
    keep: bool | str
    tags: Iterable[str]
    response: Any


@dataclass(frozen=True, slots=True)
class DeclaredRoute:
    """A view and its options, as `Application.route` was given them. `right` "method": the method decides."""

    path: str
    methods: frozenset[str]
    view: Callable[..., Any]
    name: str
    right: Rights
    max_body_bytes: int | None = None
    documented: bool = True
    stale: bool = False
    keep: bool | str = False
    tags: tuple[str, ...] = ()
    response: Any = None


@dataclass(slots=True, eq=False)
class Route:
    """One declared route, composed.

    `lane`: answered where its bytes arrive. `right`: what a caller needs when there are tokens, None for everybody.
    `writes`: it has a method that changes things. `keep`: its answer follows from path and memory (`http.kept`).
    `recognizes`: it is open to all, and asks for the client's identity all the same; `personal`: its answers are for
    that client only, as those of a guarded one. `counts`: answers so far by status, read by the metrics.
    """

    template: PathTemplate
    methods: frozenset[str]
    name: str
    view: Callable[..., Any]
    binding: Binding
    lane: bool
    right: Right | None
    max_body_bytes: int
    documented: bool = True
    guarded: bool = False
    keep: bool | str = False
    tags: tuple[str, ...] = ()
    response: Any = None
    recognizes: bool = False
    counts: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # The hot attribute is reached in one step.
        self.call = self.binding.call
        self.personal = self.guarded or self.recognizes
        self.keep_by_key = isinstance(self.keep, str)
        self.needs_connection = self.binding.needs_connection
        self.writes = not self.methods <= SAFE_METHODS | {WEBSOCKET}

    call: Callable[..., Any] = field(init=False)
    keep_by_key: bool = field(init=False)
    needs_connection: bool = field(init=False)
    personal: bool = field(init=False)
    writes: bool = field(init=False)

    @property
    def path(self) -> str:
        return self.template.template

    @property
    def place(self) -> str:
        """Where its view is, as errors name it."""
        return f"{getattr(self.view, '__module__', '?')}.{getattr(self.view, '__qualname__', self.name)}"

    @property
    def result(self) -> Any:
        """The type of its answer's JSON, as declared, else as the view is annotated."""
        return self.binding.result if self.response is None else self.response

    def __repr__(self) -> str:
        return f"Route({'/'.join(sorted(self.methods))} {self.path} -> {self.name})"


Told = Callable[[Scope, int, float], None]
"""Hears of an answer that is over: of which scope, its status (0: none was begun), how many seconds it took."""
Entered = tuple[ASGIApp, Told | None]


@dataclass(slots=True, eq=False)
class Mount:
    """A foreign ASGI application under a prefix; `state` is what its lifespan left there. `hosted`: it has a life
    of its own (its own list of hosts, all paths that are not declared). `elsewhere`: other processes serve it, those of
    the role `name`. `respond`: it also answers through an exchange
    (`skerry.exchange.Respond`); `enter`: gives what answers a scope, in which it may still change something. Both only
    where nothing of ours stands before it."""

    prefix: bytes
    app: ASGIApp
    name: str
    right: Right | str | None = "method"
    state: dict[str, Any] = field(default_factory=dict)
    hosted: bool = False
    elsewhere: bool = False
    respond: Callable[[Any], Any] | None = None
    enter: Callable[[Scope], Entered] | None = None
    root_path: str = field(init=False)
    """The prefix decoded, as ASGI's `root_path` is."""

    def __post_init__(self) -> None:
        self.root_path = unquote(self.prefix.decode("ascii"))


@dataclass(frozen=True, slots=True)
class Found:
    """A route and the raw parameters of this path."""

    route: Route
    raw: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Missing:
    """No route. `allowed`: the methods that would do for this path (405), empty when there is no such path (404)."""

    allowed: frozenset[str] = frozenset()


NOWHERE = Missing()
EVERYWHERE = Missing(frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"}))


class RouteTable:
    """All routes and mounts of an application."""

    def __init__(self) -> None:
        self.routes: list[Route] = []
        self.mounts: list[Mount] = []
        self._static: dict[bytes, dict[str, Route]] = {}
        self._templates: list[Route] = []

    def add(self, route: Route) -> None:
        """Raises DeclarationError when the same template already has one of the methods."""
        for other in self.routes:
            clash = other.methods & route.methods
            if other.template.pattern.pattern == route.template.pattern.pattern and clash:
                methods = "/".join(sorted(clash))
                raise DeclarationError(
                    f"{methods} {route.path} is declared twice: {other.place} and {route.place}"
                )
        self.routes.append(route)
        if route.template.static is not None:
            by_method = self._static.setdefault(route.template.static, {})
            by_method.update(dict.fromkeys(route.methods, route))
        else:
            self._templates.append(route)

    def mount(self, mount: Mount) -> None:
        self.mounts.append(mount)
        self.mounts.sort(key=lambda each: -len(each.prefix))

    def find(self, method: str, raw_path: bytes) -> Found | Mount | Missing:
        """What answers this path, percent-encoded as sent; `*` stands for the whole server (RFC 9110 section 9.3.7)."""
        if raw_path == b"*":
            return EVERYWHERE
        path = normalize(raw_path) if PERCENT in raw_path else raw_path
        by_method = self._static.get(path)
        if by_method is None:
            allowed: set[str] = set()
        else:
            route = by_method.get(method) or (by_method.get("GET") if method == "HEAD" else None)
            if route is not None:
                return Found(route)
            allowed = set(by_method)
        get: Found | None = None
        for route in self._templates:
            raw = route.template.match(path)
            if raw is None:
                continue
            if method in route.methods:
                return Found(route, raw)
            if method == "HEAD" and "GET" in route.methods and get is None:
                get = Found(route, raw)
            allowed |= route.methods
        if get is not None:
            return get
        for mount in self.mounts:
            prefix = mount.prefix
            if (
                not prefix
                or path == prefix
                or (path.startswith(prefix) and path[len(prefix) : len(prefix) + 1] == b"/")
            ):
                return mount
        if not allowed:
            return NOWHERE
        allowed.discard(WEBSOCKET)
        if "GET" in allowed:
            allowed.add("HEAD")
        return Missing(frozenset(allowed | {"OPTIONS"})) if allowed else NOWHERE

    def direct(self) -> dict[bytes, Route]:
        """GET routes of the lane that are reached by everything before the last slash, and by nothing else.

        The protocol uses this for plain paths (letters, digits and -._~ only in the last segment). A prefix is left
        out when another route could match one of its paths.
        """
        found: dict[bytes, Route] = {}
        for number, route in enumerate(self._templates):
            prefix = route.template.prefix
            if prefix is None or not route.lane or "GET" not in route.methods or route.recognizes:
                continue
            earlier = [each for each in self._templates[:number] if "GET" in each.methods]
            if any(each.template.match(prefix + b"/x") or each.template.prefix is None for each in earlier):
                continue
            if any(static.rpartition(b"/")[0] == prefix for static in self._static):
                continue
            found[prefix] = route
        return found
