"""Django, Flask and FastAPI under the node: remote files in their settings before they are set up, later changes, logs
through their own logging, statistics by route."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import httpx

from skerry.testing.tars import TarsPlatform
from skerry.testing.tars.node import FakeNode, configuration_for

HERE = Path(__file__).parent
OBJECTS = ("DjangoObj", "FlaskObj", "FastObj")


async def test_three_frameworks_on_the_platform(tars_platform: TarsPlatform, tmp_path: Path) -> None:
    """Each in its own way; a published file changes the running process; secrets are in no log."""
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
            files.put("Demo", "PyServer", "django.json", '{"GREETING": "published"}')
            assert "[succ]" in await node.send_command("tars.loadconfig django.json")
            assert (await got("DjangoObj", "/shown"))["now"] == "published"
            files.put("Demo", "PyServer", "django.json", '{"greeting": "small"}')
            assert "in capitals" in await node.send_command("tars.loadconfig django.json")
        await node.stop()
        assert "hunter2" not in node.log
    text = tars_platform.log.text("", "Demo.PyServer")
    assert "|django logs\n" in text
    assert "|flask logs\n" in text
    assert "DB_PASSWORD" in text
    assert "hunter2" not in text
    totals = tars_platform.stat.totals(False, "Demo.PyServer")
    assert {route: total.succeeded for route, total in totals.items()} == {
        "GET /items/{item}": 2, "GET /items/<int:item>": 1, "GET /shown": 2,
    }  # fmt: skip
