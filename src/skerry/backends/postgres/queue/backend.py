"""`postgresql:` as a transport: commands in a table of the journal's database, for many machines without a broker."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from skerry.bus.backend import Access, Finding, Infra, Opening, Parts, Place, TransportSide

if TYPE_CHECKING:
    from skerry.backends.postgres.queue.settings import QueueSettings
    from skerry.backends.postgres.queue.transport import PostgresTransport


def _settings(place: Place) -> QueueSettings:
    from skerry.backends.postgres.queue.settings import QueueSettings

    return place.settings.of(QueueSettings)


def _transport(place: Place, name: str, settings: QueueSettings | None = None) -> PostgresTransport:
    """The name is an address: two processes of one name would take each other's answers."""
    from skerry.backends.postgres.queue.transport import PostgresTransport
    from skerry.backends.postgres.settings import PostgresSettings

    return PostgresTransport(
        place.transport_url, place.namespace, settings or _settings(place), place.settings.of(PostgresSettings),
        name=f"{name}.{os.urandom(4).hex()}",
    )  # fmt: skip


@asynccontextmanager
async def _open(opening: Opening) -> AsyncIterator[Parts]:
    wait = opening.wait or opening.decides
    journal = opening.journal_for(Access.DECIDES if opening.decides else Access.READS, required=wait)
    transport = _transport(opening.place, opening.place.process)
    parts = Parts(transport, journal, journal if opening.decides else None, shared=True)
    opening.made(parts)
    async with journal:
        if opening.decides:
            await opening.prepare(journal)
        await transport.start(required=wait)
        try:
            yield parts
        finally:
            await transport.stop()


def _sender(place: Place, journal: Any) -> PostgresTransport:
    return _transport(place, "admin", replace(_settings(place), start_seconds=5.0))


async def _create(place: Place) -> list[str]:
    from skerry.backends.postgres.queue.operations import create

    return await create(place.transport_url, place.namespace)


async def _check(place: Place) -> list[str]:
    from skerry.backends.postgres.queue.operations import check

    return await check(place.transport_url, place.namespace, _settings(place))


async def _tidy(place: Place) -> list[str]:
    from skerry.backends.postgres.queue.operations import tidy

    return await tidy(place.transport_url, place.namespace, _settings(place))


async def _drop(place: Place, force: bool) -> list[str]:
    from skerry.backends.postgres.queue.operations import drop

    return await drop(place.transport_url, place.namespace, force)


async def _doctor(place: Place) -> AsyncIterator[Finding]:
    from skerry.backends.postgres.queue.operations import doctor
    from skerry.errors import SkerryError

    try:
        for found in await doctor(place.transport_url, place.namespace, _settings(place)):
            yield found
    except ModuleNotFoundError:
        return  # the journal's has said it
    except SkerryError as error:
        yield Finding("error", str(error), "start the database, or set SKERRY_TRANSPORT right")


SIDE = TransportSide(
    _open,
    {"postgresql": "many machines, without a broker"},
    sender=_sender,
    infra=Infra(_create, _check, _tidy, _drop),
    doctor=_doctor,
)
