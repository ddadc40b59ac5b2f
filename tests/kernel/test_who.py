"""Who sent a request, and its trace, stand with the events that came of it, whichever way the command was sent."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from skerry import App, Command, CommandBus, Event, HttpWrites, Request, Unit
from skerry.kernel.settings import Settings
from skerry.testing.app import running

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Note(Command, frozen=True):
    """Something to be written down."""

    key: str

    def routing_key(self) -> str:
        return self.key


class Noted(Event, frozen=True):
    """It was, by whom."""

    key: str
    who: str


def notes() -> App:
    app = App("notes")
    app.emits(Noted)

    @app.handles(Note)
    def note(command: Note, unit: Unit) -> None:
        unit.emit(Noted(command.key, unit.who))

    @app.put("/lane/{key}")
    def lane(request: Request, key: str, writes: HttpWrites) -> asyncio.Future[Any]:
        return writes.send(request, Note(key), lambda receipt: "ok")

    @app.put("/bus/{key}")
    def bus(key: str, commands: CommandBus) -> asyncio.Future[Any]:
        sent = commands.submit(Note(key))
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        sent.add_done_callback(lambda receipt: done.set_result("ok"))
        return done

    @app.put("/asgi/{key}")
    async def asgi(key: str, commands: CommandBus) -> str:
        await commands.send(Note(key))
        return "ok"

    return app


@pytest.mark.parametrize("way", ["lane", "bus", "asgi"])
async def test_events_say_who_and_which_trace(way: str) -> None:
    """A named token and a `traceparent` reach handler and journal; a malformed one does not. Neither lasts
    longer than its request."""
    settings = Settings(
        journal="memory:", transport="memory:", warm_start=False, tokens="write:ci=abc,write:def"
    )
    async with running(notes(), settings=settings, token="abc") as world:
        assert (await world.client.put(f"/{way}/a", headers={"traceparent": TRACE})).status == 200
        odd = {"traceparent": TRACE.upper(), "Authorization": "Bearer def"}
        assert (await world.client.put(f"/{way}/b", headers=odd)).status == 200
        await world.commands.send(Note("c"))
        told = [(record.who[:6], record.trace, record.data) for record in await world.events()]
        assert [who for who, _, _ in told] == ["ci", "token-", ""]
        assert [trace for _, trace, _ in told] == [TRACE, "", ""]
        assert b'"who":"ci"' in bytes(told[0][2])


async def test_a_reactor_carries_on_who_and_trace() -> None:
    """What a reactor sends has the identity and the trace of the event that it sees to."""
    app, followed = notes(), asyncio.Event()

    @app.reactor("follow", Noted)
    async def follow(event: Noted, commands: CommandBus) -> None:
        if event.key == "a":
            await commands.send(Note("b"))
            followed.set()

    settings = Settings(journal="memory:", transport="memory:", warm_start=False, tokens="write:ci=abc")
    async with running(app, settings=settings, token="abc") as world:
        assert (await world.client.put("/lane/a", headers={"traceparent": TRACE})).status == 200
        async with asyncio.timeout(30):
            await followed.wait()
        told = [(record.key, record.who, record.trace) for record in await world.events()]
        assert told == [("a", "ci", TRACE), ("b", "ci", TRACE)]


async def test_one_key_of_two_identities_is_two_writes() -> None:
    """Idempotency keys are scoped by who sends them: the name of a token, not the token."""
    settings = Settings(
        journal="memory:",
        transport="memory:",
        warm_start=False,
        tokens="write:ci=abc,write:ci=new,write:cd=def",
    )
    async with running(notes(), settings=settings) as world:
        ids = []
        for token in ("abc", "new", "def"):
            fields = {"Authorization": f"Bearer {token}", "Idempotency-Key": "1"}
            ids.append((await world.client.put("/lane/a", headers=fields)).headers["skerry-command"])
        assert ids[0] == ids[1] != ids[2]
