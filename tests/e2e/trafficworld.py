"""Clients of a running `skerry up` that write and listen, and the verdict over what they were told.

Every write has a key of its own, so that a copy which lacks one has lost an event, and a second effect shows.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from upworld import Up  # type: ignore[import-not-found]

from skerry.backends.local.owner import hub_path
from skerry.backends.local.peer import LocalPeer
from skerry.backends.local.reader import remote_journal
from skerry.testing.program import HttpConnection

WRITERS = 16


@dataclass
class History:
    """What clients were told. `answered`: key -> value of writes that got 200; `asked`: of all that were tried."""

    answered: dict[str, str] = field(default_factory=dict)
    asked: dict[str, str] = field(default_factory=dict)
    moments: list[float] = field(default_factory=list)
    trouble: Counter[str] = field(default_factory=Counter)


class Traffic:
    """Writers and a listener of one world, by `seed`. `pause_seconds`: of a writer, between two writes."""

    def __init__(self, world: Up, seed: int, pause_seconds: float = 0.0) -> None:
        self.world, self.seed, self.pause_seconds = world, seed, pause_seconds
        self.history, self.listener = History(), Listener(world.port)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """They write while the block runs, and end, each with its last write answered, when everything is ready."""
        stop = asyncio.Event()
        self._listening = asyncio.create_task(self.listener.run())
        writers = [asyncio.create_task(self._write(number, stop)) for number in range(WRITERS)]
        try:
            yield
            await self.world.all_ready(600.0)
            stop.set()
            await asyncio.gather(*writers)
        finally:
            for writer in writers:
                writer.cancel()

    async def _write(self, number: int, stop: asyncio.Event) -> None:
        """One client: each write has an idempotency key and is repeated until it is answered."""
        client, history, n = HttpConnection(self.world.port), self.history, 0
        while not stop.is_set():
            n += 1
            key, value = f"w{number}-{n}", f"{number}:{n}"
            history.asked[key] = value
            while True:
                try:
                    async with asyncio.timeout(30):
                        name = f"{self.seed}-{key}"
                        answer = await client.ask(
                            "PUT", f"/values/{key}", value.encode(), Idempotency_Key=name
                        )
                except (ConnectionError, TimeoutError) as error:
                    history.trouble[type(error).__name__] += 1
                    await asyncio.sleep(0.01)
                    continue
                if answer.status in (200, 202):  # 202: durable, though not seen here in time
                    history.answered[key] = value
                    history.moments.append(time.monotonic())
                    break
                history.trouble[f"{answer.status} {answer.body[:120]!r}"] += 1
                assert answer.status == 503, answer
                await asyncio.sleep(0.05)
            if self.pause_seconds:
                await asyncio.sleep(self.pause_seconds)
        client.close()

    async def verdict(self, journal: Any) -> None:
        """No write answered 200 is missing, each took effect once, the journal verifies, all servers and the listener
        end equal to the database."""
        assert list(await journal.verify()) == []
        head = (await journal.head()).position
        effects: Counter[str] = Counter()
        after = 0
        while records := await journal.read(after, 1000):
            effects.update(record.key for record in records)
            after = records[-1].offset
        assert after == head.offset
        history = self.history
        assert set(effects.values()) == {1}
        assert history.answered.keys() <= effects.keys() <= history.asked.keys()
        stored = {key: history.asked[key] for key in effects}
        clients = [HttpConnection(self.world.port) for _ in range(6)]  # all at once: every server has some
        for client in clients:
            assert await everything(client, str(head)) == stored
            client.close()
        try:
            await self.world.until(lambda: self.listener.values == stored, 600.0)
        except AssertionError:
            difference = self.listener.difference(stored)
            raise AssertionError(f"the listener is not equal: {difference}, journal at {head}") from None
        self._listening.cancel()


@asynccontextmanager
async def embedded_journal(directory: Path) -> AsyncIterator[Any]:
    """That of livekv in its own file, through its owner."""
    peer = LocalPeer(hub_path(directory / ".skerry" / "livekv.db"), "test")
    await peer.start()
    yield remote_journal(peer)
    await peer.stop()


class Listener:
    """A resuming listener of events (SSE): its own copy of the values, made from what it heard."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.values: dict[str, str] = {}
        self.position = ""
        self.connections = 0
        self.last = ""

    async def run(self) -> None:
        while True:
            try:
                await self._listen()
            except (OSError, asyncio.IncompleteReadError, ConnectionError):
                await asyncio.sleep(0.02)

    async def _listen(self) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        since = f"?since={self.position}" if self.position else "?snapshot=1"
        try:
            writer.write(
                f"GET /events{since} HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n".encode()
            )
            status = await reader.readline()
            if b" 200 " not in status:
                raise ConnectionError(status.decode())
            self.connections += 1
            while await reader.readline() != b"\r\n":
                pass
            rest = b""
            while size := int(await reader.readline() or b"0", 16):
                rest += (await reader.readexactly(size + 2))[:-2]
                *lines, rest = rest.split(b"\n")
                for line in lines:
                    if line.startswith(b"data:"):
                        self.last = line[:200].decode()
                        self._take(json.loads(line[5:]))
        finally:
            writer.close()

    def difference(self, stored: dict[str, str]) -> str:
        missing, odd = stored.keys() - self.values.keys(), self.values.keys() - stored.keys()
        return (
            f"missing {len(missing)} {sorted(missing)[:5]}, too many {len(odd)} {sorted(odd)[:5]}, at {self.position}, "
            f"connected {self.connections} times, last heard {self.last}"
        )

    def _take(self, frame: dict[str, Any]) -> None:
        match frame:
            case {"type": "hello", "recovered": False} if self.position:
                self.values.clear()
                self.position = ""
                raise ConnectionError("a snapshot is needed")
            case {"type": "snapshot", "values": values}:
                for each in values:
                    self._take(each | {"position": ""})
            case {"type": "snapshot_end" | "hello" | "caught_up", "position": position}:
                self.position = position if frame["type"] != "hello" else self.position
            case {"type": "domain_event", "event": "value_deleted", "key": key, "position": position}:
                self.values.pop(key, None)
                self.position = position or self.position
            case {"type": "domain_event", "key": key, "value": value, "position": position}:
                self.values[key] = value
                self.position = position or self.position
            case _:
                pass


async def everything(client: HttpConnection, position: str) -> dict[str, str]:
    """All values as the server of this connection shows them, once it has come to `position`."""
    found: dict[str, str] = {}
    after = ""
    async with asyncio.timeout(600):
        while after is not None:
            answer = await client.ask("GET", f"/values?limit=1000&after={after}", Skerry_Position=position)
            if answer.status == 503:
                continue
            assert answer.status == 200, answer
            page = json.loads(answer.body)
            found.update({each["key"]: each["value"] for each in page["values"]})
            after = page["next"]
    return found


def alive_in(directory: Path) -> list[str]:
    """Processes that work in that directory."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and (entry / "cwd").readlink() == directory:
                found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode())
    return found
