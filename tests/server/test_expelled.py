"""What goes on for somebody ends when they lose the right to it: a session that was revoked, or an identity that has
expired. Others go on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from starlette.responses import StreamingResponse
from starlette.websockets import WebSocket, WebSocketDisconnect
from tests.server.conftest import Running, Start
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from skerry.http.application import Application
from skerry.http.auth import COOKIE, SESSION_SECONDS, Tokens
from skerry.http.events import Events
from skerry.http.feed import RingFeed
from skerry.http.hub import Hub
from skerry.position import Position
from skerry.server.server import HttpServer
from skerry.testing.clock import VirtualClock

OFTEN = 0.05
"""As a deadline of the server it makes it look around that often."""


class Site:
    """Everything that goes on, behind tokens."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.tokens = Tokens.parse("read:ann=abc", self.clock)
        self.hub = Hub(name="p")
        events = Events(self.hub.channel("/events", RingFeed(Position("a", 0)), None), self.hub)
        self.heard: list[int] = []
        self.ended = 0
        self.app = app = Application()
        app.websocket("/events")(events.websocket)
        app.get("/events")(events.stream)

        @app.websocket("/view")
        async def view(websocket: WebSocket) -> None:
            await websocket.accept()
            await websocket.send_text("here")
            try:
                while True:
                    await websocket.receive_text()
            except WebSocketDisconnect as error:
                self.heard.append(error.code)

        @app.get("/stream")
        async def stream() -> StreamingResponse:
            async def parts() -> AsyncIterator[bytes]:
                try:
                    yield b"here"
                    await asyncio.Event().wait()
                finally:
                    self.ended += 1

            return StreamingResponse(parts())

        app.compile(tokens=self.tokens, clock=self.clock)

    def cookie(self) -> tuple[str, str]:
        """Of a new session, and its id."""
        value = self.tokens.session("abc")
        assert value is not None
        return f"{COOKIE}={value}", value.split(".")[1]

    def revoke(self, session: str) -> None:
        self.tokens.revoked = {session}
        assert self.app.guard is not None
        self.app.guard.forget()


async def opened(running: Running, path: str, fields: dict[str, str]) -> asyncio.Task[int | bytes]:
    """Somebody listens; the task ends as they are told: the close code, or the rest of the answer."""
    if path in ("/view", "ws:/events"):
        url = f"ws://127.0.0.1:{running.port}{path.removeprefix('ws:')}"
        socket = await connect(
            url, additional_headers=fields, compression=None, ping_interval=None, open_timeout=30
        )
        await socket.recv()

        async def closed() -> int:
            try:
                while True:
                    await socket.recv()
            except ConnectionClosed as error:
                return 0 if error.rcvd is None else error.rcvd.code

        return asyncio.create_task(closed())
    reader, writer = await running.connect()
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    writer.write(f"GET {path} HTTP/1.1\r\nHost: h\r\nAccept: text/event-stream\r\n{lines}\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    assert b" 200 " in head
    await reader.readuntil(b"\r\n")

    async def rest() -> bytes:
        try:
            async with asyncio.timeout(30):
                return await reader.read()
        finally:
            writer.close()

    return asyncio.create_task(rest())


PATHS = ("/view", "ws:/events", "/events", "/stream")


@pytest.mark.parametrize("path", PATHS)
async def test_a_revoked_session_ends_what_goes_on_at_once(start: Start, path: str) -> None:
    """Close code 1008, or an answer that is cut off without its last chunk; a second session of the token, and whoever
    sends the token itself, are not touched."""
    site = Site()
    running = await start(site.app, gone_seconds=OFTEN)
    (mine, id), (other, _) = site.cookie(), site.cookie()
    ended = await opened(running, path, {"Cookie": mine})
    others = [
        await opened(running, path, fields) for fields in ({"Cookie": other}, {"Authorization": "Bearer abc"})
    ]
    await running.until(
        lambda: len(running.server.state.held) == 2
    )  # a token does not end while the server runs
    site.revoke(id)
    told = await ended
    assert told == 1008 if isinstance(told, int) else not told.endswith(b"0\r\n\r\n")
    assert not any(each.done() for each in others)
    if path == "/view":
        assert site.heard == [1008]
    elif path == "/stream":
        await running.until(lambda: site.ended == 1)
    assert len(running.server.state.held) == 1
    refused = await running.ask(f"GET /stream HTTP/1.1\r\nHost: h\r\nCookie: {mine}\r\n\r\n".encode())
    assert refused.startswith(b"HTTP/1.1 401 ")
    for each in others:
        each.cancel()


@pytest.mark.parametrize("path", PATHS)
async def test_it_ends_when_its_time_is_over(start: Start, path: str) -> None:
    """A stream lasts no longer than the session with which it was begun; the server looks about once a second."""
    site = Site()
    running = await start(site.app, linger_seconds=OFTEN)
    ended = await opened(running, path, {"Cookie": site.cookie()[0]})
    await running.until(lambda: running.server.state.held)
    await site.clock.advance(SESSION_SECONDS + 1.0)
    told = await ended
    assert told == 1008 if isinstance(told, int) else not told.endswith(b"0\r\n\r\n")
    assert not running.server.state.held


async def test_a_session_that_is_revoked_before_the_answer_begins_gets_little(start: Start) -> None:
    """Who was let in and revoked before the websocket was accepted is found when the server looks around."""
    site = Site()
    gate = asyncio.Event()

    @site.app.websocket("/late")
    async def late(websocket: WebSocket) -> None:
        await gate.wait()
        await websocket.accept()
        await websocket.receive()
        site.heard.append((await websocket.receive())["code"])

    site.app.compile(tokens=site.tokens, clock=site.clock)
    running = await start(site.app, linger_seconds=OFTEN)
    cookie, id = site.cookie()
    url = f"ws://127.0.0.1:{running.port}/late"
    opening = asyncio.ensure_future(
        connect(url, additional_headers={"Cookie": cookie}, open_timeout=30).__aenter__()
    )
    await running.until(lambda: running.server.state.applications.pending)
    site.revoke(id)
    gate.set()
    socket = await opening
    with pytest.raises(ConnectionClosed) as closed:
        await socket.recv()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1008


async def test_what_is_over_is_not_held(start: Start) -> None:
    """Connections that went on and ended leave nothing behind, nor does a server in its application."""
    site = Site()
    running = await start(site.app)
    cookie, _ = site.cookie()
    tasks = [await opened(running, path, {"Cookie": cookie}) for path in PATHS]
    await running.until(lambda: len(running.server.state.held) == len(PATHS))
    assert isinstance(running.server, HttpServer)
    await running.server.stop(0.1)
    await asyncio.gather(*tasks, return_exceptions=True)
    assert not running.server.state.held
    assert site.app.guard is not None
    assert not site.app.guard.listeners
