"""What an operator does with the queue in PostgreSQL: make, check, tidy and drop it, and ask the doctor."""

from __future__ import annotations

import secrets

import pytest

from skerry.backends.postgres.queue.operations import check, create, doctor, drop, tidy
from skerry.backends.postgres.queue.settings import QueueSettings
from skerry.backends.postgres.queue.transport import PostgresTransport
from skerry.errors import TransportError
from skerry.testing.services import PrivatePostgres
from skerry.testing.transports import envelope, numbers, soon, started, take

pytestmark = pytest.mark.service("postgresql")
FORMER = QueueSettings(partitions=2, claim_seconds=1.0)
PRESENT = QueueSettings(partitions=1, generation=2, claim_seconds=1.0)


async def test_a_queue_from_its_making_to_its_end(postgresql: PrivatePostgres) -> None:
    """Made once; commands of former settings are named by check and doctor until a consumer of those settings has
    decided them; nothing is dropped while commands wait or somebody reads, unless it is forced."""
    dsn, namespace = postgresql.dsn, f"t{secrets.token_hex(4)}"
    tables = [f"table {namespace}__queue", f"table {namespace}__reader"]
    assert await check(dsn, namespace, FORMER) == [f"{table} is missing" for table in tables]
    assert [found.level for found in await doctor(dsn, namespace, FORMER)] == ["warning"]
    assert await create(dsn, namespace) == tables
    assert await create(dsn, namespace) == []
    assert await check(dsn, namespace, FORMER) == []
    assert "no command waits in the queue" in [found.what for found in await doctor(dsn, namespace, FORMER)]

    process = PostgresTransport(dsn, namespace, FORMER)
    async with started(process):
        await soon(process.send([envelope(1)], 1))
        told = [found.what for found in await doctor(dsn, namespace, FORMER)]
        assert any("wait in partition 1" in what and "no consumer reads it" in what for what in told)
        [stray] = await check(dsn, namespace, PRESENT)
        assert stray.startswith("1 messages of commands wait in partition 1 of generation 1")
        assert await tidy(dsn, namespace, PRESENT) == [f"left {stray}"]
        with pytest.raises(TransportError, match="1 messages of commands wait"):
            await drop(dsn, namespace)
        commands = await process.commands(1)
        assert numbers(await take(commands, 1)) == [1]
    assert await check(dsn, namespace, PRESENT) == []
    assert await tidy(dsn, namespace, PRESENT) == ["forgot partition 1 of generation 1"]

    reading = PostgresTransport(dsn, namespace, FORMER)
    async with started(reading):
        await reading.commands(0)
        with pytest.raises(TransportError, match="a consumer reads the queue"):
            await drop(dsn, namespace)
    assert await drop(dsn, namespace) == tables
    assert await drop(dsn, namespace) == []
