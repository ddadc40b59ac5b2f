"""Everything fails that can, in the reference application, while `GET /values/{key}` keeps being answered."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from livekv.app import app
from skerry.kernel.lifecycle import State
from skerry.kernel.runtime import Runtime
from skerry.kernel.settings import Settings
from skerry.roles.running import _Process
from skerry.roles.server import ServerRole
from skerry.supervision.failure import Failure
from skerry.supervision.solvers import Hands


@pytest.fixture
async def process(tmp_path: Path) -> AsyncIterator[_Process]:
    """Server and consumer of livekv in this process, ready."""
    settings = Settings(
        journal="memory:", transport="memory:", bind="127.0.0.1:0", data=str(tmp_path), drain=0.5
    )
    made = _Process(app.declaration, settings, ("consumer", "server"), None)
    running = asyncio.ensure_future(made.run())
    while made.runtime is None or not made.runtime.ready:
        assert not running.done(), running.result()
        await asyncio.sleep(0.005)
    yield made
    made.runtime.end()
    assert await running == 0


def runtime_of(process: _Process) -> Runtime:
    assert process.runtime is not None
    return process.runtime


@pytest.fixture
async def client(process: _Process) -> AsyncIterator[httpx.AsyncClient]:
    """One kept-alive connection, and a value that is there."""
    role = next(role for role in runtime_of(process)._roles.values() if isinstance(role, ServerRole))
    where = str(role.http.addresses[0]).removeprefix("http://")
    async with httpx.AsyncClient(base_url=f"http://{where}", timeout=30.0) as made:
        assert (await made.put("/values/key", content=b"value")).status_code == 200
        yield made


async def answered(client: httpx.AsyncClient) -> bool:
    answer = await client.get("/values/key")
    return answer.status_code == 200 and answer.json() == {"key": "key", "value": "value"}


def fail(*_args: object) -> None:
    raise ValueError("on purpose")


async def fail_later() -> None:
    await asyncio.sleep(0)
    fail()


async def test_every_callback_that_fails_is_reported_and_requests_go_on(
    process: _Process, client: httpx.AsyncClient
) -> None:
    """A tick, a timer, a stream, a task, a forgotten task, a listener, and two at once: all counted, none disturbs."""
    runtime, heard = runtime_of(process), list[Failure]()
    runtime.supervisor.events.on("failure", heard.append)
    here, there = socket.socketpair()
    with here, there:
        there.send(b"x")
        loop = runtime.loop

        def stream(sock: object) -> None:
            reading.cancel()
            fail()

        loop.on_tick(fail)
        loop.on_tick(fail_later)
        loop.add_timer(0.001, fail)
        reading = loop.add_read_stream(here, stream)
        forgotten = asyncio.get_running_loop().create_task(fail_later())
        runtime.report("two", ExceptionGroup("at once", [ValueError(1), KeyError(2)]))
        for _ in range(10):
            assert await answered(client)
            await asyncio.sleep(0.002)
        del forgotten
        async with asyncio.timeout(30.0):
            while len(heard) < 7:
                assert await answered(client)
        for _ in range(5):
            assert await answered(client)
    assert len(heard) == 7
    raised = [failure for failure in heard if failure.component != "two"]
    assert len(raised) == 5
    assert all("in fail\n" in failure.traceback for failure in raised)
    assert any(failure.component.endswith("stream") for failure in raised)
    assert runtime.state is State.STARTED


async def test_a_role_that_dies_is_restarted_and_requests_go_on(
    process: _Process, client: httpx.AsyncClient
) -> None:
    """The consumer fails and is started again; reads never stop, writes work again."""
    runtime = runtime_of(process)
    restarted = asyncio.ensure_future(runtime.supervisor.events.wait_for("restarted", 60.0))
    await asyncio.sleep(0)
    runtime.report("consumer", ConnectionError("gone"))
    while not restarted.done():
        assert await answered(client)
    await restarted
    assert (await client.put("/values/other", content=b"1")).status_code == 200


async def test_the_failed_state_answers_what_is_open_and_recovers(
    process: _Process, client: httpx.AsyncClient
) -> None:
    """A slow solver, a second failure and one in the solver's way: readiness says failed, reads are answered from
    memory, a new client waits, and after the recovery reads and writes work."""
    runtime, mended = runtime_of(process), asyncio.Event()

    async def slow(failure: Failure, hands: Hands) -> None:
        await mended.wait()

    runtime.guard.rule(OSError, slow)
    failed = asyncio.ensure_future(runtime.events.wait_for("after_fail", 60.0))
    resumed = asyncio.ensure_future(runtime.events.wait_for("after_resume", 60.0))
    await asyncio.sleep(0)
    runtime.fail("disk", OSError("full"))
    runtime.fail("disk", OSError("still full"))
    await failed
    for _ in range(10):
        assert await answered(client)
        await asyncio.sleep(0.005)
    state: State = runtime.state
    assert state is State.FAILED
    ready = await client.get("/health/ready")
    assert ready.status_code == 503
    assert "disk" in ready.text
    assert "full" in ready.text
    async with httpx.AsyncClient(base_url=client.base_url, timeout=60.0) as stranger:
        waiting = asyncio.ensure_future(answered(stranger))
        await asyncio.sleep(0.05)
        assert not waiting.done()
        mended.set()
        await resumed
        assert await waiting
    assert runtime.ready
    assert (await client.get("/health/ready")).status_code == 200
    assert (await client.put("/values/other", content=b"2")).status_code == 200


async def test_what_cannot_be_mended_one_by_one_is_started_anew(
    process: _Process, client: httpx.AsyncClient
) -> None:
    """An escalated failure: all roles are stopped and started again in this process, and the memory is there."""
    runtime = runtime_of(process)
    resumed = asyncio.ensure_future(runtime.events.wait_for("after_resume", 60.0))
    await asyncio.sleep(0)
    runtime.supervisor.escalate(Failure.of("server", RuntimeError("odd"), at=0.0))
    await resumed
    assert runtime.ready
    role = next(role for role in runtime._roles.values() if isinstance(role, ServerRole))
    where = str(role.http.addresses[0]).removeprefix("http://")
    async with httpx.AsyncClient(base_url=f"http://{where}", timeout=30.0) as fresh:
        assert await answered(fresh)
        assert (await fresh.put("/values/other", content=b"3")).status_code == 200
