"""What an event costs in the application's own transaction, and how soon it is heard, on PostgreSQL (fsync on).

A transaction inserts one row; beside it the same with `emit`, by 1, 4 and 16 threads of one process with psycopg,
alternating in one run, while a consumer moves the events. Read the ratio of times: what an event adds. Then how much
longer commits of other writers take (95 %) beside a transaction of one second that has emitted, how long it takes
from a commit (of a SQLAlchemy session, which tells of it) to this process's listeners, and how many rows a second a
mirror follows. Not for: commands (journals, writes).
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from itertools import chain
from statistics import median
from typing import Any

from benchmarks.rows import Row

from skerry import App, Event
from skerry.backends.postgres.journal import PostgresJournal
from skerry.errors import SkerryError
from skerry.hosting import emit
from skerry.kernel.settings import Settings
from skerry.testing.app import World, running
from skerry.testing.services import available, private_postgres

WRITERS = (1, 4, 16)
ROUNDS = 2
SECONDS = 1.5
HEARD = 60
MIRRORED = 30_000
COST_BAR = 1 / 0.7
BESIDE_BAR_MS, HEARD_BAR_MS = 20.0, 15.0


class Paid(Event):
    number: int


app = App("bench")
app.emits(Paid, foreign=True)


# --- in a process of its own: the application that writes


def transactions(dsn: str, writers: int, seconds: float, emits: bool) -> tuple[float, float]:
    """Transactions a second, and the 95th percentile of their seconds."""
    import psycopg

    took: list[list[float]] = [[] for _ in range(writers)]
    until = time.perf_counter() + seconds

    def write(mine: int) -> None:
        with psycopg.connect(dsn) as connection:
            while (began := time.perf_counter()) < until:
                connection.execute("insert into bill (text) values ('x')")
                if emits:
                    emit(Paid(mine), key="k", connection=connection)
                connection.commit()
                took[mine].append(time.perf_counter() - began)

    threads = [threading.Thread(target=write, args=(mine,)) for mine in range(writers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    every = sorted(chain.from_iterable(took))
    return len(every) / seconds, every[len(every) * 95 // 100]


async def written(dsn: str, writers: int, seconds: float, emits: bool) -> tuple[float, float]:
    command = [sys.executable, "-m", "benchmarks.bridge", dsn, str(writers), str(seconds), str(int(emits))]
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    out, _ = await process.communicate()
    rate, late = out.split()
    return float(rate), float(late)


# --- in this one: the App


async def cost(dsn: str) -> list[Row]:
    rows = []
    for writers in WRITERS:
        rates: dict[bool, list[float]] = {False: [], True: []}
        for _ in range(ROUNDS):
            for emits in rates:
                rates[emits].append((await written(dsn, writers, SECONDS, emits))[0])
        plain, with_event = max(rates[False]), max(rates[True])
        title = f"emit, {writers} writers"
        rows.append(Row(title, with_event, "transactions/s", "without", plain / with_event, COST_BAR))
    return rows


async def beside(dsn: str) -> Row:
    """Four writers that emit, beside a transaction of a second that has emitted."""
    import psycopg

    _, alone = await written(dsn, 4, 2 * SECONDS, True)
    with psycopg.connect(dsn) as long:
        emit(Paid(0), connection=long)
        writing = asyncio.create_task(written(dsn, 4, 2 * SECONDS, True))
        await asyncio.sleep(1.0)
        long.commit()
    _, late = await writing
    more = max(0.0, late - alone) * 1000
    note = f"95 % of commits within {late * 1000:.1f} ms, alone {alone * 1000:.1f} ms"
    title = "emit beside a transaction of 1 s, more"
    return Row(title, more, "ms", f"{BESIDE_BAR_MS:g} ms", more / BESIDE_BAR_MS, 1.0, note)


async def heard(dsn: str, world: World) -> list[Row]:
    """From commit to listener, one transaction after the other in each writer, with pauses."""
    import sqlalchemy
    from sqlalchemy.orm import Session

    engine = sqlalchemy.create_engine(dsn.replace("postgresql:", "postgresql+psycopg:"), pool_size=20)
    arrived: dict[str, float] = {}
    unlisten = world.kernel.projector.listen(
        lambda records, epoch: arrived.update((each.command_id, time.perf_counter()) for each in records)
    )
    rows = []
    for writers in WRITERS:
        committed: dict[str, float] = {}

        def write(committed: dict[str, float] = committed) -> None:
            for number in range(HEARD // 4):
                with Session(engine) as session, session.begin():
                    session.execute(sqlalchemy.text("insert into bill (text) values ('x')"))
                    emitted = emit(Paid(number), key="k", session=session)
                committed[emitted.id] = time.perf_counter()
                emitted.wait(10)
                time.sleep(0.03)

        await asyncio.gather(*(asyncio.to_thread(write) for _ in range(writers)))
        took = [(arrived[id] - at) * 1000 for id, at in committed.items() if id in arrived]
        title, p50 = f"commit to listener, p50, {writers} writers", median(took)
        rows.append(Row(title, p50, "ms", f"{HEARD_BAR_MS:g} ms", p50 / HEARD_BAR_MS, 1.0))
    unlisten()
    engine.dispose()
    return rows


async def mirrored(dsn: str, execute: Callable[[str], Any]) -> Row:
    """A bulk insert, until memory has all of it."""
    import msgspec

    class Bill(msgspec.Struct, frozen=True):
        id: int
        text: str

    shop = App("mirroring")
    bills = shop.mirror("bill", key="id", row=Bill)
    execute("truncate bill")
    async with PostgresJournal(dsn, "mirroring") as journal:
        await journal.prepare([])
        await journal.make([bills.mirrored])
    settings = Settings(journal=dsn, transport="memory:", warm_start=False)
    async with running(shop, settings=settings, journal=PostgresJournal(dsn, "mirroring")):
        began = time.perf_counter()
        await asyncio.to_thread(
            execute, f"insert into bill (text) select 'x' from generate_series(1, {MIRRORED})"
        )
        written_at = time.perf_counter()
        while len(bills) < MIRRORED and time.perf_counter() - began < 120:  # noqa: ASYNC110 - it is measured
            await asyncio.sleep(0.01)
        seconds = time.perf_counter() - written_at
    return Row(f"mirror, {MIRRORED:,} rows at once", MIRRORED / seconds, "rows/s followed")


async def measure(dsn: str, execute: Callable[[str], Any]) -> list[Row]:
    execute("create table bill (id bigint generated always as identity primary key, text text)")
    settings = Settings(journal=dsn, transport="memory:", warm_start=False)
    async with running(app, settings=settings, journal=PostgresJournal(dsn, "bench")) as world:
        rows = [*await cost(dsn), await beside(dsn), *await heard(dsn, world)]
    return [*rows, await mirrored(dsn, execute)]


def run() -> list[Row]:
    if not available("postgresql"):
        raise SkerryError("PostgreSQL is not installed")
    with private_postgres(durable=True) as server:
        dsn = server.database("bench")
        return asyncio.run(measure(dsn, lambda sql: server.query(sql, "bench")))


if __name__ == "__main__":
    import os

    os.environ["SKERRY_NAMESPACE"] = "bench"
    found = transactions(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), sys.argv[4] == "1")
    print(*found)
