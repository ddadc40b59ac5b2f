"""How many commands a second several writers of one process commit to PostgreSQL, beside one plain client: on the disk
of this machine, and with a synchronous standby to which a message and its answer take 10 ms.

A writer here is a partition: it has a lease, opens a batch, puts one row a command with its event and outcome, and
commits. What is ready while a commit is under way makes up the next one. The peer is the same work written by hand for
one connection, one transaction a batch. "apart": each writer in a journal of its own, as consumers in processes of
their own, which the database lets commit one after the other. Alternating in one run, best of the rounds.
Run: `python -m benchmarks.commits`; `BENCH_SECONDS` lengthens it.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager

from benchmarks.journals import by_asyncpg, writes_of
from benchmarks.loop import run_on_loop
from benchmarks.rows import Row, table

from skerry.backends.postgres.journal import PostgresJournal
from skerry.errors import Conflict
from skerry.testing.services import PrivatePostgres, available, private_postgres, private_standby

SECONDS = float(os.environ.get("BENCH_SECONDS", "2"))
ROUNDS = 2
WRITERS = (1, 4, 8)
SIZES = (1, 100)
APART = 8
DELAY_SECONDS = 0.005
Step = Callable[[], Awaitable[int]]


class _Line(asyncio.Protocol):
    """One end of a delayed connection: what it gets goes out at the other end when its time has come."""

    def __init__(self) -> None:
        self.other: _Line | None = None
        self.transport: asyncio.Transport | None = None
        self.kept: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        for data in self.kept:
            transport.write(data)

    def data_received(self, data: bytes) -> None:
        asyncio.get_running_loop().call_later(DELAY_SECONDS, self._pass_on, data)

    def _pass_on(self, data: bytes) -> None:
        assert self.other is not None
        if self.other.transport is None:
            self.other.kept.append(data)
        else:
            self.other.transport.write(data)

    def connection_lost(self, error: Exception | None) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.close()


@contextmanager
def delayed(port: int) -> Iterator[int]:
    """A port that leads to `port`, each way after DELAY_SECONDS, in a thread of its own."""
    ready, loop = threading.Event(), asyncio.new_event_loop()
    found: list[int] = []

    def taken() -> _Line:
        near, far = _Line(), _Line()
        near.other, far.other = far, near
        tasks.add(loop.create_task(loop.create_connection(lambda: far, "127.0.0.1", port)))
        return near

    async def serve() -> None:
        server = await loop.create_server(taken, "127.0.0.1", 0)
        found.append(server.sockets[0].getsockname()[1])
        ready.set()

    tasks: set[asyncio.Task[object]] = set()
    thread = threading.Thread(target=lambda: (loop.create_task(serve()), loop.run_forever()), daemon=True)
    thread.start()
    ready.wait()
    try:
        yield found[0]
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


async def writer(journal: PostgresJournal, number: int, size: int, owner: str) -> Step:
    """One partition's: each call commits a batch of `size` commands, whose keys and ids are its own."""
    lease = await journal.acquire(f"partition:{owner}.{number}", owner, 3600.0)
    first = (int(time.time() * 1e6) << 40) + (number << 36)

    async def step() -> int:
        nonlocal first
        claims, _, writes = writes_of(first, size)
        first += size
        own = {f"{number}-{key}": row for key, row in writes.puts["kv"].items()}
        writes.puts["kv"] = own
        while True:
            try:
                async with journal.batch(claims, [("kv", key) for key in own], lease, True) as (batch, _):
                    await batch.commit(writes)
                return size
            except Conflict:
                continue

    return step


async def rate(steps: list[Step], seconds: float) -> float:
    """Commands a second of all of them together."""
    end = time.monotonic() + seconds

    async def work(step: Step) -> int:
        done = 0
        while time.monotonic() < end:
            done += await step()
        return done

    began = time.monotonic()
    done = await asyncio.gather(*(work(step) for step in steps))
    return sum(done) / (time.monotonic() - began)


async def measured(server: PrivatePostgres, where: str) -> list[Row]:
    rows = []
    async with AsyncExitStack() as stack:
        dsn = server.database()
        journals = [await stack.enter_async_context(PostgresJournal(dsn, "bench")) for _ in range(APART)]
        await journals[0].prepare(["kv"])
        for journal in journals[1:]:
            await journal.prepare(["kv"])
        plain = await by_asyncpg(server.database(), stack)
        for size in SIZES:
            together = [await writer(journals[0], n, size, f"one.{size}") for n in range(max(WRITERS))]
            apart = [await writer(each, 8 + n, size, f"{n}.{size}") for n, each in enumerate(journals)]
            ways: dict[str, list[Step]] = {
                f"{count} writer{'s' * (count > 1)}": together[:count] for count in WRITERS
            }
            ways[f"{APART} writers apart"] = apart
            ways["plain"] = [_plain_step(plain, size)]
            best = dict.fromkeys(ways, 0.0)
            for _ in range(ROUNDS):
                for name, steps in ways.items():
                    best[name] = max(best[name], await rate(steps, SECONDS / ROUNDS))
            peer = best.pop("plain")
            rows += [
                Row(
                    f"commits {where}, {size} a batch, {name}", value, "commands/s", f"plain client: {peer:,.0f}/s",
                    peer / value,
                )
                for name, value in best.items()
            ]  # fmt: skip
    return rows


def _plain_step(plain: Callable[[int, int, int], Awaitable[None]], size: int) -> Step:
    first = int(time.time() * 1e6) << 40

    async def step() -> int:
        nonlocal first
        await plain(first, size, 1)
        first += size
        return size

    return step


def run() -> list[Row]:
    if not available("postgresql"):
        return [Row("commits: PostgreSQL is not installed", 0.0, "")]
    with private_postgres(durable=True) as server:
        rows = run_on_loop(measured(server, "on this disk"))
        with private_standby(server, "far", durable=True) as standby, delayed(server.port) as port:
            password = server.dsn.split(":")[2].split("@")[0]
            far = f"host=127.0.0.1 port={port} user=postgres password={password} application_name=far"
            standby.query(f"alter system set primary_conninfo = '{far}'")
            standby.query("select pg_reload_conf()")
            server.query("alter system set synchronous_standby_names = 'far'")
            server.query("select pg_reload_conf()")
            rows += run_on_loop(measured(server, "to a standby 10 ms away"))
            server.query("alter system reset synchronous_standby_names")
            server.query("select pg_reload_conf()")
    return rows


if __name__ == "__main__":
    print(table(run()))
