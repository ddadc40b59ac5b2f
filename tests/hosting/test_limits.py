"""What a hosted application may take: threads, queue, time, bodies; and what its process is told then."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.types import ASGIApp, Receive, Scope, Send
from tests.hosting.conftest import Hosting

from skerry.hosting.call import Call
from skerry.http.application import Application
from skerry.http.trusted import Trusted
from skerry.server.settings import ServerSettings
from skerry.testing.raw_http import SECONDS, RawConnection, ask, until
from skerry.testing.wsgi import PLAIN


def ok(environ: dict[str, Any], start: Any) -> list[bytes]:
    start("200 OK", PLAIN)
    return [b"ok"]


def nothing(application: Application) -> None:
    """No middleware."""


class Passing:
    """A middleware that does nothing but stand in between."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)


def covered(application: Application) -> None:
    application.middleware(Passing)


async def test_a_full_queue_is_answered_at_once(serve: Hosting) -> None:
    """503 with Retry-After, before the body is read; what waits is answered when a thread is free."""
    go = threading.Event()

    def app(environ: dict[str, Any], start: Any) -> list[bytes]:
        assert go.wait(SECONDS)
        return ok(environ, start)

    port = await serve(app, threads="1", queue=2)
    asked = [asyncio.create_task(ask(port, "GET / HTTP/1.1")) for _ in range(1)]
    await until(lambda: serve.wsgi.pool.busy == 1)
    asked += [asyncio.create_task(ask(port, "GET / HTTP/1.1")) for _ in range(2)]
    await until(lambda: serve.wsgi.pool.waiting.qsize() >= serve.wsgi.pool.settings.queue)
    refused = await ask(port, "POST / HTTP/1.1", "Content-Length: 5")
    assert (refused.status, refused.headers["retry-after"]) == (503, "1")
    go.set()
    assert [(await each).status for each in asked] == [200] * 3
    assert serve.wsgi.pool.refused == 1


async def test_threads_come_while_they_wait_and_leave_again(serve: Hosting) -> None:
    """From one to three, which is the most; without work one is left."""
    go = threading.Event()

    def app(environ: dict[str, Any], start: Any) -> list[bytes]:
        assert go.wait(SECONDS)
        return ok(environ, start)

    port = await serve(app, threads="1..3", idle_seconds=0.1)
    asked = [asyncio.create_task(ask(port, "GET / HTTP/1.1")) for _ in range(6)]
    await until(lambda: serve.wsgi.pool.busy == 3)
    go.set()
    assert [(await each).status for each in asked] == [200] * 6
    await until(lambda: serve.wsgi.pool.threads == 1)
    assert (await ask(port, "GET / HTTP/1.1")).status == 200


async def test_busy_threads_get_no_company(serve: Hosting) -> None:
    """Those that compute would only take the interpreter from each other; nor does a queue that moves need more."""
    go = threading.Event()

    def app(environ: dict[str, Any], start: Any) -> list[bytes]:
        assert go.wait(SECONDS)
        return ok(environ, start)

    port = await serve(app, threads="1..3")
    pool = serve.wsgi.pool
    pool._look_again = lambda *seen: None  # type: ignore[method-assign]  # we look ourselves
    asked = [asyncio.create_task(ask(port, "GET / HTTP/1.1")) for _ in range(3)]
    await until(lambda: pool.waiting.qsize() == 2)
    cpu, now = time.process_time(), time.monotonic()
    pool._grow(pool.taken, cpu - 10.0, now - 10.0)  # it has used a whole processor
    pool._grow(pool.taken - 1, cpu, now - 10.0)  # the queue has moved
    assert pool.threads == 1
    pool._grow(pool.taken, cpu, now - 10.0)  # it has waited
    assert pool.threads == 2
    go.set()
    assert [(await each).status for each in asked] == [200] * 3


def running(serve: Hosting) -> list[Call]:
    return [each.job for each in serve.wsgi.pool._workers if isinstance(each.job, Call) and not each.lost]


def let_time_pass(serve: Hosting) -> None:
    """As if nothing had moved for long, for what runs now."""
    for call in running(serve):
        call._moved -= 10_000


