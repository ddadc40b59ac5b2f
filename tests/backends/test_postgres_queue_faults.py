"""The PostgreSQL transport on a server of its own: killed, cut off, promoted."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from urllib.parse import urlsplit

import pytest

from skerry.backends.postgres.queue.settings import QueueSettings
from skerry.backends.postgres.queue.transport import PostgresTransport
from skerry.backends.postgres.settings import PostgresSettings
from skerry.bus.transport import Transport
from skerry.testing.proxy import FaultProxy
from skerry.testing.services import PrivatePostgres, private_postgres, private_standby, require
from skerry.testing.transports import envelope, numbers, soon, started, take
from skerry.testing.wired_transports import WireTransportSuite, WireWorld, reopen

pytestmark = [pytest.mark.service("postgresql"), pytest.mark.timeout(300)]
QUICK = PostgresSettings(
    connect_seconds=2.0, doubt_seconds=1.0, first_pause_seconds=0.05, longest_pause_seconds=0.2
)


@pytest.fixture(scope="module")
def own_server() -> Iterator[PrivatePostgres]:
    """A server that this file may kill."""
    require("postgresql")
    with private_postgres(durable=True) as server:
        yield server


class QueueWire:
    """A namespace of its own, reached through a proxy."""

    def __init__(self, server: PrivatePostgres, proxy: FaultProxy) -> None:
        self._server, self._proxy = server, proxy
        self.dsn = server.dsn.replace(f":{server.port}/", f":{proxy.port}/")
        self.namespace = f"t{secrets.token_hex(4)}"
        self.settings = QueueSettings(
            partitions=2, claim_seconds=1.0, beat_seconds=0.8, start_seconds=8.0, resend_seconds=60.0
        )

    @property
    def proxy(self) -> FaultProxy:
        return self._proxy

    def endpoint(self, window: int | None = None) -> Transport:
        settings = replace(self.settings, window=window or self.settings.window)
        return PostgresTransport(self.dsn, self.namespace, settings, QUICK)

    async def inject(self, partition: int, data: bytes) -> None:
        raise NotImplementedError

    async def crash(self) -> None:
        await asyncio.to_thread(self._server.kill)

    async def restart(self) -> None:
        self._server.start()  # in this thread: it ends with the one that starts it


class TestPostgresQueueFaults(WireTransportSuite):
    @pytest.fixture
    async def wire(self, own_server: PrivatePostgres) -> AsyncIterator[WireWorld]:
        own_server.start()
        async with FaultProxy(own_server.port) as proxy:
            yield QueueWire(own_server, proxy)


async def test_confirmed_commands_survive_a_promotion() -> None:
    """A synchronous standby is promoted when its primary has died: every confirmed command is there, in order, and the
    same transports go on at the other host."""
    require("postgresql")
    with private_postgres(durable=True) as primary, private_standby(primary, "near", durable=True) as standby:
        primary.query("alter system set synchronous_standby_names = 'near'")
        primary.query("select pg_reload_conf()")
        parts = urlsplit(primary.dsn)
        login = parts.netloc.rpartition("@")[0]
        dsn = f"postgresql://{login}@127.0.0.1:{primary.port},127.0.0.1:{standby.port}{parts.path}"
        settings = QueueSettings(claim_seconds=1.0, resend_seconds=60.0)
        sender, reader = (PostgresTransport(dsn, "moved", settings, QUICK) for _ in range(2))
        async with started(sender, reader):
            commands = await reader.commands(0)
            for number in range(5):
                await soon(sender.send([envelope(number)], 0))
            got = numbers(await take(commands, 5))
            for number in range(5, 10):
                await soon(sender.send([envelope(number)], 0))
            await asyncio.to_thread(primary.kill)
            sends = [asyncio.ensure_future(sender.send([envelope(number)], 0)) for number in range(10, 15)]
            await asyncio.to_thread(standby.promote)
            await soon(asyncio.gather(*sends))
            again = await reopen(reader)
            while 14 not in got:
                got += numbers(await take(again, 1))
        first_seen = list(dict.fromkeys(got))
        assert first_seen == list(range(15))
