"""What is written can be read: commands, rows, events, keys and results are of their declared types before anything is
kept, on every pair of backends, in one process as between processes."""

from __future__ import annotations

import asyncio
import enum
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import date
from typing import Annotated, Any

import msgspec
import pytest
from msgspec import Meta
from pairworld import Pair, Process, until  # type: ignore[import-not-found]

from skerry import App, Command, Event, HttpWrites, Projection, Query, QueryBus, Record, Request, Table, Unit
from skerry.bus.bus import CommandBus
from skerry.errors import DeclarationError, InvalidMessage
from skerry.journal.journal import JournalWriter, Status
from skerry.testing.app import running
from skerry.testing.clock import settle

SECRET = "hunter2"


class Price(msgspec.Struct, frozen=True):
    cents: int
    note: str | None = None
    api_token: str = ""
    tags: dict[str, Annotated[int, Meta(ge=1)]] = {}


class Do(Command):
    """`what` says which slip the handler makes."""

    key: str
    what: str = ""


class SetN(Command):
    key: str
    n: Annotated[int, Meta(ge=1)]
    on: date | None = None


class Odd(Command):
    n: int

    def routing_key(self) -> str:
        return self.n  # type: ignore[return-value]


class Count(Command[int]):
    key: str


class Priced(Event):
    key: str
    cents: int
    user_password: str = ""


class Numbered(Event):
    """Its subject is a number: a slip."""

    n: int

    def subject_key(self) -> str:
        return self.n  # type: ignore[return-value]


class Size(enum.StrEnum):
    SMALL = "small"


class Find(Query[int]):
    least: Annotated[int, Meta(ge=0)]


class Choose(Query[Any]):
    which: Callable[[int], bool]


prices: Table[str, Any] = Table("prices", key=str, row=Price)
names: Table[str, Any] = Table("names", key=str, row=str)
counts: Table[Any, Any] = Table("counts", key=int, row=int)
things: Table[str, Any] = Table("things", key=str, row=Any)


class Prices(Projection):
    tables = (prices, names, counts, things)

    def __init__(self) -> None:
        self.rows: dict[Any, Any] = {}
        self.heard: list[Priced] = []

    def clear(self) -> None:
        self.rows.clear()

    def load(self, table: Any, key: Any, row: Any, offset: int) -> None:
        self.rows[table.name, key] = row

    @Projection.applies(Priced)
    def priced(self, event: Priced, record: Record) -> None:
        self.heard.append(event)


def the_app(*, sql: bool = False) -> App:
    app = App("typed")
    app.projection(Prices)
    app.emits(Numbered)
    seen: list[Any] = []
    app.seen = seen  # type: ignore[attr-defined]

    @app.handles(Do, sql=sql)
    async def do(command: Do, unit: Unit) -> None:
        unit.put(prices, "before", Price(1))  # nothing of a command that fails is kept
        unit.emit(Priced("before", 1))
        match command.what:
            case "row":
                unit.put(names, command.key, None)
            case "field":
                unit.put(prices, command.key, Price(25 / 2))  # type: ignore[arg-type]
            case "whole float":
                unit.put(prices, command.key, Price(12.0))  # type: ignore[arg-type]
            case "constraint":
                unit.put(prices, command.key, Price(1, tags={"good": 1, "bad": 0}))
            case "secret":
                unit.put(prices, command.key, Price(1, api_token=[SECRET]))  # type: ignore[arg-type]
            case "secret event":
                unit.emit(Priced(command.key, 1, user_password=[SECRET]))  # type: ignore[arg-type]
            case "long":
                unit.put(counts, 1, "x" * 5000)
            case "not a number":
                unit.put(things, command.key, object())
            case "event":
                unit.emit(Priced(command.key, None))  # type: ignore[arg-type]
            case "subject":
                unit.emit(Numbered(5))
            case "key":
                unit.put(counts, True, 1)
            case "surrogate":
                unit.put(things, "\ud800", 1)
            case "raw":
                unit.put(things, command.key, msgspec.Raw(b"{no json"))
            case "fine":
                unit.put(things, Size.SMALL, (1, 2))
                assert await unit.get(things, "small") == [1, 2]  # as it will be read

    @app.handles(SetN)
    async def set_n(command: SetN, unit: Unit) -> None:
        seen.append((command.n, command.on))
        unit.put(counts, command.n, command.n)
        unit.emit(Priced(command.key, command.n))

    @app.handles(Count)
    def count(command: Count, unit: Unit) -> int:
        return "many" if command.key == "wrong" else 3  # type: ignore[return-value]

    @app.answers()
    def find(query: Find) -> int:
        return "none" if query.least == 7 else query.least  # type: ignore[return-value]

    @app.put("/n/{key}")
    async def put_n(request: Request, key: str, n: int, writes: HttpWrites) -> Any:
        return await writes.send(request, SetN(key, n), lambda receipt: {"ok": True})

    @app.put("/bus/{key}")
    async def put_by_bus(key: str, n: int, commands: CommandBus) -> Any:
        return {"status": (await commands.send(SetN(key, n))).status}

    @app.put("/secret")
    def put_secret(request: Request, writes: HttpWrites) -> Any:
        return writes.send(request, SetN("k", [SECRET]), lambda receipt: {})  # type: ignore[arg-type]

    @app.put("/do/{what}")
    async def put_do(request: Request, what: str, writes: HttpWrites) -> Any:
        return await writes.send(request, Do("k", what), lambda receipt: {})

    @app.get("/find")
    def get_find(least: int, queries: QueryBus) -> Any:
        return {"found": queries.ask(Find(least))}

    return app


