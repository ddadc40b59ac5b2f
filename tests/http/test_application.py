"""An application's declarations meet: sides, middleware, errors, mounts, foreign servers."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import msgspec
import pytest
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware

from skerry.clock import SystemClock
from skerry.errors import DeadlineExceeded, DeclarationError, PreconditionFailed, Rejected, Unavailable
from skerry.http.application import Application, ApplicationSettings
from skerry.http.auth import Tokens
from skerry.http.path import encode_path
from skerry.http.problems import Problem
from skerry.http.reply import Response
from skerry.http.request import Request
from skerry.testing.client import Client
from skerry.tracing import Tracer


class Item(msgspec.Struct):
    """A thing."""

    name: str


class Stamp:
    """A middleware that leaves its mark."""

    def __init__(self, app: Any, text: str = "stamped") -> None:
        self.app, self.text = app, text

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def stamping(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"x-stamp", self.text.encode())]
            await send(message)

        await self.app(scope, receive, stamping)


class SafeStamp(Stamp):
    lane_safe = True


def both() -> Application:
    app = Application()

    @app.get("/lane/{key}")
    def lane(key: str) -> str:
        return f"lane {key}"

    @app.get("/admin/{key}")
    def admin(key: str) -> str:
        return f"admin {key}"

    @app.get("/asgi/{key}")
    async def asgi(key: str) -> str:
        return f"asgi {key}"

    return app


async def test_a_middleware_moves_what_it_covers(caplog: pytest.LogCaptureFixture) -> None:
    """Covered lane routes leave the lane with a line that says so, and are stamped; the others stay."""
    app = both()
    app.middleware(Stamp, prefix="/admin")
    with caplog.at_level(logging.INFO, "skerry.http"):
        app.compile()
    assert [route.lane for route in app.table.routes[:3]] == [True, False, False]
    assert "/admin/{key}" in caplog.text
    assert "Stamp" in caplog.text
    async with Client(app) as client:
        assert (await client.get("/lane/a")).headers.get("x-stamp") is None
        found = await client.get("/admin/a%2Fb")
        assert (found.text, found.headers.get("x-stamp")) == ("admin a/b", "stamped")
        assert (await client.get("/asgi/a")).headers.get("x-stamp") is None
        assert (await client.get("/admin/a/b")).headers.get("x-stamp") == "stamped"


async def test_a_lane_safe_middleware_moves_nothing() -> None:
    """It sees the ASGI side only."""
    app = both()
    app.middleware(SafeStamp, text="safe")
    async with Client(app) as client:
        assert (await client.get("/lane/a")).headers.get("x-stamp") is None
        assert (await client.get("/asgi/a")).headers.get("x-stamp") == "safe"


async def test_the_first_middleware_is_outermost() -> None:
    """Marks come in the order from inside to outside."""
    app = both()
    app.middleware(Stamp, text="outer")
    app.middleware(Stamp, text="inner")
    async with Client(app) as client:
        assert (await client.get("/lane/a")).headers.get_all("x-stamp") == ["inner", "outer"]


async def test_preflights_reach_their_middleware() -> None:
    """With middleware around everything, OPTIONS and misses are its business too."""
    app = both()
    app.middleware(CORSMiddleware, allow_origins=["http://a"], allow_methods=["GET"])
    async with Client(app) as client:
        fields = {"Origin": "http://a", "Access-Control-Request-Method": "GET"}
        found = await client.options("/lane/a", headers=fields)
        assert found.headers.get("access-control-allow-origin") == "http://a"
        assert (await client.get("/nope", headers={"Origin": "http://a"})).status == 404


@pytest.mark.parametrize("side", ["lane", "asgi"])
@pytest.mark.parametrize(
    ("error", "status"),
    [
        (Problem(418, "teapot"), 418), (HTTPException(403), 403), (HTTPException(400, "why"), 400),
        (PreconditionFailed("changed"), 412), (Rejected("no"), 409), (Unavailable("away", 7), 503),
        (DeadlineExceeded("it", 1), 503), (KeyError("secret"), 500),
    ],
)  # fmt: skip
async def test_errors_become_problems(error: Exception, status: int, side: str) -> None:
    """Each known error has its status, as problem+json, on both sides alike."""
    app = Application()

    @app.get("/lane")
    def lane() -> None:
        raise error

    @app.get("/asgi")
    async def asgi() -> None:
        raise error

    async with Client(app) as client:
        found = await client.get(f"/{side}")
        assert found.status == status
        assert found.headers["content-type"] == "application/problem+json"
        body = found.json()
        assert body["status"] == status
        assert "secret" not in found.text
        if isinstance(error, Unavailable):
            assert found.headers["retry-after"] == "7"


async def test_an_own_handler_answers() -> None:
    """The handler of the nearest class answers, on both sides, also for what middleware raises."""
    app = both()

    class Raising(Stamp):
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "http":
                raise FileNotFoundError("in the middleware")
            await self.app(scope, receive, send)

    @app.exception_handler(OSError)
    def handle(request: Request, error: OSError) -> Response:
        return Response(f"{type(error).__name__} {request.path}", 599)

    @app.get("/os")
    def os_error() -> None:
        raise PermissionError

    app.middleware(Raising, prefix="/asgi")
    async with Client(app) as client:
        assert ((found := await client.get("/os")).status, found.text) == (599, "PermissionError /os")
        assert (await client.get("/asgi/x")).text == "FileNotFoundError /asgi/x"


def test_declarations_that_contradict() -> None:
    """They are found when the application is composed, and name what is wrong."""
    app = Application()
    with pytest.raises(DeclarationError):
        app.route("/x", ("FETCH",))
    with pytest.raises(DeclarationError):
        app.route("/x", ("GET",), rights="admin")  # type: ignore[arg-type]
    with pytest.raises(DeclarationError):
        app.mount("x", app)
    app.mount("/x", app)
    with pytest.raises(DeclarationError):
        app.mount("/x/", app)
    with pytest.raises(DeclarationError):

        @app.websocket("/ws")
        def ws(websocket: Any) -> None: ...

    with pytest.raises(DeclarationError):

        @app.exception_handler(OSError)
        async def handler(request: Any, error: Any) -> None: ...


async def test_the_description() -> None:
    """/openapi.json is OpenAPI 3.1 with parameters, bodies, answers; /docs shows it without scripts."""
    app = Application(ApplicationSettings(title="Things <1>", version="2"))

    @app.post("/things/{number}")
    async def make(number: int, item: Item, colour: str = "red") -> Item:
        """Make a thing.

        It stays made.
        """
        return item

    async with Client(app) as client:
        document = (await client.get("/openapi.json")).json()
        assert document["openapi"].startswith("3.1")
        operation = document["paths"]["/things/{number}"]["post"]
        assert operation["summary"] == "Make a thing."
        assert operation["description"] == "It stays made."
        by_name = {each["name"]: each for each in operation["parameters"]}
        assert by_name["number"] == {
            "name": "number",
            "in": "path",
            "required": True,
            "schema": {"type": "integer"},
        }
        assert by_name["colour"]["schema"]["default"] == "red"
        reference = {"$ref": "#/components/schemas/Item"}
        assert operation["requestBody"]["content"]["application/json"]["schema"] == reference
        assert operation["responses"]["200"]["content"]["application/json"]["schema"] == reference
        assert operation["responses"]["404"] == {"description": "Nothing has that name"}, (
            "with a body or without"
        )
        page = await client.get("/docs")
        assert "<script" not in page.text
        assert "Things &lt;1&gt;" in page.text
        assert "script-src" not in page.headers["content-security-policy"]


async def test_the_description_can_be_switched_off() -> None:
    """Neither page is there then."""
    app = Application(ApplicationSettings(openapi=None, docs=None))
    async with Client(app) as client:
        assert [(await client.get(path)).status for path in ("/openapi.json", "/docs")] == [404, 404]


@pytest.mark.parametrize("path", ["/ä", "/my app", "/a~b!", "/x;y=1,2", "/100%"])
async def test_a_mount_may_have_any_characters(path: str) -> None:
    """It is found however its path is escaped, and is told `root_path` and `path` both decoded, as ASGI has them."""
    seen: list[tuple[str, str, bytes]] = []

    async def mounted(scope: Any, receive: Any, send: Any) -> None:
        seen.append((scope["root_path"], scope["path"], scope["raw_path"]))
        await Response("here")(scope, receive, send)

    app = Application()
    app.mount(path, mounted)
    raw = encode_path(path) + b"/h%C3%A4"
    async with Client(app) as client:
        assert (await client.get(raw.decode())).text == "here"
        assert (await client.get(raw.decode() + "/")).text == "here"
    assert seen[0] == (path, path + "/hä", raw)

    outer = Application()
    outer.mount("/o ü", app)
    async with Client(outer) as client:
        assert (await client.get("/o%20%C3%BC" + raw.decode())).text == "here"
    assert seen[2][:2] == ("/o ü" + path, "/o ü" + path + "/hä")


async def test_options_of_the_whole_server() -> None:
    """`OPTIONS *` asks what the server can do at all (RFC 9110 section 9.3.7), whatever is mounted at the root."""
    app = Application()

    @app.get("/")
    def home() -> str:
        return "home"

    app.mount("/m", app_of_nothing)
    for inner in (False, True):
        if inner:
            app.mount("/", app_of_nothing)
            app.middleware(lambda inside: inside)
        async with Client(app) as client:
            found = await client.raw(b"OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert found.startswith(b"HTTP/1.1 204 ")
        assert b"allow: delete, get, head, options, patch, post, put\r\n" in found.lower()


async def app_of_nothing(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "http":
        await Response("nothing", 404)(scope, receive, send)


async def test_static_files(tmp_path: Path) -> None:
    """Files have tags and types; nothing outside the directory is reachable, however it is written."""
    (tmp_path / "public").mkdir()
    (tmp_path / "public" / "a b.txt").write_text("file")
    (tmp_path / "secret").write_text("secret")
    app = Application()
    app.static("/files", tmp_path / "public")
    async with Client(app) as client:
        found = await client.get("/files/a%20b.txt")
        assert (found.status, found.text) == (200, "file")
        assert (
            await client.get("/files/a%20b.txt", headers={"If-None-Match": found.etag or ""})
        ).status == 304
        for path in (
            "/files/../secret",
            "/files/%2e%2e/secret",
            "/files/..%2fsecret",
            "/files//secret",
            "/files/",
        ):
            assert (await client.get(path)).status == 404, path
        assert (await client.delete("/files/a%20b.txt")).status == 405


async def test_under_a_foreign_server() -> None:
    """As a plain ASGI application it compiles itself, answers lane routes too and runs its mounts' lifespans."""
    app, said = both(), []

    async def mounted(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        said.append("up")
        await send({"type": "lifespan.startup.complete"})
        await receive()
        said.append("down")
        await send({"type": "lifespan.shutdown.complete"})

    app.mount("/m", mounted)
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    inbox = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])

    async def receive() -> Any:
        return next(inbox)

    await app({"type": "lifespan"}, receive, send)
    assert [each["type"] for each in sent] == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert said == ["up", "down"]
    sent.clear()
    scope = {"type": "http", "method": "GET", "path": "/lane/a/b", "raw_path": b"/lane/a%2Fb", "headers": []}
    await app(scope, receive, send)
    assert (sent[0]["status"], sent[1]["body"]) == (200, b"lane a/b")
    sent.clear()
    scope = {"type": "http", "method": "GET", "path": "/outer/lane/x", "root_path": "/outer", "headers": []}
    await app(scope, receive, send)
    assert sent[1]["body"] == b"lane x"


