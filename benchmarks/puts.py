"""PUTs over HTTP for benchmarks: a small asyncio client that keeps connections busy or sends at a fixed rate, and
programs that it writes to: Skerry as it is installed, on private servers. Not here: what is measured.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from skerry.testing.broker import PrivateBroker
from skerry.testing.services import PrivatePostgres

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


async def fill(port: int, keys: int) -> None:
    await asyncio.gather(*(each(port, range(first, keys, 64)) for first in range(64)))


async def rewrite(port: int, keys: int, number: int) -> int:
    """Put `number` values anew, spread over all keys, from 64 connections."""
    chosen = [(n * 7919) % keys for n in range(number)]
    await asyncio.gather(*(each(port, chosen[first::64]) for first in range(64)))
    return number


async def each(port: int, numbers: Iterable[int], name: str = "key-%d") -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for number in numbers:
        await put(reader, writer, name % number, b"v" * 64)
    writer.close()


@contextmanager
def private_servers(folder: str) -> Iterator[tuple[PrivatePostgres, dict[str, str]]]:
    """PostgreSQL and RabbitMQ, both as durable as in production, and the settings that name them."""
    with private_pair(folder) as (postgres, _, urls):
        yield postgres, urls


@contextmanager
def private_pair(folder: str) -> Iterator[tuple[PrivatePostgres, PrivateBroker, dict[str, str]]]:
    """The same, with the broker."""
    with ExitStack() as stack:
        postgres = PrivatePostgres(durable=True)
        stack.callback(postgres.remove)
        postgres.start()
        runner = stack.enter_context(asyncio.Runner())
        broker = PrivateBroker(Path(folder))
        stack.callback(lambda: runner.run(broker.stop()))
        runner.run(broker.start())
        urls = {"SKERRY_JOURNAL": postgres.dsn, "SKERRY_TRANSPORT": broker.url, "SKERRY_LOG_LEVEL": "error"}
        yield postgres, broker, urls
