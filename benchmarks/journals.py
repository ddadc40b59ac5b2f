"""How many commands a second a journal takes, by size of the batch, against plain drivers doing the same writes.

A command here puts one row of 64 bytes (of 2,000 keys), appends one event and stores one outcome, durably, after
looking whether its id was decided before and loading its row. The peers are the same work written by hand, one
transaction a batch: two selects, the counter, and `executemany` for events, outcomes and upserts, with sqlite3 of
the standard library (in the loop's thread, which it blocks; the journal's own thread costs two switches a batch) and
asyncpg. A journal opens its batches as a consumer does, on what it remembers; "asking" is the same for rows that it has
not seen lately. Alternating in one run, best of the rounds. Read the ratio: per command against the peer's in the
same batch size, CPU of the process for those in a file, else time; and for batches, against one command a batch of the
same journal. Not for: how batches form.
"""

from __future__ import annotations

import sqlite3
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

from benchmarks.loop import run_on_loop
from benchmarks.rows import Row

from skerry.backends.memory.journal import MemoryJournal
from skerry.backends.sqlite.journal import SqliteJournal
from skerry.journal.journal import JournalWriter, NewEvent, NewOutcome, Status, Writes
from skerry.testing.proxy import FaultProxy
from skerry.testing.services import available, private_postgres

SIZES = {1: 200, 10: 100, 100: 40, 1000: 8}
KEYS = 2_000
ROUNDS = 3
SNAPSHOT_ROWS = 100_000
BARS: dict[str, dict[int, float | None]] = {
    "sqlite": dict.fromkeys(SIZES, 1.6),
    "sqlite asking": dict.fromkeys(SIZES, None),
    "postgresql": dict.fromkeys(
        SIZES, 1.25
    ),  # beside the server; a network away, round trips are what counts
    "postgresql 1 ms away": dict.fromkeys(SIZES, 0.5),
    "memory": dict.fromkeys(SIZES, None),
}
BATCHED_BAR = 0.2
Run = Callable[[int, int, int], Awaitable[None]]


def rows_of(first: int, size: int) -> list[tuple[str, str, str]]:
    """(command id, key, JSON) of each command of one batch."""
    data = '{"value":"%s"}' % ("x" * 64)
    return [(f"{n:032x}", f"key-{n * 7919 % KEYS}", data) for n in range(first, first + size)]


def writes_of(first: int, size: int) -> tuple[list[str], list[tuple[str, str]], Writes]:
    writes = Writes(puts={"kv": {}})
    claims: list[str] = []
    places: dict[tuple[str, str], None] = {}
    for number, (command_id, key, text) in enumerate(rows_of(first, size), 1):
        data = text.encode()
        claims.append(command_id)
        places["kv", key] = None
        writes.events.append(NewEvent(command_id, key, "value_put", 1, data, 1.7e9, False))
        writes.outcomes.append(NewOutcome(command_id, Status.APPLIED, number, 1))
        writes.puts["kv"][key] = (data, number)
    return claims, list(places), writes


def by_journal(journal: JournalWriter, *, recall: bool = True) -> Run:
    async def run(first: int, size: int, batches: int) -> None:
        for n in range(batches):
            claims, places, writes = writes_of(first + n * size, size)
            async with journal.batch(claims, places, None, recall) as (batch, _):
                await batch.commit(writes)

    return run


