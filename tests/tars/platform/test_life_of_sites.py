"""Django, Flask and FastAPI under the node: remote files in their settings before they are set up, later changes, logs
through their own logging, statistics by route."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import httpx

from skerry.testing.tars import TarsPlatform
from skerry.testing.tars.node import FakeNode, configuration_for

HERE = Path(__file__).parent
OBJECTS = ("DjangoObj", "AsgiObj", "FlaskObj", "FastObj")


async def test_three_frameworks_on_the_platform(tars_platform: TarsPlatform, tmp_path: Path) -> None:
    """Each in its own way; a published file changes the running process; secrets are in no log; nothing fails while
    the process is replaced, and every answer is counted."""
    files = tars_platform.config
    files.put(
        "Demo", "PyServer", "django.json", json.dumps({"GREETING": "remote", "PARTS": {"replaced": [2]}})
    )
    files.put("Demo", "PyServer", "flask.ini", "[DEFAULT]\nGREETING=remote\nLIMIT=5\nDB_PASSWORD=hunter2\n")
    files.put("Demo", "PyServer", "fast.toml", '[fast]\ngreeting = "remote"\n')
    environment = {"PYTHONPATH": str(HERE), "SKERRY_TARS_FILES": "fast.toml=environ"}
    configuration = configuration_for(
        "PyServer", [], web=OBJECTS, environment=environment, deactivating_seconds=20.0
    ).changed(
        client=tars_platform.client_configuration("Demo.PyServer"),
        config="tars.tarsconfig.ConfigObj",
        log="tars.tarslog.LogObj",
    )
    command = [sys.executable, "-m", "skerry", "tars", "run", "sites:service", "--workers", "1"]
    async with FakeNode(tmp_path, configuration, command) as node:
        await node.start()
        await node.until_active()
        bases = {
            each.object_name: f"http://127.0.0.1:{each.endpoint.port}" for each in node.configuration.adapters
        }
        async with httpx.AsyncClient(timeout=60, trust_env=False) as client:

            async def got(name: str, path: str) -> Any:
                return (await client.get(bases[name] + path)).json()

            assert await got("DjangoObj", "/shown") == {
                "at_setup": "remote", "now": "remote", "parts": {"kept": 1, "replaced": [2]},
            }  # fmt: skip
            assert await got("FlaskObj", "/items/7") == {"GREETING": "remote", "LIMIT": 5}
            assert await got("FastObj", "/items/7") == {"greeting": "remote"}
            await got("FastObj", "/items/8")
            assert (await got("AsgiObj", "/pages/seven"))["now"] == "remote"
            files.put("Demo", "PyServer", "django.json", '{"GREETING": "published"}')
            assert "[succ]" in await node.send_command("tars.loadconfig django.json")
            assert (await got("DjangoObj", "/shown"))["now"] == "published"
            files.put("Demo", "PyServer", "django.json", '{"greeting": "small"}')
            assert "in capitals" in await node.send_command("tars.loadconfig django.json")
            files.put("Demo", "PyServer", "django.json", '{"GREETING": "published"}')
            files.put("Demo", "PyServer", "flask.ini", "[DEFAULT]\nGREETING=published\nLIMIT=6\n")
            assert "[succ]" in await node.send_command("tars.loadconfig flask.ini")
            assert await got("FlaskObj", "/items/7") == {"GREETING": "published", "LIMIT": 6}

            over = asyncio.Event()

            async def get_on(name: str, path: str) -> int:
                count = 0
                while not over.is_set():
                    answer = await client.get(bases[name] + path)
                    assert answer.status_code == 200, answer.text
                    count += 1
                return count

            paths = {"DjangoObj": "/shown", "FlaskObj": "/items/1", "FastObj": "/items/1"}
            async with asyncio.TaskGroup() as group:
                counts = [group.create_task(get_on(name, path)) for name, path in paths.items()]
                await node.send_command("tars.gracerestart")
                await node.until(lambda: "every process was replaced" in node.log, 240.0)
                over.set()
            assert all(each.result() > 0 for each in counts)
        await node.stop()
        assert "hunter2" not in node.log
    text = tars_platform.log.text("", "Demo.PyServer")
    assert "|django logs\n" in text
    assert "|flask logs\n" in text
    assert "DB_PASSWORD" in text
    assert "hunter2" not in text
    totals = tars_platform.stat.totals(False, "Demo.PyServer")
    routes = {"GET /items/{item}", "GET /items/<int:item>", "GET /shown", "GET /pages/<slug:page>"}
    assert routes == totals.keys()
    assert sum(total.succeeded for total in totals.values()) == sum(each.result() for each in counts) + 7
    assert sum(total.failed + total.timed_out for total in totals.values()) == 0
