"""What one PUT costs as stored values grow: a hundred to a hundred thousand and a thousand to a million on SQLite, the
latter on PostgreSQL with RabbitMQ too.

Rows are written into the table before the application starts; then 5,000 PUTs, in turns on few and on many. The cost
is CPU of our processes per PUT (on servers: consumer and server together), which is steadier than the rate; the rate of
the servers' pair, which has the database's share in it, stands in the note. `BENCH_KEYS` (a million) says how many are
the most. The bar stands on the first step; a million rows do not fit into a processor's caches. Run:
`python -m benchmarks.growth`.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import statistics
import subprocess
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, field

import msgspec
from benchmarks.http_get import cpu_seconds
from benchmarks.puts import fill, free_port, private_servers, program, rewrite, skerry
from benchmarks.rows import Row, table

from livekv.messages import Value
from skerry.testing.services import PrivatePostgres

MOST = int(os.environ.get("BENCH_KEYS", "1000000"))
STEPS = ((100, MOST // 10, 1.1), (1_000, MOST, None))
"""Few, many, and the greatest ratio that is good."""
WRITES = 5_000
ROUNDS = 3
ROWS = "insert into {namespace}_key_value (key, data, pos) select 'key-' || n, '{row}', 0 from {numbers}"
SQLITE_NUMBERS = (
    "(with recursive c(n) as (select 0 union all select n + 1 from c where n < {last}) select n from c)"
)
POSTGRES_NUMBERS = "generate_series(0, {last}) as n"


@dataclass
class Case:
    """A running application with so many values. `touched`: how many different ones are written."""

    name: str
    touched: int
    port: int
    pids: list[int]
    cost: list[float] = field(default_factory=list)
    rate: list[float] = field(default_factory=list)

    def write(self) -> None:
        before, began = sum(map(cpu_seconds, self.pids)), time.perf_counter()
        asyncio.run(rewrite(self.port, self.touched, WRITES))
        self.rate.append(WRITES / (time.perf_counter() - began))
        self.cost.append((sum(map(cpu_seconds, self.pids)) - before) / WRITES * 1e6)


def script(namespace: str, numbers: str, count: int) -> str:
    row = msgspec.json.encode(Value("v" * 64)).decode()
    return ROWS.format(namespace=namespace, row=row, numbers=numbers.format(last=count - 1))


def create(environment: dict[str, str], folder: str) -> None:
    subprocess.run(
        skerry("infra", "create", "livekv:app"),
        env={**os.environ, **environment}, cwd=folder, check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip


def embedded(stack: ExitStack, folder: str, count: int) -> tuple[int, list[int]]:
    """One process on SQLite with so many values."""
    environment = {
        "SKERRY_JOURNAL": f"sqlite:///{count}.db", "SKERRY_NAMESPACE": f"g{count}", "SKERRY_LOG_LEVEL": "error",
    }  # fmt: skip
    create(environment, folder)
    with sqlite3.connect(f"{folder}/{count}.db") as file:
        file.execute(script(f"g{count}", SQLITE_NUMBERS, count))
    file.close()
    port = free_port()
    command = skerry("run", "livekv:app", "--bind", f"127.0.0.1:{port}")
    return port, [stack.enter_context(program(command, port, environment, folder))]


def measured(title: str, cases: list[Case], bar: float | None) -> list[Row]:
    for _ in range(ROUNDS):
        for case in cases:
            case.write()
    few, *more = cases
    cheap = min(few.cost)
    return [
        Row(
            f"PUT on {title}: {case.name}", min(case.cost), "us CPU", f"{few.name}: {cheap:.0f} us",
            min(case.cost) / cheap, bar,
            f"{statistics.median(case.rate):,.0f}/s, {few.name}: {statistics.median(few.rate):,.0f}/s",
        )
        for case in more
    ]  # fmt: skip


def cases(few: int, many: int, small: tuple[int, list[int]], large: tuple[int, list[int]]) -> list[Case]:
    for port, _ in (small, large):
        asyncio.run(fill(port, few))
    return [
        Case(f"{few:,} stored", few, *small),
        Case(f"{many:,} stored, {few:,} of them change", few, *large),
        Case(f"{many:,} stored, all change", many, *large),
    ]


def run() -> list[Row]:
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        for few, many, bar in STEPS:
            with ExitStack() as stack:
                small, large = (embedded(stack, folder, count) for count in (few, many))
                rows += measured("SQLite", cases(few, many, small, large), bar)
        with ExitStack() as stack:
            postgres, urls = stack.enter_context(private_servers(folder))
            few, many, bar = STEPS[-1]
            small, large = (on_servers(stack, postgres, urls, folder, count) for count in (few, many))
            rows += measured("PostgreSQL + RabbitMQ", cases(few, many, small, large), bar)
    return rows


def on_servers(
    stack: ExitStack, postgres: PrivatePostgres, urls: dict[str, str], folder: str, count: int
) -> tuple[int, list[int]]:
    """A consumer and a server on PostgreSQL and RabbitMQ with so many values."""
    environment = {**urls, "SKERRY_NAMESPACE": f"g{count}"}
    create(environment, folder)
    postgres.query(script(f"g{count}", POSTGRES_NUMBERS, count))
    postgres.query(f"analyze g{count}_key_value")
    pids = [stack.enter_context(program(skerry("consumer", "livekv:app"), None, environment, folder))]
    port = free_port()
    server = skerry("server", "livekv:app", "--bind", f"127.0.0.1:{port}")
    pids.append(stack.enter_context(program(server, port, environment, folder)))
    return port, pids


if __name__ == "__main__":
    print(table(run()))
