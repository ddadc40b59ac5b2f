"""PUT of a value, until it is durable and visible: writes per second and latency over HTTP, at three loads, on each
pair of backends.

Skerry runs as it is installed; the peer, measured in turns, is a plain FastAPI service that does one upsert into
PostgreSQL and one confirmed publish to RabbitMQ per request. PostgreSQL and RabbitMQ are private instances.
Run: `python -m benchmarks.writes`; `BENCH_SECONDS` lengthens it.

The ratio is the peer's rate to ours with as many clients, or the latency to its bar; the note has the median latency of
the busy clients, and the 99th percentile at a steady rate.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.puts import SECONDS, free_port, latency, private_servers, program, skerry, throughput
from benchmarks.rows import Row, table

PEER = Path(__file__).parent / "peers" / "put_fastapi.py"
LOADS = (1, 64, 256)
"""Clients, each of which waits for its answer."""
ROUNDS = 2
TARGET = "livekv:app"


@dataclass(frozen=True, slots=True)
class Pair:
    """A pair of backends, how it is started, and its bars: seconds per write against the peer's at the highest load,
    milliseconds to visible at 100 writes a second."""

    name: str
    journal: str
    transport: str
    processes: tuple[str, ...]
    bar: float | None = None
    bar_ms: float | None = None


PAIRS = (
    Pair("memory: + memory:", "memory:", "memory:", ("run",)),
    Pair("sqlite: + memory:, 1 process", "sqlite:///one.db", "memory:", ("run",)),
    Pair("sqlite: + local:, 1 process", "sqlite:///both.db", "local:", ("run",), bar_ms=3.0),
    Pair("sqlite: + local:, 2 processes", "sqlite:///two.db", "local:", ("consumer", "server")),
    Pair("postgresql: + postgresql:, 2 processes", "", "postgresql:", ("consumer", "server"), 1 / 3, 6.0),
    Pair("postgresql: + amqp:, 2 processes", "", "", ("consumer", "server"), 1 / 3, 6.0),
)


@contextmanager
def started(pair: Pair, urls: Mapping[str, str], folder: str) -> Iterator[int]:
    """Its processes; yields the port that answers."""
    port = free_port()
    own = {"SKERRY_JOURNAL": pair.journal, "SKERRY_TRANSPORT": pair.transport}
    own = {name: url for name, url in own.items() if url}
    place = Path(folder) / str(port)
    place.mkdir()
    with ExitStack() as stack:
        for role in pair.processes:
            bind = () if role == "consumer" else ("--bind", f"127.0.0.1:{port}")
            command = skerry(role, TARGET, *bind)
            stack.enter_context(program(command, port if bind else None, {**urls, **own}, str(place)))
        asyncio.run(throughput([port], 64, 1.0))  # whoever is not there yet is waited for
        yield port


def measured(pair: Pair, port: int, peer: int) -> list[Row]:
    """One row for each load, and one at a steady rate."""
    rows = []
    for clients in LOADS:
        found: dict[int, list[tuple[float, float]]] = {port: [], peer: []}
        for _ in range(ROUNDS):
            for each in found:
                found[each].append(asyncio.run(throughput([each], clients, SECONDS / (2 * ROUNDS))))
        mine, theirs = (statistics.median(rate for rate, _ in found[each]) for each in found)
        waits = [statistics.median(wait for _, wait in found[each]) for each in found]
        bar = pair.bar if clients == LOADS[-1] else None
        note = f"median {waits[0]:.1f} ms, FastAPI {waits[1]:.1f} ms"
        name = f"PUT on {pair.name}, {clients} clients"
        rows.append(Row(name, mine, "writes/s", f"FastAPI: {theirs:,.0f}/s", theirs / mine, bar, note))
    median, late = asyncio.run(latency(port, seconds=SECONDS / 2))
    against, ratio, bar = "", None, None
    if pair.bar_ms is not None:
        against, ratio, bar = f"{pair.bar_ms:g} ms", median / pair.bar_ms, 1.0
    name = f"PUT on {pair.name} to visible, 100/s, median"
    return [*rows, Row(name, median, "ms", against, ratio, bar, f"p99 {late:.1f} ms")]


def run() -> list[Row]:
    rows: list[Row] = []
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        _, urls = stack.enter_context(private_servers(folder))
        peer = free_port()
        stack.enter_context(program([sys.executable, str(PEER), str(peer)], peer, urls, folder))
        asyncio.run(throughput([peer], 64, 1.0))
        for pair in PAIRS:
            with started(pair, urls, folder) as port:
                rows += measured(pair, port, peer)
    return rows


if __name__ == "__main__":
    print(table(run()))