async def test_a_view_beyond_its_time_costs_its_thread_only(serve: Hosting, caplog: Any) -> None:
    """The client gets 503, the log the place where it stands, others a new thread; at last it may go."""
    go, exhausted, began = threading.Event(), threading.Event(), threading.Event()

    def app(environ: dict[str, Any], start: Any) -> list[bytes]:
        if environ["PATH_INFO"] == "/stuck":
            began.set()
            assert go.wait(SECONDS)
        return ok(environ, start)

    port = await serve(app, threads="1", timeout=1_000, max_stuck=1)
    serve.wsgi.pool._on_exhausted = exhausted.set
    for stuck in (1, 2):
        began.clear()
        asked = asyncio.create_task(ask(port, "GET /stuck HTTP/1.1"))
        await until(began.is_set)
        let_time_pass(serve)
        assert (await asked).status == 503
        assert serve.wsgi.pool.stuck == stuck
        if stuck == 1:
            assert (await ask(port, "GET / HTTP/1.1")).status == 200
            assert not exhausted.is_set()
    assert "go.wait(SECONDS)" in caplog.text
    await until(exhausted.is_set)
    go.set()
    await until(lambda: serve.wsgi.pool.stuck == 0)


async def test_an_answer_that_stands_still_is_cut_off(serve: Hosting) -> None:
    """503 cannot be said any more."""
    go = threading.Event()

    def app(environ: dict[str, Any], start: Any) -> Iterator[bytes]:
        start("200 OK", PLAIN)
        yield b"begun"
        assert go.wait(SECONDS)

    port = await serve(app, threads="1")
    wire = await RawConnection.open(port)
    await wire.send("GET / HTTP/1.1")
    await wire.head()
    assert await wire.chunk() == b"begun"
    let_time_pass(serve)
    assert await wire.reader.read() == b""
    go.set()
    wire.close()


async def test_what_moves_is_in_time(serve: Hosting) -> None:
    """The time begins again with each part of an upload, and is twice as long behind the head of the answer."""
    entered, seen = threading.Event(), threading.Event()

    def app(environ: dict[str, Any], start: Any) -> Iterator[bytes]:
        entered.set()
        environ["wsgi.input"].read()
        start("200 OK", PLAIN)
        yield b"begun"
        assert seen.wait(SECONDS)

    port = await serve(app, threads="1", timeout=1_000)
    wire = await RawConnection.open(port)
    await wire.send("POST / HTTP/1.1", "Content-Length: 2")
    await until(entered.is_set)
    [call] = running(serve)
    began = call._moved
    assert (call.overdue(began + 999), call.overdue(began + 1_001)) == (False, True)
    wire.writer.write(b"x")
    await until(lambda: call._moved > began)
    moved = call._moved
    assert (call.overdue(moved + 999), call.overdue(moved + 1_001)) == (False, True)
    wire.writer.write(b"y")
    await wire.head()
    await until(lambda: call._moved > moved)
    moved = call._moved
    assert (call.overdue(moved + 1_999), call.overdue(moved + 2_001)) == (False, True)
    seen.set()
    wire.close()


async def test_an_answer_that_streams_leaves_the_others_their_threads(serve: Hosting) -> None:
    """It gets a thread of its own, which goes with it."""
    go = threading.Event()

    def app(environ: dict[str, Any], start: Any) -> Iterator[bytes]:
        start("200 OK", PLAIN)
        yield b"begun"
        if environ["PATH_INFO"] == "/stream":
            assert go.wait(SECONDS)

    port = await serve(app, threads="1", stream_seconds=0.1, idle_seconds=0.1)
    streams = []
    for _ in range(3):
        wire = await RawConnection.open(port)
        await wire.send("GET /stream HTTP/1.1")
        assert (await wire.head()).status == 200
        streams.append(wire)
        await until(lambda: serve.wsgi.pool.streams == len(streams))
    assert (await ask(port, "GET / HTTP/1.1")).status == 200
    for _ in range(5):
        assert serve.wsgi.pool._sweeper is not None
        serve.wsgi.pool._sweeper.cancel()
        serve.wsgi.pool._sweep()
    assert serve.wsgi.pool.threads <= 1 + len(streams), "one for each, however long it streams"
    go.set()
    await until(lambda: serve.wsgi.pool.threads == 1)
    for wire in streams:
        wire.close()


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_over_the_limit_is_refused(serve: Hosting, chunked: bool) -> None:
    """413: at once when its length is declared, else when so much has come."""

    def app(environ: dict[str, Any], start: Any) -> list[bytes]:
        environ["wsgi.input"].read()
        return ok(environ, start)

    port = await serve(app, max_body=10)
    if chunked:
        body = b"8\r\n12345678\r\n3\r\n123\r\n0\r\n\r\n"
        found = await ask(port, "POST / HTTP/1.1", "Transfer-Encoding: chunked", body=body)
    else:
        found = await ask(port, "POST / HTTP/1.1", "Content-Length: 11", "Expect: 100-continue")
    assert found.status == 413
    assert (await ask(port, "POST / HTTP/1.1", "Content-Length: 10", body=b"x" * 10)).status == 200


