"""The admin address as an operator uses it: of `skerry up` for all its processes, of single roles for themselves."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import pytest

from skerry.testing.program import HttpConnection, Program, call

sys.path.insert(0, str(Path(__file__).parent))
from upworld import free_port, up  # type: ignore[import-not-found]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes as on Linux")
TOKEN = {"Authorization": "Bearer sesame"}


async def status(port: int, path: str) -> int:
    """Of an answer, 0 while nobody listens."""
    client = HttpConnection(port)
    try:
        return int((await client.ask("GET", path)).status)
    except OSError:
        return 0
    finally:
        client.close()


async def until(port: int, path: str, wanted: int) -> None:
    async with asyncio.timeout(90):
        while await status(port, path) != wanted:  # noqa: ASYNC110 - of another process
            await asyncio.sleep(0.05)


async def test_the_runner_answers_for_all(tmp_path: Path) -> None:
    """Ready when all are, numbers of all; an order over HTTP is carried out; with no consumer it is ready for traffic,
    not for writes."""
    port = free_port()
    options = ("--servers", "1", "--admin-bind", f"127.0.0.1:{port}", "--admin-token", "sesame")
    async with up(tmp_path, *options) as world:
        await until(port, "/health/ready", 200)
        client = HttpConnection(port)
        text = (await client.ask("GET", "/metrics", b"", **TOKEN)).body.decode()
        for name in ("server-1", "consumer-1", "balancer"):
            assert f'skerry_process_ready{{process="{name}"}} 1' in text
            assert any(
                line.startswith("skerry_") and f'process="{name}"' in line for line in text.splitlines()
            )
        [before] = [process.pid for process in world.processes("server")]
        order = {**TOKEN, "Content_Type": "application/json"}
        done = await client.ask("POST", "/orders", b'{"order":"restart","name":"server-1"}', **order)
        assert (done.status, json.loads(done.body)) == (200, {"code": 0, "message": "done"})
        assert [process.pid for process in world.processes("server")] != [before]
        assert (await client.ask("POST", "/orders", b'{"order":"stop","name":"x"}', **order)).status == 422
        assert (
            await client.ask("POST", "/orders", b'{"order":"stop","name":"consumer-1"}', **order)
        ).status == 200
        await until(port, "/health/ready?for=writes", 503)
        assert await status(port, "/health/ready?for=traffic") == 200
        client.close()
        assert await world.stop() == 0
        assert await status(port, "/health/live") == 0


async def test_a_consumer_and_a_balancer_have_one_of_their_own(tmp_path: Path) -> None:
    """The one that works is ready, the one that stands by for it says so; a balancer names what is not healthy."""
    first, second, third = free_port(), free_port(), free_port()
    async with Program(tmp_path, "consumer", "livekv:app", "--admin-bind", f"127.0.0.1:{first}"):
        await until(first, "/health/ready", 200)
        async with Program(tmp_path, "consumer", "livekv:app", "--admin-bind", f"127.0.0.1:{second}"):
            await until(second, "/health/live", 200)
            client = HttpConnection(second)
            async with asyncio.timeout(60):
                while b"standing by" not in (await client.ask("GET", "/health/ready")).body:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
            assert await status(second, "/health/ready") == 503
        client = HttpConnection(first)
        assert b"skerry_commands_decided_total" in (await client.ask("GET", "/metrics")).body
    addresses = ("--bind", f"127.0.0.1:{free_port()}", "--admin-bind", f"127.0.0.1:{third}")
    async with Program(tmp_path, "balancer", "--to", "127.0.0.1:1", *addresses):
        await until(third, "/health/ready?for=traffic", 200)
        answer = await HttpConnection(third).ask("GET", "/health/ready")
        assert answer.status == 503
        assert json.loads(answer.body)["checks"]["127.0.0.1:1"]["reason"] == "it is not healthy"


async def test_an_open_address_without_a_token_is_refused(tmp_path: Path) -> None:
    """Exit code 2 and one line, before anything starts."""
    ended = await call(tmp_path, "up", "livekv:app", "--admin-bind", "0.0.0.0:0")
    assert ended.code == 2
    assert ended.error.startswith(
        "skerry: admin_bind: 0.0.0.0:0 is reachable from outside: set SKERRY_ADMIN_TOKEN"
    )
