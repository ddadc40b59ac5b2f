"""What the batches of one process work with, and what they know of the journal together: its end as last committed from
here, and whether others write too. An epoch begins here. Not here: what a batch reads and writes.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

from skerry.backends.postgres.connections import Connections
from skerry.backends.postgres.schema import Statements
from skerry.backends.postgres.session import committing
from skerry.backends.postgres.settings import PostgresSettings
from skerry.backends.recent import Recent
from skerry.backends.storable import new_epoch_name
from skerry.clock import Clock
from skerry.position import Position

logger = logging.getLogger("skerry.postgres")
ANOTHER_HISTORY = "the database has another history (promoted, restored or restarted)"


@dataclass(slots=True)
class Room:
    """What batches work with. `crowded`: above 0 when other writers were met lately; then what was read is sent
    along at once, else only when the journal's end turns out to have moved. `seen`: the journal's end after the last
    commit from here, and whose event that was. `recent`: that end and rows as of then, for batches that are opened
    without asking; `wrote`: the transaction that brought the journal there."""

    connections: Connections
    statements: Statements
    settings: PostgresSettings
    clock: Clock
    crowded: int = 0
    seen: tuple[Position, str] = (Position("", 0), "")
    recent: Recent = field(default_factory=Recent)
    wrote: int | None = None

    def note_seen(self, end: Position, command_id: str) -> None:
        """The journal was raised to `end`, durably."""
        if end.epoch != self.seen[0].epoch or end.offset > self.seen[0].offset:
            self.seen = (end, command_id)

    async def begin_epoch(self, reason: str, common: int | None = None) -> Position | None:
        """Begin an epoch; without `common` only when the present one is of another history than the server's. See the
        function in `migrations/0003.sql`."""
        statement, epoch, seen = self.statements["begin_epoch"], new_epoch_name(), self.seen[0]
        values = {"epoch": epoch, "common": common, "reason": reason}
        self.recent.forget()
        values |= {"seen_epoch": seen.epoch, "seen": seen.offset}
        async with self.connections.one() as connection:
            with committing(connection):
                pos = await connection.fetchval(statement.sql, *statement.arguments(values))
        if pos is None:
            return None
        logger.warning(
            "a new epoch %s of the journal %r begins at %d: %s", epoch, self.statements.namespace, pos, reason
        )
        if pos < seen.offset:
            logger.error(
                "%d events that were committed are lost: %s:%d to %d",
                seen.offset - pos, seen.epoch, pos + 1, seen.offset,
            )  # fmt: skip
        return Position(epoch, pos)
