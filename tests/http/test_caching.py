"""What caches may keep: nothing of what a token opened, values only to ask about them again, and a view's own word."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request as StarletteRequest
from starlette.responses import PlainTextResponse, StreamingResponse

from skerry.clock import SystemClock
from skerry.http.application import Application
from skerry.http.auth import Tokens
from skerry.http.caching import private, private_fields
from skerry.http.problems import Problem
from skerry.http.reply import Fields, Response
from skerry.testing.client import Client

WHO = "Authorization, Cookie"
SHARED = Response.json({"shared": True}, etag="1")


def application(tmp: Path) -> Application:
    app = Application()

    @app.get("/lane/plain")
    def plain() -> str:
        return "plain"

    @app.get("/lane/tagged")
    def tagged() -> Response:
        return SHARED

    @app.get("/lane/own")
    def own() -> Response:
        return Response("own", headers={"Cache-Control": "public, max-age=60"}, etag="1")

    @app.get("/lane/none")
    def none() -> Response:
        return Response("none", headers={"Cache-Control": "no-store"})

    @app.get("/lane/other")
    def other() -> Response:
        return Response("other", headers={"Cache-Control": "max-age=60"})

    @app.get("/lane/problem")
    def problem() -> None:
        raise Problem(404, "no")

    @app.get("/asgi/plain")
    async def asgi() -> dict[str, str]:
        return {"a": "b"}

    @app.get("/asgi/stream")
    async def stream(request: StarletteRequest) -> StreamingResponse:
        return StreamingResponse(iter([b"a"]))

    @app.get("/open", rights=None)
    def everybody() -> Response:
        return SHARED

    async def mounted(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await PlainTextResponse("mounted")(scope, receive, send)

    app.mount("/mounted", mounted)
    (tmp / "a.txt").write_text("file")
    app.static("/files", tmp)
    return app


PATHS = [
    "lane/plain",
    "lane/tagged",
    "lane/problem",
    "asgi/plain",
    "asgi/stream",
    "mounted",
    "files/a.txt",
    "files/none",
]


@pytest.mark.parametrize("token", ["r", None])
@pytest.mark.parametrize("path", PATHS)
async def test_what_a_token_opens_is_private(path: str, token: str | None, tmp_path: Path) -> None:
    """Whole answers, streams, files, mounts, errors, and the refusal itself: private, told apart by who asked."""
    app = application(tmp_path)
    app.compile(tokens=Tokens.parse("read:r,write:w", SystemClock()))
    async with Client(app, token=token) as client:
        for _ in range(2):
            answer = await client.get(f"/{path}")
            assert (answer.status == 401) is (token is None)
            assert answer.headers.get_all("cache-control") == ["private, no-cache"]
            assert WHO in answer.headers.get_all("vary")
        if answer.etag is not None:
            again = await client.get(f"/{path}", headers={"If-None-Match": answer.etag})
            assert (again.status, again.headers.get("cache-control")) == (304, "private, no-cache")


async def test_the_same_answer_in_the_open_is_not(tmp_path: Path) -> None:
    """A route that everybody may read stays so beside guarded ones, also when both give the same object; without
    tokens nothing is private."""
    app = application(tmp_path)
    app.compile(tokens=Tokens.parse("read:r", SystemClock()))
    async with Client(app, token="r") as client:
        await client.get("/lane/tagged")
        answer = await client.get("/open")
        assert (answer.headers.get("cache-control"), answer.headers.get("vary")) == ("no-cache", None)
    async with Client(application(tmp_path)) as client:
        for path in PATHS:
            assert "private" not in ((await client.get(f"/{path}")).headers.get("cache-control") or "")
        assert (await client.get("/lane/tagged")).headers.get("cache-control") == "no-cache"


@pytest.mark.parametrize(
    ("path", "said"),
    [("own", ["public, max-age=60"]), ("none", ["no-store"]), ("other", ["max-age=60", "private"])],
)
async def test_what_a_view_says_itself_counts(path: str, said: list[str], tmp_path: Path) -> None:
    """Its Cache-Control is kept, and made private where it did not say for whom."""
    app = application(tmp_path)
    async with Client(app) as client:
        assert (await client.get(f"/lane/{path}")).headers.get_all("cache-control") == said[:1]
    app.compile(tokens=Tokens.parse("read:r", SystemClock()))
    async with Client(app, token="r") as client:
        assert (await client.get(f"/lane/{path}")).headers.get_all("cache-control") == said


def test_a_tag_is_asked_about_each_time() -> None:
    """An answer with an ETag says no-cache, unless its fields say something, in whatever way they are given."""
    said = {"Cache-Control": "max-age=1"}
    for answer in (
        Response("a", headers=said, etag=1),
        Response("a", headers=Fields(said), etag=1),
        Response("a", headers={"cache-control": "max-age=1"}, etag=1),
        Response("a", etag=1).with_header("Cache-Control", "max-age=1"),
    ):
        found = [value for name, value in answer.headers() if name.lower() == "cache-control"]
        assert found == ["max-age=1"]
    assert ("Cache-Control", "no-cache") in Response("a", headers=Fields({"X": "y"}), etag=1).headers()
    assert "Cache-Control" not in dict(Response("a").headers())


def test_private_is_said_once() -> None:
    """Made private twice it says the same; the given answer is left as it was."""
    given = Response("a", etag=1)
    before = given.head
    made = private(given)
    assert private(made) is made
    assert given.head == before
    assert private_fields(private_fields([(b"vary", b"Accept")])) == private_fields([(b"vary", b"Accept")])


async def test_a_browser_is_led_to_the_form_without_a_trace(tmp_path: Path) -> None:
    """The redirect to the login form depends on Accept and on who asks: no cache keeps it."""
    app = application(tmp_path)
    app.login_path = "/login"
    app.compile(tokens=Tokens.parse("read:r", SystemClock()))
    async with Client(app) as client:
        answer = await client.get("/lane/plain", headers={"Accept": "text/html"})
        assert (answer.status, answer.headers.get("cache-control")) == (303, "no-store")
        assert answer.headers.get("vary") == f"Accept, {WHO}"
