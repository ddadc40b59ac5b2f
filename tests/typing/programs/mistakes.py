"""A user's program with mistakes: a type checker reports each line that says `mistake`, and no other one."""

from __future__ import annotations

import msgspec

from skerry import (
    App,
    Command,
    CommandBus,
    Event,
    KeyedProjection,
    Projection,
    Query,
    QueryBus,
    Receipt,
    Record,
    Response,
    Router,
    Table,
    Unit,
)
from skerry.journal import RowPut
from skerry.supervision import log


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


class Row(msgspec.Struct, frozen=True):
    count: int


app = App("mistakes")
rows = Table("rows", key=str, row=Row)
told = Table("told", key=int, row=Row, emits=True)


@app.handles(Do)  # mistake: a function of another command
def other_command(command: Undo, unit: Unit) -> None: ...


@app.answers(Ask)  # mistake: str for Query[int]
def other_answer(query: Ask) -> str:
    return query.key


@app.on(Did)  # mistake: a listener of another event
def other_event(event: Undone) -> None: ...


@app.renders(Did)  # mistake: a renderer of another event
def other_rendered(event: Undone, record: Record) -> dict[str, object]:
    return {}


@app.reactor("r", Did)  # mistake: a reactor of another event
async def other_reaction(event: Undone) -> None: ...


class Wrong(Projection):
    table = rows

    @Projection.applies(Did)  # mistake: a method of another event
    def did(self, event: Undone, record: Record) -> None: ...


class WrongLoad(Projection[str, Row]):
    table = told  # mistake: a table of other keys

    def load(self, table: Table[str, Row], key: str, row: int, offset: int) -> None:  # mistake: no such row
        pass


class Keyed(KeyedProjection[int, Row]):
    table = told

    @KeyedProjection.puts(Did)  # mistake: a method of another event
    def did(self, event: Undone) -> Row:
        return Row(1)


class OtherKeyed(KeyedProjection[str, int]):
    table = rows  # mistake: a table of other rows


@app.on(told.Put)  # mistake: a listener of other rows
def other_row(event: RowPut[str, Row]) -> None: ...


@app.get("/told/{key}")
def other_key(key: str, keyed: Keyed) -> Row:
    return keyed[key]  # mistake: the keys are ints


@app.get("/told")
def other_value(keyed: Keyed) -> int | None:
    return keyed.get(1)  # mistake: the values are rows


router = Router("more", prefix="/more")
app.include(app)  # mistake: an App is no router
app.include(router, prefx="/v1")  # mistake: prefix=
app.include(router, tags=1)  # mistake: tags are names


@router.on(Did)  # mistake: a listener of another event
def routed(event: Undone) -> None: ...


@app.get("/a", right=None)  # mistake: rights=
def misspelt_right() -> Response:
    return Response(b"")


@app.reactor("s", Did, attempt=3)  # mistake: attempts=
async def misspelt_attempts(event: Did) -> None: ...


app.static("/files", ".", nam="files")  # mistake: name=


async def send(commands: CommandBus) -> Receipt:
    return await commands.send(Do("a"), waitseconds=3.0)  # mistake: wait_seconds=


def snapshot(prefix: str) -> int:
    return 1


app.live("/events", snapshot=snapshot)  # mistake: a snapshot is rows


@app.get("/b", rights="admin")  # mistake: no such right
def unknown_right() -> Response:
    return Response(b"")


@app.handles(Undo, load=rows)  # mistake: loads=
def misspelt_loads(command: Undo, unit: Unit) -> None: ...


async def decide(command: Do, unit: Unit) -> None:
    unit.put(rows, command.key, 3)  # mistake: no row of that table
    unit.put(rows, 3, Row(1))  # mistake: no key of that table
    unit.emit(Do("a"))  # mistake: a command is no event


@app.handles(Count)  # mistake: str for Command[int]
async def other_result(command: Count, unit: Unit) -> str:
    return command.key


async def count(commands: CommandBus) -> str:
    return (await commands.send(Count("a"))).value  # mistake: the value is an int


def ask(queries: QueryBus) -> str:
    return queries.ask(Ask("a"))  # mistake: the answer is an int


Do(key=3)  # mistake: the field is a str
app.supervise(int, log)  # mistake: no class of exceptions
app.supervise(OSError, "log")  # mistake: no solver
app.plug(Row(1))  # mistake: neither rules nor start and stop
