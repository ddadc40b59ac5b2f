"""Who sends a request is found out once for a connection that repeats its fields, and again when it may have ended."""

from __future__ import annotations

import asyncio
import gc

import pytest

from skerry.errors import DeclarationError
from skerry.http.application import Application
from skerry.http.auth import COOKIE, Tokens
from skerry.http.identity import Identity
from skerry.http.problems import Problem
from skerry.http.reply import Response
from skerry.http.request import Request
from skerry.testing.client import Client
from skerry.testing.clock import VirtualClock


def whoami(app: Application) -> None:
    @app.get("/who/{key}")
    def lane(key: str, identity: Identity) -> str:
        return f"{key} {identity.subject}"

    @app.get("/asgi/{key}")
    async def asgi(key: str, identity: Identity) -> str:
        return f"{key} {identity.subject}"

    @app.put("/who/{key}")
    def write(key: str, identity: Identity) -> str:
        return f"{key} {identity.subject}"


class Door:
    """An application's own way to know who it is: `X-User` fields. `asked`: how often."""

    def __init__(self, **more: float | None) -> None:
        self.asked = 0
        self.more = more

    def __call__(self, request: Request) -> Identity | None:
        self.asked += 1
        user = request.headers.get("x-user") or request.query.get("user")
        if user == "odd":
            raise Problem(403, "no odd users")
        return Identity(user, rights={"write"}, **self.more) if user else None  # type: ignore[arg-type]


async def test_a_token_is_proved_once_for_a_connection_that_repeats_its_fields() -> None:
    """The short cut of the lane holds behind a token: the same header block is not hashed again, another one is, and
    what is answered is private to whoever asked."""
    app = Application()
    whoami(app)
    tokens = Tokens.parse("read:ci=abc", VirtualClock())
    proved = 0
    find = tokens.identify

    def counting(headers: object) -> Identity | None:
        nonlocal proved
        proved += 1
        return find(headers)  # type: ignore[arg-type]

    tokens.identify = counting  # type: ignore[method-assign]
    app.compile(tokens=tokens)
    assert app.lane.direct
    async with Client(app, token="abc") as client:
        for number in range(5):
            answer = await client.get(f"/who/{number}")
            assert (answer.status, answer.text) == (200, f"{number} ci")
            assert "private" in answer.headers["cache-control"]
            assert "Authorization" in answer.headers["vary"]
        assert (await client.get("/asgi/a")).text == "a ci"
        assert proved == 1
        assert app.guard is not None
        app.guard.forget()
        assert (await client.get("/who/a")).text == "a ci"
        assert (await client.put("/who/a", body="")).status == 403
        again = proved
        assert (await client.get("/who/a", headers={"Authorization": "Bearer abd"})).status == 401
        assert proved == again + 1


async def test_what_a_fast_view_raises_is_private_too() -> None:
    """A problem behind a token says so to caches on the short cut as well."""
    app = Application()

    @app.get("/no/{key}")
    def no(key: str) -> Response:
        raise Problem(404, key)

    app.compile(tokens=Tokens.parse("read:abc", VirtualClock()))
    async with Client(app, token="abc") as client:
        for _ in range(3):
            assert "private" in (await client.get("/no/a")).headers["cache-control"]


async def test_a_remembered_session_ends_in_time() -> None:
    """A connection that goes on is asked again when its proof has expired."""
    app, clock = Application(), VirtualClock()
    whoami(app)
    door = Door(expires=clock.now() + 5.0)
    app.authenticate(door)
    app.compile(clock=clock)
    async with Client(app) as client:
        client.headers["X-User"] = "ann"
        for _ in range(3):
            assert (await client.get("/who/a")).text == "a ann"
        assert door.asked == 1
        await clock.advance(6.0)
        await client.get("/who/a")
        await client.get("/who/a")
        assert door.asked == 3


async def test_a_late_expiry_prolongs_nothing() -> None:
    """It is asked again after `remember_seconds`, however long the identity says that it holds."""
    app, clock = Application(), VirtualClock()
    whoami(app)
    door = Door(expires=clock.now() + 3600.0)
    app.authenticate(door, remember_seconds=10.0)
    app.compile(clock=clock)
    async with Client(app) as client:
        client.headers["X-User"] = "ann"
        await client.get("/who/a")
        await client.get("/who/a")
        assert door.asked == 1
        await clock.advance(11.0)
        await client.get("/who/a")
        assert door.asked == 2


