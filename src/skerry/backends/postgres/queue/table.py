"""The tables of the PostgreSQL transport and its statements; the names of its channels.

They are the transport's own and no part of the journal's migrations: an application with a broker has none of them.
Not here: who runs them (pubsub.py, outbox.py, consumer.py, operations.py).
"""

from __future__ import annotations

from functools import cache
from hashlib import blake2b
from typing import Any

import asyncpg

from skerry.backends.postgres.schema import Statement, compiled
from skerry.backends.statements import named_statements
from skerry.backends.storable import checked_namespace
from skerry.errors import SettingsError


@cache
def _texts() -> dict[str, str]:
    return named_statements("skerry.backends.postgres.queue")


class Queue:
    """The statements of one namespace, `queue["take"]`, and the channels that its processes listen on."""

    def __init__(self, namespace: str) -> None:
        self.namespace = checked_namespace(namespace)
        self._made: dict[str, Statement] = {}
        self.everybody = self.channel("")
        """What every process hears."""
        self.work = self.channel("\x00work")
        """What tells consumers that commands wait, or that a partition is free."""

    def text(self, name: str) -> str:
        return _texts()[name].replace("{ns}", self.namespace)

    def __getitem__(self, name: str) -> Statement:
        made = self._made.get(name)
        if made is None:
            made = self._made[name] = compiled(self.text(name))
        return made

    def channel(self, name: str) -> str:
        """The channel of one process. Names of channels end at 63 bytes, those of processes do not."""
        digest = blake2b(f"{self.namespace}\x00{name}".encode(), digest_size=12).hexdigest()
        return f"skerry_{digest}"

    async def rows(self, connection: asyncpg.Connection, name: str, /, **values: Any) -> list[Any]:
        """Run a statement. Raises what the driver raises."""
        statement = self[name]
        return list(await connection.fetch(statement.sql, *statement.arguments(values)))


async def missing(connection: asyncpg.Connection, queue: Queue) -> list[str]:
    """Tables that are not there."""
    return [row[0] for row in await queue.rows(connection, "missing")]


async def prepare(connection: asyncpg.Connection, queue: Queue) -> list[str]:
    """Make what is missing; the names of what was. Raises SettingsError when this user may not make or use it."""
    absent = await missing(connection, queue)
    try:
        if absent:
            async with connection.transaction():
                await connection.execute(
                    f"select pg_advisory_xact_lock(hashtextextended('skerry:{queue.namespace}:queue', 0))"
                )
                await connection.execute(queue.text("create"))
        elif not (await queue.rows(connection, "rights"))[0][0]:
            raise SettingsError(
                "SKERRY_TRANSPORT",
                f"this user may not read and write {queue.namespace}__queue and {queue.namespace}__reader: let their "
                "owner grant select, insert, update, delete",
            )
    except asyncpg.InsufficientPrivilegeError as error:
        raise SettingsError(
            "SKERRY_TRANSPORT",
            f"{' and '.join(absent)} cannot be made by this user ({error}): run skerry infra create with another one",
        ) from error
    return absent
