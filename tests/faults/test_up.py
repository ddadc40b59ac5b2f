"""The whole topology as a user starts it, `skerry up --consumers 2`, on RabbitMQ and PostgreSQL: what is answered
stays, takes effect once and in order, whatever becomes of the consumers."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections import defaultdict
from pathlib import Path

import msgspec
import pytest
from faultworld import Servers  # type: ignore[import-not-found]

from skerry.backends.postgres.journal import PostgresJournal
from skerry.testing.program import HttpConnection

sys.path.insert(0, str(Path(__file__).parents[1] / "e2e"))
from upworld import Up, up  # type: ignore[import-not-found]

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="kills as on Linux"),
    pytest.mark.timeout(900),
]
WRITERS = 6
PATIENCE = 180.0
"""Seconds for what takes a few."""


class Writers:
    """Each writes 1, 2, 3 ... to a key of its own; one write is repeated under its id until it is answered."""

    def __init__(self, world: Up) -> None:
        self._world = world
        self.answered = [0] * WRITERS

    async def run(self, number: int) -> None:
        client = HttpConnection(self._world.port)
        while True:
            value = str(self.answered[number] + 1)
            try:
                async with asyncio.timeout(20):
                    answer = await client.ask(
                        "PUT", f"/values/w{number}", value.encode(), Idempotency_Key=f"{number}-{value}"
                    )
            except (ConnectionError, TimeoutError):
                await asyncio.sleep(0.02)
                continue
            assert answer.status in (200, 202, 503), answer
            if answer.status == 200:
                self.answered[number] += 1
            else:
                await asyncio.sleep(0.05)

    async def more(self, writes: int = 5) -> None:
        """Until every one of them was answered so often again: all partitions are worked on."""
        enough = [count + writes for count in self.answered]
        await self._world.until(
            lambda: all(a >= e for a, e in zip(self.answered, enough, strict=True)), PATIENCE
        )


def pid_of(world: Up, name: str) -> int:
    [found] = [process.pid for process in world.processes() if process.name == name]
    assert found
    return int(found)


async def partitions(world: Up) -> dict[str, float]:
    """How many partitions each consumer says that it works on."""
    client = HttpConnection(world.port)
    lines = (await client.ask("GET", "/metrics")).body.decode().splitlines()
    client.close()
    return {
        line.split('"')[1]: float(line.split()[-1]) for line in lines if line.startswith("skerry_partitions{")
    }


async def test_two_consumers_are_killed_stopped_and_replaced(tmp_path: Path, servers: Servers) -> None:
    """One killed, one stopped for longer than its lease, all replaced under load: every write takes effect once, in the
    order of each key, none that was answered is missing, and the partitions are shared evenly in the end."""
    options = {
        "consumers": "2", "servers": "2", "partitions": "4", "lease": "1", "namespace": "uptwo",
        "journal": servers.postgres.dsn, "transport": servers.broker.url,
    }  # fmt: skip
    arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
    async with up(tmp_path, *arguments) as world:
        writers = Writers(world)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(writers.run(number)) for number in range(WRITERS)]
            await writers.more()
            os.kill(pid_of(world, "consumer-1"), signal.SIGKILL)
            await writers.more()
            await world.all_ready(PATIENCE)
            hanging = pid_of(world, "consumer-2")
            os.kill(hanging, signal.SIGSTOP)
            await writers.more()
            with contextlib.suppress(ProcessLookupError):  # the supervisor ends what hangs for 10 s
                os.kill(hanging, signal.SIGCONT)
            await world.all_ready(PATIENCE)
            world.send_signal(signal.SIGHUP)
            await world.until(lambda: world.said("every process was replaced"), PATIENCE)
            await writers.more()
            async with asyncio.timeout(PATIENCE):
                while await partitions(world) != {"consumer-1": 2.0, "consumer-2": 2.0}:  # noqa: ASYNC110 - other processes
                    await asyncio.sleep(0.1)
            for task in tasks:
                task.cancel()
        assert await world.stop() == 0

    told: defaultdict[str, list[int]] = defaultdict(list)
    async with PostgresJournal(servers.postgres.dsn, "uptwo") as journal:
        assert list(await journal.verify()) == []
        after = 0
        while records := await journal.read(after, 1000):
            for record in records:
                told[record.key].append(int(msgspec.json.decode(record.data)["value"]))
            after = records[-1].offset
    for number, answered in enumerate(writers.answered):
        values = told[f"w{number}"]
        assert values == list(range(1, len(values) + 1))
        assert len(values) in (answered, answered + 1), "the last one may have been cut off before its answer"
