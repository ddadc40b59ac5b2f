"""One consumer and three, on four partitions of PostgreSQL and RabbitMQ: PUTs per second, their latency, and what each
part spends on a write.

The same servers and the same application: measured with one consumer, then with two more that have taken their share of
the partitions. Read the ratio: time per write with three consumers against one. On a machine with few processors all
share them, and it shows what dividing costs; with processors of their own, what it brings. Processor time and commits
for each write say why, whatever else the machine does. Run: `python -m benchmarks.consumers`.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from benchmarks.http_get import cpu_seconds
from benchmarks.puts import SECONDS, free_port, private_pair, program, skerry, throughput
from benchmarks.rows import Row, table

from skerry.testing.services import PrivatePostgres

LOADS = (1, 64, 256)
PARTITIONS = 4
ROUNDS = 2
SHARED = """
select count(*) from (
    select owner from livekv__lease where name like 'partition:%' and until > now() group by owner
) as owners
"""
COMMITS = "select n_tup_upd from pg_stat_all_tables where relname = 'livekv__log'"


@dataclass(frozen=True, slots=True)
class Figures:
    """Of one load. `spent`: ms of processor time of each part for a write."""

    rate: float
    wait_ms: float
    writes_in_commit: float
    spent: Mapping[str, float]

    def __str__(self) -> str:
        spent = ", ".join(f"{name} {each:.2f}" for name, each in self.spent.items())
        return f"{self.wait_ms:.1f} ms, {self.writes_in_commit:.1f} writes a commit, CPU ms a write: {spent}"


def wait_until_shared(postgres: PrivatePostgres, consumers: int) -> None:
    """Until so many consumers work, RuntimeError when they do not within half a minute."""
    for _ in range(300):
        if int(postgres.query(SHARED)) == consumers:
            return
        time.sleep(0.1)
    raise RuntimeError(f"{postgres.query(SHARED)} of {consumers} consumers work")


def commits(postgres: PrivatePostgres) -> int:
    """How often the journal's end was moved so far."""
    time.sleep(1.1)  # a session tells its counts once a second
    return int(postgres.query(COMMITS))


def measured(port: int, postgres: PrivatePostgres, parts: Mapping[str, Sequence[int]]) -> dict[int, Figures]:
    """At each load; `parts` are processes."""
    found = {}
    for clients in LOADS:
        asyncio.run(throughput([port], clients, 2.0))
        before = {name: sum(map(cpu_seconds, pids)) for name, pids in parts.items()}
        moved = commits(postgres)
        rounds = [asyncio.run(throughput([port], clients, SECONDS / ROUNDS)) for _ in range(ROUNDS)]
        writes = sum(rate for rate, _ in rounds) * SECONDS / ROUNDS
        moved = commits(postgres) - moved
        spent = {
            name: (sum(map(cpu_seconds, pids)) - before[name]) / writes * 1000 for name, pids in parts.items()
        }
        wait = statistics.median(wait for _, wait in rounds)
        found[clients] = Figures(max(rate for rate, _ in rounds), wait, writes / max(moved, 1), spent)
    return found


def run() -> list[Row]:
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        postgres, broker, urls = stack.enter_context(private_pair(folder))
        environment = {**urls, "SKERRY_PARTITIONS": str(PARTITIONS), "SKERRY_LEASE": "1"}
        consumer, port = skerry("consumer", "livekv:app"), free_port()
        consumers = [stack.enter_context(program(consumer, None, environment, folder))]
        server = skerry("server", "livekv:app", "--bind", f"127.0.0.1:{port}")
        parts = {
            "consumers": consumers,
            "server": [stack.enter_context(program(server, port, environment, folder))],
            "database": [postgres.pid],
            "broker": [broker.pid],
        }
        asyncio.run(throughput([port], 64, 1.0))
        wait_until_shared(postgres, 1)
        one = measured(port, postgres, parts)
        more = [program(consumer, None, environment, folder) for _ in range(2)]
        consumers += [stack.enter_context(each) for each in more]
        wait_until_shared(postgres, 3)
        three = measured(port, postgres, parts)
    return [
        Row(
            f"PUT with 3 consumers, {PARTITIONS} partitions, {clients} clients", three[clients].rate, "writes/s",
            f"1 consumer: {one[clients].rate:,.0f}/s", one[clients].rate / three[clients].rate, None,
            f"3: {three[clients]}; 1: {one[clients]}",
        )
        for clients in LOADS
    ]  # fmt: skip


if __name__ == "__main__":
    print(table(run()))