@asynccontextmanager
async def shop(pair: Pair, **options: Any) -> AsyncIterator[tuple[App, Process, JournalWriter]]:
    app = the_app(**options)
    async with pair.running(app) as (process, journal):
        yield app, process, journal


SLIPS = {
    "row": 'table names, row "k" (str): Expected `str`, got `null`, the value is null',
    "field": "(Price): Expected `int`, got `float` - at `$.cents`, the value is 12.5",
    "whole float": "Expected `int`, got `float` - at `$.cents`, the value is 12.0",
    "constraint": "Expected `int` >= 1 - at `$.tags[...]`, the value is 0",
    "secret": "at `$.api_token`, the value is ***",
    "secret event": "at `$.user_password`, the value is ***",
    "long": 'Expected `int`, got `str`, the value is "' + "x" * 199 + "...",
    "not a number": "the value is an object of type object",
    "event": "priced: Expected `int`, got `null` - at `$.cents`, the value is null",
    "subject": "numbered: subject_key() gives int, not str",
    "key": "key True is not int",
    "surrogate": "a key that is not valid Unicode",
    "raw": 'InvalidMessage: table things, row "k" (Any): JSON is malformed',
}


async def test_a_handlers_slip_is_failed_and_nothing_else(pair: Pair) -> None:
    """The command is `failed`, with field and value in its dead letter (cut, masked); nothing of it is kept; later
    commands are decided, memory goes on, and a process that starts afterwards loads everything."""
    async with shop(pair) as (_, process, journal):
        bus = process.kernel.commands
        for what, told in SLIPS.items():
            receipt = await bus.send(Do("k", what), wait_seconds=30)
            assert receipt.status is Status.FAILED, what
            letter = await journal.dead_letter(receipt.id)
            assert letter is not None
            assert told in letter.reason, what
            assert SECRET not in letter.reason + letter.details
            assert len(letter.reason) < 500
        assert (await journal.head()).position.offset == 0
        assert (await bus.send(Do("k", "fine"), wait_seconds=30)).applied
        assert not process.kernel.projector.stopped
        memory = process.kernel.services.resolve(Prices)
        assert [event.key for event in memory.heard] == ["before"]

        failed = await process.client.put("/do/secret%20event")
        assert failed.status == 500
        status = await process.client.get(f"/commands/{failed.headers['skerry-command']}")
        assert status.status == 200
        for answer in (failed, status):
            assert SECRET.encode() not in answer.body
            assert b"user_password" not in answer.body

        tables = {table.name: table for table in (prices, names, counts, things)}
        async with journal.snapshot(list(tables)) as snapshot:
            found = {
                (name, key): table.decode(data)
                for name, table in tables.items()
                async for page in snapshot.rows(name)
                for key, data, _ in page
            }
    assert found == {("prices", "before"): Price(1), ("things", "small"): [1, 2]}


async def test_in_sql_mode_too(pair: Pair) -> None:
    """Rows and events of a handler in SQL mode are checked in its savepoint."""
    if pair.name == "memory":
        pytest.skip("a journal in memory has no SQL mode")
    async with shop(pair, sql=True) as (_, process, journal):
        for what in ("row", "field", "event"):
            receipt = await process.kernel.commands.send(Do("k", what), wait_seconds=30)
            assert receipt.status is Status.FAILED
        assert (await process.kernel.commands.send(Do("k", "fine"), wait_seconds=30)).applied
        assert (await journal.head()).position.offset == 1


