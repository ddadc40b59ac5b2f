"""`skerry routes` and `skerry bus` show what is declared, without starting or making anything."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from skerry import App
from skerry.cli.inspect import own_pages
from skerry.cli.main import main
from skerry.testing import running

APPLICATION = """
import abc
from skerry import App, Command, Event, Projection, Query, Record, Table, Unit
import msgspec

class Row(msgspec.Struct, frozen=True):
    text: str

class Write(Command):
    key: str

class Written(Event):
    key: str

class Find(Query[str]):
    key: str

class Abstract(abc.ABC):
    @abc.abstractmethod
    def do(self) -> None: ...

class Settingslike(dict):
    pass

rows = Table("rows", key=str, row=Row)
app = App("shown")

@app.projection
class Rows(Projection):
    table = rows
    def clear(self) -> None: ...
    def load(self, *row) -> None: ...
    @Projection.applies(Written)
    def written(self, event: Written, record: Record) -> None: ...

@app.service(Abstract)
def never() -> Abstract:
    raise AssertionError("made although nothing runs")

@app.middleware
async def logged(command, unit, proceed):
    return await proceed(command, unit)

@app.handles(loads=rows)
async def write(command: Write, unit: Unit) -> None: ...

@app.answers()
def find(query: Find) -> str: return ""

@app.on(Written)
def hear(event: Written) -> None: ...

@app.reactor("mail", Written)
async def mail(event: Written) -> None: ...

@app.get("/rows/{key}")
def view(key: str, rows: Rows, service: Abstract, other: Settingslike) -> str: return ""

@app.post("/rows")
async def create() -> str: return ""

app.live("/stream")
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "shown_app.py").write_text(APPLICATION)
    yield tmp_path
    sys.modules.pop("shown_app", None)


def table(*arguments: str) -> list[list[str]]:
    """The rows that a command prints, split where two spaces are."""
    result = CliRunner().invoke(main, list(arguments))
    assert result.exit_code == 0, result.output + repr(result.exception)
    return [
        [cell.strip() for cell in line.split("  ") if cell.strip()] for line in result.output.splitlines()
    ]


def test_routes_tell_which_are_on_the_lane(here: Path) -> None:
    """Method, path, side, right and name of each; services are not made for it, whatever their kind."""
    head, *rows = table("routes", "shown_app:app")
    assert head == ["METHODS", "PATH", "SIDE", "RIGHT", "NAME"]
    assert ["GET", "/rows/{key}", "lane", "read", "view"] in rows
    assert ["POST", "/rows", "asgi", "write", "create"] in rows
    assert any(row[1] == "/stream" for row in rows)
    assert list(here.rglob("*.db")) == []


def test_bus_tells_who_handles_what(here: Path) -> None:
    """Commands with their chain of middleware, queries, and everybody who hears an event."""
    head, *rows = table("bus", "shown_app:app")
    assert head == ["KIND", "NAME", "VERSION", "MODE", "HANDLED BY"]
    found = {(row[0], row[1], row[3]): row[4] for row in rows}
    assert found["command", "write", "async"].startswith("logged > ")
    assert found["command", "write", "async"].endswith("write")
    assert ("query", "find", "sync") in found
    assert found["event", "written", "memory"] == "Rows.written"
    assert ("event", "written", "listener") in found
    assert ("event", "written", "reactor") in found


async def test_own_pages_are_those_of_a_running_application() -> None:
    """What every application has beside its routes is listed as a server answers it, on its side and for its right."""
    app = App("shown")
    async with running(app) as world:
        routes = world.client.server.application.table.routes
    real = {(each.path, "lane" if each.lane else "asgi", each.right or "-", each.name) for each in routes}
    app.http.compile()
    declared = {each.path for each in app.http.table.routes}
    listed = {(path, side, right, name) for _, path, side, right, name in own_pages(app.http)}
    short = {each for each in real if each[0] not in declared and not each[0].startswith("/-/skerry/health")}
    assert listed == short - {each for each in short if each[0] == "/-/skerry/metrics"}


@pytest.mark.parametrize("command", ["routes", "bus"])
def test_livekv_can_be_shown(command: str) -> None:
    """The reference application."""
    assert len(table(command, "livekv:app")) > 3


@pytest.mark.parametrize("command", ["routes", "bus"])
def test_a_wrong_target_is_one_line(here: Path, command: str) -> None:
    """Exit code 2."""
    result = CliRunner().invoke(main, [command, "nowhere:app"])
    assert result.exit_code == 2
    assert result.output == "skerry: TARGET: there is no module 'nowhere' here\n"


@pytest.mark.parametrize(("command", "version"), [("openapi", "3.1.0"), ("asyncapi", "3.0.0")])
def test_its_documents_are_printed(command: str, version: str, here: Path) -> None:
    """`skerry openapi` and `skerry asyncapi` need nothing that runs, and make nothing."""
    done = CliRunner().invoke(main, [command, "shown_app:app"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.output)[command] == version
