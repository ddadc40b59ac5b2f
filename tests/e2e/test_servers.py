"""livekv on PostgreSQL and RabbitMQ as processes: large values, what the broker drops, and `skerry infra` around it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TypeVar

import pytest

from skerry.backends.rabbitmq.operations import check
from skerry.backends.rabbitmq.settings import RabbitSettings
from skerry.backends.rabbitmq.transport import RabbitTransport
from skerry.messages.envelope import Envelope, pack
from skerry.testing.broker import PrivateBroker
from skerry.testing.program import Finished, HttpConnection, Program, call
from skerry.testing.services import PrivatePostgres

pytestmark = [pytest.mark.service("postgresql"), pytest.mark.service("rabbitmq"), pytest.mark.timeout(600)]
T = TypeVar("T")
MEGABYTE = ("0123456789abcdé" * 65_536)[: 1024 * 1024 - 65_536]
"""As many bytes of UTF-8 as a value may have, within a few."""


class Servers:
    """A database and a broker; each test has a namespace of its own."""

    numbers = 0

    def __init__(self, directory: Path, postgres: PrivatePostgres, broker: PrivateBroker) -> None:
        Servers.numbers += 1
        self.directory, self.postgres, self.broker = directory, postgres, broker
        self.namespace = f"e2e{Servers.numbers}"
        self.database = f"database{Servers.numbers}"
        self.settings = RabbitSettings(broker.url, self.namespace)
        self.environ = {
            "SKERRY_JOURNAL": postgres.database(self.database),
            "SKERRY_TRANSPORT": broker.url,
            "SKERRY_NAMESPACE": self.namespace,
        }

    def program(self, role: str) -> Program:
        bind = ("--bind", "127.0.0.1:0") if role == "server" else ()
        return Program(self.directory, role, "livekv:app", *bind, environ=self.environ)

    async def infra(self, *arguments: str) -> Finished:
        return await call(self.directory, "infra", *arguments, environ=self.environ)

    def query(self, sql: str) -> str:
        return self.postgres.query(sql.replace("{ns}", self.namespace), self.database)

    async def queues(self) -> list[str]:
        """Our queues on the broker."""
        said = await self.broker.control("list_queues", "name", "--quiet")
        return [name for name in said.splitlines() if name.startswith(f"{self.namespace}.")]

    async def expire(self, stack: AsyncExitStack) -> None:
        """A policy made elsewhere: commands that wait are dropped at once."""
        name, ours = f"expiry-{self.namespace}", rf"^{self.namespace}\.commands"
        ttl = '{"message-ttl": 1}'
        await self.broker.control("set_policy", "--apply-to", "queues", name, ours, ttl)
        stack.push_async_callback(self.broker.control, "clear_policy", name)

    async def waiting(self) -> Envelope:
        """The command that waits in the queue, as it travels; it goes back."""
        transport = RabbitTransport(self.settings)
        await transport.start()
        try:
            commands = await transport.commands(0)
            async with asyncio.timeout(90):
                [delivery] = await commands.receive(1)
            [envelope] = delivery.envelopes
            return envelope
        finally:
            await transport.stop()


async def patiently(ask: Callable[[], Awaitable[T]]) -> T:
    """Ask other processes until there is something to say."""
    async with asyncio.timeout(90):
        while not (found := await ask()):  # noqa: ASYNC110 (they tell nobody)
            await asyncio.sleep(0.05)
    return found


@pytest.fixture
def servers(postgresql: PrivatePostgres, rabbitmq: PrivateBroker, tmp_path: Path) -> Servers:
    return Servers(tmp_path, postgresql, rabbitmq)


@asynccontextmanager
async def asking(servers: Servers) -> AsyncIterator[HttpConnection]:
    """A server; who decides is started by the test."""
    async with servers.program("server") as server:
        connection = HttpConnection(await server.listening())
        try:
            yield connection
        finally:
            connection.close()


async def decided(connection: HttpConnection, id: str) -> dict[str, object]:
    """The outcome of a command, once it has one."""

    async def told() -> dict[str, object]:
        answer = json.loads((await connection.ask("GET", f"/commands/{id}")).body)
        return dict(answer) if answer.get("status") not in ("pending", None) else {}

    return await patiently(told)


def since(told: dict[str, object]) -> dict[str, str]:
    """The fields of a read that sees what this command did."""
    return {"Skerry_Position": str(told["position"]), "Prefer": "wait=30"}


async def test_a_value_of_a_mebibyte(servers: Servers) -> None:
    """It waits in the database, not in the broker, while no consumer runs; then it is applied, read back whole, and its
    body is gone; a value that is larger is refused."""
    assert (await servers.infra("create", "livekv:app")).code == 0
    async with asking(servers) as connection:
        value = MEGABYTE.encode()
        answer = await connection.ask("PUT", "/values/large", value, Prefer="respond-async")
        assert answer.status == 202
        [size] = servers.query("select octet_length(body) from {ns}__body").splitlines()
        assert int(size) > len(value)
        assert len(pack([await servers.waiting()])) < 1000
        async with servers.program("consumer") as consumer:
            told = await decided(connection, answer.headers["skerry-command"])
            assert told["status"] == "applied"
            read = await connection.ask("GET", "/values/large", b"", **since(told))
            assert json.loads(read.body) == {"key": "large", "value": MEGABYTE}
            other = value[::-1].decode("latin-1").encode()[:900_000]
            again = await connection.ask("PUT", "/values/large", other, Prefer="wait=30")
            assert again.status == 200
            assert (await connection.ask("PUT", "/values/large", bytes(1024 * 1024 + 1))).status == 413
            assert await consumer.stop() == 0
        assert servers.query("select count(*) from {ns}__body") == "0"


async def test_what_the_broker_drops_becomes_a_dead_letter(servers: Servers) -> None:
    """A policy made elsewhere lets a command expire: `infra check` tells; a consumer moves it to the dead letters with
    its body, its sender hears `failed`, and retried it takes effect."""
    await servers.infra("create", "livekv:app")
    async with AsyncExitStack() as limited:
        await servers.expire(limited)
        async with asking(servers) as connection:
            value = b"x" * 300_000
            answer = await connection.ask("PUT", "/values/a", value, Prefer="respond-async")
            assert answer.status == 202
            await patiently(lambda: check(servers.settings))
            checked = await servers.infra("check", "livekv:app")
            assert (checked.code, "holds 1 messages that the broker set aside" in checked.error) == (1, True)
            await limited.aclose()
            async with servers.program("consumer"):
                command = answer.headers["skerry-command"]
                told = await decided(connection, command)
                assert told["status"] == "failed"
                listed = await call(servers.directory, "dead", "show", command, environ=servers.environ)
                assert f"expired in {servers.namespace}.commands.v1.p0" in listed.out
                retried = await call(servers.directory, "dead", "retry", command, environ=servers.environ)
                assert retried.code == 0, retried.error
                told = await decided(connection, command)
                assert told["status"] == "applied"
                read = json.loads((await connection.ask("GET", "/values/a", b"", **since(told))).body)
                assert len(read["value"]) == 300_000
    assert (await servers.infra("check", "livekv:app")).out == "ok\n"


async def test_infra_from_nothing_to_nothing(servers: Servers) -> None:
    """`check` fails and names what is missing; `create` makes it, once; `check` is content; `drop` asks, refuses while
    a process runs or commands wait, and leaves neither table nor queue; wrong settings are exit code 2."""
    nothing = await servers.infra("check", "livekv:app")
    assert nothing.code == 1
    missing = nothing.error.splitlines()
    for what in (
        "version 2 of the journal",
        f"table {servers.namespace}_key_value",
        ".commands.v1.p0",
        ".dead",
    ):
        assert any(what in line and line.endswith("is missing") for line in missing), missing
    made = await servers.infra("create", "livekv:app")
    assert (made.code, len(made.out.splitlines())) == (0, len(missing))
    assert (await servers.infra("create", "livekv:app")).out == "nothing was missing\n"
    assert (await servers.infra("check", "livekv:app")).code == 0

    async with servers.program("consumer") as consumer:

        async def at_work() -> bool:
            return servers.query("select count(*) from {ns}__lease where until > now()") != "0"

        await patiently(at_work)
        refused = await servers.infra("drop", "--yes", "livekv:app")
        assert (refused.code, "works on partition:0: stop it first" in refused.error) == (1, True)
        assert await consumer.stop() == 0
    async with asking(servers) as connection:
        refused = await servers.infra("drop", "--yes", "livekv:app")
        assert (refused.code, "processes are connected" in refused.error) == (1, True)
        accepted = await connection.ask("PUT", "/values/a", b"1", Prefer="respond-async")
        assert accepted.status == 202
    refused = await servers.infra("drop", "--yes", "livekv:app")
    assert (refused.code, "holds 1 messages: let the consumers empty them" in refused.error) == (1, True)
    unasked = await servers.infra("drop", "livekv:app", "--force")
    assert (unasked.code, "database" in unasked.out, "guest:guest" in unasked.out) == (1, True, False)
    assert (await servers.infra("check", "livekv:app")).code == 0, "nothing was deleted so far"

    dropped = await servers.infra("drop", "--yes", "--force", "livekv:app")
    assert (dropped.code, "(1 messages)" in dropped.out) == (0, True)
    assert servers.query("select count(*) from pg_class where relname like '{ns}%'") == "0"
    assert servers.query("select count(*) from pg_proc where proname like '{ns}%'") == "0"
    assert await servers.queues() == []
    assert await asyncio.to_thread(lambda: list(servers.directory.rglob("*.warm"))) == []
    assert (await servers.infra("drop", "--yes", "livekv:app")).out == "there was nothing\n"
    wrong = await call(
        servers.directory, "infra", "check", "livekv:app", "--transport", "nats://x", environ=servers.environ
    )
    assert (wrong.code, len(wrong.error.splitlines())) == (2, 1)
    away = {**servers.environ, "SKERRY_JOURNAL": "postgresql://nobody@127.0.0.1:1/nothing"}
    gone = await call(servers.directory, "infra", "check", "livekv:app", environ=away)
    assert (gone.code, len(gone.error.splitlines())) == (1, 1)
