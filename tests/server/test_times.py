"""Every request is in the histogram once, whichever way it was answered, and the access log has the time it took."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from skerry.http.application import Application
from skerry.http.reply import Response
from skerry.server.settings import ServerSettings
from skerry.server.state import QUICK_SECONDS
from skerry.testing.client import Client


def waiting() -> tuple[Application, asyncio.Queue[asyncio.Future[Any]]]:
    app, futures = Application(), asyncio.Queue[asyncio.Future[Any]](1)

    @app.get("/values/{key}")
    def value(key: str) -> Response:
        return Response(key, etag=key)

    @app.put("/values/{key}")
    def put(key: str) -> asyncio.Future[Any]:
        future = asyncio.get_running_loop().create_future()
        futures.put_nowait(future)
        return future

    @app.get("/asgi")
    async def asgi() -> str:
        return "asgi"

    return app, futures


def times(client: Client) -> dict[tuple[str, str], float]:
    """(side, bound or `sum` or `count`) -> number."""
    [metric] = [each for each in client.server.collect() if each.name == "skerry_http_request_seconds"]
    found = {}
    for sample in metric.samples:
        labels = dict(sample.labels)
        found[labels["side"], labels.get("le", sample.name.rpartition("_")[2])] = sample.value
    return found


@pytest.mark.parametrize("logged", ["off", "all"])
async def test_every_answer_is_counted_once(logged: Any) -> None:
    """Repeated and first requests, misses, what waits for a future, and the ASGI side."""
    app, futures = waiting()
    async with Client(app, settings=ServerSettings(access_log=logged)) as client:
        for number in range(5):
            await client.get(f"/values/{number}")
        await client.get("/nothing")
        await client.get("/asgi")
        before = times(client)
        assert (before["lane", "count"], before["application", "count"]) == (6, 1)
        assert before["lane", "sum"] > 0
        write = asyncio.ensure_future(client.put("/values/a", body=""))
        future = await futures.get()
        assert times(client)["lane", "count"] == 6
        await asyncio.sleep(2 * QUICK_SECONDS)
        future.set_result("done")
        assert (await write).text == "done"
        after = times(client)
        assert after["lane", "count"] == after["lane", "+Inf"] == 7
        quick = f"{QUICK_SECONDS:g}"
        assert after["lane", "+Inf"] - after["lane", quick] >= 1
        assert after["lane", "sum"] - before["lane", "sum"] >= QUICK_SECONDS


async def test_the_access_log_has_the_time_of_lane_requests(caplog: pytest.LogCaptureFixture) -> None:
    """The first of a connection, those that repeat its fields, and misses that no view has seen."""
    app, _ = waiting()
    async with Client(app, settings=ServerSettings(access_log="all")) as client:
        with caplog.at_level(logging.INFO, logger="skerry.access"):
            for number in range(3):
                await client.get(f"/values/{number}")
            await client.get("/asgi")
    lines = [record for record in caplog.records if record.name == "skerry.access"]
    assert len(lines) == 4
    assert all(record.seconds > 0 for record in lines)  # type: ignore[attr-defined]
