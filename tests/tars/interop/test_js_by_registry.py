"""A JavaScript client that knows only the registry finds a Python service there."""

from __future__ import annotations

import asyncio
import json
import subprocess
from pathlib import Path

import pytest

from skerry.tars.platform.services import Services
from skerry.tars.server import Server
from skerry.testing.tars import TarsPlatform, tars_platform

__all__ = ["tars_platform"]
pytestmark = pytest.mark.service("node")

CLIENT = Path(__file__).parent / "js" / "registry_client.js"


async def test_found_by_name(
    peers: dict[str, str], python_server: Server, tars_platform: TarsPlatform, tmp_path: Path
) -> None:
    """Over the registry's double, whose answer the JavaScript package takes; a second, dead endpoint that is marked
    inactive gets no call."""
    name = "Interop.PyServer.EchoObj"
    tars_platform.registry.register(name, str(python_server.endpoints[0]))
    tars_platform.registry.register(name, "tcp -h 127.0.0.1 -p 1 -t 3000", node="dead")
    tars_platform.registry.set_active(name, False, node="dead")
    process = await asyncio.create_subprocess_exec(
        "node", "--no-warnings", "--no-deprecation", str(CLIENT), tars_platform.locator, "5",
        env=peers, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(120):
        out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    assert json.loads(out) == [0, 1, 2, 3, 4]
    assert name in {asked for asked, _ in tars_platform.registry.asked}
    services = Services(tars_platform.configuration(tmp_path))
    assert services.locator is not None
    assert len((await services.locator.find(name)).inactive) == 1
    await services.stop(30)
