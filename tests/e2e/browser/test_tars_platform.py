"""The page of `skerry tars platform` in a browser: a newcomer sees all of a service there, and changes it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from skerry import tars
from skerry.loop.sockets import bind_tcp
from skerry.server.server import HttpServer
from skerry.server.settings import ServerSettings
from skerry.testing.tars.local import LocalPlatform
from skerry.testing.tars.page import page_of

pytestmark = [
    pytest.mark.service("chromium"),
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(300),
]
HERE = Path(__file__).parent.parent.parent / "tars" / "platform"
SERVER = "Demo.Configured"
demo: Any = tars.load_text("module Demo { interface Hello { string hello(routekey string name); }; };").Demo


class Seen:
    """The platform and its page in a window; `complaints` is what went wrong in it."""

    def __init__(self, local: LocalPlatform, page: Page) -> None:
        self.local, self.page = local, page
        self.complaints: list[str] = []
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", lambda m: self.complaints.append(m.text) if m.type == "error" else None)

    async def command(self, text: str) -> None:
        await self.page.get_by_label(f"Command to {SERVER}").fill(text)
        await self.page.get_by_role("button", name="send command").click()

    async def publish(self, text: str) -> None:
        await self.page.get_by_label("File").fill("greetings.json")
        await self.page.get_by_label("Text").fill(text)
        await self.page.get_by_role("button", name="Publish").click()


@pytest_asyncio.fixture(loop_scope="module")
async def seen(browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Seen]:
    monkeypatch.chdir(HERE)
    file = tmp_path / "config" / SERVER / "greetings.json"
    await asyncio.to_thread(file.parent.mkdir, parents=True)
    await asyncio.to_thread(file.write_text, '{"greeting": "Hello"}', encoding="utf-8")
    async with LocalPlatform(tmp_path, grace_seconds=30.0) as local:
        bound = bind_tcp("127.0.0.1", 0, setting="--port")
        server = HttpServer(page_of(local), ServerSettings(access_log="off"))
        await server.start([bound])
        context = await browser.new_context()
        found = Seen(local, await context.new_page())
        await found.page.goto(f"http://127.0.0.1:{bound.getsockname()[1]}/")
        yield found
        await context.close()
        await server.stop(1.0)
        assert [each for each in found.complaints if "favicon" not in each] == []


async def test_a_service_seen_and_changed(seen: Seen) -> None:
    """From its start to its end: state, registry, a configuration that it takes over and one that it refuses, a
    command, log lines, calls and properties, a stop by a click."""
    page = seen.page
    node = await seen.local.add("configured:service", "Configured", ["--workers", "1"])
    await expect(page.locator("#servers .server").filter(has_text=SERVER)).to_contain_text("active, pid")
    listed = page.locator("#objects tr").filter(has_text=f"{SERVER}.HelloObj")
    await expect(listed.locator(".active")).to_have_count(1)

    await page.locator("#files").get_by_role("button").click()  # the file that is there, into the form
    await expect(page.get_by_label("Text")).to_have_value('{"greeting": "Hello"}')
    await seen.publish('{"greeting": "Bye"}')
    await expect(page.locator("#said")).to_contain_text("[succ]")
    async with tars.Communicator(timeout_seconds=60) as communicator:
        [adapter] = node.configuration.adapters
        hello = communicator.proxy(demo.Hello, f"{adapter.servant}@{adapter.endpoint}")
        assert await hello.hello("browser") == "Bye browser!"
    await seen.publish("{}")
    await expect(page.locator("#said")).to_contain_text("there is no greeting in it")

    await seen.command("tars.workers")
    await expect(page.locator("#said")).to_contain_text("worker-1: ready")
    await expect(page.get_by_label(f"Command to {SERVER}")).to_have_value("tars.workers")
    await expect(page.locator("#log")).to_contain_text("asked by browser")
    await expect(page.locator("#notes")).to_contain_text(f"{SERVER}: restart")
    row = page.locator("#calls tr").filter(has_text="hello")  # reports come every ten seconds
    await expect(row).to_contain_text("server")
    await expect(page.locator("#properties")).to_contain_text("hellos")
    await expect(page.locator("#properties")).to_contain_text("memoryUsage")

    await page.get_by_role("button", name="stop", exact=True).click()
    await expect(page.locator("#said")).to_contain_text("ended after")
    await expect(page.locator("#servers .inactive")).to_have_text("inactive")
    await page.get_by_role("button", name="start", exact=True).click()
    await expect(page.locator("#servers .active")).to_contain_text("active, pid")


async def test_a_server_that_lacks_its_file(seen: Seen) -> None:
    """The page says why it has ended; when the file is published it is started; the chosen server stays chosen."""
    page = seen.page
    await seen.local.add("configured:service", "Configured", ["--workers", "1"])
    await seen.local.add("configured:service", "Bare", ["--workers", "1"])
    block = page.locator("#servers .server").filter(has_text="Demo.Bare")
    await expect(block).to_contain_text("It has ended: remote configuration: there is no remote file")
    chosen = page.locator("select[name=server]")
    await chosen.select_option("Demo.Bare")
    await seen.publish('{"greeting": "Hi"}')
    await expect(page.locator("#said")).to_contain_text("saved")
    await expect(block).to_contain_text("active, pid")
    await expect(block).not_to_contain_text("It has ended")
    await expect(chosen).to_have_value("Demo.Bare")
