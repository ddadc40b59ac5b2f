"""Two releases side by side, in either order of replacing: what one writes the other reads, or says that it cannot."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, ClassVar

import msgspec
import pytest
from pairworld import Pair, Process, until  # type: ignore[import-not-found]

from skerry import (
    App,
    Command,
    Event,
    HttpReads,
    HttpWrites,
    Projection,
    Record,
    Request,
    Response,
    Table,
    Unit,
)
from skerry.errors import DeclarationError, InvalidMessage
from skerry.messages.typed import typed


class Price(msgspec.Struct, frozen=True):
    cents: int


class SetPrice1(Command):
    message_name = "set_price"
    key: str
    euros: int


class PriceSet1(Event):
    message_name = "price_set"
    key: str
    euros: int


class _Cents:
    """Version 2 of both: cents instead of euros."""

    @classmethod
    def upcast(cls, version: int, data: dict[str, Any]) -> dict[str, Any]:
        return {"key": data["key"], "cents": data["euros"] * 100} if version == 1 else data

    @classmethod
    def downcast(cls, version: int, data: dict[str, Any]) -> dict[str, Any]:
        return {"key": data["key"], "euros": data["cents"] // 100}


class SetPrice12(_Cents, Command):
    message_name = "set_price"
    message_version: ClassVar[int] = 2
    writes_version: ClassVar[int] = 1
    key: str
    cents: int


class PriceSet12(_Cents, Event):
    message_name = "price_set"
    message_version: ClassVar[int] = 2
    writes_version: ClassVar[int] = 1
    key: str
    cents: int


class SetPrice2(_Cents, Command):
    message_name = "set_price"
    message_version: ClassVar[int] = 2
    key: str
    cents: int


class PriceSet2(_Cents, Event):
    message_name = "price_set"
    message_version: ClassVar[int] = 2
    key: str
    cents: int


def release(command: type[Command], event: Any) -> App:
    """The shop as of one release. Rows are cents from the first one on."""
    app = App("shop")
    prices = Table("prices", key=str, row=Price)

    def of(message: Any, cents: int) -> Any:
        return message("tea", cents // 100 if "euros" in message.__struct_fields__ else cents)

    def cents_of(message: Any) -> int:
        return message.euros * 100 if "euros" in message.__struct_fields__ else int(message.cents)

    @app.handles(command, loads=prices)
    def set_price(command: Command, unit: Unit) -> None:
        unit.put(prices, "tea", Price(cents_of(command)))
        unit.emit(of(event, cents_of(command)))

    @app.projection
    class Prices(Projection):
        table = prices

        def __init__(self) -> None:
            self.cents = 0

        def clear(self) -> None:
            self.cents = 0

        def load(self, table: Any, key: str, row: Price, offset: int) -> None:
            self.cents = row.cents

        @Projection.applies(event)
        def set(self, event: Any, record: Record) -> None:
            self.cents = cents_of(event)

    async def put(request: Request, cents: int, writes: HttpWrites) -> Response:
        return await writes.send(request, of(command, cents), lambda receipt: {"ok": True})

    async def get(request: Request, prices: Any, reads: HttpReads) -> Response:
        answer = reads.at(request, lambda: Response.json({"cents": prices.cents}))
        return await answer if isinstance(answer, asyncio.Future) else answer

    get.__annotations__["prices"] = Prices
    app.put("/price/{cents}")(put)
    app.get("/price")(get)
    return app


RELEASES = {
    "first": (SetPrice1, PriceSet1),
    "reads 2, writes 1": (SetPrice12, PriceSet12),
    "last": (SetPrice2, PriceSet2),
}


@asynccontextmanager
async def side_by_side(pair: Pair, decider: str, *servers: str) -> AsyncIterator[dict[str, Process]]:
    """A consumer of one release, servers of some. The consumer is under "consumer"."""
    async with AsyncExitStack() as stack:
        running = {
            "consumer": await stack.enter_async_context(
                pair.process(release(*RELEASES[decider]), "consumer-1", decides=True, serves=False)
            )
        }
        for name in servers:
            process = pair.process(release(*RELEASES[name]), f"server-{len(running)}", decides=False)
            running[name] = await stack.enter_async_context(process)
        yield running


def cents(process: Process) -> int:
    """What this process's memory says."""
    [projection] = process.kernel.projections
    return int(projection.cents)


def shared(pair: Pair) -> None:
    if pair.name == "memory":
        pytest.skip("memory: is one process, of one release")


