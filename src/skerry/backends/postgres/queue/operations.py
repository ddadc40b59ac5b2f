"""What an operator does with the queue in PostgreSQL: create, check and drop its tables, and look what waits.

Each opens a connection of its own, does one thing and returns lines to print. Not here: what a running process makes
by itself (table.py; the same things).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from skerry.backends.postgres.connections import Connections
from skerry.backends.postgres.queue.consumer import stray
from skerry.backends.postgres.queue.settings import QueueSettings
from skerry.backends.postgres.queue.table import Queue, missing, prepare
from skerry.backends.postgres.role import Need
from skerry.backends.postgres.session import Session
from skerry.backends.postgres.settings import PostgresSettings
from skerry.bus.backend import Finding
from skerry.errors import TransportError

_FULL = 0.1
"""Of the server's room for notifications that somebody has not read."""
_LONG_SECONDS = 600.0
_OLD_SECONDS = 60.0


@asynccontextmanager
async def connected(dsn: str, namespace: str, need: Need = Need.WRITABLE) -> AsyncIterator[Session]:
    """A connection for a while. Raises SettingsError or Disconnected."""
    connections = Connections(dsn, f"{namespace} operator", PostgresSettings(), need=need)
    await connections.open()
    try:
        async with connections.one() as session:
            yield session
    finally:
        await connections.close()


async def create(dsn: str, namespace: str) -> list[str]:
    """Make what is missing; a line for each."""
    async with connected(dsn, namespace) as session:
        return [f"table {name}" for name in await prepare(session, Queue(namespace))]


async def check(dsn: str, namespace: str, settings: QueueSettings) -> list[str]:
    """What is missing, or waits where nobody looks; empty when all is well. Makes nothing."""
    queue = Queue(namespace)
    async with connected(dsn, namespace, Need.ANY) as session:
        absent = await missing(session, queue)
        if absent:
            return [f"table {name} is missing" for name in absent]
        return [stray(row) for row in await queue.rows(session, "backlog") if is_stray(row, settings)]


async def tidy(dsn: str, namespace: str, settings: QueueSettings) -> list[str]:
    """Forget the readers of other generations, and beyond the partitions, whose queues are empty; a line for each that
    is forgotten or still needed."""
    queue = Queue(namespace)
    async with connected(dsn, namespace) as session:
        if await missing(session, queue):
            return []
        found = [
            f"left {stray(row)}" for row in await queue.rows(session, "backlog") if is_stray(row, settings)
        ]
        gone = await queue.rows(
            session, "tidy", generation=settings.generation, partitions=settings.partitions
        )
        return found + [f"forgot partition {row['part']} of generation {row['generation']}" for row in gone]


async def drop(dsn: str, namespace: str, force: bool = False) -> list[str]:
    """Delete the tables; a line for each. Refuses with TransportError while commands wait or a consumer reads, unless
    `force`."""
    queue = Queue(namespace)
    async with connected(dsn, namespace) as session:
        absent = await missing(session, queue)
        names = [name for name in (f"{namespace}__queue", f"{namespace}__reader") if name not in absent]
        if not absent and not force:
            waiting = sum(row["count"] for row in await queue.rows(session, "backlog"))
            if waiting:
                raise TransportError(
                    f"{waiting} messages of commands wait: let the consumers decide them, or force it"
                )
            if await queue.rows(session, "readers"):
                raise TransportError("a consumer reads the queue: stop it first, or force it")
        await session.execute(queue.text("drop"))
        return [f"table {name}" for name in names]


async def doctor(dsn: str, namespace: str, settings: QueueSettings) -> list[Finding]:
    """What `skerry doctor` says of the queue."""
    queue = Queue(namespace)
    async with connected(dsn, namespace, Need.ANY) as session:
        if await missing(session, queue):
            return [Finding("warning", "the queue's tables are not there yet", "skerry infra create")]
        [(used, cleans, oldest)] = await queue.rows(session, "health")
        backlog = await queue.rows(session, "backlog")
        readers = {(row["generation"], row["part"]) for row in await queue.rows(session, "readers")}
    findings: list[Finding] = []
    if used > _FULL:
        what = f"{used:.0%} of PostgreSQL's room for notifications is full: a session listens in an open transaction"
        findings.append(Finding("warning", what, "find it in pg_stat_activity and end it"))
    if not cleans:
        what = "autovacuum is off: the queue's table grows with every command"
        findings.append(Finding("error", what, "autovacuum = on in postgresql.conf"))
    if oldest > _LONG_SECONDS:
        what = (
            f"a transaction has been open for {oldest:.0f} s: as long as it is, the queue's table only grows"
        )
        findings.append(Finding("warning", what, "find it in pg_stat_activity (xact_start) and end it"))
    findings += [_waiting(row, settings, readers) for row in backlog]
    if not backlog:
        findings.append(Finding("ok", "no command waits in the queue"))
    return findings


def is_stray(row: Mapping[str, Any], settings: QueueSettings) -> bool:
    """Whether no consumer of these settings reads that queue."""
    return bool(row["generation"] != settings.generation or row["part"] >= settings.partitions)


def _waiting(row: Mapping[str, Any], settings: QueueSettings, readers: set[tuple[int, int]]) -> Finding:
    if is_stray(row, settings):
        what, _, fix = stray(row).partition(": ")
        return Finding("warning", what, fix)
    what = (
        f"{row['count']} messages of commands wait in partition {row['part']}, the oldest for "
        f"{row['oldest']:.0f} s"
    )
    if (row["generation"], row["part"]) not in readers:
        return Finding("warning", f"{what}, and no consumer reads it", "start a consumer")
    if row["oldest"] > _OLD_SECONDS:
        return Finding("warning", what, "see what its consumer says: skerry ps, its log")
    return Finding("ok", what)
