"""Answers are counted by the route that gave them, and leave nothing for the garbage collector."""

from __future__ import annotations

import asyncio
import gc
from collections import Counter
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from skerry.hosting.answers import MOST, Answers
from skerry.hosting.host import Host
from skerry.hosting.settings import HostSettings
from skerry.http.application import Application
from skerry.testing.client import Client


def test_what_comes_from_outside_does_not_fill_the_memory() -> None:
    """Further routes count under the place of the application; no answer is lost."""
    answers = Answers("/shop")
    for number in range(MOST + 10):
        answers.note(f"/{number}", 200, 0.5)
    answers.note("", 404, 0.5)
    assert answers.total == MOST + 11
    assert answers.by_route()["/shop"] == 11
    assert answers.by_route()["/7"] == 1
    assert len(answers.by_route()) == MOST + 1


async def page(request: Request) -> Response:
    return PlainTextResponse("page")


def fastapi() -> Any:
    api, router = FastAPI(), APIRouter(prefix="/prices")

    @router.get("/{name}")
    async def price(name: str) -> str:
        return name

    @api.get("/broken")
    async def broken() -> None:
        raise RuntimeError("as it should")

    api.include_router(router)
    api.mount("/within", Starlette(routes=[Route("/{page}", page)]))
    return api


EXPECTED = {
    "/prices/tea": ("/prices/{name}", 200),
    "/prices/milk": ("/prices/{name}", 200),
    "/broken": ("/broken", 500),
    "/none": ("/", 404),
    "/within/x": ("/within/{page}", 200),
}


@pytest.mark.parametrize("covered", [False, True])
async def test_routes_of_fastapi_are_counted_by_their_template(covered: bool) -> None:
    """As those of Django and Flask are; with a middleware before it, too."""
    host = Host("api", fastapi)
    host.load()
    app = Application()
    if covered:
        app.middleware(lambda inner: inner)
    app.mount("/", host, rights=None, hosted=True)
    async with Client(app) as client:
        for path, (_, status) in EXPECTED.items():
            assert (await client.get(path)).status == status
    [counted] = [each for each in host.collect() if each.name == "skerry_host_answers_total"]
    found = {each.labels[1:]: each.value for each in counted.samples}
    expected = Counter((("route", route), ("status", str(status))) for route, status in EXPECTED.values())
    assert found == expected
    assert host.answered == len(EXPECTED)


async def asgi(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "http":
        while (await receive())["more_body"]:
            pass
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"hello"})


def wsgi(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [environ["wsgi.input"].read()]


@pytest.mark.parametrize("application", [asgi, wsgi])
async def test_a_request_leaves_nothing_for_the_garbage_collector(application: Any) -> None:
    """What belongs to an answer holds the request, the scope and what the application has left there: all of it goes
    when the answer is over, with no cycle that would have to be found first."""
    host = Host("application", lambda: application)
    host.open(HostSettings())
    app = Application()
    app.mount("/", host, rights=None, hosted=True)
    async with Client(app) as client:
        await client.get("/")
        gc.collect()
        gc.disable()
        gc.set_debug(gc.DEBUG_SAVEALL)
        try:
            for body in (b"", b"x" * 300_000):
                assert (await client.post("/", body=body)).status == 200
                assert (await client.get("/")).status == 200
            while host.busy:  # noqa: ASYNC110 - a thread of it comes to its end
                await asyncio.sleep(0.001)
            gc.collect()
            ours = ("skerry.server.", "skerry.hosting.", "skerry.http.")
            left = {type(each).__name__ for each in gc.garbage if type(each).__module__.startswith(ours)}
        finally:
            gc.set_debug(0)
            gc.enable()
            gc.garbage.clear()
    assert left == set(), left
