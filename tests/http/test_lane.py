"""The lane calls a view and never raises, whatever the view does."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from skerry.clock import SystemClock
from skerry.errors import Rejected
from skerry.http.application import Application
from skerry.http.auth import Tokens
from skerry.http.headers import Headers
from skerry.http.reply import Response
from skerry.http.request import Request
from skerry.http.routes import Found, Missing
from skerry.testing import Client


def asked(app: Application, target: bytes, **fields: str) -> Any:
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in fields.items()]
    request = Request("GET", target, Headers(raw))
    found = app.table.find("GET", target)
    assert isinstance(found, Found)
    return app.lane.answer(found.route, request, found.raw), found.route, request


async def test_answers() -> None:
    """Values become answers, tags make them conditional, errors problems, bad keys 400."""
    app = Application()
    future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    @app.get("/value/{key}")
    def value(key: str) -> Response:
        return Response(key, etag="1")

    @app.get("/no")
    def no() -> None:
        raise Rejected("no")

    @app.get("/broken")
    def broken() -> None:
        raise ZeroDivisionError

    @app.get("/later")
    def later() -> asyncio.Future[Any]:
        return future

    app.compile()
    assert asked(app, b"/value/%C3%A4")[0].body == "ä".encode()
    assert asked(app, b"/value/a", if_none_match='"1"')[0].status == 304
    assert [asked(app, path)[0].status for path in (b"/value/%ff", b"/no", b"/broken")] == [400, 409, 500]
    answer, route, request = asked(app, b"/later")
    assert answer is future
    future.cancel()
    await asyncio.sleep(0)
    assert app.lane.settle(route, request, future).status == 503


def test_guards() -> None:
    """With tokens a route needs its right; one that is open needs none."""
    app = Application()

    @app.get("/closed")
    def closed(request: Request) -> str:
        return request.identity.right if request.identity else "nobody"

    @app.get("/open", rights=None)
    def opened() -> str:
        return "open"

    app.compile(tokens=Tokens.parse("read:abc", SystemClock()))
    assert asked(app, b"/closed")[0].status == 401
    assert asked(app, b"/closed", authorization="Bearer abc")[0].body == b"read"
    assert asked(app, b"/open")[0].body == b"open"
    assert app.lane.direct == {}


def test_what_the_head_alone_decides() -> None:
    """A miss, a wrong method and a missing right are known before the body; for anything else the body is wanted."""
    app = Application()

    @app.put("/value")
    def put_value(body: bytes) -> bytes:
        return body

    app.compile(tokens=Tokens.parse("write:secret-secret-1", SystemClock()))
    for method, target, raw, status in [
        ("PUT", b"/value", [], 401), ("PUT", b"/nothing", [], 404), ("POST", b"/value", [], 405),
        ("PUT", b"/value", [(b"authorization", b"Bearer secret-secret-1")], None),
    ]:  # fmt: skip
        found = app.table.find(method, target)
        assert isinstance(found, Found | Missing)
        refusal = app.lane.refusal(found, Request(method, target, Headers(raw)))
        assert (refusal and refusal.status) == status


@pytest.mark.parametrize("path", ["a/../b", "a/%2e%2e/b", "..", "a/./b"])
async def test_a_path_within_a_path_has_no_dots(path: str) -> None:
    """In whichever segment, and however it is written: it may become the name of a file."""
    app = Application()

    @app.get("/files/{name:path}")
    def view(name: str) -> str:
        return name

    async with Client(app) as client:
        assert (await client.get("/files/a/b")).text == "a/b"
        answer = await client.raw(f"GET /files/{path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert answer.startswith(b"HTTP/1.1 400 ")
