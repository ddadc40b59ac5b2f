"""A browser logs in with a token, is led back to where it wanted to go, and cannot be logged in by others."""

from __future__ import annotations

import pytest

from skerry.clock import SystemClock
from skerry.http.application import Application
from skerry.http.auth import Tokens
from skerry.http.login import install
from skerry.testing.client import Client


def protected() -> Application:
    app = Application()
    tokens = Tokens.parse("read:abc,write:def", SystemClock())
    install(app, tokens)

    @app.get("/page")
    def page() -> str:
        return "page"

    @app.put("/values/{key}")
    def put(key: str) -> str:
        return key

    @app.get("/asgi")
    async def asgi() -> str:
        return "asgi"

    app.compile(tokens=tokens)
    return app


async def test_log_in_and_out() -> None:
    """The whole way: led to the form, a wrong token, the right one, a write from the own page, out again."""
    async with Client(protected()) as client:
        led = await client.get("/page?x=1", headers={"Accept": "text/html"})
        assert (led.status, led.headers["location"]) == (303, "/login?next=%2Fpage%3Fx%3D1")
        assert (await client.get("/page")).status == 401
        sent = await client.put("/values/a", body="", headers={"Accept": "text/html"})
        assert sent.status == 401, "a form that was sent is not led away: its content would be lost"
        form = await client.get(led.headers["location"])
        assert "value='/page?x=1'" in form.text
        wrong = await client.post("/login", body="token=nope&next=/page")
        assert (wrong.status, "not known" in wrong.text, client.cookies) == (401, True, {})
        right = await client.post("/login", body="token=def&next=%2Fpage")
        assert (right.status, right.headers["location"]) == (303, "/page")
        flags = right.headers["set-cookie"]
        assert "HttpOnly" in flags
        assert "SameSite=Strict" in flags
        for path in ("/page", "/asgi", "/openapi.json", "/docs"):
            assert (await client.get(path)).status == 200, path
        assert (await client.put("/values/a", body="")).status == 403
        own = {"Origin": "http://testserver"}
        assert (await client.put("/values/a", body="", headers=own)).status == 200
        assert (await client.post("/logout", headers=own)).status == 303
        assert (await client.get("/page")).status == 401


async def test_bearer_tokens_on_both_sides() -> None:
    """Read tokens read, on the lane and through ASGI, and do not write."""
    async with Client(protected(), token="abc") as client:
        assert [(await client.get(path)).status for path in ("/page", "/asgi")] == [200, 200]
        assert (await client.put("/values/a", body="")).status == 403
    async with Client(protected(), token="def") as client:
        assert (await client.put("/values/a", body="")).status == 200


@pytest.mark.parametrize("target", ["//evil", "https://evil", "/\\evil", "javascript:x", "", "/ä"])
async def test_the_way_back_stays_here(target: str) -> None:
    """`next` never leads to another site."""
    async with Client(protected()) as client:
        from urllib.parse import quote

        found = await client.post("/login", body=f"token=def&next={quote(target)}")
        assert found.headers["location"] == "/"


async def test_nobody_is_logged_in_from_elsewhere() -> None:
    """A form that another site sends is refused, whatever token it has."""
    async with Client(protected()) as client:
        for fields in ({"Origin": "http://evil"}, {"Sec-Fetch-Site": "cross-site"}):
            assert (await client.post("/login", body="token=def", headers=fields)).status == 403
        assert client.cookies == {}


async def test_the_form_escapes_what_it_shows() -> None:
    """Markup in `next` stays text."""
    async with Client(protected()) as client:
        form = await client.get("/login", query={"next": "/'><script>alert(1)</script>"})
        assert "<script>" not in form.text
