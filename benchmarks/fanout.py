"""One event to a thousand listeners: over WebSockets against a C loop of send() and against websockets.broadcast, as an
event stream against WebSockets.

CPU microseconds (user and system time of the sending process) per delivery, the median of the rounds; every kind in
a process of its own with the same readers on the other core. Also bursts, and the memory of an idle listener.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import uvloop
from benchmarks.rows import Row
from websockets.asyncio.server import ServerConnection, broadcast, serve

from skerry.http.application import Application
from skerry.http.events import Events
from skerry.http.feed import FeedEvent, RingFeed
from skerry.http.hub import Hub, HubSettings
from skerry.position import Position
from skerry.server.server import HttpServer
from skerry.server.settings import ServerSettings
from skerry.server.websocket import WebSockets

LISTENERS = 1000
IDLE = 5000
ROUNDS = 120
BURST = 64
PAYLOAD = json.dumps({
    "type": "domain_event", "event": "value_put", "key": "service/payments/address",
    "value": "10.0.0.1:8080" + "x" * 40, "position": "0123456789ab:123456", "at": 1770000000.123,
}).encode()  # fmt: skip
FRAME_BYTES = len(PAYLOAD) + 4

READERS = """
import select, socket, sys
port, number, kind = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
poll, all = select.epoll(), {}
ask = (b"GET /events HTTP/1.1\\r\\nHost: 127.0.0.1:%d\\r\\nUpgrade: websocket\\r\\nConnection: Upgrade\\r\\n"
       b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\\r\\nSec-WebSocket-Version: 13\\r\\n\\r\\n" % port)
if kind == "stream":
    ask = b"GET /events HTTP/1.1\\r\\nHost: 127.0.0.1:%d\\r\\nAccept: text/event-stream\\r\\n\\r\\n" % port
for n in range(number):
    s = socket.create_connection(("127.0.0.1", port))
    if kind != "plain":
        s.sendall(ask)
    s.setblocking(False)
    all[s.fileno()] = s
    poll.register(s.fileno(), select.EPOLLIN)
while all:
    for fd, _ in poll.poll():
        try:
            gone = not all[fd].recv(1 << 18)
        except OSError:
            gone = True
        if gone:
            poll.unregister(fd)
            all.pop(fd).close()
"""


def run() -> list[Row]:
    """Measure everything; about 15 seconds."""
    rows: list[Row] = []
    ours = _python("skerry", LISTENERS)
    name = f"one event to {LISTENERS:,} WebSocket listeners"
    c_cost = _c()
    if c_cost is None:
        rows.append(Row(name, ours["one"], "us/delivery", note="no C compiler here, no bar"))
    else:
        rows.append(
            Row(name, ours["one"], "us/delivery", f"C send loop {c_cost:.2f} us", ours["one"] / c_cost, 1.5)
        )
    theirs = _python("broadcast", LISTENERS)
    rows.append(
        Row(
            name,
            ours["one"],
            "us/delivery",
            f"websockets.broadcast {theirs['one']:.2f} us",
            ours["one"] / theirs["one"],
        )
    )
    rows.append(
        Row(
            f"the same with {BURST} events pending", ours["burst"], "us/delivery",
            f"one at a time {ours['one']:.2f} us", ours["burst"] / ours["one"], 0.1,
        )
    )  # fmt: skip
    idle, other = _python("skerry-idle", IDLE)["bytes"], _python("broadcast-idle", IDLE)["bytes"]
    rows.append(
        Row(
            f"an idle listener, of {IDLE:,}", idle, "bytes", f"websockets, no deflate {other:,.0f} bytes", idle / other,
            note="resident memory of the process; Centrifugo tuned: 10.9 KB, published",
        )
    )  # fmt: skip
    stream, one = _python("skerry-stream", LISTENERS)["one"], ours["one"]
    peer = f"WebSocket {one:.2f} us"
    rows.append(
        Row(f"one event to {LISTENERS:,} event streams", stream, "us/delivery", peer, stream / one, 1.1)
    )
    idle = _python("skerry-stream-idle", IDLE)["bytes"]
    rows.append(Row(f"an idle event stream, of {IDLE:,}", idle, "bytes", "9 kB", idle / 9_000, 1.0))
    return rows


def _c() -> float | None:
    compiler = shutil.which("cc")
    if compiler is None:
        return None
    source = Path(__file__).parent / "peers" / "sendloop.c"
    with tempfile.TemporaryDirectory() as place:
        program = Path(place) / "sendloop"
        subprocess.run([compiler, "-O2", "-o", program, source], check=True)
        return float(
            _measure([str(program), str(LISTENERS), str(ROUNDS), str(FRAME_BYTES)], LISTENERS, "plain")
        )


def _python(kind: str, listeners: int) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.fanout", kind, str(listeners)]
    reader = "stream" if "stream" in kind else "websocket"
    found: dict[str, float] = json.loads(_measure(command, listeners, reader))
    return found


def _measure(command: list[str], listeners: int, reader: str) -> str:
    """Start a sender that prints its port, then a result; connect readers of that kind to it."""
    sender = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, preexec_fn=_on_core(0))
    assert sender.stdout is not None
    try:
        port = sender.stdout.readline().strip()
        readers = subprocess.Popen(
            [sys.executable, "-c", READERS, port, str(listeners), reader], preexec_fn=_on_core(1)
        )
        try:
            return sender.stdout.readline()
        finally:
            readers.kill()
            readers.wait()
    finally:
        sender.kill()
        sender.wait()


def _on_core(number: int) -> Callable[[], None]:
    def pin() -> None:
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
        if hasattr(os, "sched_setaffinity"):
            cores = sorted(os.sched_getaffinity(0))
            os.sched_setaffinity(0, {cores[number % len(cores)]})

    return pin


# --- the senders, each in a process of its own


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def _rounds(send: Callable[[], None], deliveries: int, rounds: int) -> float:
    costs = []
    for _ in range(rounds):
        before = _cpu()
        send()
        for _ in range(3):
            await asyncio.sleep(0)
        costs.append((_cpu() - before) / deliveries * 1e6)
        await asyncio.sleep(0.015)
    return statistics.median(costs)


async def _connected(count: Callable[[], int], listeners: int) -> None:
    while count() < listeners:  # noqa: ASYNC110 - a benchmark may poll
        await asyncio.sleep(0.05)
    await asyncio.sleep(0.5)


async def _skerry(port: Callable[[int], None], listeners: int, *, idle: bool) -> dict[str, float]:
    feed = RingFeed(Position("a", 0), max_events=1000)
    hub = Hub(HubSettings(opens_per_second=100_000, announcements_per_second=0))
    events = Events(hub.channel("/events", feed), hub)
    application = Application()
    application.websocket("/events")(events.websocket)
    application.get("/events")(events.stream)
    server = HttpServer(application, ServerSettings(access_log="off"), websocket=WebSockets())
    sock = socket.create_server(("127.0.0.1", 0), backlog=2048)
    hub.start()
    await server.start([sock])
    before = _resident()
    port(sock.getsockname()[1])
    await _connected(lambda: hub.stats.listeners, listeners)
    if idle:
        return {"bytes": (_resident() - before) / listeners}
    offset = 0

    def send(number: int) -> None:
        nonlocal offset
        batch = []
        for _ in range(number):
            offset += 1
            batch.append(FeedEvent(Position("a", offset), "k", PAYLOAD, 0.0))
        feed.append(batch)

    one = await _rounds(lambda: send(1), listeners, ROUNDS)
    burst = await _rounds(lambda: send(BURST), listeners * BURST, ROUNDS // 8)
    return {"one": one, "burst": burst}


async def _broadcast(port: Callable[[int], None], listeners: int, *, idle: bool) -> dict[str, float]:
    connections: set[ServerConnection] = set()

    async def keep(connection: ServerConnection) -> None:
        connections.add(connection)
        await connection.wait_closed()

    async with serve(keep, "127.0.0.1", 0, compression=None, backlog=2048) as server:
        before = _resident()
        port(next(iter(server.sockets)).getsockname()[1])
        await _connected(lambda: len(connections), listeners)
        if idle:
            return {"bytes": (_resident() - before) / listeners}
        text = PAYLOAD.decode()
        return {"one": await _rounds(lambda: broadcast(connections, text), listeners, ROUNDS)}


def _main(kind: str, listeners: int) -> None:
    def port(number: int) -> None:
        print(number, flush=True)

    sender: Callable[..., Awaitable[Any]] = _skerry if kind.startswith("skerry") else _broadcast
    print(json.dumps(uvloop.run(sender(port, listeners, idle=kind.endswith("idle")))), flush=True)  # type: ignore[arg-type]


if __name__ == "__main__":
    _main(sys.argv[1], int(sys.argv[2]))
