"""Private brokers: they start beside others, keep their data over a kill, and leave nothing behind."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from skerry.testing.broker import BrokerFailed, PrivateBroker, free_ports
from skerry.testing.services import require
from skerry.testing.transport_samples import until

pytestmark = [pytest.mark.service("rabbitmq"), pytest.mark.timeout(600)]


async def listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


async def test_start_kill_restart_stop(tmp_path: Path) -> None:
    """One life: it listens, answers control, dies by kill -9, comes back on the same port, ends without a rest."""
    require("rabbitmq")
    async with PrivateBroker(tmp_path) as broker:
        assert broker.running
        assert (await broker.evaluate("1 + 1.")).strip() == "2"
        with pytest.raises(BrokerFailed, match="no_such_command"):
            await broker.control("no_such_command")
        await broker.kill()
        assert not broker.running
        assert not await listens(broker.port)
        await broker.start()
        assert await listens(broker.port)
    assert not await listens(broker.port)
    await until(lambda: str(tmp_path) not in processes(), 60)


async def test_a_broker_that_cannot_start_says_why(tmp_path: Path) -> None:
    """Its output stands in the error."""
    require("rabbitmq")
    with pytest.raises(BrokerFailed, match="nonsense"):
        async with PrivateBroker(tmp_path, config="nonsense.setting = 1"):
            raise AssertionError("it must not start")


def test_free_ports_are_free_and_different() -> None:
    """As many as asked for, none twice."""
    ports = free_ports(20)
    assert len(set(ports)) == 20


def processes() -> str:
    """The command lines of all processes."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(entry.read_text())
        except OSError:
            continue
    return "\n".join(found)