@pytest.mark.parametrize("newer_first", [False, True], ids=["servers first", "consumers first"])
@pytest.mark.parametrize(
    ("older", "newer"),
    [("first", "reads 2, writes 1"), ("reads 2, writes 1", "last")],
    ids=["1 to 1/2", "1/2 to 2"],
)
async def test_two_releases_run_side_by_side(pair: Pair, older: str, newer: str, newer_first: bool) -> None:
    """Whichever kind of process is replaced first: what any server writes is 200 and read on every other one, nothing
    stops, nothing is set aside."""
    shared(pair)
    async with side_by_side(pair, newer if newer_first else older, older, newer) as running:
        journal = running["consumer"].kernel.writer
        assert journal is not None
        for number, (writer, reader) in enumerate([(older, newer), (newer, older)], 1):
            written = await running[writer].client.put(f"/price/{number * 100}")
            assert written.status == 200, written.body
            position = written.headers["skerry-position"]
            for server in (reader, writer):
                read = await running[server].client.get("/price", headers={"Skerry-Position": position})
                assert (read.status, read.json()) == (200, {"cents": number * 100})
        for server in (older, newer):
            assert not running[server].kernel.projector.stopped
        assert await journal.dead_letters() == []


async def test_a_newer_version_pauses_a_projection_behind_no_200(pair: Pair) -> None:
    """A release that raised the version without the step between: old servers say "upgrade this process", answer the
    write 202 and reads 503, and go on as soon as they are replaced."""
    shared(pair)
    async with side_by_side(pair, "last", "first", "last") as running:
        old, new = running["first"], running["last"]
        assert (await new.client.put("/price/500")).status == 200
        await until(lambda: bool(old.kernel.projector.stopped))
        assert "upgrade this process" in str(old.kernel.projector.stopped["Prices"])
        assert (await old.client.get("/price")).status == 503
        assert (await old.client.put("/price/600")).status == 202
        async with asyncio.timeout(60):  # 202: decided, and on its way to memory
            while (await new.client.get("/price")).json() != {"cents": 600}:  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.01)


async def test_a_newer_command_waits_for_a_consumer_that_knows_it(pair: Pair) -> None:
    """Servers replaced first, without the step between: the new command and what comes behind it wait; the new
    consumer decides them in order, beside the old one where there may be two, after it elsewhere. Who still waits is
    answered."""
    shared(pair)
    wait = {"Prefer": "wait=30"}

    async def kept(number: int) -> None:
        async with asyncio.timeout(30):
            while len(await journal.letters(0, 10, True)) < number:  # noqa: ASYNC110 - another process's
                await asyncio.sleep(0.01)

    async with AsyncExitStack() as stack:
        async with AsyncExitStack() as first:
            consumer = pair.process(release(*RELEASES["first"]), "consumer-1", decides=True, serves=False)
            writer = (await first.enter_async_context(consumer)).kernel.writer
            assert writer is not None
            journal = writer
            new, old = [
                await stack.enter_async_context(
                    pair.process(release(*RELEASES[name]), f"server-{name}", decides=False)
                )
                for name in ("last", "first")
            ]
            assert (await old.client.put("/price/100")).status == 200
            waiting = [asyncio.ensure_future(new.client.put("/price/200", headers=wait))]
            await kept(1)
            waiting.append(asyncio.ensure_future(old.client.put("/price/300", headers=wait)))
            await kept(2)
            newer = pair.process(release(*RELEASES["last"]), "consumer-2", decides=True, serves=False)
            if pair.is_shared:
                await stack.enter_async_context(newer)
                await until(lambda: cents(new) == 300, 40)
        if not pair.is_shared:
            await stack.enter_async_context(newer)
            await until(lambda: cents(new) == 300, 40)
        answers = await asyncio.gather(*waiting)
        assert [answer.status for answer in answers] == [200, 202]  # the old server cannot show it
        for number, answer in enumerate(answers, 2):
            status = await new.client.get(f"/commands/{answer.headers['skerry-command']}")
            assert (status.json()["status"], status.json()["position"][-2:]) == ("applied", f":{number}")
        assert (await new.client.put("/price/400")).status == 200


def test_what_is_written_as_an_older_version_is_read_back_whole() -> None:
    """The older bytes are checked as today's readers will read them; a `downcast` that breaks is the handler's slip."""
    data, back = typed(PriceSet12).encode(PriceSet12("tea", 300))
    assert (data, back) == (b'{"key":"tea","euros":3}', PriceSet12("tea", 300))

    class Broken(Event):
        message_version: ClassVar[int] = 2
        writes_version: ClassVar[int] = 1
        key: str

        @classmethod
        def downcast(cls, version: int, data: dict[str, Any]) -> dict[str, Any]:
            return {"name": data["name"]}

    with pytest.raises(InvalidMessage, match="downcast to version 1: KeyError"):
        typed(Broken).encode(Broken("x"))

    class Ahead(Event):
        writes_version: ClassVar[int] = 2
        key: str

    with pytest.raises(DeclarationError, match="writes_version 2 is not between 1 and message_version 1"):
        typed(Ahead)
