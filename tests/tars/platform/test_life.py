"""The whole life of a service's processes under a node: start, keep-alives, replacement, accidents, stop."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from skerry import tars
from skerry.tars.platform.configuration import Configuration
from skerry.testing.tars.node import FakeNode, configuration_for, is_running

HERE = Path(__file__).parent
RUN = [sys.executable, "-m", "skerry", "tars", "run"]
ADAPTER = "Demo.PyServer.HelloObjAdapter"
ROLLS = 10 if os.environ.get("SKERRY_SOAK") else 2

demo: Any = tars.load_text(
    """
    module Demo
    {
        interface Hello { string hello(string name); int wait(int milliseconds); void hang(); int process(); };
    };
    """
).Demo


class World:
    """A node, and a client of the service that it runs."""

    def __init__(self, node: FakeNode, hello: Any) -> None:
        self.node, self.hello = node, hello

    async def workers(self) -> dict[str, int]:
        """The pids of the processes that are ready, by name, as `tars.workers` says."""
        found = {}
        for line in (await self.node.send_command("tars.workers")).splitlines()[1:]:
            name, _, rest = line.removeprefix("[1]:").partition(": ")
            if rest.startswith("ready, pid "):
                found[name] = int(rest.split(", ")[1].removeprefix("pid "))
        return found

    async def until_workers(self, count: int, without: set[int] = frozenset()) -> dict[str, int]:  # type: ignore[assignment]
        """Wait until so many are ready, none of these pids among them."""
        async with asyncio.timeout(60):
            while True:
                found = await self.workers()
                if len(found) == count and not set(found.values()) & without:
                    return found
                await asyncio.sleep(0.05)


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Any]:
    """`world = await start("--workers", "2", environment={...})`: a node that has started the service."""
    async with AsyncExitStack() as stack:

        async def begin(*options: str, wait: bool = True, environment: Any = None, **how: Any) -> World:
            given = {"PYTHONPATH": str(HERE), **(environment or {})}
            configuration = configuration_for(
                "PyServer", ["HelloObj"], environment=given, deactivating_seconds=20.0
            )
            command = [*RUN, "served:service", *options]
            node = await stack.enter_async_context(FakeNode(tmp_path, configuration, command, **how))
            [adapter] = configuration.adapters
            communicator = await stack.enter_async_context(tars.Communicator(timeout_seconds=60))
            hello = communicator.proxy(demo.Hello, f"{adapter.servant}@{adapter.endpoint}")
            await node.start()
            if wait:
                await node.until_active()
            return World(node, hello)

        yield begin


async def test_start_keep_alives_commands_and_stop(start: Any) -> None:
    """The node sees the version, each adapter and AdminAdapter of the pid that it started; a call under way when it is
    stopped gets its answer, within the grace; hooks and messages come at both ends."""
    world: World = await start("--workers", "1")
    node = world.node
    await node.until(lambda: len(node.keep_alives) >= 3)
    assert [(each.pid, each.adapter) for each in node.keep_alives][:3] == [
        (node.pid, ""), (node.pid, ADAPTER), (node.pid, "AdminAdapter"),
    ]  # fmt: skip
    assert node.versions == ["1.2.3"]
    assert await world.hello.hello("node") == "Hello node!"
    assert await node.send_command("cache.clear all") == "[notify prefix object num:1]\n[1]:cleared all\n"
    assert "cache.clear: of this service" in await node.send_command("tars.help")
    assert "HelloServant" not in await node.send_command("tars.tasks")
    assert "1 connections" in await node.send_command("tars.viewstatus")
    assert "in _stacks" in await node.send_command("tars.pystack")
    assert "there is no command 'hook.started'" in await node.send_command("hook.started")
    await node.until(lambda: "restart" in node.messages)
    waiting = asyncio.create_task(world.hello.wait(500))
    async with asyncio.timeout(60):
        while " 1 running" not in await node.send_command("tars.viewstatus"):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    stop = await node.stop()
    assert await waiting == 500
    assert not stop.killed
    await node.until(lambda: "stop" in node.messages)
    port = node.configuration.adapters[0].endpoint.port
    assert f"started at 127.0.0.1:{port} with weight 100" in node.log
    assert f"stopping at 127.0.0.1:{port} with weight 100" in node.log


async def test_slow_start(start: Any, tmp_path: Path) -> None:
    """While the service imports the node hears that it starts, and the port refuses; nothing is kept alive before it
    serves."""
    gate = tmp_path / "gate"
    world: World = await start(wait=False, environment={"SERVED_GATE": str(gate)})
    node = world.node
    await node.until(lambda: len(node.activating) > 0)
    assert node.state == "activating"
    assert "starting" in await node.send_command("tars.workers")
    port = node.configuration.adapters[0].endpoint.port
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)
    assert not node.keep_alives
    gate.touch()
    await node.until_active()
    assert await world.hello.hello("late") == "Hello late!"


async def test_replacing_processes_under_load_fails_no_call(start: Any) -> None:
    """Calls go on over `tars.gracerestart` and SIGHUP; none fails, and the pid that the node knows stays."""
    world: World = await start("--workers", "2")
    node, over, calls = world.node, asyncio.Event(), 0

    async def call_on(communicator: tars.Communicator, number: int) -> None:
        nonlocal calls
        [adapter] = node.configuration.adapters
        hello = communicator.proxy(demo.Hello, f"{adapter.servant}@{adapter.endpoint}")
        while not over.is_set():
            assert await hello.wait(number) == number
            calls += 1

    async with AsyncExitStack() as stack, asyncio.TaskGroup() as group:
        for number in range(4):
            communicator = await stack.enter_async_context(tars.Communicator(timeout_seconds=60))
            for each in range(3):
                group.create_task(call_on(communicator, number * 3 + each))
        before = await world.until_workers(2)
        for number in range(ROLLS):
            if number % 2:
                os.kill(node.pid, signal.SIGHUP)
            else:
                await node.send_command("tars.gracerestart")
            before = await world.until_workers(2, set(before.values()))
        over.set()
    assert calls > 0
    assert len(node.starts) == 1
    assert "failed" not in node.log


async def test_accidents_are_the_parents_business(start: Any) -> None:
    """A killed process is replaced while the other one serves; one that hangs writes where, and is replaced; what runs
    every so often goes on in exactly one. The node notices none of it, but for the alarms."""
    world: World = await start("--workers", "2", "--hang", "4")
    node = world.node
    before = await world.until_workers(2)
    await node.until(lambda: "sweep by" in node.log)
    sweepers = {pid for pid in before.values() if f"sweep by {pid}" in node.log}
    assert len(sweepers) == 1
    [killed] = sweepers
    os.kill(killed, signal.SIGKILL)
    after = await world.until_workers(2, {killed})
    others = set(after.values())
    await node.until(lambda: any(f"sweep by {pid}" in node.log for pid in others))
    await node.until(lambda: any("was killed by SIGKILL" in message for message in node.messages))
    assert await world.hello.hello("again") == "Hello again!"

    hung = await world.hello.process()
    with pytest.raises(tars.CallError):
        await world.hello.hang()
    await world.until_workers(2, {hung})
    assert "in this_is_where_it_hangs" in node.log
    assert await world.hello.hello("third") == "Hello third!"
    assert len(node.starts) == 1


async def test_a_killed_parent_leaves_nothing_and_is_started_again(start: Any) -> None:
    """Its processes end with it, so that the node's next start finds the ports free."""
    world: World = await start("--workers", "1")
    node = world.node
    old, children = node.pid, await world.until_workers(1)
    node.kill()
    await node.until(lambda: node.pid != old)
    await node.until_active()
    assert await world.hello.hello("reborn") == "Hello reborn!"
    assert not any(is_running(pid) for pid in children.values())


