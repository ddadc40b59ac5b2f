"""What the page of livekv costs its reader: processor time of a browser tab at 200 events a second, 10,000 keys.

Chromium without a graphics card, the page as a user opens it; the main thread by its own clock, the least of the
rounds, because what else the machine does comes on top. Left out where there is no chromium. Run:
`python -m benchmarks.page`.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.rows import Row, table
from playwright.async_api import async_playwright, expect

from skerry.testing.program import Program

KEYS = 10_000
EVENTS_PER_SECOND = 200
TICK_SECONDS = 0.2
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "3"))
SECONDS = int(os.environ.get("BENCH_SECONDS", "4"))
BAR = 0.2
ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
]


class Writer:
    """Puts on one connection, pipelined: many a second, and next to nothing of them in this process."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def put(self, keys: range, value: bytes) -> None:
        """Set these keys, wrapped into `KEYS`; returns when all are answered. Raises RuntimeError if one is refused."""
        head = b"HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%b" % (len(value), value)
        self._writer.write(b"".join(b"PUT /values/key%%2F%05d %b" % (n % KEYS, head) for n in keys))
        for _ in keys:
            answer = await self._reader.readuntil(b"\r\n\r\n")
            if b" 200 " not in answer:
                raise RuntimeError(f"a put was refused: {answer[:80]!r}")
            length = next(
                line for line in answer.lower().split(b"\r\n") if line.startswith(b"content-length:")
            )
            await self._reader.readexactly(int(length.split(b":")[1]))


async def _spent(session: Any) -> float:
    """Seconds of processor time that the page's main thread has used so far."""
    metrics = (await session.send("Performance.getMetrics"))["metrics"]
    return float(next(m["value"] for m in metrics if m["name"] == "TaskDuration"))


async def _share(session: Any, writer: Writer | None, turn: int) -> float:
    """The main thread's share of a core while `writer` writes; while nothing happens without one."""
    loop = asyncio.get_running_loop()
    before, began = await _spent(session), loop.time()
    each = int(EVENTS_PER_SECOND * TICK_SECONDS)
    for n in range(int(SECONDS / TICK_SECONDS)):
        if writer is not None:
            first = (turn * 1000 + n) * each
            await writer.put(range(first * 7, (first + each) * 7, 7), b"%d.%d" % (turn, n))
        await asyncio.sleep(max(0.0, began + (n + 1) * TICK_SECONDS - loop.time()))
    return (await _spent(session) - before) / (loop.time() - began)


async def _measure(chromium: str, folder: Path) -> tuple[float, float]:
    """Shares of a core: idle, and with events."""
    arguments = ("run", "livekv:app", "--bind", "127.0.0.1:0", "--journal", "memory:", "--data", str(folder))
    async with Program(folder, *arguments) as program, async_playwright() as playwright:
        port = await program.listening()
        writer = Writer(*await asyncio.open_connection("127.0.0.1", port))
        for start in range(0, KEYS, 500):
            await writer.put(range(start, start + 500), b"some value of a few bytes")
        browser = await playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        page = await browser.new_page(viewport={"width": 1180, "height": 720})
        await page.goto(f"http://127.0.0.1:{port}/")
        await expect(page.locator("#count")).to_have_text(f"{KEYS:,}", timeout=30_000)
        session = await page.context.new_cdp_session(page)
        # Time on the processor, not time on the clock: what the machine does beside does not count.
        await session.send("Performance.enable", {"timeDomain": "threadTicks"})
        await _share(session, writer, 0)  # until the list of events is full
        busy = [await _share(session, writer, turn) for turn in range(1, ROUNDS + 1)]
        await asyncio.sleep(2)
        idle = await _share(session, None, 0)
        await browser.close()
        return idle, min(busy)


def run() -> list[Row]:
    """Measure; about 20 seconds. No rows without chromium."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        return []
    with tempfile.TemporaryDirectory() as folder:
        idle, busy = asyncio.run(_measure(chromium, Path(folder)))
    name = f"livekv's page, {KEYS:,} keys, {EVENTS_PER_SECOND} events/s: main thread"
    against, note = f"{BAR:.0%} of a core", "painted without a graphics card"
    return [
        Row(name, busy * 100, "% of a core", against, busy / BAR, 1.0, note),
        Row("the same while nothing happens", idle * 100, "% of a core"),
    ]


if __name__ == "__main__":
    rows = run()
    print(table(rows))
    print(json.dumps([row.value for row in rows]))