async def test_a_prefix_ends_with_a_segment(serve: Hosting) -> None:
    """`/api` is not the beginning of `/apix`."""

    def app(environ: dict[str, Any], start: Any) -> list[bytes]:
        start("200 OK", PLAIN)
        return [f"{environ['SCRIPT_NAME']} {environ['PATH_INFO']}".encode()]

    port = await serve(app, prefix="/api")
    assert (await ask(port, "GET /api/a HTTP/1.1")).body == b"/api /a"
    assert (await ask(port, "GET /api HTTP/1.1")).body == b"/api "
    assert (await ask(port, "GET /apix HTTP/1.1")).status == 404


@pytest.mark.parametrize("around", [nothing, covered])
async def test_a_proxy_is_believed_where_it_is_trusted(serve: Hosting, around: Any) -> None:
    """Its client, scheme and prefix are in the environ, before the application's own prefix, behind middleware too."""

    def app(environ: dict[str, Any], start: Any) -> list[bytes]:
        start("200 OK", PLAIN)
        names = ("SCRIPT_NAME", "PATH_INFO", "RAW_URI", "REMOTE_ADDR", "wsgi.url_scheme")
        return [" ".join(environ[name] for name in names).encode()]

    limits = ServerSettings(trusted=Trusted(["127.0.0.1"]))
    port = await serve(app, prefix="/api", limits=limits, around=around)
    said = ("X-Forwarded-For: 192.0.2.7", "X-Forwarded-Proto: https", "X-Forwarded-Prefix: /outside")
    found = await ask(port, "GET /api/a HTTP/1.1", *said)
    assert found.body == b"/outside/api /a /outside/api/a 192.0.2.7 https"


async def test_a_websocket_is_refused_in_words(serve: Hosting) -> None:
    """404, not a connection that just closes."""
    port = await serve(ok)
    fields = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13")
    found = await ask(port, "GET / HTTP/1.1", *fields, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")
    assert found.status == 404


async def test_requests_under_way_are_answered_at_the_end(serve: Hosting) -> None:
    """A drain waits for them; the threads end."""
    began, go = threading.Event(), threading.Event()

    def app(environ: dict[str, Any], start: Any) -> list[bytes]:
        began.set()
        assert go.wait(SECONDS)
        return ok(environ, start)

    port = await serve(app, limits=ServerSettings(drain_seconds=SECONDS))
    asked = asyncio.create_task(ask(port, "GET / HTTP/1.1"))
    await until(began.is_set)
    stopping = asyncio.create_task(serve.server.stop())
    await until(lambda: serve.server.status == "draining")
    go.set()
    assert (await asked).status == 200
    await stopping
    assert serve.wsgi.pool.threads == 0


async def test_what_is_written_to_errors_is_logged(serve: Hosting, caplog: Any) -> None:
    """Line by line."""

    def app(environ: dict[str, Any], start: Any) -> list[bytes]:
        print("first", "line", file=environ["wsgi.errors"])
        environ["wsgi.errors"].write("sec")
        environ["wsgi.errors"].writelines(["ond", "\n", "third"])
        environ["wsgi.errors"].flush()
        return ok(environ, start)

    with caplog.at_level(logging.ERROR):
        await ask(await serve(app), "GET / HTTP/1.1")
    found = [each.getMessage() for each in caplog.records if each.name == "skerry.host.errors"]
    assert found == ["first line", "second", "third"]
