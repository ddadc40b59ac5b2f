"""Asyncio libraries run on `Loop` as they are, on every model: httpx, aiohttp and Twisted over real sockets."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import aiohttp
import httpx
import pytest
from aiohttp import web

from skerry.loop import models
from skerry.loop.loop import Loop

TWISTED = Path(__file__).with_name("twisted_on_loop.py")


@pytest.mark.parametrize("model", models.available())
def test_httpx_and_aiohttp(model: str) -> None:
    """An aiohttp server, asked by httpx and by aiohttp's client, while the loop's own ticks and timers go on."""
    loop = Loop(model=model)
    beats: list[int] = []

    async def hello(request: web.Request) -> web.Response:
        assert Loop.current() is loop
        return web.Response(text=f"hello {request.match_info['name']}")

    async def main() -> list[str]:
        application = web.Application()
        application.router.add_get("/{name}", hello)
        runner = web.AppRunner(application)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        try:
            async with httpx.AsyncClient() as client:
                first = (await client.get(f"http://127.0.0.1:{port}/httpx")).text
            async with (
                aiohttp.ClientSession() as session,
                session.get(f"http://127.0.0.1:{port}/aiohttp") as answer,
            ):
                second = await answer.text()
            await loop_turns(loop)
        finally:
            await runner.cleanup()
        return [first, second]

    loop.add_periodic_timer(0.001, lambda: beats.append(1))
    assert loop.run(main) == ["hello httpx", "hello aiohttp"]
    assert beats


async def loop_turns(loop: Loop) -> None:
    """Wait until the loop's own timer has been called once more."""
    done = asyncio.Event()
    loop.add_timer(0.005, done.set)
    await asyncio.wait_for(done.wait(), 30.0)


@pytest.mark.parametrize("model", models.available())
def test_twisted_client_and_server(model: str) -> None:
    """Twisted's asyncio reactor adopts the loop: its server answers its client. One process each: reactors are
    installed once."""
    ended = subprocess.run(
        [sys.executable, str(TWISTED), model], capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.split() == ["echo:hello", "ticks:True"]