def by_sqlite3(path: str) -> Run:
    db = sqlite3.connect(path, isolation_level=None)
    db.executescript("""
        pragma journal_mode = wal;
        pragma synchronous = full;
        create table log (pos integer);
        insert into log values (0);
        create table event (pos integer primary key, id text, key text, name text, version integer, at real,
            more integer, data text);
        create table outcome (id text primary key, status text, pos integer, events integer, reason text, kind text,
            result text, hash text, at real) without rowid;
        create table kv (key text primary key, data text, pos integer);
    """)

    async def run(first: int, size: int, batches: int) -> None:
        for n in range(batches):
            rows = rows_of(first + n * size, size)
            marks = ",".join("?" * size)
            db.execute("begin immediate")
            db.execute(f"select * from outcome where id in ({marks})", [r[0] for r in rows]).fetchall()
            db.execute(f"select * from kv where key in ({marks})", [r[1] for r in rows]).fetchall()
            [base] = db.execute("update log set pos = pos + ? returning pos - ?", (size, size)).fetchone()
            numbered = list(enumerate(rows, base + 1))
            db.executemany(
                "insert into event values (?, ?, ?, 'value_put', 1, 1.7e9, 0, ?)",
                [(p, *r) for p, r in numbered],
            )
            db.executemany(
                "insert into outcome values (?, 'applied', ?, 1, '', '', null, '', 1.7e9)",
                [(r[0], p) for p, r in numbered],
            )
            db.executemany(
                "insert into kv values (?, ?, ?) on conflict (key) do update set data = excluded.data, "
                "pos = excluded.pos",
                [(r[1], r[2], p) for p, r in numbered],
            )
            db.execute("commit")

    return run


async def by_asyncpg(dsn: str, stack: AsyncExitStack) -> Run:
    import asyncpg

    db = await asyncpg.connect(dsn)
    stack.push_async_callback(db.close)
    await db.execute("""
        set jit = off;
        set enable_seqscan = off;  -- else its kept plans read whole tables, as ours would
        create table log (pos bigint);
        insert into log values (0);
        create table event (pos bigint primary key, id text, key text, name text, version integer,
            at double precision, more boolean, data text);
        create table outcome (id text primary key, status text, pos bigint, events integer, reason text, kind text,
            result text, hash text, at double precision);
        create table kv (key text collate "C" primary key, data text, pos bigint);
    """)

    async def run(first: int, size: int, batches: int) -> None:
        for n in range(batches):
            rows = rows_of(first + n * size, size)
            async with db.transaction():
                await db.fetch("select * from outcome where id = any($1)", [r[0] for r in rows])
                await db.fetch("select * from kv where key = any($1)", [r[1] for r in rows])
                base = await db.fetchval("update log set pos = pos + $1 returning pos - $1", size)
                numbered = list(enumerate(rows, base + 1))
                await db.executemany(
                    "insert into event values ($1, $2, $3, 'value_put', 1, 1.7e9, false, $4)",
                    [(p, *r) for p, r in numbered],
                )
                await db.executemany(
                    "insert into outcome values ($1, 'applied', $2, 1, '', '', null, '', 1.7e9)",
                    [(r[0], p) for p, r in numbered],
                )
                await db.executemany(
                    "insert into kv values ($1, $2, $3) on conflict (key) do update set data = excluded.data, "
                    "pos = excluded.pos",
                    [(r[1], r[2], p) for p, r in numbered],
                )

    return run


