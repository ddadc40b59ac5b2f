"""Bodies of large commands in the journal's database: what travels names them, the consumer fetches them.

A body goes when its command was decided: at once by the consumer, or by `trim` when the consumer died in between. One
whose command never came (its sender died) goes after `ORPHAN_SECONDS`; a queue that nobody works on for so long loses
them too. Not here: which commands are large (the transport's settings).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from skerry.backends.postgres.connections import Connections
from skerry.backends.postgres.schema import Statements
from skerry.backends.storable import check_text
from skerry.clock import Clock

ORPHAN_SECONDS = 30 * 24 * 3600.0
"""After that a body whose command was never decided is given up."""
_SETTLED_SECONDS = 60.0
"""A body put again later than that ago may be on its way a second time: a retry of its dead letter."""


class PostgresBodies:
    """Durable bytes by key. Every call raises Unavailable while the database is away, or not prepared."""

    def __init__(self, connections: Connections, statements: Statements, clock: Clock) -> None:
        self._connections, self._statements, self._clock = connections, statements, clock

    async def put(self, key: str, body: bytes) -> None:
        """Keep `body`; the same key again keeps what is there, for the same key means the same bytes."""
        check_text("key of a body", (key,))
        await self._fetch("put_body", key=key, body=body)

    async def get(self, key: str) -> bytes | None:
        found = await self._fetch("body", key=key)
        return bytes(found[0][0]) if found else None

    async def remove(self, keys: Sequence[str]) -> None:
        await self._fetch("remove_bodies", keys=list(keys))

    async def trim(self) -> None:
        """Forget those of decided commands, and those that nobody asked for in all that time."""
        await self._fetch("trim_bodies", settled=_SETTLED_SECONDS, orphaned=ORPHAN_SECONDS)

    async def _fetch(self, name: str, /, **values: Any) -> list[Any]:
        statement = self._statements[name]
        async with self._connections.one() as connection:
            return list(await connection.fetch(statement.sql, *statement.arguments(values)))
