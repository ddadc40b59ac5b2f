"""Slips of who writes an application are told before anything is served, in one line that names the cure."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import msgspec
import pytest

from skerry import App, Command, Event, HttpWrites, Projection, Record, Request, Response, Table, Unit
from skerry.errors import DeclarationError
from skerry.http.binding import Body
from skerry.testing.app import running

pydantic = pytest.importorskip("pydantic")


class Row(msgspec.Struct, frozen=True):
    n: int


class Did(Event):
    key: str


class Do(Command):
    key: str


rows = Table("rows", key=str, row=Row)
NOTHING: dict[str, str] = {}


class Mailer:
    def __init__(self, host: str = "") -> None:
        self.host = host


class Order(pydantic.BaseModel):  # type: ignore[misc, name-defined]
    count: Annotated[int, pydantic.Field(ge=1)]
    note: str = ""


class Foreign:
    pass


def app_with(declare: Callable[[App], Any]) -> App:
    app = App("slips")
    app.emits(Did)
    declare(app)
    return app


async def refusal(declare: Callable[[App], Any]) -> str:
    """What is said at the declaration or at the start, whichever comes first."""
    with pytest.raises(DeclarationError) as told:
        async with running(app_with(declare)):
            pass
    return str(told.value)


def get_without_path(app: App) -> None:
    @app.get  # type: ignore[arg-type]
    def values() -> None: ...


def websocket_without_path(app: App) -> None:
    @app.websocket  # type: ignore[arg-type]
    async def values() -> None: ...


def service_without_parentheses(app: App) -> None:
    @app.service
    class Smtp:
        pass


def service_that_raises(app: App) -> None:
    @app.service()
    def mailer() -> Mailer:
        return Mailer(NOTHING["SMTP_HOST"])

    @app.get("/x")
    def x(m: Mailer) -> None: ...


def service_that_raises_with_a_default(app: App) -> None:
    @app.service()
    def mailer() -> Mailer:
        raise OSError("no route to host")

    @app.get("/x")
    def x(m: Mailer | None = None) -> None: ...


def service_that_raises_for_a_handler(app: App) -> None:
    @app.service()
    def mailer() -> Mailer:
        raise LookupError("nothing")

    @app.handles(Do)
    def do(command: Do, unit: Unit, m: Mailer | None = None) -> None: ...


def service_that_needs_what_is_missing(app: App) -> None:
    @app.service()
    def mailer(foreign: Foreign) -> Mailer:
        return Mailer()

    @app.get("/x")
    def x(m: Mailer) -> None: ...


def body_as_dict(app: App) -> None:
    @app.post("/x")
    def x(body: dict[str, int]) -> None: ...


def body_of_an_unmarked_foreign_class(app: App) -> None:
    @app.post("/x")
    def x(body: Foreign) -> None: ...


def body_of_a_foreign_class(app: App) -> None:
    @app.post("/x")
    def x(body: Annotated[list[Foreign], Body]) -> None: ...


def forgotten_return(app: App) -> None:
    @app.handles(Do)
    def do(command: Do, unit: Unit) -> None: ...

    @app.post("/x")
    def x(request: Request, writes: HttpWrites) -> None:
        writes.send(request, Do("a"), lambda receipt: {})
        return


def snapshot_with_an_unknown_parameter(app: App) -> None:
    def snap(n, prefix: str) -> list[Any]:  # type: ignore[no-untyped-def]
        return []

    app.live("/events", snapshot=snap)


def snapshot_of_a_missing_service(app: App) -> None:
    def snap(m: Mailer) -> list[Any]:
        return []

    app.live("/events", snapshot=snap)


class Whole(Projection):
    table = rows

    def clear(self) -> None: ...

    def load(self, table: Any, key: str, row: Row, offset: int) -> None: ...

    @Projection.applies(Did)
    def did(self, event: Did, record: Record) -> None: ...


def projection_without_clear(app: App) -> None:
    @app.projection
    class Half(Projection):
        @Projection.applies(Did)
        def did(self, event: Did, record: Record) -> None: ...


def projection_without_load(app: App) -> None:
    @app.projection
    class Half(Projection):
        table = rows

        def clear(self) -> None: ...

        @Projection.applies(Did)
        def did(self, event: Did, record: Record) -> None: ...


def projection_with_a_short_method(app: App) -> None:
    @app.projection
    class Half(Whole):
        @Projection.applies(Did)  # type: ignore[arg-type]
        def did(self, event: Did) -> None: ...


def projection_that_waits(app: App) -> None:
    @app.projection
    class Half(Whole):
        @Projection.applies(Did)  # type: ignore[arg-type]
        async def did(self, event: Did, record: Record) -> None: ...


def projection_stored_without_state(app: App) -> None:
    @app.projection
    class Half(Projection):
        stored = True

        def clear(self) -> None: ...

        @Projection.applies(Did)
        def did(self, event: Did, record: Record) -> None: ...


def projection_of_two_minds(app: App) -> None:
    @app.projection
    class Half(Whole):
        ephemeral = True


def no_projection(app: App) -> None:
    class Half:
        pass

    app.projection(Half)  # type: ignore[type-var]


SLIPS = [
    (get_without_path, 'values: a route needs its path: write @app.get("/...")'),
    (websocket_without_path, 'values: a route needs its path: write @app.websocket("/...")'),
    (service_without_parentheses, "service Smtp: nothing makes it. Write @app.service() with parentheses"),
    (
        service_that_raises,
        "service Mailer: service_that_raises.<locals>.mailer failed to make it: KeyError: 'SMTP",
    ),
    (service_that_raises_with_a_default, "failed to make it: OSError: no route to host"),
    (service_that_raises_for_a_handler, "failed to make it: LookupError: nothing"),
    (
        service_that_needs_what_is_missing,
        "mailer: nothing fills parameter foreign: there is no service Foreign",
    ),
    (body_as_dict, "For the JSON body write body: Annotated[dict[str, int], Body]"),
    (
        body_of_an_unmarked_foreign_class,
        "a JSON body is read into a msgspec.Struct, a dataclass, a TypedDict or a pydantic model, and Foreign",
    ),
    (
        body_of_a_foreign_class,
        "Foreign cannot be decoded from JSON: make it a msgspec.Struct, a dataclass or",
    ),
    (forgotten_return, "the view returns nothing: write return writes.send(...)"),
    (snapshot_with_an_unknown_parameter, "parameter n needs a type to be injected by"),
    (snapshot_of_a_missing_service, "nothing fills parameter m: there is no service Mailer"),
    (projection_without_clear, "Half needs a method: def clear(self)"),
    (projection_without_load, "Half needs a method: def load(self, table"),
    (projection_with_a_short_method, "Half.did must take (self, event, record)"),
    (projection_that_waits, "Half.did must be a plain def"),
    (projection_stored_without_state, "Half needs a method: def state(self)"),
    (projection_of_two_minds, "Half is ephemeral, and has a table or is stored: choose one"),
    (no_projection, "stands above a subclass of Projection"),
]


@pytest.mark.parametrize(("declare", "told"), SLIPS, ids=[declare.__name__ for declare, _ in SLIPS])
async def test_a_slip_is_told_with_its_cure(declare: Callable[[App], Any], told: str) -> None:
    """Before anything is served."""
    said = await refusal(declare)
    assert told in said
    assert "\n" not in said


async def test_what_is_no_slip_is_taken() -> None:
    """Defaults of snapshots, handlers and views stay where there is no such service; a factory for a named class."""

    def declare(app: App) -> None:
        @app.service(Mailer)
        def mailer() -> Mailer:
            return Mailer("host")

        def snap(m: Mailer, foreign: Foreign | None = None, n=3) -> list[Any]:  # type: ignore[no-untyped-def]
            return []

        app.live("/events", snapshot=snap)

        @app.handles(Do)
        def do(command: Do, unit: Unit, m: Mailer | None = None, foreign: Foreign | None = None) -> None:
            assert m is not None
            assert m.host == "host"
            assert foreign is None

        @app.post("/x")
        async def x(request: Request, writes: HttpWrites) -> None:
            await writes.send(request, Do("a"), lambda receipt: {})

        @app.post("/y")
        def y(request: Request, writes: HttpWrites, quiet: bool = False) -> Any:
            return writes.send(request, Do("b"), lambda receipt: {"done": True})

    async with running(app_with(declare)) as world:
        assert (await world.client.post("/x")).status == 204
        assert (await world.client.post("/y")).json() == {"done": True}


async def test_a_write_is_never_answered_before_it_is_durable(caplog: pytest.LogCaptureFixture) -> None:
    """A view that forgets `return` on one of its ways answers with its write all the same, and the log says so."""

    def declare(app: App) -> None:
        @app.handles(Do)
        def do(command: Do, unit: Unit) -> None:
            unit.emit(Did(command.key))

        @app.post("/plain")
        def plain(request: Request, writes: HttpWrites, early: bool = False) -> Any:
            if early:
                return {"early": True}
            writes.send(request, Do("a"), lambda receipt: {"at": str(receipt.position)})
            return None

        @app.post("/waits")
        async def waits(request: Request, writes: HttpWrites, early: bool = False) -> Any:
            if early:
                return {"early": True}
            writes.send(request, Do("b"), lambda receipt: {"at": str(receipt.position)})
            return None

    async with running(app_with(declare)) as world:
        for number, path in enumerate(["/plain", "/waits", "/plain"], 1):
            answer = await world.client.post(path)
            assert (answer.status, answer.json()["at"][-2:]) == (200, f":{number}")
        assert (await world.client.post("/plain?early=1")).json() == {"early": True}
    said = [r.getMessage() for r in caplog.records if "returns nothing" in r.getMessage()]
    assert said == [
        "POST /plain (plain) sends a write and returns nothing: write return before it",
        "POST /waits (waits) sends a write and returns nothing: write return before it",
    ]


async def test_a_pydantic_model_is_a_body_and_an_answer() -> None:
    """It is validated by pydantic: 422 names fields and no value, 400 what is no JSON; OpenAPI has its schema."""

    def declare(app: App) -> None:
        @app.post("/orders")
        def order(body: Order) -> Order:
            return Order(count=body.count + 1)

        @app.post("/perhaps")
        def perhaps(body: Order | None = None) -> Response:
            return Response.json({"given": body is not None})

    json = {"Content-Type": "application/json"}
    async with running(app_with(declare)) as world:
        answer = await world.client.post("/orders", body=b'{"count":2}', headers=json)
        assert (answer.status, answer.json()) == (200, {"count": 3, "note": ""})
        wrong = await world.client.post("/orders", body=b'{"count":0,"note":["hunter2"]}', headers=json)
        assert wrong.status == 422
        assert [each["field"] for each in wrong.json()["errors"]] == ["count", "note"]
        assert b"hunter2" not in wrong.body
        assert (await world.client.post("/orders", body=b"{", headers=json)).status == 400
        assert (await world.client.post("/perhaps")).json() == {"given": False}
        assert (await world.client.post("/perhaps", body=b'{"count":1}', headers=json)).json() == {
            "given": True
        }
        described = (await world.client.get("/openapi.json")).json()["paths"]["/orders"]["post"]
        schema = described["requestBody"]["content"]["application/json"]["schema"]
        assert schema["properties"]["count"]["minimum"] == 1


async def test_a_projection_that_begins_empty_says_that_it_is_meant(caplog: pytest.LogCaptureFixture) -> None:
    """Neither table nor stored: a warning at the start that names the choices, unless `ephemeral = True`."""

    class Last(Projection):
        def clear(self) -> None: ...

        @Projection.applies(Did)
        def did(self, event: Did, record: Record) -> None: ...

    class Meant(Last):
        ephemeral = True

    caplog.set_level(logging.WARNING)
    for kind in (Last, Meant, Whole):
        async with running(app_with(lambda app, kind=kind: app.projection(kind))):  # type: ignore[misc]
            pass
    said = [record.getMessage() for record in caplog.records if "begins empty" in record.getMessage()]
    assert len(said) == 1
    assert "projection Last begins empty at every start" in said[0]
    assert "ephemeral = True" in said[0]


BAD = """
from skerry import App
app = App("bad")
def snap(n=3, *, m): return []
app.live("/events", snapshot=snap)
"""


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["run", "bad:app"], "app.live(snapshot=snap): parameter m needs a type"),
        (["run", "bad.py"], "'bad.py' is not MODULE:NAME, as in livekv:app; write bad:app"),
        (["run", "./bad.py:app"], "write bad:app"),
        (["run", "bad:nope"], "has no 'nope'; write bad:app"),
        (["run", "bad:app", "--port", "80"], "--bind HOST:PORT"),
        (["run", "bad:app", "--reload"], "skerry up TARGET --reload"),
        (["dead", "show", "bad:app"], "write skerry dead show ID bad:app"),
    ],
)
def test_the_command_line_says_it_in_one_line(tmp_path: Path, arguments: list[str], told: str) -> None:
    """Exit code 2 and no traceback."""
    (tmp_path / "bad.py").write_text(BAD)
    done = subprocess.run(
        [sys.executable, "-m", "skerry", *arguments],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 2, done.stdout + done.stderr
    assert told in done.stderr
    assert "Traceback" not in done.stderr
