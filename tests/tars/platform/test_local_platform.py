"""`skerry tars platform`: a service and a web application run as on a real platform, seen and ordered by the page."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import httpx
import pytest

from skerry.loop.sockets import bind_tcp
from skerry.server.server import HttpServer
from skerry.server.settings import ServerSettings
from skerry.testing.tars.local import LocalPlatform
from skerry.testing.tars.page import page_of

HERE = Path(__file__).parent
SERVER = "Demo.Configured"


async def test_a_service_by_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Started with its file from the folder, found in the registry, configured and commanded by the page, stopped;
    other origins and content types change nothing. The server finds its modules as this process does."""
    monkeypatch.chdir(HERE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "lib"))
    file = tmp_path / "config" / SERVER / "greetings.json"
    file.parent.mkdir(parents=True)
    file.write_text('{"greeting": "Hello"}', encoding="utf-8")
    async with LocalPlatform(tmp_path, grace_seconds=30.0) as local:
        bound = bind_tcp("127.0.0.1", 0, setting="--port")
        server = HttpServer(page_of(local), ServerSettings(access_log="off"))
        await server.start([bound])
        base = f"http://127.0.0.1:{bound.getsockname()[1]}"
        async with httpx.AsyncClient(base_url=base, timeout=60, trust_env=False) as page:
            node = await local.add("configured:service", "Configured", ["--workers", "1"])
            searched = node.configuration.environment["PYTHONPATH"].split(os.pathsep)
            assert searched == [str(HERE), str(tmp_path / "lib")]
            await node.until_active()

            async def post(what: str, **body: Any) -> str:
                return str((await page.post(f"/servers/{SERVER}/{what}", json=body)).json()["said"])

            def active() -> bool:
                found: list[dict[str, Any]] = local.state()["objects"][f"{SERVER}.HelloObj"]
                return bool(found[0]["active"])

            await local.platform.until(active)
            assert "[succ]" in await post("publish", name="greetings.json", text='{"greeting": "Bye"}')
            assert file.read_text(encoding="utf-8") == '{"greeting": "Bye"}'
            assert "refused" in await post("publish", name="greetings.json", text="{}")
            assert "plain name" in await post("publish", name="../x", text="{}")
            assert "worker-1: ready" in await post("command", command="tars.workers")
            assert "is active already" in await post("order", order="start")
            foreign = {"Origin": "http://evil.example"}
            url = f"/servers/{SERVER}/order"
            assert (await page.post(url, json={"order": "stop"}, headers=foreign)).status_code == 403
            assert (await page.post(url, content=b'{"order": "stop"}')).status_code == 415
            await local.platform.until(lambda: f"{SERVER}: restart" in local.state()["notes"])
            assert "ended after" in await post("order", order="stop")
            state = (await page.get("/state")).json()
            assert [each["state"] for each in state["servers"]] == ["inactive"]
            assert any("in force" in line for each in state["log"] for line in each["lines"])
            index = await page.get("/")
            assert "Tars platform" in index.text
            assert "script-src 'self'" in index.headers["content-security-policy"]
            assert (await page.get("/platform.js")).status_code == 200
            assert (
                "server: is Demo.Configured"
                in (await page.post("/servers/X/order", json={"order": "stop"})).text
            )
        await server.stop(1.0)