async def test_the_application_says_who_it_is() -> None:
    """On the lane, on the ASGI side and for writes; nobody is 401, a problem of its own is what it says."""
    app, door = Application(), Door()
    whoami(app)
    app.authenticate(door)

    @app.get("/open", rights=None)
    def opened(identity: Identity | None) -> str:
        return "open"

    app.compile(tokens=Tokens.parse("read:ci=abc", VirtualClock()))
    async with Client(app) as client:
        assert (await client.get("/who/a")).status == 401
        assert (await client.get("/open")).text == "open"
        ann = {"X-User": "ann"}
        assert (await client.get("/who/a", headers=ann)).text == "a ann"
        assert (await client.get("/asgi/a", headers=ann)).text == "a ann"
        assert (await client.put("/who/a", body="", headers=ann)).text == "a ann"
        assert (await client.put("/who/a", body="", headers={**ann, "Origin": "http://evil"})).status == 403
        assert (await client.get("/who/a", headers={"X-User": "odd"})).status == 403
        assert (await client.get("/who/a", headers={"Authorization": "Bearer abc"})).text == "a ci"


async def test_who_a_query_proves_is_not_remembered() -> None:
    """A connection is shared by several clients behind a proxy: what a query proved does not hold for the next."""
    app, door = Application(), Door()
    whoami(app)
    app.authenticate(door)
    app.compile()
    async with Client(app) as client:
        for path in ("/who/a", "/asgi/a"):
            assert (await client.get(path, query={"user": "ann"})).text == "a ann"
            assert (await client.get(path)).status == 401


class Accounts:
    """A service, asked by an `async def`."""

    async def find(self, name: str) -> Identity | None:
        await asyncio.sleep(0)
        return Identity(f"user:{name}", name) if name == "ann" else None


async def test_an_async_answer_is_waited_for_on_the_lane_too() -> None:
    """The first request of a connection waits; those that repeat its fields take the short cut. What views return, a
    write's future for one, is answered as ever."""
    app = Application()
    whoami(app)
    accounts, asked = Accounts(), 0
    later: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    @app.authenticate
    async def who(request: Request, accounts: Accounts) -> Identity | None:
        nonlocal asked
        asked += 1
        return await accounts.find(request.headers.get("x-user") or "")

    @app.get("/later")
    def wait() -> asyncio.Future[str]:
        return later

    services: dict[type, object] = {Accounts: accounts}
    app.compile(services.__getitem__)
    async with Client(app) as client:
        assert (await client.get("/who/a")).status == 401
        client.headers["X-User"] = "ann"
        asked = 0
        for number in range(3):
            assert (await client.get(f"/who/{number}")).text == f"{number} user:ann"
        assert asked == 1
        client.headers["X-More"] = "1"
        waiting = asyncio.ensure_future(client.get("/later"))
        await asyncio.sleep(0)
        later.set_result("done")
        assert (await waiting).text == "done"


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("later", [False, True])
async def test_whoever_expects_a_100_is_asked_for_the_body_first_where_it_takes_time(later: bool) -> None:
    """A head with `Expect` is refused at once by a plain function; an `async def` is asked when there is a body."""
    app, asked = Application(), 0
    whoami(app)

    def who(request: Request) -> Identity | None:
        nonlocal asked
        asked += 1
        return Identity("ann", rights={"write"}) if request.headers.get("x-user") == "ann" else None

    async def who_later(request: Request) -> Identity | None:
        return who(request)

    app.authenticate(who_later if later else who)
    app.compile(tokens=Tokens.parse("read:abc", VirtualClock()))
    async with Client(app) as client:
        expects = {"Expect": "100-continue"}
        assert (await client.put("/who/a", body="x", headers=expects)).status == 401
        assert asked == 1
        assert (await client.put("/who/a", body="x", headers={**expects, "X-User": "ann"})).text == "a ann"
        reader = {**expects, "Authorization": "Bearer abc"}
        assert (await client.put("/who/a", body="x", headers=reader)).status == 403
        gc.collect()


async def test_slow_and_wrong_answers() -> None:
    """Somebody who cannot be found out in time is 503, something else than an identity a line in the log and 500."""
    for given, status in ((asyncio.Event().wait, 503), (lambda: "ann", 500)):
        app = Application()
        whoami(app)
        app.authenticate(timeout_seconds=0.01)(given)
        app.compile()
        async with Client(app) as client:
            assert (await client.get("/who/a")).status == status


class Maybe:
    """Open routes of every kind that ask who it is, if anybody says so."""

    def __init__(self, *, later: bool = False, tokens: str = "write:ann=abc") -> None:
        self.app = app = Application()

        @app.get("/lane/{key}", rights=None)
        def lane(key: str, identity: Identity | None) -> str:
            return f"{key} {identity.subject if identity else 'nobody'}"

        @app.get("/asgi/{key}", rights=None)
        async def asgi(key: str, identity: Identity | None) -> str:
            return f"{key} {identity.subject if identity else 'nobody'}"

        @app.put("/lane/{key}", rights=None)
        def write(key: str, identity: Identity | None) -> str:
            return f"{key} {identity.subject if identity else 'nobody'}"

        @app.put("/asgi/{key}", rights=None)
        async def asgi_write(key: str, identity: Identity | None) -> str:
            return f"{key} {identity.subject if identity else 'nobody'}"

        door = Door()

        async def slow(request: Request) -> Identity | None:
            await asyncio.sleep(0)
            return door(request)

        app.authenticate(slow if later else door)
        self.tokens = Tokens.parse(tokens, VirtualClock())
        app.compile(tokens=self.tokens)


