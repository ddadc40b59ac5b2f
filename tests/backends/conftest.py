"""One private RabbitMQ for all tests here that only need a broker; fault tests start their own."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from skerry.testing.broker import PrivateBroker
from skerry.testing.services import require


@pytest.fixture(scope="session")
def rabbitmq(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateBroker]:
    """A running broker. Each test takes a namespace of its own on it."""
    require("rabbitmq")
    broker = PrivateBroker(tmp_path_factory.mktemp("rabbitmq"))
    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(broker.start())
        yield broker
    finally:
        loop.run_until_complete(broker.stop())
        loop.close()
