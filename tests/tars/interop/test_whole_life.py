"""The whole life of a Django site on the platform: its archive, the node, the registry, callers in JavaScript and over
HTTP, remote files, logs, numbers, replacement under load, the end."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from skerry import tars
from skerry.process.release import Release, made
from skerry.tars.platform.registry import RegistryLocator
from skerry.testing.tars import TarsPlatform, tars_platform
from skerry.testing.tars.node import FakeNode, configuration_for
from skerry.testing.tars.trial import unpack

__all__ = ["tars_platform"]
pytestmark = [pytest.mark.service("node"), pytest.mark.timeout(600)]

SITE = Path(__file__).parent / "site"
CLIENT = Path(__file__).parent / "js" / "registry_client.js"
SERVER, NAME = "Interop.PyServer", "Interop.PyServer.EchoObj"
PATIENCE = 240.0
ROLLS = 10 if os.environ.get("SKERRY_SOAK") else 2
idl = tars.load_text("module Interop { interface Echo { int sleep(int ms); }; };").Interop


def base_python() -> str:
    """An interpreter without packages: the archive brings what it needs."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    found = [path for path in (Path(sys.base_prefix, "bin", version),) if path.exists()]
    return str(found[0]) if found else sys.executable


async def by_javascript(peers: dict[str, str], locator: str) -> list[int]:
    process = await asyncio.create_subprocess_exec(
        "node", "--no-warnings", "--no-deprecation", str(CLIENT), locator, "5",
        env=peers, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(120):
        out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    return list(json.loads(out))


async def test_a_django_site_lives_on_the_platform(
    peers: dict[str, str], tars_platform: TarsPlatform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing fails while its processes are replaced again and again, and nothing of it is left at the end."""
    monkeypatch.syspath_prepend(str(SITE))
    archive = tmp_path / "PyServer.tgz"
    release = Release("site_service:service", "Interop", "PyServer", SITE, (), ("django",), "r1")
    await asyncio.to_thread(made, release, archive)

    platform, files = tars_platform, tars_platform.config
    files.put("Interop", "PyServer", "django.json", '{"GREETING": "remote", "SHOP": {"name": "remote"}}')
    files.put("Interop", "PyServer", "limits.txt", "10")
    configuration = configuration_for(
        "PyServer", ["EchoObj"], web=["WebObj"], app="Interop", deactivating_seconds=20.0,
        environment={"SKERRY_PYTHON": base_python(), "SKERRY_HOST_MAX_REQUESTS": "500"},
    ).changed(
        client=platform.client_configuration(SERVER), config="tars.tarsconfig.ConfigObj",
        log="tars.tarslog.LogObj", notify="tars.tarsnotify.NotifyObj",
    )  # fmt: skip
    echo_adapter, web_adapter = configuration.adapters
    home = tmp_path / "node"
    home.mkdir()
    node = FakeNode(home, configuration, [str(home / "bin" / "PyServer"), "--workers", "2"])
    locator = RegistryLocator(platform.locator)
    async with (
        node,
        tars.Communicator(locator=locator, timeout_seconds=60) as communicator,
        httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{web_adapter.endpoint.port}", timeout=60, trust_env=False
        ) as http,
    ):
        unpack(archive, home / "bin")
        await node.start()
        await node.until_active()
        await node.until(lambda: node.versions == ["2.0.1"])
        await platform.until(lambda: "restart" in platform.notify.messages(SERVER))
        platform.registry.register(NAME, str(echo_adapter.endpoint))

        # found, by JavaScript and by Python; HTTP beside it; the view calls the servant
        assert await by_javascript(peers, platform.locator) == [0, 1, 2, 3, 4]
        echo = communicator.proxy(idl.Echo, NAME)
        assert await echo.sleep(1) == 1
        shown = (await http.get("/shown")).json()
        assert (shown["greeting"], shown["shop"]) == ("remote", {"currency": "EUR", "name": "remote"})
        ordered = await http.put("/orders/tea", content="two")
        assert ordered.json() == {"item": "tea", "slept": 1, "body": "two"}
        await platform.until(
            lambda: "|ordered tea\n" in platform.log.text("", SERVER)
        )  # no request holds it back

        # published while it runs, refused where it does not fit
        files.put("Interop", "PyServer", "django.json", '{"GREETING": "published"}')
        assert "[succ]" in await node.send_command("tars.loadconfig django.json")
        assert (await http.get("/shown")).json()["greeting"] == "published"
        files.put("Interop", "PyServer", "limits.txt", "many")
        assert "limits.txt is a number" in await node.send_command("tars.loadconfig limits.txt")
        assert "10 now" in await node.send_command("limits now")
        files.put("Interop", "PyServer", "limits.txt", "20")

        # replaced under load, by order and for what a process has served
        over, calls, first = asyncio.Event(), 0, node.pid

        async def call_on(number: int) -> None:
            nonlocal calls
            while not over.is_set():
                if number % 2:
                    answer = await http.get("/shown")
                    assert answer.status_code == 200, answer.text
                else:
                    assert await echo.sleep(number) == number
                calls += 1

        async with asyncio.TaskGroup() as group:
            for number in range(6):
                group.create_task(call_on(number))
            for number in range(ROLLS):
                await node.send_command("tars.gracerestart")
                await node.until(
                    lambda number=number: node.log.count("every process was replaced") > number,  # type: ignore[misc]
                    PATIENCE,
                )
            await node.until(lambda: "requests (host.max_requests)" in node.log, PATIENCE)
            await node.until(
                lambda: node.log.rpartition("is replaced: ")[2].count("listens on") >= 2, PATIENCE
            )
            over.set()
        assert calls > 0
        assert (node.pid, len(node.starts)) == (first, 1)
        assert "20 now" in await node.send_command("limits now")
        assert "worker-2: ready" in await node.send_command("tars.workers")

        stop = await node.stop()
        assert not stop.killed
        with pytest.raises(httpx.ConnectError):
            await http.get("/shown")
    await locator.close()

    served, called = platform.stat.totals(False, SERVER), platform.stat.totals(True, SERVER)
    assert served["PUT /orders/<str:item>"].succeeded == 1
    assert served["GET /shown"].failed == 0
    assert (called["sleep"].succeeded, called["sleep"].failed) == (1, 0)
    values = platform.property.values(SERVER)
    assert values["orders"] == {"Sum": "1"}
    assert {"memoryUsage", "cpuUsage", "eventloopLag", "leakSlope", "workers"} <= values.keys()