@pytest.mark.parametrize("side", ["lane", "asgi"])
@pytest.mark.parametrize("later", [False, True])
async def test_an_open_route_may_ask_who_it_is(side: str, later: bool) -> None:
    """Whoever proves who they are is known there, whoever does not is served all the same; a wrong proof that the
    application refuses is refused. On a connection that repeats its fields nobody is taken for another."""
    maybe = Maybe(later=later)
    async with Client(maybe.app) as client:
        for _ in range(3):
            assert (await client.get(f"/{side}/a")).text == "a nobody"
        for _ in range(3):
            assert (await client.get(f"/{side}/a", headers={"Authorization": "Bearer abc"})).text == "a ann"
            assert (await client.get(f"/{side}/a", headers={"X-User": "bob"})).text == "a bob"
        assert (await client.get(f"/{side}/a", headers={"Authorization": "Bearer no"})).text == "a nobody"
        assert (await client.get(f"/{side}/a", headers={"X-User": "odd"})).status == 403
        assert (await client.put(f"/{side}/a", body="", headers={"X-User": "bob"})).text == "a bob"
        assert (await client.get(f"/{side}/a")).text == "a nobody"


@pytest.mark.parametrize("side", ["lane", "asgi"])
async def test_what_an_open_route_tells_is_for_who_asked(side: str) -> None:
    """It may differ for each: no cache in between gives one's answer to another."""
    async with Client(Maybe().app) as client:
        for fields in ({}, {"Authorization": "Bearer abc"}):
            answer = await client.get(f"/{side}/a", headers=fields)
            assert "private" in answer.headers["cache-control"]
            assert "Authorization" in answer.headers["vary"]


@pytest.mark.parametrize("side", ["lane", "asgi"])
async def test_a_cookie_says_who_writes_from_our_own_pages_only(side: str) -> None:
    """A browser sends it by itself: without word that the page is ours, an open route does not know who writes."""
    maybe = Maybe()
    cookie = {"Cookie": f"{COOKIE}={maybe.tokens.session('abc')}"}
    async with Client(maybe.app) as client:
        assert (await client.get(f"/{side}/a", headers=cookie)).text == "a ann"
        assert (await client.put(f"/{side}/a", body="", headers=cookie)).text == "a nobody"
        ours = {**cookie, "Sec-Fetch-Site": "same-origin"}
        assert (await client.put(f"/{side}/a", body="", headers=ours)).text == "a ann"
        theirs = {**cookie, "Sec-Fetch-Site": "cross-site"}
        assert (await client.put(f"/{side}/a", body="", headers=theirs)).status == 403


async def test_without_anything_to_prove_it_nobody_is_known() -> None:
    """Neither tokens nor app.authenticate: the view gets None, and its answers may be kept by caches."""
    app = Application()

    @app.get("/who/{key}", rights=None)
    def who(key: str, identity: Identity | None) -> str:
        return f"{key} {identity}"

    async with Client(app) as client:
        answer = await client.get("/who/a", headers={"Authorization": "Bearer abc"})
        assert (answer.text, answer.headers.get("cache-control")) == ("a None", None)


def test_an_open_route_cannot_count_on_an_identity() -> None:
    """`Identity` alone would be None there: told at declaration."""
    app = Application()

    @app.get("/who", rights=None)
    def who(identity: Identity) -> str:
        return identity.subject

    with pytest.raises(DeclarationError, match=r"parameter identity: everybody may ask .* Identity \| None"):
        app.compile()


def test_it_is_declared_once_and_bound_at_start() -> None:
    """A second one, or a parameter that nothing fills, is told before anything is served."""
    app = Application()

    @app.authenticate
    def who(accounts: Accounts) -> None: ...

    with pytest.raises(DeclarationError, match="twice"):
        app.authenticate(lambda: None)
    with pytest.raises(DeclarationError, match=r"app\.authenticate \(who\).*accounts"):
        app.check()


def test_an_identity_has_a_subject() -> None:
    """What events and keys are scoped by is never empty; write includes read."""
    with pytest.raises(ValueError, match="subject"):
        Identity("")
    ann = Identity("ann", rights="write")
    assert (ann.name, ann.right, ann.may("read"), ann.may("admin")) == ("ann", "write", True, False)
    assert Identity("ci", source="token").scope != Identity("ci").scope
