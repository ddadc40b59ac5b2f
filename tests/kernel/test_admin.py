"""The admin address tells how a process is, gives numbers to those with its token, takes orders from nobody else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest

from skerry.errors import SettingsError
from skerry.http.health import Purpose
from skerry.kernel.admin import AdminServer, Order
from skerry.kernel.settings import Settings
from skerry.testing.program import HttpAnswer, HttpConnection

ORDER = b'{"order":"reload"}'
JSON = {"Content_Type": "application/json"}
TOKEN = {"Authorization": "Bearer sesame"}


def report(purpose: Purpose) -> tuple[bool, dict[str, Any]]:
    return purpose is Purpose.TRAFFIC, {"asked": purpose.value}


async def numbers() -> str:
    return "skerry_of_all 1\n"


@asynccontextmanager
async def served(token: str = "", order: Order | None = None) -> AsyncIterator[HttpConnection]:
    settings = Settings(admin_bind="127.0.0.1:0", admin_token=token)
    server = AdminServer(settings, report, numbers, order)
    assert server.url == ""
    await server.start()
    client = HttpConnection(urlsplit(server.url).port or 0)
    try:
        yield client
    finally:
        client.close()
        await server.stop()


def told(answer: HttpAnswer) -> tuple[int, bytes]:
    return answer.status, bytes(answer.body)


async def test_it_reads_without_a_token() -> None:
    """Live, ready for each purpose, numbers; nothing can be ordered."""
    async with served(order=lambda text: pytest.fail("ordered")) as client:
        assert (await client.ask("GET", "/health/live")).status == 200
        assert told(await client.ask("GET", "/health/ready")) == (503, b'{"asked":""}')
        assert told(await client.ask("GET", "/health/ready?for=traffic")) == (200, b'{"asked":"traffic"}')
        assert told(await client.ask("GET", "/health/ready?for=writes")) == (503, b'{"asked":"writes"}')
        assert (await client.ask("GET", "/health/ready?for=fun")).status == 400
        assert told(await client.ask("GET", "/metrics")) == (200, b"skerry_of_all 1\n")
        refused = await client.ask("POST", "/orders", ORDER, **JSON)
        assert refused.status == 403
        assert b"SKERRY_ADMIN_TOKEN" in refused.body


async def test_orders_need_the_token_json_and_no_page() -> None:
    """What they bring about is the answer: done, failed, not possible, none at all."""
    given: list[bytes] = []

    async def order(text: bytes) -> tuple[int, str]:
        given.append(text)
        if b"nonsense" in text:
            raise ValueError("no such order")
        return len(given) - 1, "told"

    async with served("sesame", order) as client:
        assert (await client.ask("GET", "/health/ready?for=traffic")).status == 200
        assert (await client.ask("GET", "/metrics")).status == 401
        assert (await client.ask("GET", "/metrics", b"", **TOKEN)).status == 200
        assert (await client.ask("POST", "/orders", ORDER, **JSON)).status == 401
        assert (await client.ask("POST", "/orders", ORDER, Authorization="Bearer sesame")).status == 415
        assert (
            await client.ask("POST", "/orders", ORDER, Origin="http://localhost", **TOKEN, **JSON)
        ).status == 403
        assert (await client.ask("GET", "/orders", b"", **TOKEN)).status == 405
        assert given == []
        assert told(await client.ask("POST", "/orders", ORDER, **TOKEN, **JSON)) == (
            200,
            b'{"code":0,"message":"told"}',
        )
        assert (await client.ask("POST", "/orders", ORDER, **TOKEN, **JSON)).status == 409
        assert (await client.ask("POST", "/orders", ORDER, **TOKEN, **JSON)).status == 422
        assert (await client.ask("POST", "/orders", b"nonsense", **TOKEN, **JSON)).status == 400


@pytest.mark.parametrize("bind", ["0.0.0.0:9", "[::]:9", "192.0.2.1:9"])
def test_beyond_loopback_it_needs_a_token(bind: str) -> None:
    """Else the settings are wrong, with the cure."""
    with pytest.raises(SettingsError, match="set SKERRY_ADMIN_TOKEN"):
        Settings(admin_bind=bind)
    assert Settings(admin_bind=bind, admin_token="x").admin_bind == bind
