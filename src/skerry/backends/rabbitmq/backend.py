"""`amqp:`: commands over RabbitMQ, for any number of machines that share a journal."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from skerry.bus.backend import Access, Backend, Finding, Infra, Opening, Parts, Place, TransportSide

if TYPE_CHECKING:
    from skerry.backends.rabbitmq.settings import RabbitSettings
    from skerry.backends.rabbitmq.transport import RabbitTransport


def _settings(place: Place) -> RabbitSettings:
    from skerry.backends.rabbitmq.settings import RabbitSettings

    chosen = place.settings.of(RabbitSettings)
    return replace(chosen, url=place.transport_url, namespace=place.namespace)


def _transport(settings: RabbitSettings, journal: Any, name: str) -> RabbitTransport:
    """`journal`: one that keeps large bodies for its transport. The name is an address on the broker: two processes of
    one name would take each other's answers."""
    from skerry.backends.rabbitmq.transport import RabbitTransport

    return RabbitTransport(settings, journal.bodies, name=f"{name}.{os.urandom(4).hex()}")


@asynccontextmanager
async def _open(opening: Opening) -> AsyncIterator[Parts]:
    wait = opening.wait or opening.decides
    access = Access.DECIDES if opening.decides else Access.READS
    settings = _settings(opening.place)
    journal = opening.journal_for(access, required=wait)
    transport = BACKEND.imported(lambda: _transport(settings, journal, opening.place.process))
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


def _sender(place: Place, journal: Any) -> RabbitTransport:
    settings = replace(_settings(place), start_seconds=5.0)
    return BACKEND.imported(lambda: _transport(settings, journal, "admin"))


async def _create(place: Place) -> list[str]:
    from skerry.backends.rabbitmq.operations import create

    return await create(_settings(place))


async def _check(place: Place) -> list[str]:
    from skerry.backends.rabbitmq.operations import check

    return await check(_settings(place))


async def _tidy(place: Place) -> list[str]:
    from skerry.backends.rabbitmq.operations import tidy

    return await tidy(_settings(place))


async def _drop(place: Place, force: bool) -> list[str]:
    from skerry.backends.rabbitmq.operations import drop

    return await drop(_settings(place), force)


async def _doctor(place: Place) -> AsyncIterator[Finding]:
    try:
        from skerry.backends.rabbitmq.doctor import doctor
    except ModuleNotFoundError as error:
        yield Finding("error", f"{error.name} is not installed", "pip install 'skerry[rabbitmq]'")
        return
    for found in await doctor(replace(_settings(place), start_seconds=5.0)):
        yield found


BACKEND = Backend(
    "amqp",
    transport=TransportSide(
        _open,
        {"postgresql": "many machines"},
        sender=_sender,
        infra=Infra(_create, _check, _tidy, _drop),
        doctor=_doctor,
    ),
    aliases=("amqps",),
    install="skerry[postgres,rabbitmq]",
)