async def test_a_body_limit_counts_on_the_asgi_side() -> None:
    """Too large is 413 by length and by counting."""
    app = Application(ApplicationSettings(max_body_bytes=10))

    @app.post("/")
    async def post(request: Request) -> int:
        return len(request.body)

    async with Client(app) as client:
        assert (await client.post("/", body="x" * 10)).json() == 10
        assert (await client.post("/", body="x" * 11)).status == 413
        chunked = (
            b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nb\r\nhello world\r\n0\r\n\r\n"
        )
        assert (await client.raw(chunked)).startswith(b"HTTP/1.1 413 ")


def test_a_copy_has_every_declaration() -> None:
    """Whatever was declared is in it, and what is declared there afterwards is not here."""

    async def rest(scope: Any, receive: Any, send: Any) -> None: ...

    app = both()
    app.mount("/rest", rest)
    app.middleware(Stamp, prefix="/admin")
    app.exception_handler(OSError)(lambda request, error: "away")
    app.cors("https://page.example")
    app.authenticate(lambda request: None)
    app.tracer, app.login_path = Tracer(lambda: 0.0, lambda span: None), "/login"

    def declared(of: Application) -> dict[str, Any]:
        own = {name: value for name, value in vars(of).items() if name not in ("_mounts", "_lifespans")}
        return own | {"mounts": [(mount.prefix, mount.app) for mount in of.mounts]}

    blank = declared(Application())
    unset = {name for name, value in declared(app).items() if value == blank[name]}
    assert unset == {"settings", "compiled", "guard", "_crossing"}, "the test declares everything"
    other = app.copy()
    assert declared(other) == declared(app)
    other.get("/more")(lambda: "more")
    other.exception_handler(ValueError)(lambda request, error: "wrong")
    assert declared(other) != declared(app)
    assert len(declared(app)["_declared"]) == 3


@pytest.mark.parametrize("rights", [None, "read"])
def test_an_open_mount_is_answered_without_asgi_where_it_can(rights: Any) -> None:
    """Also in an application with tokens; nothing stands before it then, and a token stands before others."""

    class Responds:
        def respond(self, exchange: Any) -> None: ...

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None: ...

    app = Application()
    app.mount("/open", Responds(), rights=rights)
    app.compile(tokens=Tokens([("read", "", "secret")], SystemClock()))
    assert (app.mounts[0].respond is not None) == (rights is None)
