"""The RabbitMQ transport against a broker of its own: killed, cut off, and reached by TLS."""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
import subprocess
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from skerry.backends.rabbitmq.link import Link
from skerry.backends.rabbitmq.settings import RabbitSettings
from skerry.backends.rabbitmq.topology import Topology
from skerry.backends.rabbitmq.transport import RabbitTransport
from skerry.bus.transport import Transport
from skerry.errors import Disconnected, SettingsError
from skerry.kernel.logs import configure_logs
from skerry.testing.broker import PrivateBroker, free_ports
from skerry.testing.proxy import FaultProxy
from skerry.testing.services import require
from skerry.testing.transports import envelope, numbers, soon, started, take
from skerry.testing.wired_transports import WireTransportSuite, WireWorld

pytestmark = [pytest.mark.service("rabbitmq"), pytest.mark.timeout(300)]


def self_signed(directory: Path) -> tuple[Path, Path]:
    """A key and a certificate for localhost."""
    key, certificate = directory / "key.pem", directory / "certificate.pem"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=localhost",
    ]
    command += [
        "-addext",
        "subjectAltName=DNS:localhost,IP:127.0.0.1",
        "-keyout",
        str(key),
        "-out",
        str(certificate),
    ]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    return key, certificate


@pytest.fixture(scope="module")
def own_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateBroker]:
    """A broker that this file may kill."""
    require("rabbitmq")
    here = tmp_path_factory.mktemp("rabbitmq-faults")
    [port] = free_ports(1)
    key, certificate = self_signed(here)
    broker = PrivateBroker(
        here / "broker",
        f"listeners.ssl.1 = 127.0.0.1:{port}\nssl_options.keyfile = {key}\n"
        f"ssl_options.certfile = {certificate}\nssl_options.cacertfile = {certificate}\n",
    )
    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(broker.start())
        yield broker
    finally:
        loop.run_until_complete(broker.discard())
        loop.close()


class RabbitWire:
    """A namespace of its own, reached through a proxy."""

    def __init__(self, broker: PrivateBroker, proxy: FaultProxy) -> None:
        self._broker, self._proxy = broker, proxy
        self.settings = RabbitSettings(
            f"amqp://guest:guest@127.0.0.1:{proxy.port}/",
            f"t{secrets.token_hex(4)}",
            beat_seconds=0.8,
            connect_seconds=10.0,
            start_seconds=8.0,
            resend_seconds=60.0,
        )

    @property
    def proxy(self) -> FaultProxy:
        return self._proxy

    def endpoint(self, window: int | None = None) -> Transport:
        return RabbitTransport(replace(self.settings, window=window or self.settings.window))

    async def inject(self, partition: int, data: bytes) -> None:
        link = await Link.open(self.settings, "test")
        try:
            channel = await link.loose_channel()
            await channel.basic_publish(data, routing_key=Topology(self.settings).partition(partition).name)
        finally:
            await link.close(polite=True)

    async def crash(self) -> None:
        # RabbitMQ 3.10 writes down within half a second which quorum queues there are: one that is younger when
        # its broker is killed hangs for ever. This is not what these tests are about.
        await asyncio.sleep(4.0)
        await self._broker.kill()

    async def restart(self) -> None:
        await self._broker.start()


class TestRabbitFaults(WireTransportSuite):
    @pytest.fixture
    async def wire(self, own_broker: PrivateBroker) -> AsyncIterator[WireWorld]:
        if not own_broker.running:
            await own_broker.start()
        async with FaultProxy(own_broker.port) as proxy:
            yield RabbitWire(own_broker, proxy)


async def test_tls(own_broker: PrivateBroker) -> None:
    """amqps:// works with the broker's certificate at hand, large packs too; without it, it is a setting to put
    right and said at once."""
    if not own_broker.running:
        await own_broker.start()
    directory = own_broker.directory.parent
    found = re.search(
        r"listeners\.ssl\.1 = 127\.0\.0\.1:(\d+)", (own_broker.directory / "rabbitmq.conf").read_text()
    )
    assert found is not None
    url = f"amqps://guest:guest@localhost:{found[1]}/"
    settings = RabbitSettings(f"{url}?cafile={directory / 'certificate.pem'}", f"t{secrets.token_hex(4)}")
    process = RabbitTransport(settings)
    async with started(process):
        await soon(process.send([envelope(n, value="x" * 1000) for n in range(300)], 0))
        assert numbers(await take(await process.commands(0), 300)) == list(range(300))
    with pytest.raises(SettingsError, match="not trusted"):
        await soon(RabbitTransport(replace(settings, url=url)).start(), 30.0)
    with pytest.raises(SettingsError, match="cannot be read"):
        await soon(RabbitTransport(replace(settings, url=f"{url}?cafile=/no/such/file")).start(), 30.0)


async def test_the_library_says_nothing_of_its_own(caplog: pytest.LogCaptureFixture) -> None:
    """A broker that is away is told by an error, once: no line at each attempt, no traceback, also where the logs of a
    `skerry` command are set up."""
    root, aiormq = logging.getLogger(), logging.getLogger("aiormq")
    former = root.handlers[:], root.level
    aiormq.setLevel(logging.NOTSET)
    try:
        configure_logs("json", "info")
        root.addHandler(caplog.handler)
        [port] = free_ports(1)
        with pytest.raises(Disconnected, match="cannot be reached"):
            await Link.open(RabbitSettings(f"amqp://guest:guest@127.0.0.1:{port}/"), "test")
    finally:
        root.handlers[:], root.level = former
    assert caplog.messages == []
