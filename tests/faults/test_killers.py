"""A command that kills its process, from end to end."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from faultworld import FaultWorld, Servers, until  # type: ignore[import-not-found]

from skerry.backends.postgres.journal import PostgresJournal
from skerry.testing.program import HttpConnection

pytestmark = pytest.mark.timeout(600)


async def test_a_command_that_kills_its_process_is_isolated(tmp_path: Path, each: Servers) -> None:
    """Consumers die of one command until it is tried alone and set aside as a dead letter with its bytes; its sender
    learns that it failed, its neighbours take effect once and in order, and later commands go on."""
    async with FaultWorld(tmp_path, each, target="deadly:app") as world:
        await world.start(consumers=1, servers=1, listeners=0)
        port = world.ports[0]
        deaths = 0

        async def put(key: str, value: str) -> tuple[int, bytes]:
            """Asked again until the outcome is known, as a client of a longer outage does."""
            connection = HttpConnection(port)
            try:
                while True:
                    headers = {"Idempotency_Key": f"{key}-{value}", "Prefer": "wait=20"}
                    answer = await connection.ask("PUT", f"/values/{key}", value.encode(), **headers)
                    if answer.status not in (202, 503):
                        return answer.status, answer.body
            finally:
                connection.close()

        assert (await put("before", "1"))[0] == 200
        tasks = [
            asyncio.create_task(put("n0", "slow"))
        ]  # holds the batch up, so that the next ones wait together
        await asyncio.sleep(0.05)
        values = [f"v{number}" for number in range(1, 12)]
        values[5] = "deadly"
        tasks += [asyncio.create_task(put(f"n{number}", value)) for number, value in enumerate(values, 1)]
        while not all(task.done() for task in tasks):
            if not world.consumers[-1].running:
                deaths += 1
                assert deaths < 12, world.report("it kills for ever")
                await world.consumer()
            await asyncio.sleep(0.05)
        answers = [task.result() for task in tasks]
        assert [status for status, _ in answers] == [200] * 6 + [500] + [200] * 5
        assert b"Traceback" not in answers[6][1]
        assert (await put("after", "1"))[0] == 200
        assert world.consumers[-1].running
        print(f"{deaths} deaths")

        async with PostgresJournal(each.postgres.dsn, world.namespace) as journal:
            [letter] = await journal.dead_letters()
            assert json.loads(letter.body)["value"] == "deadly"
            assert "died" in letter.reason
            assert await journal.verify() == []
            offsets = [record.key for record in await journal.read(0, 100)]
        assert sorted(offsets) == sorted(["before", "after", *(f"n{n}" for n in range(12) if n != 6)])
        await until(lambda: world.consumers[-1].running, 1, lambda: "")
