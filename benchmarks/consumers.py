"""One consumer and three, on four partitions of PostgreSQL and RabbitMQ: PUTs per second and their latency.

The same servers and the same application: measured with one consumer, then with two more that have taken their share of
the partitions. Read the ratio: time per write with three consumers against one. On a machine with few processors all
share them, and it shows what dividing costs; with processors of their own, what it brings. Run:
`python -m benchmarks.consumers`.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from contextlib import ExitStack

from benchmarks.puts import SECONDS, free_port, private_servers, program, skerry, throughput
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


def wait_until_shared(postgres: PrivatePostgres, consumers: int) -> None:
    """Until so many consumers work, RuntimeError when they do not within half a minute."""
    for _ in range(300):
        if int(postgres.query(SHARED)) == consumers:
            return
        time.sleep(0.1)
    raise RuntimeError(f"{postgres.query(SHARED)} of {consumers} consumers work")


def measured(port: int) -> dict[int, tuple[float, float]]:
    """Rate and median latency in ms at each load."""
    found = {}
    for clients in LOADS:
        rounds = [asyncio.run(throughput([port], clients, SECONDS / ROUNDS)) for _ in range(ROUNDS)]
        found[clients] = max(rate for rate, _ in rounds), statistics.median(wait for _, wait in rounds)
    return found


def run() -> list[Row]:
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        postgres, urls = stack.enter_context(private_servers(folder))
        environment = {**urls, "SKERRY_PARTITIONS": str(PARTITIONS), "SKERRY_LEASE": "1"}
        consumer, port = skerry("consumer", "livekv:app"), free_port()
        stack.enter_context(program(consumer, None, environment, folder))
        server = skerry("server", "livekv:app", "--bind", f"127.0.0.1:{port}")
        stack.enter_context(program(server, port, environment, folder))
        asyncio.run(throughput([port], 64, 1.0))
        wait_until_shared(postgres, 1)
        one = measured(port)
        for _ in range(2):
            stack.enter_context(program(consumer, None, environment, folder))
        wait_until_shared(postgres, 3)
        three = measured(port)
    return [
        Row(
            f"PUT with 3 consumers, {PARTITIONS} partitions, {clients} clients", three[clients][0], "writes/s",
            f"1 consumer: {one[clients][0]:,.0f}/s", one[clients][0] / three[clients][0], None,
            f"median {three[clients][1]:.1f} ms, 1 consumer {one[clients][1]:.1f} ms",
        )
        for clients in LOADS
    ]  # fmt: skip


if __name__ == "__main__":
    print(table(run()))