async def test_a_command_that_a_view_builds_wrongly_is_the_clients_422(pair: Pair) -> None:
    """It is not sent: no dead letter, no event; the answer names the field and no value. By `writes` and by the bus."""
    async with shop(pair) as (_, process, journal):
        for path in ("/n/a?n=0", "/bus/a?n=0", "/secret"):
            answer = await process.client.put(path)
            assert answer.status == 422, path
            assert json.loads(answer.body)["field"] == "n"
            assert SECRET.encode() not in answer.body
        assert await journal.dead_letters() == []
        assert (await process.client.put("/n/a?n=2")).status == 200
        assert (await process.client.put("/bus/a?n=3")).status == 200
        assert (await journal.head()).position.offset == 2


async def test_a_handler_sees_the_command_as_it_travelled(pair: Pair) -> None:
    """In one process as between processes: a date that was given as text is a date."""
    async with shop(pair) as (app, process, _):
        sent = SetN("a", 5, "2026-01-02")  # type: ignore[arg-type]
        assert (await process.kernel.commands.send(sent, wait_seconds=30)).applied
        assert app.seen == [(5, date(2026, 1, 2))]  # type: ignore[attr-defined]


async def test_results_and_queries_are_of_their_types(pair: Pair) -> None:
    """A handler that returns something else than it says is failed; a query that does not fit is the client's 422, an
    answer of another class the server's 500."""
    async with shop(pair) as (_, process, journal):
        bus = process.kernel.commands
        right = await bus.send(Count("right"), wait_seconds=30)
        assert (right.status, right.result) == (Status.APPLIED, b"3")
        wrong = await bus.send(Count("wrong"), wait_seconds=30)
        assert wrong.status is Status.FAILED
        letter = await journal.dead_letter(wrong.id)
        assert letter is not None
        assert 'Expected `int`, got `str`, the value is "many"' in letter.reason
        assert (await process.client.get("/find?least=5")).json() == {"found": 5}
        assert (await process.client.get("/find?least=-1")).status == 422
        assert (await process.client.get("/find?least=7")).status == 500


async def test_a_query_may_hold_anything() -> None:
    """It is never queued: one with a function in it is taken as it is, and so is an answer where R is Any."""
    app = App("asked")

    @app.answers()
    def choose(query: Choose) -> Any:
        return [n for n in range(5) if query.which(n)]

    async with running(app) as world:
        assert world.queries.ask(Choose(lambda n: n > 2)) == [3, 4]


async def test_a_reactors_command_is_checked_when_it_sends(pair: Pair) -> None:
    """A reactor that builds a command wrongly meets the error itself; nothing reaches the queue."""
    app = the_app()
    told: list[InvalidMessage] = []

    @app.reactor("again", Priced)
    async def again(event: Priced, commands: CommandBus) -> None:
        try:
            await commands.send(SetN(event.key, 0))
        except InvalidMessage as error:
            told.append(error)

    async with pair.running(app) as (process, journal):
        assert (await process.kernel.commands.send(SetN("a", 1), wait_seconds=30)).applied
        await until(lambda: bool(told))
        await settle()
        assert (told[0].field, told[0].value) == ("n", "0")
        assert await journal.dead_letters() == []


class Foreign:
    pass


def test_a_type_that_json_cannot_say_is_told_at_declaration() -> None:
    """Rows, commands, events and results: DeclarationError with the cure, before anything is served."""
    with pytest.raises(DeclarationError, match=r"row Foreign holds Foreign.*use a msgspec\.Struct"):
        Table("foreign", key=str, row=Foreign)


async def test_a_key_that_is_no_text_spoils_no_neighbours(pair: Pair) -> None:
    """A command whose `routing_key` is a number is refused alone; what was sent in the same turn is decided."""

    app = the_app()

    @app.handles(Odd)
    def odd(command: Odd, unit: Unit) -> None: ...

    async with pair.running(app) as (process, _):
        bus = process.kernel.commands
        first = bus.submit(SetN("a", 1), wait_seconds=30)
        with pytest.raises(InvalidMessage, match=r"routing_key\(\) gives int"):
            bus.submit(Odd(5))
        second = bus.submit(SetN("b", 2), wait_seconds=30)
        assert [r.applied for r in await asyncio.gather(first, second)] == [True, True]
