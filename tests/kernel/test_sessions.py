"""A logout ends the session itself: for whoever kept the cookie, in every process, and after a restart."""

from __future__ import annotations

from pathlib import Path

import pytest

from skerry import App
from skerry.backends.memory.journal import MemoryJournal
from skerry.backends.sqlite.journal import SqliteJournal
from skerry.errors import Rejected
from skerry.http.auth import COOKIE, SESSION_SECONDS
from skerry.http.identity import Identity
from skerry.journal.unit import Unit
from skerry.kernel.sessions import MOST_REVOKED, Revoked, RevokedSessions, RevokeSession, revoke
from skerry.kernel.settings import Settings
from skerry.testing.app import running
from skerry.testing.clock import VirtualClock

SETTINGS = Settings(journal="memory:", transport="memory:", warm_start=False, tokens="write:ann=abc,read:def")
OWN = {"Origin": "http://testserver"}


def pages() -> App:
    app = App("pages")

    @app.get("/page/{key}")
    def page(key: str, identity: Identity) -> str:
        return identity.subject

    return app


async def test_a_logout_ends_the_session_for_everybody_who_has_its_cookie() -> None:
    """The cookie is refused afterwards, on a connection that has remembered it too; other sessions of the token go on,
    and the journal says who logged out."""
    async with running(pages(), settings=SETTINGS) as world:
        client = world.client
        cookies = []
        for _ in range(2):
            await client.post("/login", body="token=abc", headers=OWN)
            cookies.append({"Cookie": f"{COOKIE}={client.cookies.pop(COOKIE)}"})
        stolen, other = cookies
        assert stolen != other
        for fields in (stolen, other, stolen):
            assert (await client.get("/page/a", headers=fields)).text == "ann"
        out = await client.post("/logout", headers={**OWN, **stolen})
        assert (out.status, "Max-Age=0" in out.headers["set-cookie"]) == (303, True)
        assert (await client.get("/page/a", headers=stolen)).status == 401
        assert (await client.get("/page/a", headers=other)).text == "ann"
        told = [(record.name, record.who) for record in await world.events()]
        assert told == [("skerry_session_revoked", "ann")]
        assert (await client.post("/logout", headers={**OWN, **stolen})).status == 303
        assert len(await world.events()) == 1


async def test_a_logout_ends_the_streams_of_its_session() -> None:
    """Whoever listens with a cookie hears nothing more once its session is revoked; another session goes on."""
    app = pages()
    app.live("/events")
    async with running(app, settings=SETTINGS) as world:
        client = world.client
        await client.post("/login", body="token=abc", headers=OWN)
        mine = {"Cookie": f"{COOKIE}={client.cookies.pop(COOKIE)}", "Accept": "text/event-stream"}
        await client.post("/login", body="token=abc", headers=OWN)
        other = {"Cookie": f"{COOKIE}={client.cookies.pop(COOKIE)}", "Accept": "text/event-stream"}
        async with (
            client.stream("GET", "/events", headers=mine) as ends,
            client.stream("GET", "/events", headers=other) as goes_on,
        ):
            assert (ends.status, goes_on.status) == (200, 200)
            assert (await client.post("/logout", headers={**OWN, **mine})).status == 303
            async for part in ends:
                assert part
            heard = b""
            while b"connection_closed" not in heard:
                heard += await anext(goes_on)


async def test_it_stays_revoked_after_a_restart(tmp_path: Path) -> None:
    """What is revoked is loaded with the rest of memory."""
    path = str(tmp_path / "a.db")
    fields = {}
    for start in range(2):
        async with running(pages(), settings=SETTINGS, journal=SqliteJournal(path, "pages")) as world:
            if not start:
                await world.client.post("/login", body="token=abc", headers=OWN)
                fields = {"Cookie": f"{COOKIE}={world.client.cookies[COOKIE]}"}
                assert (await world.client.get("/page/a", headers=fields)).status == 200
                await world.client.post("/logout", headers={**OWN, **fields})
            assert (await world.client.get("/page/a", headers=fields)).status == 401


async def test_what_is_kept_of_revoked_sessions_is_bounded() -> None:
    """Ids go when their sessions would have ended, in the journal as in memory, and there is a limit until then."""
    clock = VirtualClock()
    async with running(pages(), settings=SETTINGS, clock=clock, journal=MemoryJournal(clock=clock)) as world:
        ends, kept = int(clock.now()) + SESSION_SECONDS, world.service(RevokedSessions)
        await world.commands.send(RevokeSession("a", ends))
        assert "a" in kept
        await clock.advance(SESSION_SECONDS + 1)
        await world.commands.send(RevokeSession("b", ends + SESSION_SECONDS))
        assert set(kept.until) == {"b"}
        [(_, _, row, _)] = kept.dump()
        assert set(row.until) == {"b"}


def test_a_session_is_kept_to_its_last_second() -> None:
    """A cookie is good until its end: one that ends in this second is still refused when another one is revoked."""

    class Kept:
        at = 5.0
        row = Revoked({"a": 5, "over": 4})

        async def get(self, table: object, key: str) -> Revoked:
            return self.row

        def put(self, table: object, key: str, row: Revoked) -> None:
            self.row = row

        def emit(self, event: object) -> None: ...

    kept = Kept()
    unit: Unit = kept  # type: ignore[assignment]
    for id, until in (("b", 9), ("c", 5)):
        with pytest.raises(StopIteration):
            revoke(RevokeSession(id, until), unit).send(None)
    assert kept.row.until == {"a": 5, "b": 9, "c": 5}


def test_more_than_the_limit_is_refused() -> None:
    """A logout that cannot be kept is refused, not forgotten: the browser is told to try again."""

    class Full:
        at = 0.0

        async def get(self, table: object, key: str) -> Revoked:
            return Revoked({str(number): 1 for number in range(MOST_REVOKED)})

    unit: Unit = Full()  # type: ignore[assignment]
    with pytest.raises(Rejected):
        revoke(RevokeSession("new", 1), unit).send(None)
