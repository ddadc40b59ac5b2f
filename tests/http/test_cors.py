"""Pages of other origins, as browsers ask for them: the lane stays the lane, and nobody gets more than was declared."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.requests import Request as StarletteRequest
from starlette.responses import PlainTextResponse

from skerry.clock import SystemClock
from skerry.errors import DeclarationError
from skerry.http.application import Application
from skerry.http.auth import Tokens
from skerry.http.problems import Problem
from skerry.http.reply import Response
from skerry.testing.client import Answer, Client

PAGE, OTHER = "https://page.test", "https://other.test"
PATHS = ["lane/a", "future", "asgi", "starlette", "problem", "asgi-problem", "nothing", "text"]
SHARED = Response("shared", etag="1")


def application(*origins: str, **options: Any) -> Application:
    app = Application()

    @app.route("/lane/{key}", ("GET", "PUT"))
    def lane(key: str) -> Response:
        return SHARED

    @app.route("/future", ("GET", "PUT"))
    def future() -> asyncio.Future[Response]:
        loop = asyncio.get_running_loop()
        coming: asyncio.Future[Response] = loop.create_future()
        loop.call_soon(coming.set_result, SHARED)
        return coming

    @app.route("/asgi", ("GET", "PUT"))
    async def asgi() -> Response:
        return SHARED

    @app.route("/starlette", ("GET", "PUT"))
    async def starlette(request: StarletteRequest) -> PlainTextResponse:
        return PlainTextResponse("starlette")

    @app.route("/problem", ("GET", "PUT"))
    def problem() -> None:
        raise Problem(409, "no")

    @app.route("/asgi-problem", ("GET", "PUT"))
    async def asgi_problem() -> None:
        raise Problem(409, "no")

    @app.route("/text", ("GET", "PUT"))
    def text() -> str:
        return "text"

    if origins:
        app.cors(*origins, **options)
    return app


def allowed(answer: Answer) -> list[str]:
    return answer.headers.get_all("access-control-allow-origin")


@pytest.mark.parametrize("method", ["GET", "PUT"])
@pytest.mark.parametrize("path", PATHS)
async def test_a_declared_origin_reads_and_writes(path: str, method: str) -> None:
    """Every kind of answer, errors and misses too, carries the origin once and the fields that pages may see, twice in
    a row alike; another origin gets none of it, and who sends no origin a line for caches."""
    async with Client(application(PAGE)) as client:
        for _ in range(2):
            found = await client.request(method, f"/{path}", headers={"Origin": PAGE})
            assert found.status == {"problem": 409, "asgi-problem": 409, "nothing": 404}.get(path, 200)
            assert allowed(found) == [PAGE]
            assert "Skerry-Position" in (found.headers.get("access-control-expose-headers") or "")
            assert found.headers.get_all("vary") == ["Origin"]
            assert "access-control-allow-credentials" not in found.headers
        foreign = await client.request(method, f"/{path}", headers={"Origin": OTHER})
        assert allowed(foreign) == []
        assert foreign.status == (403 if method == "PUT" and path != "nothing" else found.status)
        plain = await client.request(method, f"/{path}")
        assert (allowed(plain), plain.headers.get_all("vary")) == ([], ["Origin"])


async def test_the_lane_stays_the_lane() -> None:
    """Declared, the routes are where they were, the short cut included, and a 304 says it too."""
    plain, crossed = application(), application(PAGE)
    plain.compile()
    crossed.compile()
    assert [route.lane for route in crossed.table.routes] == [route.lane for route in plain.table.routes]
    assert crossed.lane.direct.keys() == plain.lane.direct.keys() == {b"GET /lane"}
    async with Client(crossed) as client:
        found = await client.get("/lane/a", headers={"Origin": PAGE, "If-None-Match": '"1"'})
        assert (found.status, allowed(found)) == (304, [PAGE])


@pytest.mark.parametrize("path", ["lane/a", "asgi"])
async def test_preflights_are_answered(path: str) -> None:
    """What a page may do is told before it does it: methods of the path, the usual fields and those declared; a foreign
    page is told nothing, and an OPTIONS that is no such question is answered as ever."""
    app = application(PAGE, request_fields=["X-Mine"], max_age_seconds=7)
    app.compile(tokens=Tokens.parse("write:w", SystemClock()))
    ask = {"Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": "if-match"}
    async with Client(app) as client:
        found = await client.options(f"/{path}", headers={"Origin": PAGE, **ask})
        assert (found.status, allowed(found)) == (204, [PAGE])
        assert found.headers["access-control-allow-methods"] == "GET, HEAD, PUT"
        assert {"If-Match", "Authorization", "X-Mine"} <= set(
            found.headers["access-control-allow-headers"].split(", ")
        )
        assert found.headers["access-control-max-age"] == "7"
        assert "Origin" in found.headers.get_all("vary")
        foreign = await client.options(f"/{path}", headers={"Origin": OTHER, **ask})
        assert (allowed(foreign), "access-control-allow-methods" in foreign.headers) == ([], False)
        plain = await client.options(f"/{path}")
        assert plain.headers["allow"] == "GET, HEAD, OPTIONS, PUT"
        assert (await client.options("/nothing", headers={"Origin": PAGE, **ask})).status == 404


async def test_everybody_and_credentials() -> None:
    """`*` is one line for all; credentials go with named origins only."""
    async with Client(application("*")) as client:
        for headers in ({"Origin": PAGE}, {"Origin": "null"}, {}):
            found = await client.put("/lane/a", headers=headers)
            assert (found.status, allowed(found), found.headers.get("vary")) == (200, ["*"], None)
    async with Client(application(PAGE, credentials=True)) as client:
        found = await client.get("/asgi", headers={"Origin": PAGE})
        assert found.headers["access-control-allow-credentials"] == "true"


async def test_readers_read_and_no_more() -> None:
    """Origins of the settings: reading and its preflight, `:PORT` of this host too; a write is refused."""
    app = application()
    app.compile(readers=[PAGE, ":3000"])
    async with Client(app) as client:
        for origin, host in ((PAGE, "kv.test"), ("http://kv.test:3000", "kv.test:8999")):
            headers = {"Origin": origin, "Host": host}
            assert allowed(await client.get("/lane/a", headers=headers)) == [origin]
            assert (await client.put("/lane/a", headers=headers)).status == 403
            ask = {**headers, "Access-Control-Request-Method": "PUT"}
            assert (await client.options("/lane/a", headers=ask)).headers[
                "access-control-allow-methods"
            ] == "GET, HEAD"
        assert allowed(await client.get("/lane/a", headers={"Origin": OTHER})) == []
    app.compile(readers=["*"])
    async with Client(app) as client:
        assert allowed(await client.get("/lane/a", headers={"Origin": OTHER})) == ["*"]
        assert (await client.put("/lane/a", headers={"Origin": OTHER})).status == 403


def test_declarations_that_contradict() -> None:
    """They are told at once."""
    for wrong in (
        "page.test",
        "https://page.test/path",
        "https://*.page.test",
        "ftp://page.test",
        "null",
        "",
    ):
        with pytest.raises(DeclarationError, match="origin"):
            Application().cors(wrong)
    with pytest.raises(DeclarationError, match="credentials"):
        Application().cors("*", credentials=True)
    with pytest.raises(DeclarationError, match="name"):
        Application().cors(PAGE, request_fields=["x y"])
    with pytest.raises(DeclarationError, match="name the origins"):
        Application().cors()
    app = Application()
    app.cors(PAGE)
    with pytest.raises(DeclarationError, match="twice"):
        app.cors(PAGE)
