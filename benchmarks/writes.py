"""PUT of a value, until it is durable and visible: writes per second and latency, over HTTP.

Skerry runs as it is installed (`skerry run`, `consumer`, `server`); the peer is a plain FastAPI service that does one
upsert into PostgreSQL and one confirmed publish to RabbitMQ per request. The client is a small asyncio program that
keeps `clients` connections busy, or sends at a fixed rate for latency. PostgreSQL and RabbitMQ are private instances.
Run: `python -m benchmarks.writes [embedded|servers|growth]`.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.http_get import _cpu_seconds
from benchmarks.rows import Row, table

PEER = Path(__file__).parent / "peers" / "put_fastapi.py"
SECONDS = float(os.environ.get("BENCH_SECONDS", "4"))


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


async def one_client(port: int, number: int, until: float, done: list[float], keys: int) -> None:
    """Writes one after another on one connection until the time is up."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    body = b"v" * 64
    count = 0
    try:
        while time.perf_counter() < until:
            key = f"bench-{(number * 1_000_003 + count) % keys}"
            count += 1
            began = time.perf_counter()
            await put(reader, writer, key, body)
            done.append(time.perf_counter() - began)
    finally:
        writer.close()


async def put(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, key: str, body: bytes) -> None:
    writer.write(
        b"PUT /values/%b HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b"
        % (key.encode(), len(body), body)
    )
    head = await reader.readuntil(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(head.decode())
    at = head.lower().index(b"content-length:") + 15
    await reader.readexactly(int(head[at : head.index(b"\r\n", at)]))


async def throughput(
    ports: list[int], clients: int, seconds: float = SECONDS, keys: int = 100_000
) -> tuple[float, float]:
    """Writes per second, and the median latency in ms, with all connections busy."""
    done: list[float] = []
    until = time.perf_counter() + seconds
    began = time.perf_counter()
    await asyncio.gather(*(one_client(ports[n % len(ports)], n, until, done, keys) for n in range(clients)))
    return len(done) / (time.perf_counter() - began), statistics.median(done) * 1000


async def latency(port: int, rate: float = 100.0, seconds: float = SECONDS) -> tuple[float, float]:
    """Median and 99th percentile in ms of writes at a fixed rate, each due at a time of its own."""
    connections = [await asyncio.open_connection("127.0.0.1", port) for _ in range(20)]
    free = asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]]()
    for connection in connections:
        free.put_nowait(connection)
    took: list[float] = []

    async def one(number: int, due: float) -> None:
        await asyncio.sleep(due - time.perf_counter())
        connection = await free.get()
        await put(*connection, f"latency-{number % 1000}", b"v" * 64)
        took.append(time.perf_counter() - due)
        free.put_nowait(connection)

    start = time.perf_counter() + 0.1
    await asyncio.gather(*(one(n, start + n / rate) for n in range(int(rate * seconds))))
    for _, writer in connections:
        writer.close()
    took.sort()
    return took[len(took) // 2] * 1000, took[int(len(took) * 0.99)] * 1000


@contextmanager
def program(
    command: list[str], port: int | None, environment: Mapping[str, str], folder: str
) -> Iterator[int]:
    """A running program; waits until its port answers. Yields its pid."""
    process = subprocess.Popen(
        command,
        env={**os.environ, **environment},
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    try:
        for _ in range(300):
            if process.poll() is not None:
                assert process.stderr is not None
                raise RuntimeError(f"{command}: {process.stderr.read().decode()}")
            if port is None or _answers(port):
                break
            time.sleep(0.1)
        else:
            raise RuntimeError(f"{command} does not answer")
        yield process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 0.2).close()
        return True
    except OSError:
        return False


def skerry(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "skerry", *arguments]


def embedded() -> list[Row]:
    """One process on SQLite."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        command = skerry("run", "livekv:app", "--bind", f"127.0.0.1:{port}", "--log-level", "error")
        with program(command, port, {}, folder):
            asyncio.run(throughput([port], 64, 1.0))
            for clients in (1, 64, 256):
                rate, median = asyncio.run(throughput([port], clients))
                rows.append(
                    Row(f"PUT embedded, {clients} clients", rate, "writes/s", note=f"median {median:.1f} ms")
                )
            median, late = asyncio.run(latency(port))
            rows.append(
                Row(
                    "PUT embedded to visible, 100/s, median",
                    median,
                    "ms",
                    "3 ms",
                    median / 3,
                    1.0,
                    f"p99 {late:.1f} ms",
                )
            )
    return rows


def servers() -> list[Row]:
    """PostgreSQL and RabbitMQ, against one upsert and one confirmed publish per request."""
    from skerry.testing.broker import PrivateBroker
    from skerry.testing.services import PrivatePostgres

    rows = []
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        postgres = PrivatePostgres(durable=True)
        stack.callback(postgres.remove)
        postgres.start()
        runner = stack.enter_context(asyncio.Runner())
        broker = PrivateBroker(Path(folder))
        stack.callback(lambda: runner.run(broker.stop()))
        runner.run(broker.start())
        urls = {"SKERRY_JOURNAL": postgres.dsn, "SKERRY_TRANSPORT": broker.url, "SKERRY_LOG_LEVEL": "error"}
        ours, peer = free_port(), free_port()
        stack.enter_context(program(skerry("consumer", "livekv:app"), None, urls, folder))
        time.sleep(2)
        stack.enter_context(
            program(skerry("server", "livekv:app", "--bind", f"127.0.0.1:{ours}"), ours, urls, folder)
        )
        stack.enter_context(program([sys.executable, str(PEER), str(peer)], peer, urls, folder))
        for port in (ours, peer):
            asyncio.run(throughput([port], 64, 1.0))
        for clients in (1, 64, 256):
            found: dict[int, list[tuple[float, float]]] = {ours: [], peer: []}
            for _ in range(3):
                for port in (ours, peer):
                    found[port].append(asyncio.run(throughput([port], clients, SECONDS / 2)))
            mine, theirs = (statistics.median(r for r, _ in found[port]) for port in (ours, peer))
            wait = statistics.median(m for _, m in found[ours])
            bar = 1 / 3 if clients == 256 else None
            rows.append(
                Row(
                    f"PUT on RabbitMQ + PostgreSQL, {clients} clients", mine, "writes/s", f"FastAPI: {theirs:,.0f}/s",
                    theirs / mine, bar, f"median {wait:.1f} ms",
                )
            )  # fmt: skip
        median, late = asyncio.run(latency(ours))
        rows.append(
            Row(
                "PUT on RabbitMQ + PostgreSQL to visible, 100/s, median", median, "ms", "6 ms", median / 6, 1.0,
                f"p99 {late:.1f} ms",
            )
        )  # fmt: skip
    return rows


def growth() -> list[Row]:
    """What one PUT costs when 100 or 100,000 values are stored: CPU of the whole process."""
    with tempfile.TemporaryDirectory() as folder:
        cost: dict[str, list[float]] = {"1e2": [], "1e5, the same 100 change": [], "1e5, all change": []}
        with ExitStack() as stack:
            ports: dict[int, tuple[int, int]] = {}
            for keys in (100, 100_000):
                port = free_port()
                place = [
                    "--journal",
                    f"sqlite:///{keys}.db",
                    "--namespace",
                    f"g{keys}",
                    "--log-level",
                    "error",
                ]
                command = skerry("run", "livekv:app", "--bind", f"127.0.0.1:{port}", *place)
                ports[keys] = port, stack.enter_context(program(command, port, {}, folder))
                asyncio.run(fill(port, keys))
            cases = dict(zip(cost, ((100, 100), (100_000, 100), (100_000, 100_000)), strict=True))
            for _ in range(5):
                for name, (stored, touched) in cases.items():
                    port, pid = ports[stored]
                    before = _cpu_seconds(pid)
                    written = asyncio.run(rewrite(port, touched, 5_000))
                    cost[name].append((_cpu_seconds(pid) - before) / written * 1e6)
        few, *many = (statistics.median(found) for found in cost.values())
    names = list(cost)[1:]
    against = f"1e2: {few:.0f} us"
    return [
        Row(f"PUT with stored values: {name}", value, "us CPU", against, value / few, 1.1)
        for name, value in zip(names, many, strict=True)
    ]


async def fill(port: int, keys: int) -> None:
    await asyncio.gather(*(each(port, range(first, keys, 64)) for first in range(64)))


async def rewrite(port: int, keys: int, number: int) -> int:
    """Put `number` values anew, spread over all keys, from 64 connections."""
    chosen = [(n * 7919) % keys for n in range(number)]
    await asyncio.gather(*(each(port, chosen[first::64]) for first in range(64)))
    return number


async def each(port: int, numbers: Iterable[int]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for number in numbers:
        await put(reader, writer, f"key-{number}", b"v" * 64)
    writer.close()


def run() -> list[Row]:
    return [*embedded(), *growth(), *servers()]


if __name__ == "__main__":
    chosen = sys.argv[1] if len(sys.argv) > 1 else ""
    print(table({"embedded": embedded, "servers": servers, "growth": growth}.get(chosen, run)()))
