"""Middleware is what the view sees, and a guard covers every path that can reach what it guards."""

from __future__ import annotations

import itertools
import logging
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from skerry.clock import SystemClock
from skerry.http.application import Application, ApplicationSettings
from skerry.http.auth import Tokens
from skerry.http.middleware import Covering
from skerry.http.path import PathTemplate, normalize
from skerry.http.reply import Response
from skerry.http.request import Request
from skerry.http.scope import decoded_path
from skerry.testing.client import Client

Change = Callable[[dict[str, Any]], None]
BARE = ApplicationSettings(openapi=None, docs=None)


class Changing:
    """A middleware that changes the scope: a copy of it, or the one that it was given."""

    def __init__(self, app: Any, change: Change, copies: bool = True) -> None:
        self.app, self.change, self.copies = app, change, copies

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if self.copies:
            scope = dict(scope, headers=list(scope["headers"]))
        self.change(scope)
        await self.app(scope, receive, send)


class Guard:
    """A middleware that lets nobody through."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await Response("guarded", 403)(scope, receive, send)


class CarelessGuard(Guard):
    lane_safe = True


def told(request: Request) -> dict[str, Any]:
    return {
        "method": request.method, "path": request.path, "target": request.target.decode(),
        "query": request.query.items(), "user": request.headers.get("x-remote-user"), "cookies": request.cookies(),
        "client": request.client, "scheme": request.scheme, "host": request.host,
    }  # fmt: skip


def telling(change: Change, *, copies: bool = True) -> Application:
    """Views on both sides that tell what they see, behind a middleware."""
    app = Application(BARE)

    @app.route("/lane/{key}", ("GET", "DELETE"), rights=None)
    def lane(request: Request, key: str) -> dict[str, Any]:
        return {"key": key, **told(request)}

    @app.route("/asgi/{key}", ("GET", "DELETE"), rights=None)
    async def asgi(request: Request, key: str) -> dict[str, Any]:
        return {"key": key, **told(request)}

    app.middleware(Changing, change=change, copies=copies)
    return app


def removes_header(scope: dict[str, Any]) -> None:
    scope["headers"][:] = [
        field for field in scope["headers"] if field[0] not in (b"x-remote-user", b"cookie")
    ]


def changes_query(scope: dict[str, Any]) -> None:
    scope["query_string"] = b"who=middleware"


def changes_ends(scope: dict[str, Any]) -> None:
    scope.update(client=("192.0.2.7", 7), scheme="https")


def changes_method(scope: dict[str, Any]) -> None:
    scope["method"] = "DELETE"


def changes_path(scope: dict[str, Any]) -> None:
    scope["path"] = scope["path"].replace("/old", "/n w")


def changes_both_paths(scope: dict[str, Any]) -> None:
    scope.update(
        path=scope["path"].replace("/old", "/a/b"), raw_path=scope["raw_path"].replace(b"/old", b"/a%2Fb")
    )


@pytest.mark.parametrize("copies", [True, False], ids=["copy", "in place"])
@pytest.mark.parametrize("side", ["lane", "asgi"])
@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (removes_header, {"user": None, "cookies": {}}),
        (changes_query, {"query": [["who", "middleware"]]}),
        (changes_ends, {"client": ["192.0.2.7", 7], "scheme": "https"}),
        (changes_method, {"method": "DELETE"}),
        (changes_path, {"key": "n w", "target": "/SIDE/n%20w?who=client"}),
        (changes_both_paths, {"key": "a/b", "target": "/SIDE/a%2Fb?who=client"}),
    ],
)
async def test_a_view_sees_the_scope_as_the_middleware_left_it(
    change: Change, expected: dict[str, Any], side: str, copies: bool
) -> None:
    """Fields, query, ends, method and path of a changed scope reach the view, on a copy and in place; nothing else
    changes with them."""
    fields = {"X-Remote-User": "admin", "Cookie": "a=b", "Host": "h"}
    path = f"/{side}/old?who=client"
    async with Client(telling(lambda scope: None)) as client:
        before = (await client.get(path, headers=fields)).json()
    async with Client(telling(change, copies=copies)) as client:
        seen = (await client.get(path, headers=fields)).json()
    if "target" in expected:
        expected = {**expected, "target": expected["target"].replace("SIDE", side)}
    depends = {"client", "target", "path"}  # on the connection; on query and key
    assert {name: seen[name] for name in expected} == expected
    assert [n for n in seen if seen[n] != before[n] and n not in depends and n not in expected] == []


async def test_tokens_are_read_from_what_the_middleware_left() -> None:
    """A token that a middleware took away opens nothing, one that it put in does, and the right is the method's that
    it left."""
    tokens = Tokens.parse("read:r,write:w", SystemClock())

    def swaps(scope: dict[str, Any]) -> None:
        given = dict(scope["headers"]).get(b"x-token", b"none")
        scope["headers"][:] = [(b"authorization", b"Bearer " + given)]
        scope["method"] = "DELETE" if given == b"r" else scope["method"]

    app = Application(BARE)

    @app.route("/a", ("GET", "DELETE"), rights="method")
    def lane(request: Request) -> str:
        assert request.identity is not None
        return request.identity.right

    @app.delete("/b")
    def delete() -> str:
        return "deleted"

    app.middleware(Changing, change=swaps)
    app.compile(tokens=tokens)
    async with Client(app) as client:
        assert (await client.get("/a", headers={"Authorization": "Bearer w"})).status == 401
        assert (await client.get("/a", headers={"X-Token": "w"})).text == "write"
        assert (await client.get("/b", headers={"X-Token": "r"})).status == 403


async def test_a_body_is_what_receive_gives() -> None:
    """A middleware that unpacks a body and takes its length away hands the view the unpacked one."""

    class Doubling:
        def __init__(self, app: Any) -> None:
            self.app = app

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            async def doubled() -> Any:
                message = await receive()
                return {**message, "body": message.get("body", b"") * 2}

            headers = [field for field in scope["headers"] if field[0] != b"content-length"]
            await self.app(dict(scope, headers=headers), doubled, send)

    app = Application(BARE)

    @app.post("/lane")
    def lane(body: bytes) -> bytes:
        return body

    @app.post("/asgi")
    async def asgi(body: bytes) -> bytes:
        return body

    app.middleware(Doubling)
    async with Client(app) as client:
        for side in ("lane", "asgi"):
            assert (await client.post(f"/{side}", body="ab")).body == b"abab"


async def test_a_get_whose_empty_body_was_consumed_is_answered() -> None:
    """A middleware may read the body of everything: a GET that has none does not wait for more of it."""

    class Consuming:
        def __init__(self, app: Any) -> None:
            self.app = app

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await self.app(scope, receive, send)

    app = Application(BARE)

    @app.get("/lane")
    def lane(request: Request) -> str:
        return f"{len(request.body)}"

    app.middleware(Consuming)
    async with Client(app, seconds=5) as client:
        assert (await client.get("/lane")).text == "0"


def guarded_application() -> Application:
    app = Application(BARE)

    @app.get("/{section}/{name}")
    def two(section: str, name: str) -> str:
        return f"SECRET {section}/{name}"

    @app.get("/{page}")
    def one(page: str) -> str:
        return f"SECRET {page}"

    @app.get("/ad{rest}")
    def begins(rest: str) -> str:
        return f"SECRET {rest}"

    @app.get("/files/{path:path}")
    def files(path: str) -> str:
        return f"FILE {path}"

    @app.get("/{path:path}")
    def everything(path: str) -> str:
        return f"SECRET {path}"

    return app


@pytest.mark.parametrize(
    "path",
    ["/admin/x", "/admin", "/admin%2Fx", "/%61dmin/x", "/admin/", "/admin/x/y", "/admin%2fx%2fy", "/a%64min"],
)
async def test_a_guard_covers_every_spelling_of_what_lies_under_its_prefix(path: str) -> None:
    """Whatever template a path under the prefix matches, on the lane or not, it is guarded; other paths are not."""
    app = guarded_application()
    app.middleware(Guard, prefix="/admin")
    async with Client(app) as client:
        assert (await client.get(path)).text == "guarded"
        assert (await client.get("/administrator/x")).text == "SECRET administrator/x"
        assert (await client.get("/files/admin/x")).text == "FILE admin/x"


async def test_what_can_be_covered_leaves_the_lane_and_a_line_says_why(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A template that can match a covered path is not on the lane; the line names a path. One that cannot stays, and a
    lane-safe middleware moves nothing."""
    app = guarded_application()
    app.middleware(Guard, prefix="/admin")
    with caplog.at_level(logging.INFO, "skerry.http"):
        app.compile()
    assert {route.path: route.lane for route in app.table.routes} == {
        "/{section}/{name}": False, "/{page}": False, "/ad{rest}": False, "/files/{path:path}": True,
        "/{path:path}": False,
    }  # fmt: skip
    assert (
        "GET /{section}/{name} (two) leaves the lane: middleware Guard covers it, at /admin/x for one"
        in caplog.text
    )
    app = guarded_application()
    app.middleware(CarelessGuard, prefix="/admin")
    app.compile()
    assert all(route.lane for route in app.table.routes)


