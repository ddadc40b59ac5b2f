"""A service that the node runs and the platform serves: found, configured, logged, counted, from start to end."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

from skerry import tars
from skerry.tars.platform.registry import RegistryLocator
from skerry.testing.tars import TarsPlatform
from skerry.testing.tars.node import FakeNode, configuration_for

HERE = Path(__file__).parent
NAME, FILE = "Demo.PyServer.HelloObj", "greetings.json"

demo: Any = tars.load_text(
    "module Demo { interface Hello { string hello(string name); string around(string name); }; };"
).Demo


async def test_the_life_of_a_service_on_its_platform(tars_platform: TarsPlatform, tmp_path: Path) -> None:
    """A client finds it by name; a file that is published takes effect in the running process, one that it refuses does
    not; its lines, calls of both sides and properties are at the platform when it has ended."""
    platform = tars_platform
    platform.config.put("Demo", "PyServer", FILE, '{"greeting": "Hello"}')
    configuration = configuration_for(
        "PyServer", ["HelloObj"], environment={"PYTHONPATH": str(HERE)}, deactivating_seconds=20.0
    ).changed(
        client=platform.client_configuration("Demo.PyServer"),
        config="tars.tarsconfig.ConfigObj",
        log="tars.tarslog.LogObj",
        notify="tars.tarsnotify.NotifyObj",
    )
    platform.registry.register(NAME, str(configuration.adapters[0].endpoint))
    command = [sys.executable, "-m", "skerry", "tars", "run", "configured:service", "--workers", "1"]
    locator = RegistryLocator(platform.locator)
    communicator = tars.Communicator(locator=locator, timeout_seconds=60)
    async with FakeNode(tmp_path, configuration, command) as node, communicator:
        await node.start()
        await node.until_active()
        hello = communicator.proxy(demo.Hello, NAME)
        assert await hello.hello("node") == "Hello node!"
        assert await hello.around("self") == "Hello self!"
        platform.config.put("Demo", "PyServer", FILE, '{"greeting": "Bye"}')
        assert "[succ] get remote config" in await node.send_command(f"tars.loadconfig {FILE}")
        assert await hello.hello("node") == "Bye node!"
        platform.config.put("Demo", "PyServer", FILE, '{"password": "hunter2"}')
        assert "there is no greeting in it" in await node.send_command(f"tars.loadconfig {FILE}")
        assert await hello.hello("node") == "Bye node!"
        assert "lines sent" in await node.send_command("tars.viewstatus")
        assert "is DEBUG" in await node.send_command("tars.setloglevel DEBUG")
        assert "release none" in await node.send_command("tars.bid")
        assert "calls Demo.PyServer.HelloObj at tcp" in await node.send_command("tars.connection")
        assert "routekey dora are dyed" in await node.send_command("tars.setdyeing dora HelloObj hello")
        assert await hello.hello("dora") == "Bye dora!"
        assert "does not go" in await node.send_command("tars.enabledaylog remote||false")
        assert await hello.hello("nobody") == "Bye nobody!"
        assert "write remote|" in await node.send_command("tars.enabledaylog remote")
        await platform.until(lambda: "restart" in platform.notify.messages("Demo.PyServer"))
        stop = await node.stop()
        assert not stop.killed
        kept = await asyncio.to_thread((tmp_path / "bin" / FILE).read_text)
        assert kept == '{"greeting": "Bye"}'
        assert "hunter2" not in node.log
    await locator.close()
    text = platform.log.text("", "Demo.PyServer")
    assert text.count("|asked by node\n") == 3
    assert "~greeting" in text
    assert "asked by nobody" not in text
    assert "Demo.PyServer|dora|" in platform.log.text("roll")
    assert "hunter2" not in text
    assert platform.stat.totals(False, "Demo.PyServer")["hello"].succeeded == 6
    assert platform.stat.totals(True, "Demo.PyServer")["hello"].succeeded == 1
    values = platform.property.values("Demo.PyServer")
    assert values["hellos"] == {"Sum": "6"}
    assert f"{NAME}Adapter.connections" in values
    data = await asyncio.to_thread((tmp_path / "data" / "PyServer.tarsdat").read_text)
    assert "logLevel=DEBUG" in data
    assert NAME in data
