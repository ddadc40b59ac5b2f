"""Middleware and renderers are filled as handlers are: their own values by type or place, the rest by services."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterator
from typing import Any

import msgspec
import pytest

from skerry import App, Command, Event, Proceed, Record, Unit
from skerry.errors import DeclarationError
from skerry.testing import running


class Do(Command[str]):
    key: str


class Did(Event):
    key: str


class Journal:
    """What is written down, and by whom."""

    def __init__(self) -> None:
        self.lines: list[str] = []


class Session:
    """Of one decision."""

    open = 0


class Unknown:
    pass


def shop() -> App:
    app = App("shop")
    app.service()(Journal)

    @app.service(scope="call")
    def session() -> Iterator[Session]:
        Session.open += 1
        yield Session()
        Session.open -= 1

    @app.handles()
    def do(command: Do, unit: Unit) -> str:
        unit.emit(Did(command.key))
        return command.key

    app.live("/events")
    return app


async def test_middleware_takes_services_in_any_order() -> None:
    """Of the process and of the call; callable objects too; what it takes besides is known by its type."""
    app = shop()

    @app.middleware  # type: ignore[arg-type]  # in this order it is known at run time only
    async def noted(
        journal: Journal, proceed: Proceed, session: Session, command: Do, unit: Unit, who: str = "nobody"
    ) -> object:
        assert Session.open == 1
        journal.lines.append(f"{command.key} by {who}")
        return await proceed(command, unit)

    class Louder:
        async def __call__(self, command: Any, unit: Unit, proceed: Any, journal: Journal) -> object:
            journal.lines.append("louder")
            return f"{await proceed(command, unit)}!"

    app.middleware(Louder())
    async with running(app) as world:
        receipt = await world.commands.send(Do("tea"))
        assert receipt.value == "tea!"
        assert world.service(Journal).lines == ["tea by nobody", "louder"]
    assert Session.open == 0


async def test_renderers_take_services() -> None:
    """A renderer without types is called as before, with event and record."""
    app = shop()

    @app.renders(Did)
    def shown(event: Did, journal: Journal, record: Record) -> dict[str, object]:
        journal.lines.append(event.key)
        return {"key": event.key, "at": record.offset}

    async with running(app) as world:
        accept = {"Accept": "text/event-stream"}
        async with world.client.stream("GET", "/events", headers=accept) as stream:
            text = b""
            async with asyncio.timeout(20):
                while b"hello" not in text:
                    text += await anext(stream)
                await world.commands.send(Do("tea"))
                while b"domain_event" not in text:
                    text += await anext(stream)
        assert world.service(Journal).lines == ["tea"]
    frames = [msgspec.json.decode(line[6:]) for line in text.splitlines() if line.startswith(b"data: ")]
    told = next(frame for frame in frames if frame["type"] == "domain_event")
    assert (told["key"], told["at"]) == ("tea", told["at"])


async def needs(command: Do, unit: Unit, proceed: Proceed, unknown: Unknown) -> object:
    return await proceed(command, unit)


def shows(event: Did, record: Record, unknown: Unknown) -> dict[str, object]:
    return {}


async def waits(event: Did, record: Record) -> dict[str, object]:
    return {}


@pytest.mark.parametrize(
    ("declare", "told"),
    [
        (lambda app: app.middleware(needs), "middleware .*needs: nothing fills parameter unknown"),
        (lambda app: app.renders(Did)(shows), "renderer .*shows: nothing fills parameter unknown"),
        (lambda app: app.renders(Did)(waits), "renderer .*waits is a plain function"),
    ],
)
async def test_what_nothing_fills_is_told_at_the_start(declare: Any, told: str) -> None:
    """In the sentence of handlers, before anything is served."""
    app = shop()
    declare(app)
    with pytest.raises(DeclarationError, match=told):
        async with running(app):
            pass


async def test_parameters_without_types_are_known_by_their_place() -> None:
    """As in the shortest programs."""
    app = shop()

    async def plain(command, unit, proceed):  # type: ignore[no-untyped-def]
        return await proceed(command, unit)

    app.middleware(plain)
    app.renders(Did)(lambda event, record: {"key": event.key})
    async with running(app) as world:
        assert (await world.commands.send(Do("tea"))).value == "tea"


def test_a_middleware_is_typed() -> None:
    """What `app.middleware` gives back may be called, and told what it is for."""
    app = shop()

    async def passing(command: Command[Any], unit: Unit, proceed: Proceed) -> object:
        return await proceed(command, unit)

    declared = app.middleware(passing)
    declared.only = (Do,)
    given: Awaitable[Any] = declared(Do("a"), None, None)  # type: ignore[arg-type]
    given.close()  # type: ignore[attr-defined]
    assert declared is passing
