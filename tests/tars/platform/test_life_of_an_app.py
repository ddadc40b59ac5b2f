"""A Skerry App as an object of a Tars service: memory, buses, events and readiness in each process, and a consumer."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import httpx
from websockets.asyncio.client import connect

from skerry import tars
from skerry.testing.broker import free_ports
from skerry.testing.tars import TarsPlatform
from skerry.testing.tars.node import FakeNode, configuration_for

HERE = Path(__file__).parent
demo: Any = tars.load_text(
    "module Demo { interface Keep { int put(string name, string value); string get(string name); }; };"
).Demo


async def test_an_app_on_the_platform(tars_platform: TarsPlatform, tmp_path: Path) -> None:
    """What is written over HTTP is read by a servant in memory, what a servant writes is heard by a listener; a roll
    under load loses nothing; numbers, routes and readiness of all processes are told."""
    [admin] = free_ports(1)
    environment = {"PYTHONPATH": str(HERE), "SKERRY_ADMIN_BIND": f"127.0.0.1:{admin}"}
    configuration = configuration_for(
        "PyServer", ["KeepObj"], web=["WebObj"], environment=environment, deactivating_seconds=20.0
    ).changed(client=tars_platform.client_configuration("Demo.PyServer"))
    keep_adapter, web_adapter = configuration.adapters
    command = [sys.executable, "-m", "skerry", "tars", "run", "kept:service", "--workers", "2"]
    async with (
        FakeNode(tmp_path, configuration, command) as node,
        tars.Communicator(timeout_seconds=60) as communicator,
        httpx.AsyncClient(timeout=60, trust_env=False) as http,
    ):
        await node.start()
        await node.until_active()
        web = f"http://127.0.0.1:{web_adapter.endpoint.port}"
        keep = communicator.proxy(demo.Keep, f"{keep_adapter.servant}@{keep_adapter.endpoint}")

        assert (await http.put(f"{web}/values/tea", content="green")).json()["message"] == "OK"
        async with asyncio.timeout(60):
            while await keep.get("tea") != "green":  # another process may have answered
                pass
        url = f"ws://127.0.0.1:{web_adapter.endpoint.port}/events"
        async with connect(url, proxy=None) as listener:
            assert json.loads(await listener.recv())["type"] == "hello"
            assert await keep.put("tea", "black") > 0
            assert await keep.get("tea") == "black"
            async with asyncio.timeout(60):
                while (heard := json.loads(await listener.recv())).get("type") != "domain_event":
                    pass
            assert (heard["key"], heard["value"]) == ("tea", "black")

        over, written = asyncio.Event(), {"http": 1, "tars": 1}

        async def write_on(number: int) -> None:
            while not over.is_set():
                if number % 2:
                    answer = await http.put(f"{web}/values/k{number}", content=str(number))
                    assert answer.status_code == 200, answer.text
                    written["http"] += 1
                else:
                    assert await keep.put(f"k{number}", str(number)) > 0
                    written["tars"] += 1

        shown = await node.send_command("tars.workers")
        assert "consumer-1: ready" in shown
        async with asyncio.TaskGroup() as group:
            for number in range(4):
                group.create_task(write_on(number))
            await node.send_command("tars.gracerestart")
            await node.until(lambda: "every process was replaced" in node.log, 240.0)
            over.set()
        assert min(written.values()) > 1
        assert (await http.get(f"{web}/values/tea")).json()["value"] == "black"

        ready = await http.get(f"http://127.0.0.1:{admin}/health/ready")
        assert (ready.status_code, set(ready.json()["checks"])) == (
            200, {"worker-1", "worker-2", "consumer-1"},
        )  # fmt: skip
        for purpose in ("traffic", "writes"):
            answer = await http.get(f"http://127.0.0.1:{admin}/health/ready?for={purpose}")
            assert answer.status_code == 200, answer.text
        numbers = (await http.get(f"http://127.0.0.1:{admin}/metrics")).text
        assert 'route="/values/{key}"' in numbers
        assert 'process="consumer-1"' in numbers
        checks = (await http.get(f"{web}/health/ready")).json()["checks"]
        assert {"memory", "events", "platform"} <= checks.keys()
        assert "Demo.PyServer.WebObj at " in await node.send_command("tars.viewstatus")
        stop = await node.stop()
        assert not stop.killed
        assert any(name.endswith(".db") for name in os.listdir(tmp_path / "data"))
    totals = tars_platform.stat.totals(False, "Demo.PyServer")
    assert totals["PUT /values/{key}"].succeeded == written["http"]
    assert totals["GET /values/{key}"].succeeded == 1
    assert totals["put"].succeeded == written["tars"]
    assert tars_platform.property.values("Demo.PyServer")["leakSlope"]
