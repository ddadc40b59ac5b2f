"""The test client asks the real protocol: what it sees is what a socket would bring."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from starlette.responses import StreamingResponse

from skerry.http.application import Application
from skerry.http.reply import Response
from skerry.http.request import Request
from skerry.server.settings import ServerSettings
from skerry.testing.client import Client


def store() -> Application:
    app = Application()
    values: dict[str, str] = {}

    @app.get("/values/{key}")
    def get_value(key: str) -> Response:
        value = values.get(key)
        return Response(b"", 404) if value is None else Response.json({"key": key, "value": value}, etag="1")

    @app.put("/values/{key}", max_body_bytes=100)
    def put_value(request: Request, key: str) -> dict[str, str]:
        values[key] = request.text()
        return {"key": key, "value": values[key]}

    @app.get("/asgi")
    async def asgi(q: int = 1) -> dict[str, int]:
        await asyncio.sleep(0)
        return {"q": q}

    return app


async def test_what_is_put_can_be_got() -> None:
    """Lane and ASGI routes, bodies, queries, keys of any kind."""
    async with Client(store()) as client:
        for key in ("mykey", "a b", "ä/ö".replace("/", "%2F"), "100%25"):
            assert (await client.put(f"/values/{key}", body="wert")).status == 200
            found = await client.get(f"/values/{key}")
            assert (found.status, found.json()["value"]) == (200, "wert")
        assert (await client.get("/values/nope")).status == 404
        assert (await client.get("/asgi", query={"q": 5})).json() == {"q": 5}
        assert (await client.get("/asgi", query={"q": "x"})).status == 422


async def test_statuses_and_limits_are_the_servers() -> None:
    """Limits, refusals and conditional answers come from the protocol itself."""
    async with Client(store(), settings=ServerSettings(access_log="off", max_target_bytes=200)) as client:
        assert (await client.put("/values/k", body="x" * 101)).status == 413
        assert (await client.get("/values/" + "k" * 300)).status == 414
        await client.put("/values/k", body="x")
        found = await client.get("/values/k", headers={"If-None-Match": '"1"'})
        assert (found.status, found.etag, found.body) == (304, '"1"', b"")
        found = await client.head("/values/k")
        assert (found.status, found.body, found.headers.get("content-length")) == (200, b"", "23")
        assert (await client.raw(b"GET / HTTP/1.1\r\n\r\n")).startswith(b"HTTP/1.1 400 ")
        assert (await client.raw(b"GET /values/k HTTP/1.1\r\nHost: x\r\n\r\n" * 3)).count(
            b"HTTP/1.1 200 "
        ) == 3


async def test_requests_may_overlap() -> None:
    """While one answer waits, others are asked on connections of their own."""
    app = store()
    gate: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    @app.get("/later")
    def later() -> asyncio.Future[str]:
        return gate

    async with Client(app) as client:
        waiting = asyncio.ensure_future(client.get("/later"))
        await asyncio.sleep(0)
        assert (await client.get("/asgi")).status == 200
        gate.set_result("at last")
        assert (await waiting).text == "at last"


async def test_a_wait_has_an_end() -> None:
    """An answer that never comes is a TimeoutError, and the server is left clean."""
    app = store()
    gate: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    @app.get("/never")
    def never() -> asyncio.Future[str]:
        return gate

    async with Client(app, seconds=0.02) as client:
        with pytest.raises(TimeoutError):
            await client.get("/never")
        await asyncio.sleep(0)
        assert client.server.connections == 0


async def test_streams() -> None:
    """Parts are seen as they are sent; leaving tells the application."""
    app = store()
    ended = asyncio.Event()
    more = asyncio.Event()

    @app.get("/parts")
    async def parts() -> StreamingResponse:
        async def produce() -> AsyncIterator[bytes]:
            try:
                yield b"one"
                await more.wait()
                yield b"two"
                await asyncio.Event().wait()
            finally:
                ended.set()

        return StreamingResponse(produce())

    async with Client(app) as client:
        async with client.stream("GET", "/parts") as stream:
            assert stream.status == 200
            assert await anext(stream) == b"one"
            more.set()
            assert await anext(stream) == b"two"
        await asyncio.wait_for(ended.wait(), 60)


async def test_cookies_and_tokens_go_along() -> None:
    """A cookie that was set comes back with the next request; a token is in every request."""
    app = Application()

    @app.get("/set")
    def set_cookie() -> Response:
        return Response("ok", headers={"Set-Cookie": "a=b; HttpOnly"})

    @app.get("/see")
    def see(request: Request) -> dict[str, Any]:
        return {"cookies": request.cookies(), "token": request.headers.get("authorization")}

    async with Client(app, token="t") as client:
        await client.get("/set")
        assert (await client.get("/see")).json() == {"cookies": {"a": "b"}, "token": "Bearer t"}