async def test_a_guard_holds_below_another_framework() -> None:
    """Served under a root path, the prefix and the routes are looked for below it."""
    app = guarded_application()
    app.middleware(Guard, prefix="/admin")
    for root, path, raw in [
        ("/kv", "/kv/admin/x", b"/kv/admin/x"),
        ("/kv", "/admin/x", b"/admin/x"),
        ("/my app", "/my app/admin/x", b"/my%20app/admin/x"),
        ("/kv", "/kv/admin/x", None),
    ]:
        scope = {
            "type": "http",
            "method": "GET",
            "path": path,
            "root_path": root,
            "query_string": b"",
            "headers": [],
        }
        if raw is not None:
            scope["raw_path"] = raw
        assert await _answered(app, scope) == b"guarded"
        scope.update(path=path.replace("admin", "other"))
        scope.pop("raw_path", None)
        assert await _answered(app, scope) == b"SECRET other/x"


async def _answered(app: Application, scope: dict[str, Any]) -> bytes:
    parts = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        parts.append(message.get("body", b""))

    await app(dict(scope), receive, send)
    return b"".join(parts)


# --- which templates can reach a prefix

WORDS = ["a", "ad", "admin", "x", "", "{}", "{:path}", "a{}", "{}n", "{}-{}", "ä", "!"]
templates = st.lists(st.sampled_from(WORDS), min_size=1, max_size=4).map(
    lambda words: _numbered("/" + "/".join(words))
)
prefixes = st.lists(st.sampled_from(["a", "admin", "x", "ä", "b c", "!", "aa"]), max_size=3).map(
    lambda words: "".join(f"/{word}" for word in words)
)
values = st.lists(st.text(st.sampled_from("admin/x ä!%."), min_size=1, max_size=8), min_size=8, max_size=8)


