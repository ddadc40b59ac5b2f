"""Answers that are kept: only what may be, within bounds, and dropped as one."""

from __future__ import annotations

from uuid import UUID

import pytest

from skerry.clock import SystemClock
from skerry.errors import DeclarationError
from skerry.http.application import Application
from skerry.http.auth import Tokens
from skerry.http.headers import Headers
from skerry.http.kept import OVERHEAD, KeptAnswers
from skerry.http.reply import Response
from skerry.http.routes import Route
from skerry.testing.client import Client

NONE = Headers()


def declared(tokens: str = "", keep: bool | str = True) -> Route:
    app = Application()
    app.get("/values/{key}", keep=keep)(lambda key: key)
    app.compile(tokens=Tokens.parse(tokens, SystemClock()))
    return next(route for route in app.table.routes if route.keep)


def keeping(most_bytes: int = 16_000) -> KeptAnswers:
    kept = KeptAnswers(most_bytes)
    kept.stopped = ()
    return kept


def test_what_is_kept() -> None:
    """A 200 to a plain request; not an error, nor what depends on more than the path and memory."""
    route, kept = declared(), keeping()
    kept.offer(b"a", NONE, route, Response(b"", 404))
    kept.offer(b"b", Headers([(b"if-none-match", b'"1"')]), route, Response(b"x"))
    kept.offer(b"c", Headers([(b"skerry-position", b"e:7")]), route, Response(b"x"))
    kept.offer(b"d", NONE, declared("read:abcdefghijklmnop"), Response(b"x"))
    assert not kept.answers
    kept.offer(b"e", NONE, route, Response(b"x", etag="1"))
    counts, rest, is_placed = kept.answers[b"e"]
    assert not is_placed
    assert counts is route.counts
    assert rest == b'ETag: "1"\r\nCache-Control: no-cache\r\nContent-Length: 1\r\n\r\nx'
    kept.clear("an event")
    assert not kept.answers


def test_nothing_is_kept_where_nobody_clears_or_a_projection_is_stopped() -> None:
    """Else an old answer would be sent for ever."""
    route, kept = declared(), KeptAnswers()
    kept.offer(b"a", NONE, route, Response(b"x"))
    kept.stopped = {"Values": "why"}
    kept.offer(b"a", NONE, route, Response(b"x"))
    assert not kept.answers


def test_bounds() -> None:
    """As many bytes as are allowed, and no single answer that takes all the room; none at all with 0."""
    route, kept, most = declared(), keeping(16_000), 0
    for number in range(100):
        kept.offer(b"%d" % number, NONE, route, Response(b"x" * 500))
        most = max(most, len(kept.answers))
        assert sum(len(rest) + OVERHEAD for _, rest, _ in kept.answers.values()) <= 16_000
    assert most > 15
    kept.clear()
    kept.offer(b"large", NONE, route, Response(b"x" * 1_000))
    assert not kept.answers
    off = keeping(0)
    off.offer(b"a", NONE, route, Response(b""))
    assert not off.answers


def test_only_gets_of_plain_views_are_declared_so() -> None:
    """What is declared otherwise is refused at once, with the reason."""
    app = Application()

    async def waits(key: str) -> str:
        return key

    with pytest.raises(DeclarationError, match="plain def"):
        app.get("/a/{key}", keep=True)(waits)
    with pytest.raises(DeclarationError, match="GET routes"):
        app.put("/a/{key}", keep=True)
    for path in ("/a/{key}", "/{name}/a", "/{name}/{key}"):
        with pytest.raises(DeclarationError, match="end of the path"):
            app.get(path, keep="name")
    with pytest.raises(DeclarationError, match="GET routes"):
        app.get("/a/{key}", keep=True, stale=True)

    @app.get("/ids/{id}", keep="id")
    def by_id(id: UUID) -> str:
        return str(id)  # whose letters may be large or small

    with pytest.raises(DeclarationError, match="a str, as keys of events are"):
        app.compile()


def test_what_is_kept_by_key_goes_with_its_key() -> None:
    """An event drops what is kept under its key, and what is kept under none; the position is that of the last event,
    and only in answers that had one."""
    kept = keeping()
    by_key, by_any = declared(keep="key"), declared()
    placed = {"X-Skerry-Position": "its own", "Skerry-Position": "e:1", "Vary": "Skerry-Position"}
    for key in ("a", "b"):
        kept.offer(key.encode(), NONE, by_key, Response(b"x", headers=placed), key)
        kept.offer(key.encode() * 2, NONE, by_key, Response(b"x"), key)
    kept.offer(b"any", NONE, by_any, Response(b"x", headers=placed), "a")
    assert kept.position == b"Skerry-Position: e:1\r\n"
    assert [(rest.count(b"e:1"), is_placed) for _, rest, is_placed in kept.answers.values()] == [
        (0, True), (0, False), (0, True), (0, False), (1, False),
    ]  # fmt: skip
    kept.drop(["c", "b"], "e:3")
    assert kept.position == b"Skerry-Position: e:3\r\n"
    assert sorted(kept.answers) == [b"a", b"aa"]


def test_what_is_dropped_makes_room() -> None:
    """Bytes of answers that went with their key are not counted any more."""
    route, kept = declared(keep="key"), keeping(16_000)
    for number in range(100):
        kept.offer(b"steady", NONE, route, Response(b"x" * 500), "steady")
        kept.offer(b"%d" % number, NONE, route, Response(b"x" * 500), "k")
        kept.drop(["k"], f"e:{number}")
        kept.drop(["steady"], f"e:{number}")
        kept.offer(b"first", NONE, route, Response(b"x"), "first") if not number else None
    assert list(kept.answers) == [b"first"]


async def test_an_application_of_its_own_is_asked_each_time() -> None:
    """Without a journal nothing tells that what a view reads has changed."""
    app, numbers = Application(), iter(range(10))

    @app.get("/next/{key}", keep=True)
    def following(key: str) -> str:
        return str(next(numbers))

    async with Client(app) as client:
        assert [(await client.get("/next/a")).text for _ in range(4)] == ["0", "1", "2", "3"]