async def test_stop_as_for_a_server_of_type_php(start: Any) -> None:
    """`... --config=FILE stop` ends the one that runs, and says which."""
    world: World = await start("--workers", "1", is_php=True)
    stop = await world.node.stop()
    assert not stop.killed
    again = run("served:service", f"--config={world.node.config_file}", "stop")
    assert (again.returncode, again.stderr.strip()) == (0, "Demo.PyServer does not run")


async def get(node: FakeNode, name: str, path: str) -> str:
    """The body of a page of the object with that name."""
    adapter = node.configuration.adapter_of(name)
    assert adapter is not None
    url = f"http://127.0.0.1:{adapter.endpoint.port}{path}"

    def fetch() -> str:
        with urllib.request.urlopen(url, timeout=60) as answer:
            return str(answer.read().decode())

    return await asyncio.to_thread(fetch)


async def test_web_applications_beside_a_servant(tmp_path: Path) -> None:
    """One service, three adapters: a servant, an ASGI and a WSGI application, in the same processes; a page is there
    while its processes are replaced."""
    given = {"PYTHONPATH": str(HERE)}
    configuration = configuration_for(
        "PyServer", ["HelloObj"], web=["WebObj", "OldObj"], environment=given, deactivating_seconds=20.0
    )
    async with FakeNode(tmp_path, configuration, [*RUN, "served:both", "--workers", "1"]) as node:
        await node.start()
        await node.until_active()
        first = await get(node, "WebObj", "/new")
        assert first.startswith("/new by ")
        assert await get(node, "OldObj", "/old") == first.replace("/new", "GET /old")
        shown = await node.send_command("tars.viewstatus")
        assert "Demo.PyServer.OldObj at " in shown
        await node.send_command("tars.gracerestart")
        async with asyncio.timeout(60):
            while await get(node, "WebObj", "/new") == first:
                pass
        stop = await node.stop()
    assert not stop.killed


