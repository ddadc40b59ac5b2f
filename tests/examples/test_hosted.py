"""The examples with Flask and FastAPI, each started by its one command, in a browser and by programs."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
import websockets
from playwright.async_api import Browser, Page, async_playwright

from skerry.testing.broker import free_ports
from skerry.testing.program import Program

sys.path.insert(0, str(Path(__file__).parent))
from shopworld import ARGUMENTS, CHROMIUM, PATIENCE_MS, shown, until_shown  # type: ignore[import-not-found]

pytestmark = [pytest.mark.service("chromium"), pytest.mark.asyncio(loop_scope="module")]
EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        await browser.close()


@asynccontextmanager
async def example(directory: Path, name: str, *command: str) -> AsyncIterator[int]:
    """A copy of it, started by `python COMMAND`, with one server; its port."""
    home = Path(shutil.copytree(EXAMPLES / name, directory / "it"))
    [port] = free_ports(1)
    options = ("--bind", f"127.0.0.1:{port}", "--servers", "1", "--no-reload")
    async with Program(home, *options, command=command) as program:
        await program.until(lambda: '"ready on' in program.text, 120)
        yield port
        assert await program.stop(signal.SIGTERM) == 0


async def window(browser: Browser, url: str) -> Page:
    page = await (await browser.new_context()).new_page()
    page.set_default_timeout(PATIENCE_MS)
    await page.goto(url)
    await page.wait_for_selector("skerry-rows[data-phase=live]")
    return page


async def test_a_vote_is_seen_in_every_window(tmp_path: Path, browser: Browser) -> None:
    """Flask: once for each who votes; a form of another page changes nothing."""
    async with example(tmp_path, "flask_poll", "-m", "flask", "--app", "poll", "skerry") as port:
        url = f"http://127.0.0.1:{port}/"
        one, two = [await window(browser, url) for _ in range(2)]
        await one.click("tr[data-key='2'] button")
        await one.wait_for_selector("skerry-rows[data-phase=live]")
        async with httpx.AsyncClient(base_url=url, timeout=60) as client:
            assert (await client.post("choices/2", data={"token": "of another page"})).status_code == 400
            token = re.search(r'name="token" value="(\w+)"', (await client.get("")).text)
            assert token is not None
            assert (await client.post("choices/9", data={"token": token[1]})).status_code == 404
            for _ in range(2):
                assert (await client.post("choices/2", data={"token": token[1]})).status_code == 302
        for page in (one, two):
            await until_shown(page, "choices", {"1": ["Tea", "0", "Vote"], "2": ["Coffee", "2", "Vote"]})
            await page.context.close()


async def test_a_price_is_in_memory_on_the_page_and_told(tmp_path: Path, browser: Browser) -> None:
    """FastAPI: what is refused changes nothing; what is answered can be read, and everybody who watches hears of it."""
    async with example(tmp_path, "fastapi_prices", "-m", "skerry", "up", "live:app") as port:
        url = f"http://127.0.0.1:{port}/"
        async with httpx.AsyncClient(base_url=url, timeout=60) as client:
            assert (await client.get("prices/tea")).status_code == 404
            assert (await client.put("prices/tea", json={"cents": 250})).json() == {"status": "applied"}
            page = await window(browser, url)
            assert await shown(page, "prices") == {"tea": ["tea", "250"]}
            async with (
                websockets.connect(f"ws://127.0.0.1:{port}/prices/tea/watch") as socket,
                asyncio.timeout(60),
            ):
                assert json.loads(await socket.recv()) == {"cents": 250}
                assert (await client.put("prices/tea", json={"cents": -1})).status_code == 422
                for symbol, cents in (("tea", 260), ("<b>", 1), ("tea", 270)):
                    told = await client.put(f"prices/{symbol}", json={"cents": cents})
                    assert told.json() == {"status": "applied"}
                assert [json.loads(await socket.recv())["cents"] for _ in range(2)] == [260, 270]
            assert (await client.get("prices")).json() == {"tea": 270, "<b>": 1}
        await until_shown(page, "prices", {"<b>": ["<b>", "1"], "tea": ["tea", "270"]})
        assert list(await shown(page, "prices")) == ["<b>", "tea"]
        await page.context.close()
