"""Service while something is away: reads go on and say how old they may be, writes say 503 and when to try again."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from faultworld import SOAK, FaultWorld, Servers, through, until  # type: ignore[import-not-found]

from skerry.testing.program import HttpAnswer, HttpConnection
from skerry.testing.proxy import FaultProxy

pytestmark = pytest.mark.timeout(600)


async def ask(port: int, method: str, path: str, body: bytes = b"", **headers: str) -> HttpAnswer:
    connection = HttpConnection(port)
    try:
        async with asyncio.timeout(60):
            return await connection.ask(method, path, body, **headers)
    finally:
        connection.close()


async def reasons(port: int) -> dict[str, str]:
    """What readiness says, by check; AssertionError when it is not ready."""
    answer = await ask(port, "GET", "/health/ready")
    assert answer.status == 200, answer
    checks: dict[str, dict[str, Any]] = json.loads(answer.body)["checks"]
    return {name: check["reason"] for name, check in checks.items() if "reason" in check}


async def told(port: int, enough: Callable[[dict[str, str]], bool]) -> dict[str, str]:
    """What readiness says, once that is enough: servers notice what is away, and what is back, after a while."""
    async with asyncio.timeout(90):
        while not enough(said := await reasons(port)):  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.05)
    return said


async def answered(port: int, method: str, path: str, body: bytes = b"", **headers: str) -> HttpAnswer:
    """Ask again while the answer is that it takes longer: the 200."""
    async with asyncio.timeout(90):
        while (answer := await ask(port, method, path, body, **headers)).status != 200:
            assert answer.status in (202, 503), answer
            await asyncio.sleep(0.05)
    return answer


async def written(port: int, key: str, value: str, seconds: float = 90.0) -> float:
    """Repeat a write until it is answered 200; how long that took."""
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        answer = await ask(port, "PUT", f"/values/{key}", value.encode(), Idempotency_Key=f"{key}-{value}")
        if answer.status == 200:
            return time.monotonic() - began
        assert answer.status in (202, 503), answer
        await asyncio.sleep(0.05)
    raise AssertionError(f"{key} was not written within {seconds:g} s: {answer}")


async def test_a_server_starts_from_its_copy_while_everything_is_away(
    tmp_path: Path, servers: Servers
) -> None:
    """A server that finds neither broker nor database answers reads from the copy that it left, says how old it is,
    refuses writes with Retry-After, and catches up by itself when they come."""
    async with (
        FaultProxy(servers.postgres.port) as database,
        FaultProxy(servers.broker.port) as broker,
        FaultWorld(tmp_path, servers) as world,
    ):
        await world.start(servers=1, listeners=0)
        await written(world.ports[0], "kept", "1")
        [server] = world.web
        await server.stop(signal.SIGTERM)
        urls = through(world.journal_url, database), through(world.transport_url, broker)
        away = world.journal_url, world.transport_url
        world.journal_url, world.transport_url = urls
        await world.server()  # another one, by its side, writes what the first will have missed
        await written(world.ports[1], "missed", "2")
        await world.web[1].stop(signal.SIGTERM)
        database.refuse()
        broker.refuse()
        began = time.monotonic()
        await world.again(world.web[1])
        took = time.monotonic() - began
        port = world.ports[1]
        answer = await ask(port, "GET", "/values/kept")
        assert json.loads(answer.body) == {"key": "kept", "value": "1"}
        said = await told(port, lambda said: "commands" in said)
        assert said["memory"].startswith("from the local copy, not compared with the journal for "), said
        assert said["memory"].endswith(" s"), said
        assert "503" in said["commands"]
        refused = await ask(port, "PUT", "/values/kept", b"2")
        assert (refused.status, bool(refused.headers["retry-after"])) == (503, True)
        world.journal_url, world.transport_url = away
        await world.again(server)
        await written(world.ports[0], "meanwhile", "3")
        database.mend()
        broker.mend()
        await written(port, "after", "4")
        assert json.loads((await ask(port, "GET", "/values/meanwhile")).body)["value"] == "3"
        assert await told(port, lambda said: not said) == {}
        print(f"listening after {took:.1f} s without anything")


async def test_reads_go_on_while_everything_hangs(tmp_path: Path, servers: Servers) -> None:
    """The broker says nothing any more and the database is gone: reads are answered at once, readiness says for how
    long memory was not compared, writes are "outcome unknown" with their id and then refused; repeated later they
    take effect once."""
    async with FaultWorld(tmp_path, servers) as world:
        await world.start(listeners=0)
        port = world.ports[0]
        await written(port, "k", "1")
        servers.broker.pause()
        servers.postgres.stop("immediate")
        try:
            headers = {"Idempotency_Key": "k-2", "Prefer": "wait=1"}
            unknown = await ask(port, "PUT", "/values/k", b"2", **headers)
            assert unknown.status == 503
            assert unknown.headers["skerry-command"]
            assert unknown.headers["retry-after"]
            began = time.monotonic()
            slowest = 0.0
            while time.monotonic() - began < 90 and not (
                "memory" in (said := await reasons(port)) and "503" in said.get("commands", "")
            ):
                asked = time.monotonic()
                assert json.loads((await ask(port, "GET", "/values/k")).body)["value"] == "1"
                slowest = max(slowest, time.monotonic() - asked)
                await asyncio.sleep(0.05)
            print(f"the slowest read took {slowest:.2f} s")
            assert slowest < 1.0 or not SOAK
            assert said["memory"].startswith("not compared with the journal for "), said
            assert "503" in said["commands"]
            refused = await ask(port, "PUT", "/values/k", b"3")
            assert (refused.status, bool(refused.headers["retry-after"])) == (503, True)
        finally:
            servers.broker.resume()
            servers.postgres.start()
        await written(port, "k", "2")
        again = await answered(port, "PUT", "/values/k", b"2", Idempotency_Key="k-2")
        assert again.headers["skerry-command"] == unknown.headers["skerry-command"]
        other = await answered(
            world.ports[1], "GET", "/values/k", Skerry_Position=again.headers["skerry-position"]
        )
        assert other.headers["etag"].strip('"') == again.headers["skerry-position"]
        await world.verdict_of_journal()


async def test_a_broker_that_is_short_of_disk_pushes_back(tmp_path: Path, servers: Servers) -> None:
    """The broker's alarm blocks publishers: writes get 503 with Retry-After and its reason at once, reads go on, and
    writes go on when the alarm is over, without a reconnect."""
    async with FaultWorld(tmp_path, servers) as world:
        await world.start(servers=1, listeners=0)
        port = world.ports[0]
        await written(port, "k", "1")
        await servers.broker.control("set_disk_free_limit", "9000GB")
        try:

            async def blocked() -> HttpAnswer:
                while True:
                    answer = await ask(port, "PUT", "/values/k", b"2", Prefer="wait=1")
                    if b"takes no messages" in answer.body:
                        return answer
                    assert answer.status in (202, 503), answer

            async with asyncio.timeout(90):
                answer = await blocked()
            assert (answer.status, int(answer.headers["retry-after"]) >= 1) == (503, True)
            assert (await ask(port, "GET", "/values/k")).status == 200
        finally:
            await servers.broker.control("set_disk_free_limit", "50MB")
        await written(port, "k", "3")
        await until(lambda: "connection lost" not in world.web[0].text, 1, lambda: world.web[0].text)


async def test_a_consumer_that_hangs_shows_in_readiness_for_writes(tmp_path: Path, servers: Servers) -> None:
    """The only consumer is stopped (SIGSTOP): a write is taken, 202, and after SKERRY_WRITABLE_AFTER `?for=writes` is
    503 and says why, while the server goes on getting connections; once it decides again all is well."""
    async with FaultWorld(tmp_path, servers) as world:
        await world.start(servers=0, listeners=0)
        await world.server(SKERRY_WRITABLE_AFTER="1")
        [port], [consumer] = world.ports, world.consumers
        await written(port, "k", "1")

        async def asked(status: int) -> str:
            async with asyncio.timeout(90):
                while (answer := await ask(port, "GET", "/health/ready?for=writes")).status != status:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
            return answer.body.decode()

        await asked(200)
        consumer.send_signal(signal.SIGSTOP)
        try:
            taken = await ask(port, "PUT", "/values/k", b"2", Prefer="respond-async")
            assert taken.status == 202
            assert "nobody decides them" in await asked(503)
            assert (await ask(port, "GET", "/health/ready?for=traffic")).status == 200
        finally:
            consumer.send_signal(signal.SIGCONT)
        await asked(200)
