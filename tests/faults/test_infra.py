"""`skerry infra` on RabbitMQ and PostgreSQL, as an operator types it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from faultworld import FaultWorld, Servers  # type: ignore[import-not-found]

from skerry.testing.program import Finished, HttpConnection, call

pytestmark = pytest.mark.timeout(600)


async def test_partitions_change_and_a_broker_is_emptied_without_the_database(
    tmp_path: Path, servers: Servers
) -> None:
    """A write waits in a queue of the first generation; it is named, decided by a consumer of that generation, and the
    queue tidied away. Dropping what is on the broker keeps rows and events."""
    async with FaultWorld(tmp_path, servers) as world:

        async def infra(*arguments: str, partitions: int = 1, generation: int = 1) -> Finished:
            return await call(
                tmp_path, "infra", *arguments, "livekv:app", "--namespace", world.namespace,
                "--journal", servers.postgres.dsn, "--transport", servers.broker.url,
                "--partitions", str(partitions), "--generation", str(generation),
            )  # fmt: skip

        await world.start(consumers=0, servers=1, listeners=0)
        client = HttpConnection(world.ports[0])
        answer = await client.ask("PUT", "/values/a", b"1", Prefer="respond-async, wait=30")
        client.close()
        assert answer.status == 202
        await world.web[0].stop()

        checked = await infra("check", partitions=2, generation=2)
        assert (checked.code, "holds 1 messages that nobody works on" in checked.error) == (1, True)
        tidied = await infra("tidy", partitions=2, generation=2)
        assert (tidied.code, tidied.out.split(":")[0]) == (
            1,
            f"left queue {world.namespace}.commands.v1.p0 exists, but generation = 2",
        )
        server = await world.server(SKERRY_PARTITIONS="2", SKERRY_GENERATION="2")
        former = await world.consumer()
        client = HttpConnection(world.ports[1])
        position = (await _until_applied(client, answer.headers["location"]))["position"]
        seen = await client.ask("GET", "/values/a", Skerry_Position=position, Prefer="wait=30")
        assert seen.status == 200
        await former.stop()
        assert (await infra("tidy", partitions=2, generation=2)).out == (
            f"dropped queue {world.namespace}.commands.v1.p0\n"
        )
        await world.consumer(SKERRY_PARTITIONS="2", SKERRY_GENERATION="2")
        assert (await client.ask("PUT", "/values/b", b"2", Prefer="wait=30")).status == 200
        client.close()
        await world.consumers[1].stop()
        await server.stop()

        dropped = await infra("drop", "--yes", "--broker-only", partitions=2, generation=2)
        assert (dropped.code, "table" in dropped.out, "v2.p1" in dropped.out) == (0, False, True)
        await world.consumer(SKERRY_GENERATION="3")
        await world.server(SKERRY_GENERATION="3")
        client = HttpConnection(world.ports[2])
        assert (await client.ask("GET", "/values/b")).status == 200
        assert (await client.ask("PUT", "/values/a", b"3", Prefer="wait=30")).status == 200
        client.close()
        await world.verdict_of_journal()


async def _until_applied(client: HttpConnection, location: str) -> dict[str, str]:
    async with asyncio.timeout(120):
        while True:
            told: dict[str, str] = json.loads((await client.ask("GET", location)).body)
            if told["status"] == "applied":
                return told
            await asyncio.sleep(0.05)
