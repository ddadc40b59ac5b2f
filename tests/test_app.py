"""What an application declares is collected, and what contradicts itself is found when it is declared or at start."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from skerry import App, Command, Event, HttpWrites, Projection, Query, Reactor, Record, Request, Table, Unit
from skerry.errors import DeclarationError
from skerry.testing.app import running


class Row(msgspec.Struct, frozen=True):
    text: str


class Write(Command):
    key: str
    text: str = ""


class Written(Event):
    key: str
    text: str


class Find(Query[str]):
    key: str


rows = Table("rows", key=str, row=Row)
same_name = Table("rows", key=str, row=Row)


class Rows(Projection):
    table = rows

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}

    def clear(self) -> None:
        self.texts.clear()

    def load(self, table: Any, key: str, row: Row, offset: int) -> None:
        self.texts[key] = row.text

    @Projection.applies(Written)
    def written(self, event: Written, record: Record) -> None:
        self.texts[event.key] = event.text


class Shouting:
    """A service of the application."""

    def shout(self, text: str) -> str:
        return text.upper()


async def test_one_declaration_is_a_whole_application() -> None:
    """Command, query, listener, service, projection, reactor, middleware and view, by plain functions; injected by
    type everywhere."""
    app = App("whole", title="Whole")
    heard: list[str] = []
    order: list[str] = []

    @app.service()
    def shouting() -> Shouting:
        return Shouting()

    app.projection(Rows)

    @app.middleware
    async def outer(command: Any, unit: Unit, proceed: Any) -> Any:
        order.append("outer")
        return await proceed(command, unit)

    @app.middleware
    async def inner(command: Any, unit: Unit, proceed: Any) -> Any:
        order.append("inner")
        return await proceed(command, unit)

    @app.handles(loads=rows)
    def write(command: Write, unit: Unit, voice: Shouting) -> str:
        order.append("handler")
        text = voice.shout(command.text)
        unit.put(rows, command.key, Row(text))
        unit.emit(Written(command.key, text))
        return text

    @app.answers()
    def find(query: Find, memory: Rows) -> str:
        return memory.texts.get(query.key, "")

    @app.on(Written)
    def hear(event: Written, voice: Shouting) -> None:
        heard.append(event.text)

    @app.get("/rows/{key}")
    def view(key: str, memory: Rows) -> str:
        return memory.texts.get(key, "nothing")

    @app.post("/rows/{key}")
    async def longer(request: Request, key: str, memory: Rows) -> dict[str, str]:
        return {"body": request.text(), "now": memory.texts.get(key, "")}

    async with running(app) as world:
        receipt = await world.commands.send(Write("a", "hello"))
        assert receipt.result == b'"HELLO"'
        assert order == ["outer", "inner", "handler"]
        assert world.queries.ask(Find("a")) == "HELLO"
        assert heard == ["HELLO"]
        assert (await world.client.get("/rows/a")).text == "HELLO"
        answer = await world.client.request("POST", "/rows/a", body="x")
        assert answer.json() == {"body": "x", "now": "HELLO"}


def declared(*steps: Callable[[App], object]) -> App:
    app = App("x")
    for step in steps:
        step(app)
    return app


def _write(command: Write, unit: Unit) -> None: ...
def _again(command: Write, unit: Unit) -> None: ...
def _find(query: Find) -> str:
    return ""


def _other_find(query: Find) -> str:
    return ""


def _render(event: Written, record: Record) -> dict[str, str]:
    return {}


def _other_render(event: Written, record: Record) -> dict[str, str]:
    return {}


def _react(event: Written) -> None: ...
def _no_message(number: int) -> None: ...
async def _async_service() -> Shouting:
    return Shouting()


def _service_of_nothing():  # type: ignore[no-untyped-def]
    return Shouting()


CONTRADICTIONS: dict[str, list[Callable[[App], object]]] = {
    "two handlers for the command Write": [lambda a: a.handles()(_write), lambda a: a.handles()(_again)],
    "two handlers for the query Find": [lambda a: a.answers()(_find), lambda a: a.answers()(_other_find)],
    "two functions render Written": [
        lambda a: a.renders(Written)(_render),
        lambda a: a.renders(Written)(_other_render),
    ],
    "app.live was called twice": [lambda a: a.live(), lambda a: a.live("/other")],
    "two tables are named 'rows'": [lambda a: a.uses(rows), lambda a: a.uses(same_name)],
    "two reactors are named 'r'": [
        lambda a: a.reactor("r", Written)(_react),
        lambda a: a.reactor("r", Written)(_react),
    ],
    "reactor r names no event": [lambda a: a.reactor("r")(_react)],
    "reactor s names no event": [lambda a: a.react(Reactor("s", lambda event, record: None, ()))],
    "no parameter annotated with a Command": [lambda a: a.handles()(_no_message)],  # type: ignore[type-var]
    "annotate what it returns": [lambda a: a.service()(_service_of_nothing)],
}


@pytest.mark.parametrize("says", CONTRADICTIONS)
def test_contradictions_are_found_where_they_are_written(says: str) -> None:
    """A DeclarationError with names, at the line that is one too many."""
    *before, last = CONTRADICTIONS[says]
    app = declared(*before)
    with pytest.raises(DeclarationError, match=says):
        last(app)


async def test_a_service_is_not_a_coroutine() -> None:
    """Said at start."""
    app = App("x")
    app.service()(_async_service)
    with pytest.raises(DeclarationError, match="_async_service is async"):
        async with running(app):
            pass


async def test_an_application_that_is_declared_wrongly_never_starts() -> None:
    """A handler, a listener, a view that asks for what nobody offers: at start, before the first request."""

    def handler(command: Write, unit: Unit, voice: Shouting) -> None: ...
    def listener(event: Written, voice: Shouting) -> None: ...
    def view(voice: Shouting) -> str:
        return ""

    steps: list[Callable[[App], object]] = [
        lambda app: app.handles(Write)(handler),
        lambda app: app.on(Written)(listener),
        lambda app: app.get("/")(view),
    ]
    for step in steps:
        app = declared(step)
        with pytest.raises(DeclarationError, match="Shouting"):
            async with running(app):
                pass


def test_declaring_starts_nothing() -> None:
    """No loop, no file, no connection: an application can be imported anywhere."""
    app = declared(lambda a: a.projection(Rows), lambda a: a.handles()(_write), lambda a: a.live())
    assert app.name == "x"
    assert list(app.declaration.tables) == ["rows"]
    assert app.declaration.live is not None


def test_the_same_thing_declared_twice_is_one() -> None:
    """A table named by a projection and a handler; an event named by a projection and a listener."""
    app = declared(
        lambda a: a.projection(Rows),
        lambda a: a.handles(loads=rows)(_write),
        lambda a: a.uses(rows),
        lambda a: a.emits(Written, Written),
        lambda a: a.renders(Written)(_render),
        lambda a: a.renders(Written)(_render),
    )
    assert list(app.declaration.tables.values()) == [rows]


@pytest.mark.parametrize("doing", ["put", "delete", "get", "loaded", "loads"])
async def test_a_table_that_nothing_declares_fails_the_command_and_names_the_cure(doing: str) -> None:
    """It is a mistake in the program, not an outage that time could heal: the command fails at once, is set aside,
    and the next one is decided."""
    app = App("forgetful")
    prices = Table("prices", key=str, row=int)

    @app.handles(loads=(lambda command: [(prices, command.key)]) if doing == "loads" else rows)
    async def write(command: Write, unit: Unit) -> str:
        if command.text:
            return "fine"
        if doing == "put":
            unit.put(prices, command.key, 1)
        elif doing == "delete":
            unit.delete(prices, command.key)
        elif doing == "get":
            await unit.get(prices, command.key)
        else:
            unit.loaded(prices, command.key)
        return "not here"

    async with running(app) as world:
        receipt = await world.commands.send(Write("a", ""))
        assert receipt.status == "failed"
        assert "nothing declares the table 'prices': say app.uses(...)" in receipt.reason
        [letter] = await world.journal.dead_letters()
        assert letter.command_id == receipt.id
        assert (await world.commands.send(Write("b", "text"))).result == b'"fine"'
    app = App("mindful")
    app.uses(prices)

    @app.handles()
    def set_price(command: Write, unit: Unit) -> None:
        unit.put(prices, command.key, 1)

    async with running(app) as world:
        assert (await world.commands.send(Write("a", ""))).status == "applied"


async def test_a_write_is_answered_with_whatever_a_view_may_return() -> None:
    """Not only a Response: a dict is JSON here too, with the position and the command's id."""
    app = App("plain")

    @app.handles(loads=rows)
    def write(command: Write, unit: Unit) -> str:
        return command.text

    @app.post("/rows/{key}")
    def view(request: Request, key: str, writes: HttpWrites) -> Any:
        return writes.send(request, Write(key, request.text()), lambda receipt: {"told": request.text()})

    async with running(app) as world:
        answer = await world.client.post("/rows/a", body="hello")
        assert (answer.status, answer.json()) == (200, {"told": "hello"})
        assert answer.headers.get("skerry-position")
        assert answer.headers.get("skerry-command")


async def test_an_asgi_server_that_is_given_an_app_is_told_what_to_start() -> None:
    """`uvicorn flags:app` ends at its start with the command that serves an App, not at the first request."""
    told: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "lifespan.startup"}

    async def send(message: dict[str, Any]) -> None:
        told.append(message)

    await App("flags")({"type": "lifespan"}, receive, send)

    [failed] = told
    assert failed["type"] == "lifespan.startup.failed"
    assert "skerry run MODULE:NAME" in failed["message"]
    with pytest.raises(DeclarationError, match="skerry run"):
        await App("flags")({"type": "http"}, receive, send)
