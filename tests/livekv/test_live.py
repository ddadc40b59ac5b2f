"""How livekv looks to whoever listens: the values of one moment, each as an event, large ones by their size."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from livekv import app, live
from livekv.messages import DeleteValue, PutValue, Value, values
from livekv.values import Values
from skerry.http.listener import LINES, Listener
from skerry.testing.app import running


class Page:
    """A transport in memory that asks for a pause with each write, until it is let on."""

    def __init__(self, prefix: str = "") -> None:
        self.frames: list[dict[str, Any]] = []
        self.listener = Listener(self, LINES, prefix)

    def write(self, data: bytes) -> None:
        self.frames += [json.loads(line) for line in data.splitlines()]
        self.listener.pause()

    def close(self, code: int, reason: str) -> None:
        self.frames.append({"type": "closed", "code": code})

    def rows(self) -> list[dict[str, Any]]:
        return [row for frame in self.frames if frame["type"] == "snapshot" for row in frame["values"]]

    def events(self) -> list[dict[str, Any]]:
        return [frame for frame in self.frames if frame["type"] == "domain_event"]

    async def until(self, kind: str) -> None:
        """Read on until a frame of that type has come."""
        async with asyncio.timeout(30):
            while not any(frame["type"] == kind for frame in self.frames):
                if self.listener.paused:
                    self.listener.resume()
                await asyncio.sleep(0)


async def test_a_snapshot_is_one_moment_however_slowly_it_is_read() -> None:
    """Through all parts: what is put and deleted while it is told comes behind it, each once; the page ends right."""
    async with running(app) as world:
        for n in range(0, 2000, 100):
            await asyncio.gather(
                *(world.commands.send(PutValue(f"k{i:04}", "x" * 100)) for i in range(n, n + 100))
            )
        before = {key: entry.value for key, entry in world.service(Values).entries.items()}
        page = Page()
        await world.hub.channels["/events"].open(page.listener, snapshot=True)
        await page.until("snapshot")
        assert len(page.rows()) < 1000
        for command in (PutValue("k0000", "early"), PutValue("k1999", "late"), PutValue("new", "1")):
            await world.commands.send(command)
        await world.commands.send(DeleteValue("k1500"))
        await page.until("snapshot_end")
        assert {row["key"]: row["value"] for row in page.rows()} == before
        await page.until("domain_event")
        assert [(e["event"], e["key"]) for e in page.events()] == [
            ("value_put", "k0000"),
            ("value_put", "k1999"),
            ("value_put", "new"),
            ("value_deleted", "k1500"),
        ]


def test_a_large_value_is_told_by_its_size() -> None:
    """In a snapshot as in an event: 64 KiB are shown, one byte more is not, however many characters that is."""
    memory = Values()
    for offset, value in enumerate(("x" * 65536, "x" * 65537, "é" * 32768, "é" * 32768 + "x")):
        memory.load(values, f"k{offset}", Value(value), offset)
    rows = list(live.snapshot(memory, "k"))
    assert [len(row.get("value", "")) for row in rows] == [65536, 0, 32768, 0]
    assert [row.get("size") for row in rows] == [None, 65537, None, 65537]
    assert [(row["event"], row["key"], row["offset"]) for row in rows] == [
        ("value_put", f"k{offset}", offset) for offset in range(4)
    ]
