"""A user's program that is right, in every form that the decorators take: a type checker reports nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import assert_type

import msgspec

from skerry import (
    App,
    Command,
    CommandBus,
    Event,
    HttpWrites,
    KeyedProjection,
    Projection,
    Query,
    QueryBus,
    Record,
    Request,
    Response,
    Router,
    Table,
    Unit,
)
from skerry.journal import RowDeleted, RowPut
from skerry.supervision import Intensity, Solver, restart, retry


class Do(Command):
    key: str


class Undo(Command):
    key: str


class Count(Command[int]):
    key: str


class Did(Event):
    key: str


class Undone(Event):
    key: str


class Ask(Query[int]):
    key: str


class AskLater(Query[list[str]]):
    key: str


class Row(msgspec.Struct, frozen=True):
    count: int


app = App("right")
rows = Table("rows", key=str, row=Row)
told = Table("told", key=int, row=Row, emits=True)


@app.handles(Do, loads=rows, timeout_seconds=1.0)
def decide(command: Do, unit: Unit) -> None:
    unit.put(rows, command.key, Row(1))
    unit.emit(Did(command.key))


@app.handles(loads=lambda command: [(rows, command.key)])
async def undo(command: Undo, unit: Unit, queries: QueryBus) -> None:
    unit.emit(Undone(command.key))


@app.handles(Count)
async def count(command: Count, unit: Unit) -> int:
    return 1


@app.answers(Ask)
def answer(query: Ask, counts: Counts) -> int:
    return counts.of.get(query.key, 0)


@app.answers(AskLater, timeout_seconds=1.0)
async def answer_later(query: AskLater) -> list[str]:
    return [query.key]


@app.on(Did)
@app.on(Undone)
def heard(event: Did | Undone, record: Record, queries: QueryBus) -> None: ...


@app.on(Did)
async def any_event(event: Event) -> None: ...


@app.renders(Did)
def rendered(event: Did, record: Record) -> dict[str, object]:
    return {"key": event.key, "at": record.offset}


@app.reactor("mail", Did, attempts=3, begin="start")
async def mail(event: Did, record: Record) -> None: ...


@app.reactor("log", Did, Undone)
def log(event: Did | Undone) -> None: ...


@app.projection
class Counts(Projection[str, Row]):
    table = rows

    def __init__(self) -> None:
        self.of: dict[str, int] = {}

    def clear(self) -> None:
        self.of.clear()

    def load(self, table: Table[str, Row], key: str, row: Row, offset: int) -> None:
        self.of[key] = row.count

    @Projection.applies(Did, Undone)
    def changed(self, event: Did | Undone, record: Record) -> None:
        self.of[event.key] = record.offset


@app.projection
class Every(Projection):
    tables = (rows, told)

    def clear(self) -> None: ...

    def load(
        self, table: Table[str, Row] | Table[int, Row], key: str | int, row: Row, offset: int
    ) -> None: ...

    @Projection.applies(Did)
    def did(self, event: Did, record: Record) -> None: ...


@app.projection
class Told(KeyedProjection[int, Row]):
    table = told

    def changed(self, key: int, before: Row | None, after: Row | None) -> None: ...


@app.projection
class Rows(KeyedProjection[str, Row]):
    table = rows
    deletes = (Undone,)

    @KeyedProjection.puts(Did)
    def put(self, event: Did) -> Row | None:
        return self.get(event.key)


@app.on(told.Put)
def told_put(event: RowPut[int, Row], record: Record) -> None:
    assert_type(event.key, int)
    assert_type(event.row, Row)


@app.reactor("told", told.Deleted)
def told_deleted(event: RowDeleted[int, Row]) -> None: ...


@app.get("/told/{key}")
def one_told(key: int, told: Told, rows: Rows) -> Row | None:
    assert_type(told[key], Row)
    assert_type(list(rows), list[str])
    return assert_type(told.get(key), Row | None)


router = Router("more", prefix="/more", tags=("more",))
app.include(router, prefix="/v1", tags=["v1"])
router.include(Router("nested"))


@router.get("/{key}", tags=("one",))
def routed(key: str, rows: Rows) -> Row | None:
    return rows.get(key)


@router.handles(Do, loads=rows)
def routed_decision(command: Do, unit: Unit) -> None: ...


@router.reactor("routed", Did, attempts=3)
async def routed_reaction(event: Did) -> None: ...


@app.get("/a/{key}", rights=None, stale=True, name="a")
def view(key: str, queries: QueryBus) -> Response:
    return Response.json(assert_type(queries.ask(Ask(key)), int))


@app.route("/b", ("POST", "PUT"), rights="write", max_body_bytes=10, documented=False)
async def other(request: Request, commands: CommandBus) -> dict[str, str]:
    receipt = await commands.send(Do("a"), wait_seconds=1.0)
    return {"id": receipt.id}


@app.post("/c/{key}")
def write(request: Request, key: str, writes: HttpWrites) -> asyncio.Future[Response]:
    return writes.send(request, Count(key), lambda receipt: Response.json(assert_type(receipt.value, int)))


async def values(commands: CommandBus) -> None:
    assert_type((await commands.send(Count("a"))).value, int)
    assert_type((await commands.send(Do("a"))).value, None)


@app.supervise()
async def follow(queries: QueryBus) -> None:
    await asyncio.sleep(1)


@app.supervise(name="watch", roles=("consumer",), intensity=Intensity(5, 60.0))
class Watch:
    def __init__(self, commands: CommandBus) -> None:
        self.commands = commands

    def start(self) -> None: ...

    async def stop(self) -> None: ...


class Tracing:
    async def start(self, commands: CommandBus) -> None: ...

    def stop(self) -> None: ...


class Rules:
    def rules(self) -> Iterator[tuple[type[BaseException], tuple[Solver, ...]]]:
        yield OSError, (retry(3), restart)


app.supervise(ConnectionError, retry(attempts=3), restart)
app.plug(Tracing())
app.plug(Rules())


def snapshot(prefix: str, counts: Counts) -> Iterator[dict[str, object]]:
    for key, count in counts.of.items():
        yield {"key": key, "count": count}


app.live("/events", snapshot=snapshot)
app.static("/files", ".", name="files")
app.cors("https://page.example", credentials=True)


def test(unit: Unit, event: Did, record: Record) -> None:
    """What was decorated is called as before."""
    decide(Do("a"), unit)
    heard(event, record, QueryBus({}))
    Counts().changed(event, record)
