"""Services of a call, through a whole process: a view, a handler, a query and a reactor each get their own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from skerry import App, Command, Event, HttpWrites, Query, QueryBus, Request, Response, Unit
from skerry.errors import DeclarationError
from skerry.testing.app import running


class Noted(Event):
    key: str
    by: str


class Note(Command):
    key: str


class Who(Query[str]):
    pass


class Session:
    """Opened for a call, closed after it."""

    open: set[str] = set()  # noqa: RUF012 - of the whole test

    def __init__(self, who: str) -> None:
        self.who = who


def application() -> App:
    app = App("scoped")

    @app.service(scope="call")
    def session(request: Request) -> Iterator[Session]:
        who = request.headers.get("x-who") or "nobody"
        Session.open.add(who)
        try:
            yield Session(who)
        finally:
            Session.open.remove(who)

    return app


async def test_a_view_has_its_own_session() -> None:
    """On the lane and by ASGI: made from the request, open while the view works, closed after it, in a write too."""
    app = application()

    @app.handles(Note)
    async def note(command: Note, unit: Unit) -> None:
        unit.emit(Noted(command.key, "handler"))

    @app.get("/lane")
    def lane(session: Session) -> Response:
        return Response(f"{session.who} {sorted(Session.open)}")

    @app.get("/asgi")
    async def asgi(session: Session) -> Response:
        await asyncio.sleep(0)
        return Response(f"{session.who} {sorted(Session.open)}")

    @app.put("/notes/{key}")
    def write(key: str, request: Request, session: Session, writes: HttpWrites) -> asyncio.Future[Response]:
        return writes.send(request, Note(key), lambda receipt: Response(str(sorted(Session.open))))

    async with running(app) as world:
        for path in ("/lane", "/asgi"):
            answer = await world.client.get(path, headers={"x-who": "ada"})
            assert answer.text == "ada ['ada']"
            assert not Session.open
        answer = await world.client.put("/notes/a", headers={"x-who": "bo"})
        assert answer.text == "['bo']", "the session lives until the write is answered"
        assert not Session.open


async def test_handlers_and_queries_have_their_own_too() -> None:
    """A handler's is closed before the next command is decided; an awaited one makes a query asynchronous."""
    app = App("scoped")
    lives: list[str] = []

    @app.service(scope="call")
    async def session() -> AsyncIterator[Session]:
        lives.append("open")
        yield Session("async")
        lives.append("closed")

    @app.handles(Note)
    async def note(command: Note, unit: Unit, session: Session) -> None:
        unit.emit(Noted(command.key, session.who))
        lives.append(command.key)

    @app.answers(Who)
    def who(query: Who, session: Session) -> str:
        return session.who

    app.emits(Noted)
    async with running(app) as world:
        await asyncio.gather(*(world.commands.send(Note(key)) for key in "ab"))
        assert lives == ["open", "a", "closed", "open", "b", "closed"]
        queries = world.service(QueryBus)
        with pytest.raises(DeclarationError, match="ask_async"):
            queries.ask(Who())
        assert await queries.ask_async(Who()) == "async"


@pytest.mark.parametrize("scope", ["process", "call"])
async def test_what_lives_longer_cannot_be_made_of_it(scope: str) -> None:
    """A service of the process refuses one of a call at start; one of the process may not yield."""
    app = application()
    if scope == "call":

        class Mailer:
            def __init__(self, session: Session) -> None: ...

        Mailer.__init__.__annotations__ = {"session": Session}

        @app.get("/")
        def view(mailer: Mailer) -> str:
            return ""

        view.__annotations__ = {"mailer": Mailer, "return": str}
        app.service(Mailer)(Mailer)
        match = "Session is made for each call, and cannot be kept for the process"
    else:
        app = App("scoped")

        @app.service()
        def yields() -> Iterator[Session]:
            yield Session("x")

        match = r"yields yields: that is for @app.service\(scope=\"call\"\)"
    with pytest.raises(DeclarationError, match=match):
        async with running(app):
            pass


async def test_a_listener_stays_plain() -> None:
    """Between two events nothing is awaited: a service that has to be awaited is refused there."""
    app = App("scoped")

    @app.service(scope="call")
    async def session() -> Session:
        return Session("async")

    @app.on(Noted)
    def hear(event: Noted, session: Session) -> None: ...

    with pytest.raises(DeclarationError, match="a listener is a plain function of plain services"):
        async with running(app):
            pass
