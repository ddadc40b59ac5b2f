"""A browser and a livekv in a process of its own, for tests of the page. One browser per module, one store per test."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, Page, async_playwright, expect

from skerry.testing.broker import free_ports
from skerry.testing.program import surroundings

CHROMIUM = "/usr/bin/chromium"
PATIENCE_MS = 60_000
"""For what comes at once on a quiet machine: a deadline says that something is broken, never that it was slow."""
ARGUMENTS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update",
]  # fmt: skip


class Store:
    """One livekv. In memory: a restart is another epoch."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        (self.port,) = free_ports(1)
        self._process: asyncio.subprocess.Process | None = None
        self.http = httpx.AsyncClient(base_url=f"http://127.0.0.1:{self.port}", timeout=PATIENCE_MS / 1000)

    async def start(self) -> None:
        with (self.directory / "livekv.log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "skerry", "run", "livekv:app", "--bind", f"127.0.0.1:{self.port}",
                "--journal", "memory:", "--data", str(self.directory), "--drain", "0.3",
                cwd=self.directory, stdout=log, stderr=log, env=surroundings(self.directory),
            )  # fmt: skip
        async with asyncio.timeout(PATIENCE_MS / 1000):
            while True:
                try:
                    answer = await self.http.get("/values?limit=1")
                    if answer.status_code == 200:
                        return
                except httpx.TransportError:
                    await asyncio.sleep(0.05)

    def pause(self) -> None:
        """It goes silent: its connections stay open, and nothing answers."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    async def stop(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self.resume()
            self._process.send_signal(signal.SIGTERM)
            try:
                await asyncio.wait_for(self._process.wait(), 20)
            except TimeoutError:
                self._process.kill()
                await self._process.wait()

    async def close(self) -> None:
        await self.stop()
        await self.http.aclose()

    async def put(self, key: str, value: str, **headers: str) -> httpx.Response:
        return await self.http.put(f"/values/{quote(key, safe='')}", content=value.encode(), headers=headers)

    async def delete(self, key: str) -> httpx.Response:
        return await self.http.delete(f"/values/{quote(key, safe='')}")

    async def get(self, key: str) -> str | None:
        answer = await self.http.get(f"/values/{quote(key, safe='')}")
        return None if answer.status_code == 404 else str(answer.json()["value"])

    async def all(self) -> dict[str, str]:
        found: dict[str, str] = {}
        after = ""
        while True:
            params: dict[str, Any] = {"limit": 1000, "after": after}
            answer = (await self.http.get("/values", params=params)).json()
            found.update((row["key"], row["value"]) for row in answer["values"])
            if answer["next"] is None:
                return found
            after = answer["next"]


class Windows:
    """Opens pages and notes what goes wrong in them."""

    def __init__(self, browser: Browser, store: Store) -> None:
        self._browser, self._store = browser, store
        self._contexts: list[BrowserContext] = []
        self.complaints: list[str] = []
        self.expected: tuple[str, ...] = ()

    async def open(
        self,
        *,
        port: int | None = None,
        live: bool = True,
        script: str = "",
        clock: bool = False,
        **options: Any,
    ) -> Page:
        """A page in a window of its own, when it says that it is live. With `clock` its time can be moved."""
        context = await self._browser.new_context(**{"viewport": {"width": 1180, "height": 720}, **options})
        self._contexts.append(context)
        context.set_default_timeout(PATIENCE_MS)
        if clock:
            await context.clock.install()
        page = await context.new_page()
        page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        page.on(
            "console", lambda m: self.complaints.append(m.text) if m.type in ("error", "warning") else None
        )
        if script:
            await page.add_init_script(script)
        await page.goto(f"http://127.0.0.1:{port or self._store.port}/")
        if live:
            await page.wait_for_selector("#state[data-phase=live]")
        return page

    async def close(self) -> None:
        for context in self._contexts:
            await context.close()
        unexpected = [c for c in self.complaints if not any(e in c for e in self.expected)]
        assert not unexpected, unexpected


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    expect.set_options(timeout=PATIENCE_MS)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        await browser.close()


@pytest_asyncio.fixture(loop_scope="module")
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    store = Store(tmp_path)
    await store.start()
    yield store
    await store.close()


@pytest_asyncio.fixture(loop_scope="module")
async def windows(browser: Browser, store: Store) -> AsyncIterator[Windows]:
    windows = Windows(browser, store)
    yield windows
    await windows.close()


@pytest.fixture
def pictures() -> Path | None:
    """Where screenshots for the docs go when SKERRY_PICTURES names a directory."""
    place = os.environ.get("SKERRY_PICTURES")
    return Path(place) if place else None
