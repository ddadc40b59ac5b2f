"""Real Tars programs in JavaScript, started for the tests; skipped loudly where there is no node."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import skerry.tars
from skerry.tars.call import current
from skerry.tars.call_errors import ServantError
from skerry.tars.server import Server
from skerry.testing.broker import free_ports

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
PEERS = ROOT / "var" / "tars-peers"
NODE = ("node", "--no-warnings", "--no-deprecation")

idl: Any = skerry.tars.load(HERE / "Interop.tars")


@pytest.fixture(scope="session")
def peers() -> dict[str, str]:
    """The environment in which node finds the Tars packages; installs them once."""
    missing = ""
    if shutil.which("node") is None or shutil.which("npm") is None:
        missing = "there is no node or no npm"
    else:
        done = subprocess.run(
            ["sh", str(ROOT / "scripts" / "npm_packages.sh"), str(HERE / "js"), str(PEERS)],
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        if done.returncode:
            missing = f"npm could not install the Tars packages: {done.stderr.strip()[-300:]}"
    if missing:
        message = f"Tars interop tests do not run: {missing}"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        print(f"\nSKIPPED: {message}", file=sys.__stderr__)
        pytest.skip(message)
    return {**os.environ, "NODE_PATH": str(PEERS / "node_modules")}


def free_port() -> int:
    """One that no outgoing connection is given before it is bound."""
    return free_ports(1)[0]


def started(command: list[str], env: dict[str, str], port: int, cwd: Path = HERE) -> subprocess.Popen[bytes]:
    """A program that listens on `port` by now."""
    process = subprocess.Popen(
        command, env=env, cwd=cwd, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    for _ in range(1500):
        with socket.socket() as probe:
            probe.settimeout(0.2)
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return process
        try:
            process.wait(0.05)
        except subprocess.TimeoutExpired:
            continue
        raise RuntimeError(f"{command} ended with {process.returncode}")
    process.kill()
    raise RuntimeError(f"{command} does not listen on {port}")


@pytest.fixture(scope="module")
def js_server(peers: dict[str, str]) -> Iterator[str]:
    """A JavaScript server of Interop.Echo: its address."""
    port, name = free_port(), "Interop.JsServer.EchoObj"
    endpoint = f"tcp -h 127.0.0.1 -p {port} -t 60000"
    process = started([*NODE, str(HERE / "js" / "echo_server.js"), endpoint, name], peers, port)
    yield f"{name}@{endpoint}"
    process.terminate()
    process.wait(60)


class EchoServant(idl.Interop.Echo):  # type: ignore[misc]
    """Interop.Echo in Python; `lost` counts one-way calls."""

    def __init__(self) -> None:
        self.lost = 0

    async def echoAll(self, b: bool, y: int, s: int, i: int, *rest: Any) -> Any:  # noqa: N802
        return i, b, y, s, *rest

    async def echoStruct(self, e: Any) -> Any:  # noqa: N802
        return e, e.inner

    async def echoBytes(self, bytes: bytes) -> bytes:  # noqa: N802
        return bytes

    async def sleep(self, ms: int) -> int:
        if ms:
            await asyncio.sleep(ms / 1000)
        return ms

    async def fail(self) -> None:
        raise RuntimeError("boom")

    async def ret(self) -> int:
        raise ServantError(5, "five")

    async def oneway(self) -> None:
        self.lost += 1

    async def told(self, entry: str) -> str:
        return current().status.get(entry, "")

    async def oneways(self) -> int:
        return self.lost


@pytest.fixture
async def python_server() -> AsyncIterator[Server]:
    """Our server of Interop.Echo, on tcp and udp."""
    server = Server(drain_seconds=1.0)
    server.add(EchoServant(), "Interop.PyServer.EchoObj@tcp -h 127.0.0.1 -p 0 -t 60000:udp -h 127.0.0.1 -p 0")
    async with server:
        yield server


Ask = Callable[..., Awaitable[Any]]


@pytest.fixture
def js_client(peers: dict[str, str]) -> Ask:
    """Run a scenario of js/scenario_client.js against an endpoint; gives what it printed."""

    async def run(
        endpoint: str, scenario: str, number: int = 0, name: str = "Interop.PyServer.EchoObj"
    ) -> Any:
        process = await asyncio.create_subprocess_exec(
            *NODE,
            str(HERE / "js" / "scenario_client.js"),
            endpoint,
            name,
            scenario,
            str(number),
            env=peers,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(120):
                out, err = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
        assert process.returncode == 0, err.decode()
        return json.loads(out.splitlines()[-1])

    return run


@pytest.fixture(scope="session")
def echo() -> Any:
    """The module Interop of the IDL."""
    return idl.Interop


@pytest.fixture(scope="session")
def echo_servant() -> type[EchoServant]:
    """The servant class."""
    return EchoServant


@pytest.fixture(scope="module")
def js_demo_server(
    peers: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Any]]:
    """The demo server of the Tars package itself, generated code and all: its address and its IDL."""
    demo = PEERS / "node_modules" / "@tars" / "rpc" / "examples" / "rpc-tars" / "demo.1" / "server.node.1"
    port = free_port()
    folder = tmp_path_factory.mktemp("demo")
    config = (demo / "TARS.NodeTarsServer.config.conf").read_text(encoding="utf-8")
    (folder / "demo.conf").write_text(config.replace("14002", str(port)), encoding="utf-8")
    env = {**peers, "TARS_CONFIG": str(folder / "demo.conf")}
    process = started([*NODE, str(demo / "main.js")], env, port, folder)
    yield (
        f"TARS.NodeTarsServer.NodeTarsObj@tcp -h 127.0.0.1 -p {port} -t 60000",
        skerry.tars.load(demo / "NodeTars.tars").tars,
    )
    process.terminate()
    process.wait(60)