def _numbered(template: str) -> str:
    numbers = itertools.count()
    return re.sub(r"\{", lambda _: f"{{p{next(numbers)}", template)


def _filled(template: PathTemplate, given: list[str], escape: bool) -> bytes:
    """A raw path of that template, with those values in their parameters, needless escapes perhaps."""
    kinds, texts = iter(template.kinds), iter(given)

    def fill(_: re.Match[str]) -> str:
        return quote(next(texts), safe="/" if next(kinds) == "path" else "")

    literal = re.split(r"\{[^}]*\}", template.template)
    parts = [quote(part, safe="/!-") for part in literal]
    raw = parts[0] + "".join(fill(re.match("", "")) + part for part in parts[1:])  # type: ignore[arg-type]
    if escape:
        raw = raw.replace("a", "%61").replace("n", "%6E")
    return raw.encode()


@given(templates, prefixes, values, st.booleans())
@example("/{p0}/{p1}", "/admin", ["admin", "x"] * 4, False)
@example("/{p0}", "/admin", ["admin/x"] * 8, True)
def test_no_path_of_a_template_is_covered_unless_the_template_says_so(
    text: str, prefix: str, given_values: list[str], escape: bool
) -> None:
    """For any path that matches, in any spelling: when it is covered at run time, it was known at start."""
    template = PathTemplate(text)
    raw = _filled(template, given_values, escape)
    assume(template.match(normalize(raw)) is not None)
    if Covering(Guard, {}, prefix).covers(decoded_path(raw)):
        assert template.example_under(prefix) is not None


@given(templates, prefixes)
def test_the_example_is_a_path_of_the_template_and_covered(text: str, prefix: str) -> None:
    """What is named at start is true: the path matches, and lies under the prefix."""
    template = PathTemplate(text)
    found = template.example_under(prefix)
    if found is not None:
        assert Covering(Guard, {}, prefix).covers(found)
        literal = re.split(r"\{[^}]*\}", text)
        assert re.fullmatch("(.+)".join(map(re.escape, literal)), found, re.DOTALL)


@pytest.mark.parametrize(
    "text", ["/{p}", "/a{p}", "/{p}/a", "/{p}a{q}", "/a/{p}", "/{p}/{q}", "/a", "/a/a", "//{p}a"]
)
@pytest.mark.parametrize("prefix", ["", "/a", "/aa", "/a/a", "//a", "/a//a"])
def test_a_template_reaches_a_prefix_exactly_when_a_path_does(text: str, prefix: str) -> None:
    """Neither missed nor blamed without reason: compared with all texts of two characters up to a length."""
    template = PathTemplate(text)
    pattern = re.compile("(.+)".join(map(re.escape, re.split(r"\{[^}]*\}", text))), re.DOTALL)
    covering = Covering(Guard, {}, prefix)
    texts = ("/" + "".join(each) for size in range(9) for each in itertools.product("a/", repeat=size))
    reaches = any(covering.covers(each) and pattern.fullmatch(each) for each in texts)
    assert (template.example_under(prefix) is not None) == reaches


def test_many_parameters_and_a_long_prefix_are_decided_at_once() -> None:
    """The search is bounded by parts times length, not by the ways of dividing one among the other."""
    template = PathTemplate("/" + "-".join(f"{{p{n}}}" for n in range(30)) + "/end")
    assert template.example_under("/" + "a-" * 200 + "b") is not None
    assert template.example_under("/" + "a" * 400) is not None
    assert PathTemplate("/x" + "{p}a{q}a{r}").example_under("/" + "a" * 400) is None
