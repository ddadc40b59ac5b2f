"""What clients of livekv meet when the journal loses its last events, and when it only begins another epoch."""

from __future__ import annotations

import json
from typing import Any

import pytest

from livekv import app
from skerry.backends.memory.journal import MemoryJournal
from skerry.testing.app import World, running
from skerry.testing.client import Answer
from skerry.testing.journal_samples import MemoryStandby


async def put(world: World, key: str, value: str, **headers: str) -> Answer:
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return await world.client.put(f"/values/{key}", body=value, headers=named)


async def hello(world: World, since: str) -> dict[str, Any]:
    """What the stream begins with for somebody who comes back with a position."""
    accept = {"Accept": "text/event-stream"}
    async with world.client.stream("GET", f"/events?since={since}", headers=accept) as stream:
        received = b""
        async for part in stream:
            received += part
            for line in received.split(b"\n"):
                if line.startswith(b"data: {") and line.endswith(b"}"):
                    found: dict[str, Any] = json.loads(line[6:])
                    return found
    raise AssertionError(f"no hello in {received!r}")


def journal_of(world: World) -> MemoryJournal:
    assert isinstance(world.journal, MemoryJournal)
    return world.journal


async def test_nothing_changes_for_what_is_left() -> None:
    """After a failover that lost nothing of it: ETags hold, for reads and for writes, a resumed listener is told
    everything, a position is waited for, and a command that is asked again has the answer that it had."""
    async with running(app) as world:
        first = await put(world, "a", "1", idempotency_key="one")
        await put(world, "b", "2")
        standby = MemoryStandby(journal_of(world))
        await standby.promote()
        later = await put(world, "c", "3")
        assert (
            later.headers["skerry-position"].split(":")[0] != first.headers["skerry-position"].split(":")[0]
        )
        assert (await world.client.get("/values/a")).etag == first.etag
        unchanged = await world.client.get("/values/a", headers={"If-None-Match": first.etag or ""})
        assert unchanged.status == 304
        told = await hello(world, first.headers["skerry-position"])
        assert told["recovered"] is True
        again = await put(world, "a", "1", idempotency_key="one")
        assert (again.status, again.etag) == (200, first.etag)
        assert again.headers["skerry-position"] == first.headers["skerry-position"]
        waited = await world.client.get(
            "/values/c", headers={"Skerry-Position": first.headers["skerry-position"]}
        )
        assert waited.headers["skerry-position"] == later.headers["skerry-position"]
        assert (await put(world, "a", "4", if_match=first.etag or "")).status == 200
        assert (await put(world, "a", "5", if_match=first.etag or "")).status == 412
        status = await world.client.get(f"/commands/{first.headers['skerry-command']}")
        assert status.json()["position"] == first.headers["skerry-position"]


@pytest.mark.parametrize("again", [0, 1, 5])
async def test_what_was_lost_is_nobodys(again: int) -> None:
    """Its ETag is 412 whoever stands at that offset now, its listener has to load a snapshot, its position is answered
    at once, its command can be sent again, and memory shows what is left."""
    async with running(app) as world:
        kept = await put(world, "a", "1")
        standby = MemoryStandby(journal_of(world))
        lost = await put(world, "a", "lost", idempotency_key="lost")
        await standby.promote()
        for number in range(again):
            await put(world, f"new{number}", "2")
        found = await world.client.get(
            "/values/a", headers={"Skerry-Position": lost.headers["skerry-position"]}
        )
        if again:
            assert found.json()["value"] == "1"
            assert found.etag == kept.etag
            assert (await hello(world, lost.headers["skerry-position"]))["recovered"] is False
        assert (await put(world, "a", "3", if_match=lost.etag or "")).status == 412
        for number in range(again):
            assert (await put(world, f"new{number}", "3", if_match=lost.etag or "")).status == 412
        told = await world.client.get(f"/commands/{lost.headers['skerry-command']}")
        assert told.status == 404
        repeated = await put(world, "a", "lost", idempotency_key="lost")
        assert repeated.status == 200
        assert repeated.etag not in (lost.etag, kept.etag)
        assert (await world.client.get("/values/a")).json()["value"] == "lost"
