"""What an operator does with the broker: create, check and drop a namespace's exchanges and queues.

Each opens a connection of its own, does one thing and returns lines to print. Not here: diagnosis of versions and
settings (doctor.py), what a running process declares by itself (topology.py; the same things).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiormq.abc import AbstractChannel
from aiormq.exceptions import ChannelAccessRefused, ChannelNotFoundEntity, ChannelPreconditionFailed

from skerry.backends.rabbitmq.link import Link, calling
from skerry.backends.rabbitmq.old_queues import old_queues
from skerry.backends.rabbitmq.settings import RabbitSettings
from skerry.backends.rabbitmq.topology import (
    Exchange,
    Queue,
    Topology,
    declare_exchange,
    declare_queue,
    depth,
    explain_mismatch,
    explain_refusal,
)
from skerry.errors import SettingsError, TransportError


@asynccontextmanager
async def connected(settings: RabbitSettings) -> AsyncIterator[Link]:
    """A link for a while. Raises SettingsError or Disconnected."""
    link = await Link.open(settings, "operations")
    try:
        with calling("asking the broker"):
            try:
                yield link
            except ChannelAccessRefused as error:
                raise SettingsError("transport", explain_refusal(str(error))) from error
    finally:
        await link.close(polite=True)


async def create(settings: RabbitSettings) -> list[str]:
    """Make what is missing; returns a line for each thing made. Harmless to repeat. Raises SettingsError when
    something exists with other arguments, Disconnected when the broker is away."""
    topology = Topology(settings)
    made: list[str] = []
    async with connected(settings) as link:
        made += [
            f"exchange {exchange.name} ({exchange.kind})"
            for exchange in topology.exchanges
            if not await _has_exchange(link, exchange.name, settings)
        ]
        made += [
            f"queue {queue.name} ({queue.arguments['x-queue-type']})"
            for queue in topology.queues
            if await _depth(link, queue.name, settings) is None
        ]
        await topology.declare(await link.loose_channel(), settings.connect_seconds)
    return made


async def check(settings: RabbitSettings) -> list[str]:
    """What is missing, made otherwise, or waits where nobody looks; empty when all is well. Makes nothing but the
    bindings of queues that exist."""
    topology = Topology(settings)
    problems: list[str] = []
    async with connected(settings) as link:
        for exchange in topology.exchanges:
            problems += await _check_exchange(link, exchange, settings)
        for queue in topology.queues:
            problems += await _check_queue(link, queue, settings)
        aside = await _depth(link, topology.dead_queue.name, settings)
        if aside and aside[0]:
            problems.append(
                f"queue {topology.dead_queue.name} holds {aside[0]} messages that the broker set aside: a consumer "
                f"moves them to the journal's dead letters (`skerry dead list`), and none has yet"
            )
        problems += [str(stray) for stray in await old_queues(link, settings)]
    return problems


async def tidy(settings: RabbitSettings) -> list[str]:
    """Delete the queues of other generations, and beyond the partitions, that are empty and unused; a line for each
    that was deleted or is still needed. Raises SettingsError or Disconnected."""
    done: list[str] = []
    needed: set[int] = set()
    async with connected(settings) as link:
        found = await old_queues(link, settings)
        channel = await link.loose_channel()
        for stray in reversed(found):  # they are found by counting up: a lower one goes after the higher ones
            if not stray.is_idle:
                needed.add(stray.generation)
                done.append(f"left {stray}")
            elif stray.generation not in needed:
                await channel.queue_delete(stray.name, timeout=settings.connect_seconds)
                done.append(f"dropped queue {stray.name}")
    return done


async def drop(settings: RabbitSettings, force: bool = False) -> list[str]:
    """Delete the namespace's queues (of all generations) and exchanges; returns a line for each. Refuses with
    TransportError, before anything is deleted, while commands wait in a queue or processes are connected (which would
    make it all again), unless `force`."""
    topology = Topology(settings)
    dropped: list[str] = []
    async with connected(settings) as link:
        queues = {queue.name: await _depth(link, queue.name, settings) for queue in topology.queues}
        for stray in reversed(await old_queues(link, settings)):
            queues[stray.name] = stray.messages, stray.consumers
        waiting = {name: found[0] for name, found in queues.items() if found and found[0]}
        if waiting and not force:
            held = ", ".join(f"{name} holds {count} messages" for name, count in waiting.items())
            raise TransportError(f"{held}: let the consumers empty them, or force it")
        seconds = settings.connect_seconds
        if not force:
            dropped += await _drop_unused(link, topology.events, settings)
        channel = await link.loose_channel()
        for name, found in queues.items():
            if found is not None:
                await channel.queue_delete(name, timeout=seconds)
                dropped.append(f"queue {name} ({found[0]} messages)")
        for exchange in topology.exchanges:
            if await _has_exchange(link, exchange.name, settings):
                await channel.exchange_delete(exchange.name, timeout=seconds)
                dropped.append(f"exchange {exchange.name}")
    return dropped


async def _drop_unused(link: Link, events: Exchange, settings: RabbitSettings) -> list[str]:
    """Delete the exchange that every process has a queue bound to, if none has."""
    if not await _has_exchange(link, events.name, settings):
        return []
    channel = await link.loose_channel()
    try:
        await channel.exchange_delete(events.name, if_unused=True, timeout=settings.connect_seconds)
    except ChannelPreconditionFailed as error:
        raise TransportError(
            f"processes are connected to {events.name}: stop them first, or force it"
        ) from error
    await channel.close()
    return [f"exchange {events.name}"]


async def _check_exchange(link: Link, exchange: Exchange, settings: RabbitSettings) -> list[str]:
    if not await _has_exchange(link, exchange.name, settings):
        return [f"exchange {exchange.name} is missing"]
    return await _declared(link, exchange, settings)


async def _check_queue(link: Link, queue: Queue, settings: RabbitSettings) -> list[str]:
    if await _depth(link, queue.name, settings) is None:
        return [f"queue {queue.name} is missing"]
    return await _declared(link, queue, settings)


async def _declared(link: Link, thing: Exchange | Queue, settings: RabbitSettings) -> list[str]:
    """Declare what exists: the broker compares the arguments."""
    channel = await link.loose_channel()
    try:
        if isinstance(thing, Exchange):
            await declare_exchange(channel, thing, settings.connect_seconds)
        else:
            await declare_queue(channel, thing, settings.connect_seconds)
    except ChannelPreconditionFailed as error:
        return [explain_mismatch(str(error))]
    except ChannelNotFoundEntity as error:  # bound to an exchange that is missing, which is said already
        return [str(error)]
    await channel.close()
    return []


async def _has_exchange(link: Link, name: str, settings: RabbitSettings) -> bool:
    channel = await link.loose_channel()
    try:
        await channel.exchange_declare(name, passive=True, timeout=settings.connect_seconds)
    except ChannelNotFoundEntity:
        return False
    await channel.close()
    return True


async def _depth(link: Link, name: str, settings: RabbitSettings) -> tuple[int, int] | None:
    channel: AbstractChannel = await link.loose_channel()
    found = await depth(channel, name, settings.connect_seconds)
    if found is not None:
        await channel.close()
    return found