async def test_a_web_application_alone(tmp_path: Path) -> None:
    """TARGET may be the application: it is served at the first adapter that does not speak Tars."""
    given = {"PYTHONPATH": str(HERE)}
    configuration = configuration_for("PyServer", ["UnusedObj"], web=["WebObj"], environment=given)
    async with FakeNode(tmp_path, configuration, [*RUN, "served:wsgi", "--workers", "1"]) as node:
        await node.start()
        await node.until_active()
        assert (await get(node, "WebObj", "/")).startswith("GET / by ")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*RUN, *arguments],
        env={**os.environ, "PYTHONPATH": str(HERE), "SKERRY_LOG_FORMAT": "json"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_wrong_file_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    """Before anything is started: the file, the key, what it wants."""
    file = tmp_path / "wrong.conf"
    file.write_text("<tars>\n<application>\n<server>\napp=Demo\n</server>\n</application>\n</tars>\n")
    ended = run("served:service", f"--config={file}")
    complaint = "/tars/application/server<server>: is missing: the file is none that a node has written"
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == f"skerry: {file}: {complaint}\n"


@pytest.mark.parametrize(
    ("target", "complaint"),
    [
        ("served:needy",
         "Needy.hello: nothing fills parameter nobody: there is no service Needy, and it is not one of the interface's "
         "parameters, nor tars.Call"),
        ("served:wrong",
         "Demo.PyServer.OtherObj: has no adapter in the platform's file; there are: Demo.PyServer.HelloObj"),
        ("served:demo",
         "TARGET: served:demo is a Namespace, neither a skerry.tars.Service nor a WSGI or ASGI application"),
        ("served:wsgi",
         "TARGET: there is no adapter with a protocol other than tars; there are: Demo.PyServer.HelloObj"),
        ("nowhere:service", "TARGET: there is no module 'nowhere' here"),
        ("kept:twice", "a service has one App at most, at one object: its routers may be many"),
    ],
)  # fmt: skip
def test_a_wrong_service_is_one_line_and_exit_code_2(target: str, complaint: str, tmp_path: Path) -> None:
    """What the processes find out is said once, by the parent."""
    configuration: Configuration = configuration_for("PyServer", ["HelloObj"])
    file = tmp_path / "right.conf"
    file.write_text(configuration.text())
    ended = run(target, f"--config={file}", "--workers", "1")
    errors = [json.loads(line) for line in ended.stdout.splitlines() if '"error"' in line]
    assert (ended.returncode, [each["message"] for each in errors]) == (2, [complaint])


def test_version() -> None:
    """What `--version` shows, as the node may ask."""
    ended = run("served:service", "--version")
    assert ended.stdout.splitlines()[1:] == ["served:service 1.2.3"]
