"""What a middleware does to the scope, and what the view behind it sees: the same here as under uvicorn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request as StarletteRequest
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route
from twoservers import BARE, Log, Make, Talk, agree  # type: ignore[import-not-found]

from skerry.clock import SystemClock
from skerry.http.application import Application
from skerry.http.auth import Tokens
from skerry.http.reply import Response
from skerry.http.request import Request

Change = Callable[[dict[str, Any]], None]
METHODS = ("GET", "POST", "PUT", "DELETE")


class Changing:
    """A middleware that changes the scope: a copy of it, or the one that it was given."""

    def __init__(self, app: Any, change: Change, copies: bool) -> None:
        self.app, self.change, self.copies = app, change, copies

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            if self.copies:
                scope = dict(scope, headers=list(scope["headers"]))
            self.change(scope)
        await self.app(scope, receive, send)


def told(request: Request) -> dict[str, Any]:
    client = request.client
    return {
        "method": request.method, "path": request.path, "target": request.target.decode("latin-1"),
        "query": request.query.items(), "fields": sorted(request.headers), "cookies": request.cookies(),
        "client": client and (client[0] if client[0] == "127.0.0.1" else client), "scheme": request.scheme,
        "host": request.host, "body": request.body.decode(), "wanted": request.headers.conditional,
    }  # fmt: skip


def starlette_told(request: StarletteRequest) -> dict[str, Any]:
    client = request.client
    return {
        "method": request.method, "path": request.url.path, "root": request.scope.get("root_path"),
        "raw": request.scope["raw_path"].decode(), "query": request.query_params.multi_items(),
        "fields": sorted(request.headers.items()), "scheme": request.url.scheme, "state": sorted(request.state._state),
        "client": client and (client.host if client.host == "127.0.0.1" else list(client)),
        "version": request.scope["http_version"], "type": request.scope["type"],
    }  # fmt: skip


def views() -> Application:
    """One view of each kind that tells what it sees."""
    app = Application(BARE)

    @app.route("/lane/{key}", METHODS)
    def lane(request: Request, key: str) -> dict[str, Any]:
        return {"view": "lane", "key": key, **told(request)}

    @app.route("/asgi/{key}", METHODS)
    async def asgi(request: Request, key: str) -> dict[str, Any]:
        return {"view": "asgi", "key": key, **told(request)}

    @app.route("/typed/{key}", METHODS)
    def typed(key: int, who: str = "", many: list[int] | None = None) -> dict[str, Any]:
        return {"view": "typed", "key": key, "who": who, "many": many}

    @app.route("/starlette/{key:path}", METHODS)
    async def starlette(request: StarletteRequest, key: str) -> dict[str, Any]:
        return {"view": "starlette", "key": key, "parameters": request.path_params, **starlette_told(request)}

    async def inner(request: StarletteRequest) -> JSONResponse:
        return JSONResponse({"view": "mount", "parameters": request.path_params, **starlette_told(request)})

    app.mount("/mount", Starlette(routes=[Route("/{key:path}", inner, methods=list(METHODS))]))
    return app


def headers_out(scope: dict[str, Any]) -> None:
    scope["headers"][:] = [
        f for f in scope["headers"] if f[0] not in (b"x-remote-user", b"cookie", b"if-none-match")
    ]


def headers_in(scope: dict[str, Any]) -> None:
    scope["headers"] = [
        *scope["headers"],
        (b"x-remote-user", b"second"),
        (b"cookie", b"c=d"),
        (b"if-match", b'"7"'),
    ]


def headers_as_tuple(scope: dict[str, Any]) -> None:
    scope["headers"] = tuple(scope["headers"][:1])


def query(scope: dict[str, Any]) -> None:
    scope["query_string"] = b"who=middleware&many=1&many=2"


def no_query(scope: dict[str, Any]) -> None:
    scope["query_string"] = b""


def bad_query(scope: dict[str, Any]) -> None:
    scope["query_string"] = b"who=%ff"


def ends(scope: dict[str, Any]) -> None:
    scope.update(client=("192.0.2.7", 7), server=("public.test", 443), scheme="https")


def no_client(scope: dict[str, Any]) -> None:
    scope["client"] = None


def method(scope: dict[str, Any]) -> None:
    wanted = dict(scope["headers"]).get(b"x-http-method-override")
    if wanted:
        scope["method"] = wanted.decode()


def unknown_method(scope: dict[str, Any]) -> None:
    scope["method"] = "PATCH"


def path_only(scope: dict[str, Any]) -> None:
    scope["path"] = scope["path"].replace("/1", "/n ä%")


def path_and_raw(scope: dict[str, Any]) -> None:
    scope.update(
        path=scope["path"].replace("/1", "/a/b"), raw_path=scope["raw_path"].replace(b"/1", b"/a%2Fb")
    )


def raw_only(scope: dict[str, Any]) -> None:
    scope["raw_path"] = scope["raw_path"].replace(b"/1", b"/2")


def no_raw(scope: dict[str, Any]) -> None:
    scope["raw_path"] = scope["path"].encode()
    scope["path"] = scope["path"].replace("/1", "/3")


def elsewhere(scope: dict[str, Any]) -> None:
    scope.update(path="/nowhere", raw_path=b"/nowhere")


def root_path(scope: dict[str, Any]) -> None:
    scope.update(root_path="/kv", path="/kv" + scope["path"], raw_path=b"/kv" + scope["raw_path"])


def root_path_of_a_stripping_proxy(scope: dict[str, Any]) -> None:
    scope["root_path"] = "/kv"


def state(scope: dict[str, Any]) -> None:
    scope.setdefault("state", {})["user"] = "somebody"


def version(scope: dict[str, Any]) -> None:
    scope["http_version"] = "2"


def nothing(scope: dict[str, Any]) -> None:
    pass


CHANGES = [
    nothing, headers_out, headers_in, headers_as_tuple, query, no_query, bad_query, ends, no_client, method,
    unknown_method, path_only, path_and_raw, raw_only, no_raw, elsewhere, root_path, root_path_of_a_stripping_proxy,
    state, version,
]  # fmt: skip
FIELDS = (
    b"\r\nX-Remote-User: admin\r\nCookie: a=b; e=f\r\nX-Http-Method-Override: DELETE\r\nIf-None-Match: \"x\"\r\n"
    b"X-Twice: 1\r\nX-Twice: 2"
)  # fmt: skip


def changed(change: Change, copies: bool, prefix: str = "") -> Make:
    def make(log: Log) -> Application:
        app = views()
        app.middleware(Changing, prefix=prefix, change=change, copies=copies)
        return app

    return make


async def every_view(client: Talk) -> None:
    for view in (b"lane", b"asgi", b"typed", b"starlette", b"mount"):
        await client.ask(b"GET /%b/1?who=client&x=%%20y" % view + FIELDS)
        await client.ask(b"POST /%b/1" % view + FIELDS + b"\r\nContent-Length: 4", b"body")


@pytest.mark.parametrize("copies", [True, False], ids=["copy", "in place"])
@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
async def test_a_changed_scope_reaches_every_kind_of_view(change: Change, copies: bool) -> None:
    """Each field, changed on a copy and in place, for each kind of view and for mounts."""
    notes = await agree(changed(change, copies), every_view)
    assert len(notes) == 20


@pytest.mark.parametrize("change", [headers_out, query, ends, path_only], ids=lambda change: change.__name__)
async def test_a_middleware_of_a_prefix_changes_what_lies_under_it(change: Change) -> None:
    """Under its prefix it works, beside it nothing changes."""
    await agree(changed(change, True, "/lane"), every_view)


async def test_two_middlewares_add_up_in_their_order() -> None:
    """What the outer one left is what the inner one changes."""

    def append(text: bytes) -> Change:
        return lambda scope: scope.update(query_string=scope["query_string"] + text)

    def make(log: Log) -> Application:
        app = views()
        app.middleware(Changing, change=append(b"&many=1"), copies=True)
        app.middleware(Changing, change=append(b"&many=2"), copies=False)
        return app

    await agree(make, every_view)


class Guard:
    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await Response("guarded", 403)(scope, receive, send)


@pytest.mark.parametrize(
    "path",
    [
        b"/admin/x", b"/admin", b"/admin%2Fx", b"/%61dmin/x", b"//admin/x", b"/admin/../x", b"/Admin/x",
        b"/admin;a=b/x", b"/admin/", b"/admin%2fx", b"/x/admin", b"/administrator", b"/admin?x", b"/%61%64min%2Fx",
        b"/admin%00", b"/admin%ff",
    ],
)  # fmt: skip
async def test_a_guard_covers_the_same_paths(path: bytes) -> None:
    """A guard of a prefix before routes that could match what lies under it: the same paths are let through."""

    def make(log: Log) -> Application:
        app = Application(BARE)

        @app.get("/{section}/{name}")
        def two(section: str, name: str) -> str:
            return f"{section} {name}"

        @app.get("/{path:path}")
        def everything(path: str) -> str:
            return path

        app.middleware(Guard, prefix="/admin")
        return app

    async def talk(client: Talk) -> None:
        await client.ask(b"GET " + path)
        await client.afterwards()

    await agree(make, talk)


async def test_tokens_are_those_that_the_middleware_left() -> None:
    """Rights are decided on what is left: a token taken away, put in, or another method."""

    def swaps(scope: dict[str, Any]) -> None:
        given = dict(scope["headers"]).get(b"x-token", b"none")
        scope["headers"] = [(b"authorization", b"Bearer " + given)]
        method(scope)

    def make(log: Log) -> Application:
        app = views()
        app.middleware(Changing, change=swaps, copies=True)
        app.compile(tokens=Tokens.parse("read:r,write:w", SystemClock()))
        return app

    async def talk(client: Talk) -> None:
        for view in (b"lane", b"asgi", b"starlette", b"mount"):
            await client.ask(b"GET /%b/1\r\nAuthorization: Bearer w" % view)
            await client.ask(b"GET /%b/1\r\nX-Token: r" % view)
            await client.ask(b"DELETE /%b/1\r\nX-Token: r" % view)
            await client.ask(b"DELETE /%b/1\r\nX-Token: w" % view)

    await agree(make, talk)


async def test_below_another_application() -> None:
    """Mounted in a Starlette application: paths, prefixes and guards are below the mount."""

    def make(log: Log) -> Starlette:
        app = views()
        app.middleware(Guard, prefix="/asgi")
        app.compile()
        return Starlette(routes=[Mount("/my app", app)])

    async def talk(client: Talk) -> None:
        for view in (b"lane", b"asgi", b"starlette", b"mount", b"nothing"):
            await client.ask(b"GET /my%%20app/%b/1?x=y" % view)

    notes = await agree(make, talk)
    assert [note[1] for note in notes if note[0] == "head"] == [200, 403, 200, 200, 404]
