"""`memory:`: a journal and a transport within one process. The transport goes with any journal of one process."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from skerry.bus.backend import (
    Access,
    Backend,
    JournalSide,
    OpenableJournal,
    Opening,
    Parts,
    Place,
    TransportSide,
)


def _journal(place: Place, access: Access, required: bool) -> OpenableJournal:
    from skerry.backends.memory.journal import MemoryJournal

    return MemoryJournal()


@asynccontextmanager
async def _open(opening: Opening) -> AsyncIterator[Parts]:
    from skerry.backends.memory.transport import MemoryHub

    transport = MemoryHub().endpoint(opening.place.process)
    journal = opening.journal_for(Access.DECIDES)
    parts = Parts(transport, journal, journal)
    opening.made(parts)
    async with journal:
        await transport.start()
        try:
            yield parts
        finally:
            await transport.stop()


BACKEND = Backend(
    "memory",
    JournalSide(_journal, default_transport="memory:", keeps=False),
    TransportSide(
        _open,
        {"memory": "one process, nothing kept", "sqlite": "one process, kept in a file"},
        one_process=True,
    ),
)
