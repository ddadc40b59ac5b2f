"""FastAPI beside an App: what the App answers is injected, its errors are problem documents."""

from __future__ import annotations

from typing import Annotated

import httpx
from bridgeshop import PaidOrders, Refund, shop  # type: ignore[import-not-found]
from fastapi import Depends, FastAPI

from skerry.errors import Rejected
from skerry.hosting import send
from skerry.hosting.starlette import asked, problems
from skerry.testing.app import running

api = FastAPI()
problems(api)
Paid = Annotated[list[int], Depends(asked(PaidOrders))]


@api.get("/paid/{least}")
async def of_the_path(least: int, paid: Paid) -> list[int]:
    return [least, *paid]


@api.get("/paid")
async def of_the_query(paid: Paid) -> list[int]:
    return paid


@api.post("/refunds/{number}")
async def refund(number: str) -> int:
    receipt = await send(Refund(int(number) if number.isdecimal() else number))
    result: int = receipt.value
    return result


@api.post("/refused")
async def refused() -> None:
    raise Rejected("not today")


def client() -> httpx.AsyncClient:
    transport = httpx.ASGITransport(api, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://test")


async def test_a_query_is_a_dependency() -> None:
    """Its fields come from the path or the query string, with their types and defaults, and are in the schema."""
    async with running(shop()), client() as http:
        assert (await http.get("/paid/3")).json() == [3]
        assert (await http.get("/paid")).json() == []
        assert (await http.get("/paid?least=2")).json() == []
        assert (await http.get("/paid?least=x")).status_code == 422
    [parameter] = api.openapi()["paths"]["/paid"]["get"]["parameters"]
    assert (parameter["name"], parameter["in"], parameter["required"]) == ("least", "query", False)
    assert parameter["schema"] == {"type": "integer", "default": 0, "title": "Least"}


async def test_errors_of_the_app_are_problems() -> None:
    """As its own views answer them; where no App runs it is 503."""
    async with running(shop()), client() as http:
        assert (await http.post("/refunds/7")).json() == 14
        wrong = await http.post("/refunds/x")
        assert (wrong.status_code, wrong.headers["content-type"]) == (422, "application/problem+json")
        assert wrong.json()["field"] == "number"
        assert (await http.post("/refused")).json()["detail"] == "not today"
    async with client() as http:
        alone = await http.get("/paid")
        assert (alone.status_code, alone.headers["retry-after"]) == (503, "1")
