"""A keyed projection has the rows of its table, however they came into memory: on every pair."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace
from uuid import UUID

import msgspec
from pairworld import Pair, Process, until  # type: ignore[import-not-found]

from skerry import App, Command, CommandBus, Event, KeyedProjection, Receipt, Table, Unit
from skerry.journal.journal import Correction

TEA, RUM = UUID(int=1), UUID(int=2)


class Price(msgspec.Struct, frozen=True):
    cents: int


class Change(Command):
    key: str
    cents: dict[UUID, int]


class Named(Event):
    key: int
    name: str


prices = Table("prices", key=UUID, row=Price, emits=True)
names = Table("names", key=int, row=str)


class Prices(KeyedProjection[UUID, Price]):
    table = prices


class Names(KeyedProjection[int, str]):
    table = names

    @KeyedProjection.puts(Named)
    def named(self, event: Named) -> str | None:
        return event.name or None


def shop() -> App:
    app = App("shop")
    app.projection(Prices)
    app.projection(Names)

    @app.handles(loads=lambda command: [(prices, key) for key in command.cents])
    def change(command: Change, unit: Unit) -> None:
        """A price of 0 is none. The number of its changes is what a name is known by."""
        for key, cents in command.cents.items():
            if cents:
                unit.put(prices, key, Price(cents))
            else:
                unit.delete(prices, key)
            unit.put(names, cents, str(cents))
            unit.emit(Named(cents, str(cents)))

    app.live("/events")
    return app


async def send(process: Process, cents: dict[UUID, int]) -> Receipt:
    bus: CommandBus = process.kernel.services.resolve(CommandBus)
    return await bus.send(Change("all", cents))


def memory(process: Process) -> tuple[dict[UUID, tuple[int, int]], dict[int, str]]:
    """What a process answers with."""
    kept = process.kernel.services.resolve(Prices)
    rows = {key: (row.cents, kept.offset(key)) for key, row in kept.items()}
    return rows, dict(process.kernel.services.resolve(Names))


async def test_memory_is_what_the_table_has(pair: Pair) -> None:
    """In the process that followed the events, and in one that was loaded."""
    app = shop()
    async with AsyncExitStack() as stack:
        first, journal = await stack.enter_async_context(pair.running(app))
        assert (await send(first, {TEA: 3, RUM: 9})).visible
        assert (await send(first, {TEA: 4})).visible
        assert (await send(first, {RUM: 0})).visible
        followed = memory(first)
        assert followed == ({TEA: (4, 6)}, {0: "0", 3: "3", 4: "4", 9: "9"})
        if pair.name == "memory":  # there is one process: it loads everything anew
            epoch = (await journal.new_epoch()).epoch
            await until(lambda: first.kernel.projector.position.epoch == epoch)
            assert memory(first) == followed
        else:
            late = await stack.enter_async_context(pair.process(app, "server-2", decides=False))
            assert memory(late) == followed


async def test_a_warm_copy_has_it(kept: Pair) -> None:
    """A server that was stopped begins with the rows that it had, of both kinds."""
    app, warm = shop(), replace(kept, settings=replace(kept.settings, warm_start=True))
    async with kept.process(app, "consumer-1", decides=True, serves=False):
        async with warm.process(app, "server-1", decides=False) as server:
            assert (await send(server, {TEA: 3, RUM: 9})).visible
            before = memory(server)
        async with warm.process(app, "server-1", decides=False) as server:
            assert memory(server) == before


async def test_a_corrected_row_is_in_memory(pair: Pair) -> None:
    """A row that an operator has put or deleted is loaded, while everything runs."""
    async with pair.running(shop()) as (server, journal):
        await send(server, {TEA: 3, RUM: 9})
        await journal.correct(Correction("row", "a slip", "ann", "prices", str(TEA), data='{"cents":5}'))
        at = await journal.correct(Correction("row", "a slip", "ann", "prices", str(RUM)))
        projector = server.kernel.projector
        await until(lambda: projector.position.offset >= at.offset and not projector.stopped)
        assert {key: cents for key, (cents, _) in memory(server)[0].items()} == {TEA: 5}


async def test_the_stream_tells_of_rows(pair: Pair) -> None:
    """As of mirrored ones: with table, key and row."""
    async with pair.running(shop()) as (server, _):
        accept = {"Accept": "text/event-stream"}
        async with server.client.stream("GET", "/events", headers=accept) as stream:
            text = b""
            async with asyncio.timeout(20):
                while b"hello" not in text:
                    text += await anext(stream)
                await send(server, {TEA: 3})
                await send(server, {TEA: 0})
                while b"row_deleted" not in text:
                    text += await anext(stream)
    told = [msgspec.json.decode(line[6:]) for line in text.splitlines() if line.startswith(b"data: ")]
    rows = [frame for frame in told if frame.get("event", "").startswith("row_")]
    put, deleted = rows
    assert (put["event"], put["table"], put["key"], put["row"]) == (
        "row_put",
        "prices",
        str(TEA),
        {"cents": 3},
    )
    assert (deleted["event"], deleted["key"]) == ("row_deleted", str(TEA))
