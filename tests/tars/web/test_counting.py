"""Answers of ASGI applications are counted by their route's template, never by path."""

from __future__ import annotations

import httpx
import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.types import ASGIApp

from skerry.tars.web.counting import Counted


def broken() -> None:
    raise RuntimeError("broken")


def fast() -> FastAPI:
    app = FastAPI()
    app.get("/items/{item}")(lambda item: {"item": item})
    app.get("/broken")(broken)
    return app


async def counted(app: ASGIApp, *paths: str) -> list[tuple[str, int]]:
    found: list[tuple[str, int]] = []
    around = Counted(app, lambda route, status, seconds: found.append((route, status)))
    transport = httpx.ASGITransport(around, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
        for path in paths:
            await client.get(path)
    return found


async def test_routes_are_templates() -> None:
    """One entry for all items; an error has its status; what has no route is at /."""
    assert await counted(fast(), "/items/1", "/items/2", "/broken", "/no/such") == [
        ("GET /items/{item}", 200), ("GET /items/{item}", 200), ("GET /broken", 500), ("GET /", 404),
    ]  # fmt: skip


@pytest.mark.parametrize("path", ["/", "/a/b"])
async def test_an_application_without_routes(path: str) -> None:
    """Everything is at /."""
    assert await counted(Starlette(), path) == [("GET /", 404)]
