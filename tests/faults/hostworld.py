"""Three hosts as deploy/three-hosts has them, each a network namespace with a PostgreSQL, a consumer and a server;
clients on a fourth. The test is their manager: it promotes, and lets the others follow.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
from faultworld import FaultWorld, Servers  # type: ignore[import-not-found]

from livekv.messages import Value
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


class HostPostgres(PrivatePostgres):
    """The PostgreSQL of one host."""

    def __init__(self, network: Network, host: str, of: HostPostgres | None = None) -> None:
        conf = deployed("postgresql.conf")
        self.synchronous = conf.pop(_SYNCHRONOUS)
        super().__init__(durable=True, options=conf, of=of, name=host)
        self.network, self.host, self.port = network, host, 5432

    @property
    def dsn(self) -> str:
        return (
            f"postgresql://postgres:{self._password}@{self.network.addresses[self.host]}:{self.port}/postgres"
        )

    def start(self) -> None:
        with self.network.inside(self.host):
            super().start()

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
    """`databases` by host; `primary` is one of them. Consumer n and server n are on host n."""

    def __init__(self, directory: Path, network: Network, primary: HostPostgres, **more: Any) -> None:
        super().__init__(directory, Servers(primary, None, brokerless=True), **more)
        self.network, self.databases = network, {primary.host: primary}
        self.primary = primary
        self._doors: dict[str, FaultProxy] = {}

    def named(self, text: str) -> str:
        """With the addresses of the hosts."""
        for host, address in self.network.addresses.items():
            text = text.replace(host, address)
        return text.replace("SECRET", self.primary._password)

    def _environ(self, name: str) -> dict[str, str]:
        found = super()._environ(name) | {k: self.named(v) for k, v in deployed("skerry.env").items()}
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
        await asyncio.gather(*(program.kill() for program in self.of(host)))
        await asyncio.to_thread(self.databases[host].kill)

    async def power_on(self, host: str) -> None:
        """With its files as they were; its database begins anew as a standby."""
        self.network.mend()
        await self.add_standby(host)
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

    async def replace_host(self, host: str) -> None:
        """A rolling upgrade of one host: its consumer, then its server, each in order."""
        consumer, server = self.of(host)
        code = await consumer.stop(signal.SIGTERM, 60)
        young = code == -signal.SIGTERM and " ends: " not in consumer.text  # it was still starting
        assert code == 0 or young, self.report(f"a consumer ended with {code}")
        await consumer.start()
        assert await server.stop(signal.SIGTERM, 60) == 0, self.report("a server did not end in order")
        await self.again(server)

    async def skew(self, host: str, seconds: float) -> None:
        """The clocks of what runs there are wrong from now on."""
        for program in self.of(host):
            program.environ["TEST_CLOCK_AHEAD"] = str(seconds)
        await self.replace_host(host)


def decoded(data: bytes | str) -> str:
    """A row's value."""
    return msgspec.json.decode(data, type=Value).value


@asynccontextmanager
async def three_hosts(directory: Path, **more: Any) -> AsyncIterator[HostWorld]:
    """All of it, running; this thread is on the clients' host meanwhile."""
    with Network(*HOSTS, CLIENTS) as network, network.inside(CLIENTS):
        primary = HostPostgres(network, HOSTS[0])
        world = HostWorld(directory, network, primary, **more)
        try:
            primary.start()
            primary.let_hosts_in()
            async with world:
                await world.begin()
                yield world
        finally:
            for database in world.databases.values():
                database.remove()
