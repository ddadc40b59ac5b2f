"""What the transport suites speak with: a world of processes, commands, records, and patience with bounds.

Not tests; a backend's own tests may use them too, from `skerry.testing.transports`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Protocol, TypeVar

import msgspec

from skerry.bus.transport import Commands, Delivery, Transport
from skerry.journal.journal import Record
from skerry.messages.envelope import Envelope
from skerry.messages.message import Command

T = TypeVar("T")


class Put(Command, frozen=True):
    """The suite's command."""

    key: str
    value: str = ""


class World(Protocol):
    """One broker, as many processes as a test wants."""

    def endpoint(self, window: int | None = None) -> Transport:
        """A new process's transport, not started. `window`: the most unconfirmed commands it allows."""
        ...

    async def inject(self, partition: int, data: bytes) -> None:
        """Queue bytes as a command message, whatever they are."""
        ...


def envelope(number: int, key: str = "k", value: str = "", sender: str = "") -> Envelope:
    """The `number`th command, its id made from it."""
    command = Put(key, value)
    return Envelope(f"{number:032x}", "put", 1, key, sender=sender, sent_at=1.0, command=command)


def record(offset: int, size: int = 0) -> Record:
    data = msgspec.Raw(msgspec.json.encode({"v": "x" * size}))
    return Record(offset, f"{offset:032x}", "k", "put", 1, 1.0, False, data)


async def soon(what: Awaitable[T], seconds: float = 60.0) -> T:
    """`what`, within a bound that only a fault can reach."""
    return await asyncio.wait_for(what, seconds)


async def until(ready: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait until `ready()`: looks each 5 ms, fails after `seconds`."""
    async with asyncio.timeout(seconds):
        while not ready():  # noqa: ASYNC110 - what is waited for is somebody else's state
            await asyncio.sleep(0.005)


async def take(commands: Commands, count: int, ack: bool = True, seconds: float = 60.0) -> list[Delivery]:
    """Deliveries with at least `count` commands together (an undecodable one counts as one)."""
    taken: list[Delivery] = []
    async with asyncio.timeout(seconds):
        while sum(max(1, len(d.envelopes)) for d in taken) < count:
            got = await commands.receive(count)
            taken += got
            if ack:
                await commands.ack(got)
    return taken


def numbers(deliveries: list[Delivery]) -> list[int]:
    return [int(e.id, 16) for d in deliveries for e in d.envelopes]


@asynccontextmanager
async def started(*transports: Transport) -> AsyncIterator[None]:
    """Started one after the other, stopped in reverse."""
    running: list[Transport] = []
    try:
        for transport in transports:
            await transport.start()
            running.append(transport)
        yield
    finally:
        for transport in reversed(running):
            await transport.stop()
