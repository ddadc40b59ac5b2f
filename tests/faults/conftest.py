"""One private PostgreSQL and one private RabbitMQ for all fault tests; what a test does to them, it undoes."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from faultworld import SOAK, Servers  # type: ignore[import-not-found]

from skerry.testing.broker import PrivateBroker
from skerry.testing.services import private_postgres, require


@pytest.fixture(scope="session")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """Both, durable: what they confirm survives a kill."""
    require("postgresql")
    require("rabbitmq")
    with asyncio.Runner() as runner, private_postgres(durable=True) as postgres:
        broker = PrivateBroker(tmp_path_factory.mktemp("broker"))
        try:
            runner.run(broker.start())
            yield Servers(postgres, broker)
        finally:
            runner.run(broker.discard())


@pytest.fixture
async def servers(started: Servers) -> Servers:
    """Both, running."""
    started.postgres.start()
    if not started.broker.running:
        await started.broker.start()
    return started


@pytest.fixture(params=["broker", "brokerless"])
def each(request: pytest.FixtureRequest, servers: Servers) -> Servers:
    """Both, running: commands go by the broker, and in a second run by the database."""
    return replace(servers, brokerless=request.param == "brokerless")


@pytest.fixture(params=["broker", "brokerless"] if SOAK else ["broker"])
def either(request: pytest.FixtureRequest, servers: Servers) -> Servers:
    """The same for tests that take long: without a broker only in a soak."""
    return replace(servers, brokerless=request.param == "brokerless")
