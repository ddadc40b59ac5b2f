"""`postgresql:`: a journal in a database that any number of processes share, and a transport by tables of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from skerry.backends.postgres.queue.backend import SIDE
from skerry.bus.backend import Access, Backend, Finding, JournalSide, Look, OpenableJournal, Place
from skerry.errors import Disconnected, SettingsError, SkerryError

if TYPE_CHECKING:
    from skerry.backends.postgres.journal import PostgresJournal


def _journal(place: Place, access: Access, required: bool) -> OpenableJournal:
    return BACKEND.imported(lambda: _made(place, access, required))


def _made(place: Place, access: Access, required: bool = True) -> PostgresJournal:
    from skerry.backends.postgres.journal import PostgresJournal
    from skerry.backends.postgres.role import Need
    from skerry.backends.postgres.settings import PostgresSettings

    need = {Access.DECIDES: Need.WRITABLE, Access.READS: Need.PRIMARY}.get(access, Need.ANY)
    return PostgresJournal(
        place.journal_url,
        place.namespace,
        settings=place.settings.of(PostgresSettings),
        required=required,
        need=need,
    )


async def _doctor(place: Place, look: Look | None) -> AsyncIterator[Finding]:
    try:
        made = _made(place, Access.LOOKS)
    except ModuleNotFoundError as error:
        yield Finding("error", f"{error.name} is not installed", "pip install 'skerry[postgres]'")
        return
    try:
        async with made as journal:
            for found in await journal.examine():
                yield found
            try:
                head = await journal.head()
                yield Finding(
                    "ok", f"PostgreSQL journal at {head.position}, events kept from {head.floor + 1}"
                )
                if look is not None:
                    async for stored in look(journal):
                        yield stored
            except Disconnected:
                yield Finding(
                    "warning",
                    f"nothing of {place.namespace!r} is in this database yet",
                    "skerry infra create",
                )
    except SettingsError as error:
        yield Finding("error", error.problem, "set SKERRY_JOURNAL right")
    except SkerryError as error:
        refused = "permission denied" in str(error)
        fix = (
            "let its owner grant what is missing"
            if refused
            else "start the database, or set SKERRY_JOURNAL right"
        )
        yield Finding("error", str(error), fix)


BACKEND = Backend(
    "postgresql",
    JournalSide(
        _journal,
        needs="a postgresql: journal needs a transport: set SKERRY_TRANSPORT=postgresql: (the same database) or amqp://...",
        shared=True,
        doctor=_doctor,
    ),
    SIDE,
    aliases=("postgres",),
    install="skerry[postgres,rabbitmq]",
)
