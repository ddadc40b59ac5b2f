"""What the ASGI side is told and what the access log says."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from skerry.http.application import Application
from skerry.server.server import HttpServer
from skerry.server.settings import ServerSettings
from skerry.testing.wire import MemoryTransport

Start = Callable[..., Awaitable[Any]]


async def test_the_scope(start: Start) -> None:
    """A mounted application gets the scope that ASGI HTTP 2.3 describes."""
    seen: dict[str, Any] = {}

    async def mounted(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        seen.update(scope)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    app = Application()
    app.mount("/m", mounted)
    running = await start(app)
    await running.ask(
        b"GET /m/%C3%A4%2Fb?q=%20 HTTP/1.1\r\nHOST: h\r\nX-A: 1\r\nX-A: 2\r\nConnection: close\r\n\r\n"
    )
    assert (seen["method"], seen["http_version"], seen["scheme"]) == ("GET", "1.1", "http")
    assert (seen["path"], seen["raw_path"], seen["query_string"]) == ("/m/ä/b", b"/m/%C3%A4%2Fb", b"q=%20")
    assert seen["root_path"] == "/m"
    assert seen["headers"][:3] == [(b"host", b"h"), (b"x-a", b"1"), (b"x-a", b"2")]
    assert seen["client"][0] == "127.0.0.1"
    assert seen["server"] == ("127.0.0.1", running.port)
    assert seen["state"] == {}


@pytest.mark.parametrize(
    ("access_log", "expected"), [("off", []), ("asgi", ["/asgi"]), ("all", ["/asgi", "/lane"])]
)
async def test_the_access_log(
    start: Start, caplog: pytest.LogCaptureFixture, access_log: str, expected: list[str]
) -> None:
    """`off` is silent, `asgi` leaves the lane out, `all` has a line for each; the request's id is in the record."""
    app = Application()

    @app.get("/asgi")
    async def asgi() -> str:
        return "a"

    @app.get("/lane")
    def lane() -> str:
        return "l"

    running = await start(app, access_log=access_log)
    with caplog.at_level(logging.INFO, "skerry.access"):
        for path in (b"/asgi", b"/lane"):
            await running.ask(
                b"GET %b?secret=1 HTTP/1.1\r\nHost: x\r\nX-Request-ID: id-1\r\nConnection: close\r\n\r\n"
                % path
            )
    records = [record for record in caplog.records if record.name == "skerry.access"]
    assert [record.__dict__["path"] for record in records] == expected
    for record in records:
        assert (record.__dict__["status"], record.__dict__["request_id"]) == (200, "id-1")
        assert "secret" not in record.getMessage()


async def test_the_access_log_has_the_time_of_answers_from_memory(
    start: Start, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lane's lines say how long an answer took, that of a write too, which is given when its future is done."""
    now = [100.0]
    monkeypatch.setattr("skerry.server.lane.monotonic", lambda: now[0])
    app = Application()

    @app.get("/slow")
    def slow() -> str:
        now[0] += 0.25
        return "s"

    @app.put("/written")
    def written() -> asyncio.Future[str]:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[str] = loop.create_future()

        def visible() -> None:
            now[0] += 0.5
            answer.set_result("w")

        loop.call_soon(visible)
        return answer

    running = await start(app, access_log="all")
    with caplog.at_level(logging.INFO, "skerry.access"):
        for line in (b"GET /slow", b"PUT /written", b"GET /none"):
            await running.ask(
                b"%b HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n" % line
            )
    records = [record.__dict__ for record in caplog.records if record.name == "skerry.access"]
    assert [(record["status"], record["seconds"]) for record in records] == [
        (200, 0.25),
        (200, 0.5),
        (404, 0.0),
    ]


@pytest.mark.parametrize(
    ("starts", "returned", "answer", "said"),
    [
        (False, None, b"HTTP/1.1 500 ", "without starting response"),
        (True, None, b"HTTP/1.1 200 ", "without completing response"),
        (False, "a value", b"<end>", "should return None"),
    ],
)
async def test_an_application_that_returns_before_its_answer_is_whole(
    start: Start, caplog: pytest.LogCaptureFixture, starts: bool, returned: object, answer: bytes, said: str
) -> None:
    """Its client gets a 500, or a connection that ends within the answer; the log has why."""

    async def mounted(scope: Any, receive: Any, send: Any) -> Any:
        if scope["type"] == "lifespan":
            return None
        if starts:
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
        return returned

    app = Application()
    app.mount("/", mounted)
    running = await start(app)
    found = await running.ask(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert found.startswith(answer)
    assert [record for record in caplog.records if said in record.getMessage()]


async def test_a_head_leaves_with_what_follows_or_alone() -> None:
    """An answer that is there at once is one write; a head that nothing follows yet does not wait for it."""
    more = asyncio.Event()

    async def mounted(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            return
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
        if scope["path"] == "/later":
            await more.wait()
        await send({"type": "http.response.body", "body": b"hello"})

    app = Application()
    app.mount("/", mounted)
    server = HttpServer(app, ServerSettings(access_log="off"))
    await server.start()
    written: list[bytes] = []
    transport = MemoryTransport(written.append, lambda: None)
    transport.connect(server.connection())
    transport.feed(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    while not written:  # noqa: ASYNC110 - as many turns of the loop as it takes
        await asyncio.sleep(0)
    assert len(written) == 1
    assert written[0].endswith(b"\r\n\r\nhello")
    written.clear()
    transport.feed(b"GET /later HTTP/1.1\r\nHost: x\r\n\r\n")
    while not written:  # noqa: ASYNC110 - as many turns of the loop as it takes
        await asyncio.sleep(0)
    assert written[0].endswith(b"\r\n\r\n")
    more.set()
    while len(written) < 2:  # noqa: ASYNC110 - as many turns of the loop as it takes
        await asyncio.sleep(0)
    assert written[1:] == [b"hello"]
    transport.close()
    await server.stop(1.0)
