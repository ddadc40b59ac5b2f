"""Writes over HTTP: three levels of answer, and never a 200 or 202 for what is not durable."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from livekv import app
from livekv.messages import PutValue
from skerry.errors import Disconnected, Overloaded
from skerry.kernel.writes import HttpReads
from skerry.testing.app import World, running
from skerry.testing.client import Answer


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with running(app) as made:
        yield made


class Queue:
    """Makes the transport one with a durable queue in front: `send` is confirmed at once, decided when let."""

    def __init__(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        self.let = asyncio.Event()
        self.error: Exception | None = None
        transport = world.kernel.transport
        real = transport.send
        self.later: list[Any] = []

        def send(envelopes: list[Any], partition: int) -> asyncio.Future[None]:
            confirmed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            if self.error is not None:
                confirmed.set_exception(self.error)
                return confirmed

            async def decide() -> None:
                await self.let.wait()
                await real(envelopes, partition)

            self.later.append(asyncio.ensure_future(decide()))
            confirmed.set_result(None)
            return confirmed

        monkeypatch.setattr(transport, "send", send)
        monkeypatch.setattr(type(transport), "accepts_early", property(lambda self: True))


@pytest.fixture
async def queue(world: World, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Queue]:
    made = Queue(world, monkeypatch)
    yield made
    made.let.set()
    await asyncio.gather(*made.later)


async def put(world: World, key: str = "a", body: str = "1", **headers: str) -> Answer:
    return await world.client.put(
        f"/values/{key}", body=body, headers={k.replace("_", "-"): v for k, v in headers.items()}
    )


async def test_accepted_is_accepted_at_once(world: World, queue: Queue) -> None:
    """`Prefer: respond-async` and a durable queue: 202, where to ask, and it is pending until it is decided."""
    answer = await put(world, Prefer="respond-async")
    assert answer.status == 202
    assert answer.json() == {"key": "a", "value": "1", "message": "Accepted"}
    where = answer.headers["location"]
    assert where == f"/commands/{answer.headers['skerry-command']}"
    assert (await world.client.get(where)).json()["status"] == "pending"
    assert (await world.client.get("/values/a")).status == 404
    queue.let.set()
    await asyncio.gather(*queue.later)
    assert (await world.client.get(where)).json()["status"] == "applied"
    assert (await world.client.get("/values/a")).status == 200


async def test_an_answer_about_a_row_says_where_memory_is_now(world: World) -> None:
    """Its ETag is of the row's last change, its position of the whole memory, whatever was changed since."""
    first = await world.client.put("/values/a", body="1")
    second = await world.client.put("/values/b", body="2")
    for _ in range(2):
        row = await world.client.get("/values/a")
        assert row.etag == f'"{first.headers["skerry-position"]}"'
        assert row.headers["skerry-position"] == second.headers["skerry-position"]
    third = await world.client.put("/values/c", body="3")
    assert (await world.client.get("/values/a")).headers["skerry-position"] == third.headers[
        "skerry-position"
    ]


@pytest.mark.parametrize(
    ("error", "advice"),
    [(Overloaded("the window is full"), False), (Disconnected("lost before the confirm"), True)],
)
async def test_what_is_not_durable_is_503(world: World, queue: Queue, error: Exception, advice: bool) -> None:
    """With Retry-After; when it may or may not have been taken, also its id and the advice to repeat it so."""
    queue.error = error
    for prefer in ("wait=1", "respond-async"):
        answer = await put(world, Prefer=prefer)
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")
        assert answer.headers["content-type"] == "application/problem+json"
        assert ("skerry-command" in answer.headers) is advice
        assert ("repeat with the same Idempotency-Key" in answer.json()["detail"]) is advice


async def test_without_a_queue_nothing_is_accepted_early(world: World) -> None:
    """On memory: and local: respond-async waits for the commit too."""
    answer = await put(world, Prefer="respond-async")
    assert (answer.status, answer.json()["message"]) == (200, "OK")


async def test_a_wait_that_runs_out_on_a_durable_command_is_202(
    world: World, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not 504, not 200: it will be decided. `Prefer: wait=1000` waits 30 s at most: nobody holds it open for ever."""
    loop = asyncio.get_running_loop()
    times: list[float] = []
    real = loop.call_later

    def call_later(delay: float, *args: Any, **more: Any) -> Any:
        times.append(delay)
        return real(min(delay, 0.02), *args, **more)

    monkeypatch.setattr(loop, "call_later", call_later)
    answer = await put(world, Prefer="wait=1000")
    monkeypatch.undo()
    assert answer.status == 202
    assert "skerry-position" not in answer.headers
    assert 30.0 in times
    assert 1000.0 not in times


async def test_the_same_key_at_the_same_time(world: World) -> None:
    """Repeated while the first is under way: one effect, the same answer for all."""
    answers = await asyncio.gather(*(put(world, Idempotency_Key="k") for _ in range(10)))
    assert {(a.status, a.headers["skerry-position"], a.headers["skerry-command"]) for a in answers} == {
        (200, answers[0].headers["skerry-position"], answers[0].headers["skerry-command"])
    }
    assert len(await world.events()) == 1


async def test_another_request_under_a_key_that_is_under_way(world: World) -> None:
    """422 for the second at once; also when only its precondition differs."""
    answers = await asyncio.gather(
        put(world, body="1", Idempotency_Key="k"),
        put(world, body="2", Idempotency_Key="k"),
        put(world, body="1", Idempotency_Key="k", If_None_Match="*"),
    )
    assert [answer.status for answer in answers] == [200, 422, 422]
    assert len(await world.events()) == 1


async def test_keys_of_different_requests_are_different(world: World) -> None:
    """Method and target are part of the identity: a key used on two resources is two writes."""
    assert (await put(world, "a", Idempotency_Key="k")).status == 200
    assert (await put(world, "b", Idempotency_Key="k")).status == 200
    assert len(await world.events()) == 2


@pytest.mark.parametrize("key", ["", "x" * 256, "tab\there"])
async def test_what_is_no_idempotency_key(world: World, key: str) -> None:
    """400 with what is allowed; nothing is sent."""
    answer = await put(world, Idempotency_Key=key)
    assert answer.status == 400
    assert "Idempotency-Key" in answer.json()["detail"]
    assert not await world.events()


async def test_a_client_that_goes_away_takes_nothing_back(world: World) -> None:
    """Its write is decided all the same, and nothing is reported as an error."""
    asking = asyncio.ensure_future(put(world))
    await asyncio.sleep(0)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    await world.commands.send(PutValue("after", "1"))
    assert {record.key for record in await world.events()} >= {"after"}


async def test_a_read_that_waits_does_not_hold_up_the_end(world: World) -> None:
    """When the process ends, what waits for a position is told so soon, whatever it would have waited."""
    here = (await put(world)).headers["skerry-position"]
    epoch, _, offset = here.partition(":")
    later = {"Skerry-Position": f"{epoch}:{int(offset) + 100}", "Prefer": "wait=30"}
    waiting = asyncio.ensure_future(world.client.get("/values/a", headers=later))
    for _ in range(5):
        await asyncio.sleep(0)
    world.service(HttpReads).hurry(0.05)
    one, two = await asyncio.gather(waiting, world.client.get("/values/a", headers=later))
    assert (one.status, one.headers["retry-after"]) == (503, "1")
    assert two.status == 503
    assert (await world.client.get("/values/a", headers={"Skerry-Position": here})).status == 200
