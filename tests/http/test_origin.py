"""Who may listen from a page: the same origin, and what is listed."""

from __future__ import annotations

from typing import Annotated

import pytest

from skerry.http.application import Application
from skerry.http.binding import Body
from skerry.http.headers import Headers
from skerry.http.origin import allowed, may_write
from skerry.http.request import Request
from skerry.testing.client import Client


@pytest.mark.parametrize(
    ("origin", "host", "extra", "expected"),
    [
        (None, "localhost:8999", (), True),
        ("http://localhost:8999", "localhost:8999", (), True),
        ("http://LOCALHOST:8999", "localhost:8999", (), True),
        ("https://kv.example", "kv.example", (), True),
        ("https://kv.example", "kv.example:443", (), True),
        ("http://kv.example:80", "kv.example", (), True),
        ("http://[::1]:8999", "[::1]:8999", (), True),
        ("http://localhost:8998", "localhost:8999", (), False),
        ("http://localhost", "localhost:8999", (), False),
        ("http://evil.example", "kv.example", (), False),
        ("http://kv.example.evil.example", "kv.example", (), False),
        ("http://kv.example@evil.example", "kv.example", (), False),
        ("null", "kv.example", (), False),
        ("null", "kv.example", ("*",), True),
        ("file://", "kv.example", (), False),
        ("http://kv.example:bad", "kv.example", (), False),
        ("http://other.example", "kv.example", ("http://other.example/",), True),
        ("https://other.example", "kv.example", ("http://other.example",), False),
        ("http://kv.example", "", (), False),
    ],
)
def test_origins(origin: str | None, host: str, extra: tuple[str, ...], expected: bool) -> None:
    """Host and port have to be ours, or the origin has to be listed; spelling does not matter."""
    assert allowed(origin, host, extra) is expected


def headers(**fields: str) -> Headers:
    return Headers([(name.replace("_", "-").encode(), value.encode()) for name, value in fields.items()])


@pytest.mark.parametrize(
    ("fields", "writes"),
    [
        ({"host": "127.0.0.1:8999"}, True),
        ({"host": "127.0.0.1:8999", "origin": "http://127.0.0.1:8999"}, True),
        ({"host": "127.0.0.1:8999", "origin": "http://127.0.0.1:3000"}, False),
        ({"host": "127.0.0.1:8999", "origin": "https://evil.example"}, False),
        ({"host": "127.0.0.1:8999", "origin": "null"}, False),
        ({"host": "127.0.0.1:8999", "sec_fetch_site": "same-origin"}, True),
        ({"host": "127.0.0.1:8999", "sec_fetch_site": "none"}, True),
        ({"host": "127.0.0.1:8999", "sec_fetch_site": "same-site"}, False),
        ({"host": "127.0.0.1:8999", "sec_fetch_site": "cross-site"}, False),
        ({"host": "inner:80", "origin": "https://outer.example", "sec_fetch_site": "same-origin"}, True),
        ({"host": "a", "origin": "https://friend.example", "sec_fetch_site": "cross-site"}, True),
        ({"host": "a", "origin": "https://friend.example:444"}, False),
    ],
)
def test_who_may_write(fields: dict[str, str], writes: bool) -> None:
    """Programs and our own pages; of other pages those that are listed."""
    assert may_write(headers(**fields), ["https://friend.example"]) is writes
    assert may_write(headers(**fields), ["*"]) is (writes or "origin" in fields)


@pytest.mark.parametrize("side", ["lane", "asgi"])
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
async def test_a_page_of_another_site_changes_nothing(side: str, method: str) -> None:
    """Without tokens too: what a browser sends for a foreign page is refused before the view, on both sides; reads,
    programs and our own pages go on."""
    called: list[str] = []
    app = Application()

    @app.route("/lane", (method, "GET"))
    def lane(request: Request) -> None:
        called.append(request.method)

    @app.route("/asgi", (method, "GET"))
    async def asgi(request: Request) -> None:
        called.append(request.method)

    async with Client(app) as client:
        for foreign in (
            {"Origin": "https://evil.example"},
            {"Sec-Fetch-Site": "cross-site"},
            {"Origin": "null"},
        ):
            answer = await client.request(method, f"/{side}", body="x", headers=foreign)
            assert (answer.status, answer.json()["detail"]) == (
                403, "a page of another site may not change things here",
            )  # fmt: skip
            assert (await client.get(f"/{side}", headers=foreign)).status == 204
        assert called == ["GET"] * 3
        for own in (
            {},
            {"Origin": "http://testserver", "Host": "testserver"},
            {"Sec-Fetch-Site": "same-origin"},
        ):
            assert (await client.request(method, f"/{side}", body="x", headers=own)).status == 204


@pytest.mark.parametrize("side", ["lane", "asgi"])
async def test_json_says_that_it_is(side: str) -> None:
    """What a page may send unasked (no type, text, a form) is not taken for JSON: 415 that says what is right."""
    app = Application()

    @app.post("/lane")
    def lane(thing: Annotated[dict[str, int], Body]) -> dict[str, int]:
        return thing

    @app.post("/asgi")
    async def asgi(thing: Annotated[dict[str, int], Body]) -> dict[str, int]:
        return thing

    async with Client(app) as client:
        for kind in (
            "text/plain",
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=json",
            "",
        ):
            fields = {"Content-Type": kind} if kind else {}
            answer = await client.post(f"/{side}", body='{"n":1}', headers=fields)
            assert (answer.status, "application/json" in answer.text) == (415, True)
        for kind in ("application/json", "Application/JSON; charset=utf-8", "application/merge-patch+json"):
            answer = await client.post(f"/{side}", body='{"n":1}', headers={"Content-Type": kind})
            assert answer.json() == {"n": 1}
