"""Thousands of listeners in one process: the idle cost little, the busy hear all in time, the stalled delay nobody."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from skerry.http.application import Application
from skerry.http.events import Events
from skerry.http.feed import FeedEvent, RingFeed
from skerry.http.hub import Hub, HubSettings
from skerry.position import Position
from skerry.server.server import HttpServer
from skerry.server.settings import ServerSettings
from skerry.server.websocket import WebSockets

IDLE, BUSY, STALLED, EVENTS = 5000, 1000, 10, 60
PAYLOAD = b'{"type":"domain_event","event":"value_put","key":"%b","value":"%b"}'

pytestmark = pytest.mark.timeout(600)
SOAK = os.environ.get("SKERRY_SOAK") == "1"
"""Whether seconds are asked for: not on any machine, however busy."""


class Client(asyncio.Protocol):
    """A websocket that only counts: events heard, and when the last one came."""

    def __init__(self, ask: bytes, loop: asyncio.AbstractEventLoop) -> None:
        self.ask, self.loop = ask, loop
        self.heard = 0
        self.at = self.closed_at = 0.0
        self.code = 0
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.write(self.ask)

    def data_received(self, data: bytes) -> None:
        number = data.count(b'"domain_event"')
        if number:
            self.heard += number
            self.at = self.loop.time()
        close = data.rfind(b"\x88")
        if close >= 0 and len(data) >= close + 4 and b"restart" in data[close:]:
            self.code = int.from_bytes(data[close + 2 : close + 4])
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed_at = self.loop.time()


@pytest.fixture
def descriptors() -> Iterator[int]:
    """As many open files as the system lets us have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class Crowd:
    """A server, its feed, and how to open many clients of it."""

    def __init__(self) -> None:
        self.feed = RingFeed(Position("a", 0))
        # These clients answer no ping: on a slow machine they would be sent away while they are looked at.
        self.hub = Hub(HubSettings(opens_per_second=100_000, held_bytes=100_000, ping_seconds=600))
        events = Events(self.hub.channel("/events", self.feed), self.hub)
        application = Application()
        application.websocket("/events")(events.websocket)
        self.server = HttpServer(application, ServerSettings(access_log="off"), websocket=WebSockets())
        self.socket = socket.create_server(("127.0.0.1", 0), backlog=2048)
        self.port = self.socket.getsockname()[1]

    async def open(self, number: int, prefix: str) -> list[Client]:
        loop = asyncio.get_running_loop()
        ask = (
            f"GET /events?prefix={prefix} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        ).encode()
        clients: list[Client] = []
        before = self.hub.stats.opened
        for start in range(0, number, 200):
            made = await asyncio.gather(
                *(
                    loop.create_connection(lambda: Client(ask, loop), "127.0.0.1", self.port)
                    for _ in range(min(200, number - start))
                )
            )
            clients += [client for _, client in made]
        async with asyncio.timeout(240):
            while self.hub.stats.opened < before + number:  # noqa: ASYNC110 - the hub tells nobody
                await asyncio.sleep(0.02)
        return clients

    def tell(self, key: str, value: bytes) -> None:
        position = Position("a", self.feed.position().offset + 1)
        self.feed.append([FeedEvent(position, key, PAYLOAD % (key.encode(), value), time.time())])


@pytest.fixture
async def crowd(descriptors: int) -> AsyncIterator[Crowd]:
    crowd = Crowd()
    crowd.hub.start()
    await crowd.server.start([crowd.socket])
    yield crowd
    await crowd.server.stop(0.5)
    crowd.hub.stop()


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


async def test_idle_busy_and_stalled_listeners_side_by_side(crowd: Crowd, descriptors: int) -> None:
    """5,000 that hear nothing, 1,000 that hear everything, 10 that read nothing at all: everybody busy hears every
    event soon after it happened, the stalled are held within their limit, and all are sent away in slices."""
    idle_number = min(IDLE, (descriptors - 500) // 2 - BUSY - STALLED)
    before = resident()
    idle = await crowd.open(idle_number, "nothing/")
    # Both ends of each connection live in this process.
    assert (resident() - before) / idle_number < 24_000
    busy = await crowd.open(BUSY, "busy/")
    stalled = await crowd.open(STALLED, "stalled/")
    for client in stalled:
        client.transport.pause_reading()
        sock: socket.socket = client.transport.get_extra_info("socket")
        sock.setsockopt(
            socket.SOL_SOCKET, socket.SO_RCVBUF, 65536
        )  # whatever this kernel would keep for them
    loop = asyncio.get_running_loop()
    latest = []
    for number in range(1, EVENTS + 1):
        crowd.tell(f"stalled/{number}", b"x" * 200_000)  # soon more than the kernel keeps for them
        told_at = loop.time()
        crowd.tell(f"busy/{number}", b"x")
        async with asyncio.timeout(90):
            while not all(client.heard == number for client in busy):  # noqa: ASYNC110 - counted on both ends
                await asyncio.sleep(0)
        latest.append(max(client.at for client in busy) - told_at)
    median = sorted(latest)[EVENTS // 2]
    print(f"all {BUSY} heard an event after {median * 1000:.0f} ms")
    assert median < 0.5 or not SOAK, "a thousand deliveries on a shared core"
    assert all(client.heard == 0 for client in idle)
    assert crowd.hub.stats.closed_slow == STALLED
    assert crowd.hub.stats.listeners == idle_number + BUSY

    drained_at = loop.time()
    await crowd.hub.drain(1.0)
    async with asyncio.timeout(90):
        while not all(client.closed_at for client in (*idle, *busy)):  # noqa: ASYNC110 - counted on both ends
            await asyncio.sleep(0.02)
    assert {client.code for client in (*idle, *busy)} == {1012}
    moments = sorted(client.closed_at - drained_at for client in (*idle, *busy))
    assert moments[-1] - moments[0] > 0.4, "not all in one moment"
    assert crowd.hub.stats.listeners == 0


async def test_a_crowd_that_returns_is_let_in_at_a_rate(crowd: Crowd) -> None:
    """More opens in a second than allowed are refused with 503 and a time, before they cost a greeting."""
    object.__setattr__(crowd.hub.settings, "opens_per_second", 50)
    crowd.hub._tokens = 50.0
    loop = asyncio.get_running_loop()
    statuses: list[bytes] = []

    async def ask() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", crowd.port)
        writer.write(
            b"GET /events HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        statuses.append((await reader.readuntil(b"\r\n\r\n"))[9:12])
        writer.close()

    began = loop.time()
    await asyncio.gather(*(ask() for _ in range(200)))
    allowed = 50 * (2 + int(loop.time() - began))
    assert 50 <= statuses.count(b"101") <= allowed
    assert statuses.count(b"503") == 200 - statuses.count(b"101")