async def per_command(
    runs: dict[str, Run], sizes: dict[int, int] = SIZES, clock: Callable[[], float] = time.perf_counter
) -> dict[tuple[str, int], float]:
    """Seconds per command of each, by batch size; the contestants take turns, after each has written all keys."""
    first = dict.fromkeys(runs, KEYS)
    for run in runs.values():
        await run(0, KEYS // 2, 2)
    found: dict[tuple[str, int], list[float]] = {}
    for turn in range(ROUNDS + 1):
        for size, batches in sizes.items():
            for name, run in runs.items():
                count = 3 if turn == 0 else batches
                started = clock()
                await run(first[name], size, count)
                seconds = clock() - started
                first[name] += size * count
                if turn:
                    found.setdefault((name, size), []).append(seconds / size / count)
    return {key: min(times) for key, times in found.items()}


def compared(name: str, peer: str, times: dict[tuple[str, int], float]) -> list[Row]:
    rows = []
    for size in [size for size in SIZES if (name, size) in times]:
        mine, theirs = times[name, size], times.get((peer, size))
        ratio = None if theirs is None else mine / theirs
        title = f"journal {name}, batch {size}"
        rows.append(Row(title, 1 / mine, "commands/s", peer, ratio, BARS[name][size]))
    if peer and (name, 1) in times:
        ratio = times[name, 100] / times[name, 1]
        rows.append(
            Row(
                f"journal {name}, batch 100",
                1 / times[name, 100],
                "commands/s",
                "batch 1",
                ratio,
                BATCHED_BAR,
            )
        )
    return rows


async def snapshot(name: str, journal: JournalWriter) -> Row:
    """Rows a second out of a snapshot, as a starting server reads them."""
    for first in range(0, SNAPSHOT_ROWS, 10_000):
        puts = {f"key-{n:07d}": (b'{"value":"%s"}' % (b"x" * 64), 1) for n in range(first, first + 10_000)}
        async with journal.batch([], []) as (batch, _):
            event = NewEvent(f"load-{first}", "k", "loaded", 1, b"{}", 1.0, False)
            await batch.commit(Writes(puts={"loaded": dict(puts)}, events=[event]))
    started = time.perf_counter()
    count = 0
    async with journal.snapshot(["loaded"]) as taken:
        async for page in taken.rows("loaded"):
            count += len(page)
    seconds = time.perf_counter() - started
    assert count == SNAPSHOT_ROWS
    return Row(f"journal {name}, snapshot of {SNAPSHOT_ROWS:,} rows", count / seconds, "rows/s")


async def measure() -> list[Row]:
    rows: list[Row] = []
    async with AsyncExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory())
        memory = await stack.enter_async_context(MemoryJournal())
        sqlite = await stack.enter_async_context(SqliteJournal(f"{directory}/ours.db", "bench"))
        asking = await stack.enter_async_context(SqliteJournal(f"{directory}/asking.db", "bench"))
        for journal in (memory, sqlite, asking):
            await journal.prepare(["kv", "loaded"])
        runs = {"memory": by_journal(memory), "sqlite": by_journal(sqlite)}
        runs["sqlite asking"] = by_journal(asking, recall=False)
        runs["sqlite3 executemany"] = by_sqlite3(f"{directory}/theirs.db")
        times = await per_command(runs, clock=time.process_time)
        rows += compared("memory", "", times)
        rows += [
            row
            for name in ("sqlite", "sqlite asking")
            for row in compared(name, "sqlite3 executemany", times)
        ]
        rows.append(await snapshot("sqlite", sqlite))
    return rows


async def measure_postgres(dsn: str, peer_dsn: str) -> list[Row]:
    from skerry.backends.postgres.journal import PostgresJournal

    async with AsyncExitStack() as stack:
        journal = await stack.enter_async_context(PostgresJournal(dsn, "bench"))
        await journal.prepare(["kv", "loaded"])
        peer = await by_asyncpg(peer_dsn, stack)
        times = await per_command({"postgresql": by_journal(journal), "asyncpg executemany": peer})
        rows = compared("postgresql", "asyncpg executemany", times)
        rows.append(await snapshot("postgresql", journal))
    return rows


async def measure_away(dsn: str, peer_dsn: str, port: int) -> list[Row]:
    """The same with a millisecond between client and server, each way."""
    from skerry.backends.postgres.journal import PostgresJournal

    async with AsyncExitStack() as stack:
        proxy = await stack.enter_async_context(FaultProxy(port))
        dsn, peer_dsn = (text.replace(f":{port}/", f":{proxy.port}/") for text in (dsn, peer_dsn))
        journal = await stack.enter_async_context(PostgresJournal(dsn, "bench"))
        await journal.prepare(["kv"])
        peer = await by_asyncpg(peer_dsn, stack)
        proxy.delay_seconds = 0.001
        runs = {"postgresql 1 ms away": by_journal(journal), "asyncpg executemany": peer}
        return compared(
            "postgresql 1 ms away", "asyncpg executemany", await per_command(runs, {10: 20, 100: 20})
        )


def run() -> list[Row]:
    """Memory and SQLite, and PostgreSQL where its programs are installed (a private server, fsync on)."""
    rows = run_on_loop(measure())
    if available("postgresql"):
        with private_postgres(durable=True) as server:
            rows += run_on_loop(measure_postgres(server.database("ours"), server.database("theirs")))
            away = server.database("ours_away"), server.database("theirs_away")
            rows += run_on_loop(measure_away(*away, server.port))
    return rows


if __name__ == "__main__":
    from benchmarks.rows import table

    print(table(run()))
