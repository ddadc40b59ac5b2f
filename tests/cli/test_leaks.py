"""`skerry leaks` as a user runs it: exit codes, and what it says."""

from __future__ import annotations

from pathlib import Path

import pytest

from skerry.testing.program import call

SHORT = ("--warm-up", "20", "--rounds", "8", "--requests", "10")
SHOP = """
from itertools import count

from flask import Flask, abort, request

app = Flask("shop")
seen = []
numbers = count()


@app.get("/leaky")
def leaky():
    seen.append([next(numbers)])
    return "noted"


@app.get("/clean/<int:number>")
def clean(number):
    return request.headers["X-Shop"] + str(number)


@app.post("/used-up")
def used_up():
    if request.get_data() != b"pot":
        abort(400)
    if len(seen) > 30:
        raise LookupError("no room")
    seen.append(1)
    return "room"


@app.get("/fails")
def fails():
    abort(503)
"""
STOCK = """
from skerry import App

app = App("stock")


@app.get("/stock/{name}")
def stock(name: str) -> dict[str, str]:
    return {"name": name}


@app.get("/list")
async def listed() -> list[str]:
    return ["tea"]
"""


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    (tmp_path / "shop.py").write_text(SHOP)
    (tmp_path / "stock.py").write_text(STOCK)
    return tmp_path


async def test_a_leaking_route_is_named_with_its_line(shop: Path) -> None:
    """Exit code 1: the type, the line that allocates it; a clean one is told as such. A route that ceases to answer has
    leaked as well."""
    routes = ("--route", "/clean/{n}", "--route", "POST /used-up", "--route", "/leaky")
    done = await call(shop, "leaks", "shop:app", *SHORT, *routes, "--header", "X-Shop: tea", "--body", "pot")
    assert done.code == 1, done.error
    clean, used_up, leaky, *lines = done.out.splitlines()
    assert clean == "GET /clean/{n}: clean, 100 requests"
    assert used_up.startswith("POST /used-up: LEAKS: answered 200, and after 31 requests 500")
    assert leaky.startswith("GET /leaky: LEAKS")
    assert any(line.split() == ["1", "list"] for line in lines), lines
    assert any(
        line.startswith("    shop.py:") and "seen.append([next(numbers)])" in line for line in lines
    ), lines
    assert "GET /leaky: warm-up, 20 requests" in done.error
    assert "GET /leaky: round 1 of 8" in done.error


async def test_an_app_without_leaks_is_clean(shop: Path) -> None:
    """An App of Skerry: its lane and its asynchronous side; exit code 0."""
    done = await call(shop, "leaks", "stock:app", *SHORT, "--route", "/stock/{n}", "--route", "/list")
    assert done.code == 0, done.out + done.error
    assert done.out.splitlines() == ["GET /stock/{n}: clean, 100 requests", "GET /list: clean, 100 requests"]


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("shop:app", "--route", "/fails"), "GET /fails answers 503"),
        (("shop:app", "--route", "leaky"), "'leaky' is neither /PATH nor METHOD /PATH"),
        (("nowhere:app", "--route", "/leaky"), "there is no module 'nowhere' here"),
        (("shop:app",), "Missing option '--route'"),
    ],
)
async def test_wrong_usage_is_told(shop: Path, arguments: tuple[str, ...], why: str) -> None:
    """Exit code 2, and what is wrong: a route that does not work cannot be measured."""
    done = await call(shop, "leaks", *arguments)
    assert (done.code, why in done.error) == (2, True), done.error
