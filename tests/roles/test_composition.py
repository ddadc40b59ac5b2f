"""One composition: what `running` tests is what `skerry run` serves; services are replaced by their type."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from skerry import App, Command, Event, HttpWrites, Loop, Request, Response, Settings, Supervisor, Table, Unit
from skerry.clock import Clock, SystemClock
from skerry.errors import DeclarationError, SettingsError
from skerry.kernel.services import Services
from skerry.roles.composition import compose
from skerry.testing import VirtualClock, running

MEMORY = Settings(journal="memory:", transport="memory:", warm_start=False)
notes = Table("note", key=str, row=str)


class Note(Command):
    key: str
    text: str


class Noted(Event):
    key: str
    text: str


class Speller:
    def spelled(self, text: str) -> str:
        raise AssertionError("the real one is not to be made")


class Shouter(Speller):
    def spelled(self, text: str) -> str:
        return text.upper()


class Printer:
    def __init__(self, speller: Speller) -> None:
        self.speller = speller


def application(heard: list[str]) -> App:
    app = App("notes")

    @app.service()
    def speller() -> Speller:
        return Speller()

    app.service(Printer)(Printer)

    @app.handles(loads=notes)
    def note(command: Note, unit: Unit, speller: Speller) -> None:
        unit.put(notes, command.key, speller.spelled(command.text))
        unit.emit(Noted(command.key, speller.spelled(command.text)))

    @app.on(Noted)
    def hear(event: Noted, printer: Printer) -> None:
        heard.append(printer.speller.spelled(event.text))

    @app.put("/notes/{key}")
    def put(request: Request, key: str, text: str, writes: HttpWrites) -> Any:
        return writes.send(request, Note(key, text), lambda receipt: Response("noted"))

    @app.get("/spelled")
    def spelled(text: str, speller: Speller) -> Response:
        return Response.json(speller.spelled(text))

    return app


async def test_a_service_is_replaced_wherever_it_is_asked_for() -> None:
    """View, handler, listener, and a factory that needs it: all get the test's object; the real one is not made."""
    heard: list[str] = []
    async with running(application(heard), replace={Speller: Shouter()}) as world:
        assert (await world.client.get("/spelled", query={"text": "abc"})).json() == "ABC"
        assert (await world.client.put("/notes/a", query={"text": "quiet"})).status == 200
        assert [bytes(record.data) for record in await world.events()] == [b'{"key":"a","text":"QUIET"}']
        assert heard == ["QUIET"]
        assert isinstance(world.service(Printer).speller, Shouter)


async def test_what_stands_for_a_base_class_replaces_the_one_below_it() -> None:
    """Views that name the base and those that name the class get the same object."""
    app = App("below")
    app.service()(Shouter)

    @app.get("/both")
    def both(base: Speller, exact: Shouter) -> Response:
        return Response.json(base is exact)

    class Quiet(Shouter):
        pass

    async with running(app, replace={Speller: Quiet()}) as world:
        assert (await world.client.get("/both")).json() is True
        assert isinstance(world.service(Shouter), Quiet)


async def test_time_is_replaced_too() -> None:
    """`Clock` is the clock of everything that the process is made of."""
    clock = VirtualClock()
    async with running(application([]), replace={Clock: clock, Speller: Shouter()}) as world:
        assert world.clock is clock
        assert world.service(Clock) is clock  # type: ignore[type-abstract]
        assert world.runtime.clock is clock


@pytest.mark.parametrize(
    ("replace", "why"),
    [
        ({Path: Path()}, "replace Path: no single service of type Path"),
        ({Speller: Shouter}, "replace Speller: give an object, not the class Shouter"),
    ],
)
async def test_a_replacement_that_replaces_nothing_is_told(replace: dict[type, object], why: str) -> None:
    """A slip in a test would otherwise test the real thing."""
    with pytest.raises(DeclarationError, match=why):
        async with running(application([]), replace=replace):
            pass


async def test_what_is_tested_is_what_runs() -> None:
    """The login page, redirects of browsers, and services of the process, as under `skerry run`."""
    app = App("whole")

    @app.get("/supervised")
    def supervised(supervisor: Supervisor, loop: Loop) -> Response:
        return Response.json([sorted(supervisor.children), loop.running])

    settings = Settings(journal="memory:", transport="memory:", warm_start=False, tokens="read:abc,write:def")
    async with running(app, settings=settings, token="abc") as world:
        assert (await world.client.get("/supervised")).json() == [["consumer", "server"], True]
        assert (await world.client.get("/login")).status == 200
        assert (await world.client.get("/health/ready")).status == 200
        del world.client.headers["Authorization"]
        sent = await world.client.get("/supervised", headers={"Accept": "text/html"})
        assert (sent.status, (sent.headers.get("location") or "").startswith("/login")) == (303, True)


async def test_a_part_that_fails_is_started_again() -> None:
    """Supervised parts run as in production: a test sees what an application does when one fails."""
    app = App("mended")
    begun: list[int] = []
    again = asyncio.Event()

    @app.supervise()
    async def ticker() -> None:
        begun.append(len(begun))
        if len(begun) == 1:
            raise OSError("gone")
        again.set()
        await asyncio.Event().wait()

    async with running(app) as world:
        async with asyncio.timeout(30):
            await again.wait()
        assert world.runtime.ready


async def test_a_process_has_what_was_declared_when_it_was_composed() -> None:
    """What is declared while it runs is for the next one; a process never has half of it."""
    app = App("early")
    async with running(app) as world:

        @app.get("/late")
        def late() -> Response:
            return Response("late")

        assert (await world.client.get("/late")).status == 404
    async with running(app) as world:
        assert (await world.client.get("/late")).status == 200


@pytest.mark.parametrize(
    ("roles", "why"),
    [
        (("server", "gateway"), "role: a server serves the stream too"),
        (("sever",), "role: 'sever' is none of consumer, server, gateway"),
    ],
)
def test_roles_that_cannot_be(roles: tuple[str, ...], why: str) -> None:
    """One line, before anything is made."""
    with pytest.raises(SettingsError, match=why):
        compose(App("no").declaration, MEMORY, roles)


def test_services_that_nobody_made_are_replaced_before_they_are() -> None:
    """The factory is not called."""
    services = Services()
    services.add_factory(Speller, Speller)
    services.add(SystemClock(), Clock)
    fake = Shouter()
    services.replace({Speller: fake})
    assert services.resolve(Speller) is fake
