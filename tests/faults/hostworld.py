"""Three hosts as deploy/three-hosts has them, each a network namespace with a PostgreSQL, a consumer and a server, and,
where commands go by brokers, a RabbitMQ of one cluster; clients on a fourth. The test is their manager: it promotes,
and lets the others follow.
"""

from __future__ import annotations

import asyncio
import os
import signal
import struct
import subprocess
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
from faultworld import FaultWorld, Servers  # type: ignore[import-not-found]

from livekv.messages import Value
from skerry.testing.broker import BrokerHost, PrivateCluster
from skerry.testing.network import Network
from skerry.testing.program import Program
from skerry.testing.proxy import FaultProxy
from skerry.testing.services import PrivatePostgres, own

DEPLOY = Path(__file__).parents[2] / "deploy" / "three-hosts"
SKEWED = Path(__file__).parent / "skewed"
HOSTS = ("host1", "host2", "host3")
CLIENTS = "clients"
_SYNCHRONOUS = "synchronous_standby_names"


def deployed(name: str) -> dict[str, str]:
    """The settings of one of the set's files."""
    lines = (DEPLOY / name).read_text().splitlines()
    pairs = (line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
    return {key.strip(): value.strip().strip("'") for key, value in pairs}


def cluster_of(network: Network, directory: Path, password: str) -> PrivateCluster:
    """A broker on each host."""
    hosts = [BrokerHost(network.addresses[host], network.within(host)) for host in HOSTS]
    config = named((DEPLOY / "rabbitmq.conf").read_text(), network, password)
    made = PrivateCluster(
        directory,
        config=config,
        erlang=deployed("rabbitmq-env.conf")["SERVER_ADDITIONAL_ERL_ARGS"],
        hosts=hosts,
    )
    for broker in made.brokers:
        broker.node, broker.port, broker.config = f"rabbit@{broker.host.address}", 5672, config
    return made


def named(text: str, network: Network, password: str) -> str:
    """With the addresses of the hosts."""
    for host, address in network.addresses.items():
        text = text.replace(host, address)
    return text.replace("SECRET", password)


class HostPostgres(PrivatePostgres):
    """The PostgreSQL of one host."""

    def __init__(self, network: Network, host: str, of: HostPostgres | None = None) -> None:
        conf = deployed("postgresql.conf")
        self.synchronous = conf.pop(_SYNCHRONOUS)
        super().__init__(durable=True, options=conf, of=of, name=host)
        self.network, self.host, self.port = network, host, 5432
        self._ahead = self.directory / "clock"
        self.be_ahead(0.0)
        library = self.directory / "clock.so"
        subprocess.run(["cc", "-shared", "-fPIC", "-o", library, SKEWED / "clock.c"], check=True)
        own(self.directory)
        self.environ = {"LD_PRELOAD": str(library), "TEST_CLOCK_FILE": str(self._ahead)}

    @property
    def dsn(self) -> str:
        return (
            f"postgresql://postgres:{self._password}@{self.network.addresses[self.host]}:{self.port}/postgres"
        )

    def start(self) -> None:
        with self.network.inside(self.host):
            super().start()

    def be_ahead(self, seconds: float) -> None:
        """Its clock is wrong from now on, while it runs."""
        with self._ahead.open("r+b" if self._ahead.exists() else "wb") as file:
            file.write(struct.pack("d", seconds))

    def let_hosts_in(self) -> None:
        """What deploy/three-hosts/pg_hba.conf says, and the clients' host for the verdict."""
        lines = [line for line in (DEPLOY / "pg_hba.conf").read_text().splitlines() if line[:4] == "host"]
        lines.append(f"host all all {CLIENTS} scram-sha-256")
        text = "\n".join(lines) + "\n"
        for name, address in self.network.addresses.items():
            text = text.replace(f" {name} ", f" {address}/32 ")
        with (self.directory / "data" / "pg_hba.conf").open("a") as file:
            file.write(text)
        own(self.directory / "data" / "pg_hba.conf")
        self.query("select pg_reload_conf()")

    def be_synchronous(self, yes: bool = True) -> None:
        """Whether a commit waits for another host."""
        value = self.synchronous if yes else ""
        self.query(f"alter system set {_SYNCHRONOUS} = '{value}'")
        self.query("select pg_reload_conf()")

    def follow(self, primary: PrivatePostgres) -> None:
        """By the network between their hosts."""
        assert isinstance(primary, HostPostgres)
        if not self.is_running:
            super().follow(primary)
        where = (
            f"host={self.network.addresses[primary.host]} port=5432 user=postgres password={self._password}"
        )
        settings = f"application_name={self.host} connect_timeout=3"
        self.query(f"alter system set primary_conninfo = '{where} {settings}'")
        self.query("select pg_reload_conf()")
        far = f"application_name = '{self.host}' and state = 'streaming' and client_addr is not null"
        primary._wait_for(f"select exists (select from pg_stat_replication where {far})")

    @property
    def received(self) -> int:
        """How far a standby has come."""
        return int(self.query("select pg_wal_lsn_diff(pg_last_wal_receive_lsn(), '0/0')::bigint"))


class HostWorld(FaultWorld):  # type: ignore[misc]
    """`databases` by host; `primary` is one of them. Consumer n, server n and broker n, if any, are on host n."""

    def __init__(
        self,
        directory: Path,
        network: Network,
        primary: HostPostgres,
        cluster: PrivateCluster | None,
        **more: Any,
    ) -> None:
        super().__init__(directory, Servers(primary, None, brokerless=True), target="truthful:app", **more)
        self.network, self.databases = network, {primary.host: primary}
        self.primary, self.cluster = primary, cluster
        settings = deployed("skerry.env") | (deployed("rabbitmq.env") if cluster is not None else {})
        self._settings = {key: named(text, network, primary._password) for key, text in settings.items()}
        self.partitions = int(settings["SKERRY_PARTITIONS"])
        self._doors: dict[str, FaultProxy] = {}

    def _environ(self, name: str) -> dict[str, str]:
        found = super()._environ(name) | self._settings
        found |= {"SKERRY_NAMESPACE": self.namespace, "SKERRY_LOG_FORMAT": "text"}
        return {**found, "PYTHONPATH": os.pathsep.join((str(SKEWED), found["PYTHONPATH"]))}

    def host_of(self, program: Program) -> str:
        kind = self.consumers if program in self.consumers else self.web
        return HOSTS[kind.index(program)]

    async def begin(self) -> None:
        """Everything, on all hosts; listeners too."""
        for host in HOSTS:
            if host != self.primary.host:
                await self.add_standby(host)
        self.primary.be_synchronous()
        await self.start(consumers=3, servers=3, listeners=2)

    async def add_standby(self, host: str) -> None:
        standby = HostPostgres(self.network, host, self.primary)
        old = self.databases.get(host)
        if old is not None:
            old.remove()
        self.databases[host] = standby
        standby.follow(self.primary)

    async def consumer(self, **more: str) -> Program:
        host = HOSTS[len(self.consumers)]
        name = f"consumer-{host}"
        program = self._on(host, self._program("consumer", name, **more))
        self.consumers.append(program)
        await self._stack.enter_async_context(program)
        return program

    async def server(self, **more: str) -> Program:
        host = HOSTS[len(self.web)]
        bind = f"{self.network.addresses[host]}:8999"
        program = self._on(host, self._program("server", f"server-{host}", "--bind", bind, **more))
        self.web.append(program)
        door = self._doors[host] = FaultProxy(8999, self.network.addresses[host])
        self.ports.append((await self._stack.enter_async_context(door)).port)
        await self._stack.enter_async_context(program)
        await self._listening(program)
        return program

    def _on(self, host: str, program: Program) -> Program:
        program.within = self.network.within(host)
        program.directory = self.directory / host
        program.directory.mkdir(exist_ok=True)
        return program

    async def _listening(self, program: Program) -> None:
        number = self.web.index(program)
        door = self.ports[number]
        await super()._listening(program)
        self.ports[number] = door

    def of(self, host: str) -> list[Program]:
        """What Skerry runs there."""
        return [kind[HOSTS.index(host)] for kind in (self.consumers, self.web)]

    # --- faults

    async def power_off(self, host: str) -> None:
        """No word to anybody: the network first, then everything that runs there. Clients are kept from it, and cut, as
        a balancer would."""
        self.network.isolate(host)
        self._doors[host].refuse()
        await asyncio.gather(*(program.kill() for program in self.of(host)), *self._brokers(host, "kill"))
        await asyncio.to_thread(self.databases[host].kill)

    def _brokers(self, host: str, deed: str) -> list[Awaitable[None]]:
        """What is to be done to the broker there, if any."""
        if self.cluster is None:
            return []
        return [getattr(self.cluster.brokers[HOSTS.index(host)], deed)()]

    async def power_on(self, host: str) -> None:
        """With its files as they were; its database begins anew as a standby."""
        self.network.mend()
        await asyncio.gather(self.add_standby(host), *self._brokers(host, "start"))
        consumer, server = self.of(host)
        await consumer.start()
        await self.again(server)
        self._doors[host].mend()

    async def promote(self) -> None:
        """As a manager does: who has most, among those that are there; the others follow it."""
        there = [each for each in self.databases.values() if each.is_running and each is not self.primary]
        best = max(there, key=lambda each: each.received)
        best.be_synchronous()
        await asyncio.to_thread(best.promote)
        self.primary = best
        self.servers = Servers(best, None, brokerless=True)
        for each in there:
            if each is not best:
                each.follow(best)

    async def fall_behind(self) -> None:
        """Nobody waits for a standby from now on, and none receives anything."""
        self.primary.be_synchronous(False)
        for each in self.databases.values():
            if each is not self.primary:
                each.caught_up(self.primary)
                each.part()

    async def differences(self) -> list[str]:
        """Servers and listeners whose values are not those of the database."""
        async with (
            self.servers.journal(self.namespace) as journal,
            journal.snapshot(["key_value"]) as snapshot,
        ):
            stored = {
                key: decoded(data) async for rows in snapshot.rows("key_value") for key, data, _ in rows
            }
            end = snapshot.position.offset
        copies = {f"server {n}": await self.memory_of(port, end, 5.0) for n, port in enumerate(self.ports, 1)}
        copies |= {listener.name: listener.values for listener in self.listeners}
        return [name for name, values in copies.items() if values != stored]

    async def replace_host(self, host: str, **environ: str) -> None:
        """Its consumer, then its server, each in order; they begin again with these variables."""
        consumer, server = self.of(host)
        consumer.environ |= environ
        server.environ |= environ
        code = await consumer.stop(signal.SIGTERM, 60)
        young = code == -signal.SIGTERM and " ends: " not in consumer.text  # it was still starting
        assert code == 0 or young, self.report(f"a consumer ended with {code}")
        await consumer.start()
        assert await server.stop(signal.SIGTERM, 60) == 0, self.report("a server did not end in order")
        await self.again(server)

    async def upgrade(self, host: str) -> None:
        """From release 1 of targets/truthful.py to release 2, which knows commands that release 1 does not."""
        await self.replace_host(host, TRUTHFUL_RELEASE="2")

    async def skew(self, host: str, seconds: float) -> None:
        """The clock of a host is wrong from now on: its database's at once, the others' when they begin again."""
        self.databases[host].be_ahead(seconds)
        await self.replace_host(host, TEST_CLOCK_AHEAD=str(seconds))


def decoded(data: bytes | str) -> str:
    """A row's value."""
    return msgspec.json.decode(data, type=Value).value


@asynccontextmanager
async def three_hosts(directory: Path, *, brokers: bool = False, **more: Any) -> AsyncIterator[HostWorld]:
    """All of it, running; this thread is on the clients' host meanwhile."""
    with Network(*HOSTS, CLIENTS) as network, network.inside(CLIENTS):
        primary = HostPostgres(network, HOSTS[0])
        cluster = cluster_of(network, directory / "brokers", primary._password) if brokers else None
        world = HostWorld(directory, network, primary, cluster, **more)
        try:
            primary.start()
            primary.let_hosts_in()
            if cluster is not None:
                await cluster.start()
            async with world:
                await world.begin()
                yield world
        finally:
            if cluster is not None:
                await cluster.discard()
            for database in world.databases.values():
                database.remove()
