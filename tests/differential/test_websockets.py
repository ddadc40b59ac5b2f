"""WebSockets, plain and through middleware: frames, codes, refusals and what the application saw, as under uvicorn."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable
from typing import Any

import pytest
from starlette.responses import PlainTextResponse
from starlette.websockets import WebSocket
from twoservers import BARE, Log, Talk, agree  # type: ignore[import-not-found]
from websockets.client import ClientProtocol
from websockets.frames import Frame
from websockets.http11 import Response
from websockets.uri import parse_uri

from skerry.http.application import Application
from skerry.http.events import Events
from skerry.http.feed import FeedEvent, RingFeed
from skerry.http.hub import Hub
from skerry.position import Position

Does = Callable[[Any, Any, Any, Log], Any]
HIDDEN = {"date", "server", "sec-websocket-accept"}


class Socket:
    """A websocket client over a Talk: the frames that come are noted."""

    def __init__(self, talk: Talk, path: str = "/", **fields: str) -> None:
        self.talk = talk
        self.core = ClientProtocol(parse_uri(f"ws://server.test{path}"))
        request = self.core.connect()
        for name, value in fields.items():
            request.headers[name.replace("_", "-")] = value
        self.core.send_request(request)
        self.over = False  # the server has closed
        self._frames: deque[Frame] = deque()  # came, and are not noted yet

    async def open(self) -> bool:
        """Shake hands; status and fields of the answer are noted."""
        await self._flush()
        while True:
            for event in self._events():
                if isinstance(event, Response):
                    hidden = HIDDEN if event.body else {*HIDDEN, "content-type"}
                    fields = sorted((n.lower(), v) for n, v in event.headers.raw_items())
                    shown = [field for field in fields if field[0] not in hidden]
                    note = ("shake", event.status_code, shown, bytes(event.body or b""))
                    self.talk.notes.append(
                        note if event.status_code < 500 else note[:2]
                    )  # its text is the server's
            if self.core.handshake_exc is not None:
                return False
            if self.core.state.name != "CONNECTING":
                return True
            if self.over:
                self.talk.notes.append("ended")
                return False
            await self._read()

    async def hear(self) -> None:
        """Note the next frame, or that the connection has ended."""
        while True:
            self._events()
            if self._frames:
                frame = self._frames.popleft()
                self.talk.notes.append((frame.opcode.name, bytes(frame.data)))
                await self._flush()
                return
            if self.over:
                self.talk.notes.append("ended")
                return
            await self._read()

    def _events(self) -> list[Any]:
        events = self.core.events_received()
        self._frames += [event for event in events if isinstance(event, Frame)]
        return events

    async def text(self, text: str) -> None:
        self.core.send_text(text.encode())
        await self._flush()

    async def binary(self, data: bytes) -> None:
        self.core.send_binary(data)
        await self._flush()

    async def close(self, code: int | None = None, reason: str = "") -> None:
        self.core.send_close(code, reason)
        await self._flush()

    async def _read(self) -> None:
        try:
            data = await self.talk.reader.read(65536)
        except ConnectionError:
            data = b""
        if data:
            self.core.receive_data(data)
        elif not self.over:
            self.core.receive_eof()
            self.over = True
        await self._flush()

    async def _flush(self) -> None:
        for data in self.core.data_to_send():
            if data:
                await self.talk.say(data)


async def echo(scope: Any, receive: Any, send: Any, log: Log) -> None:
    """Says back what comes, until the end; notes all of it."""
    log.add((await receive())["type"])
    await send({"type": "websocket.accept"})
    while True:
        message = await receive()
        log.add(
            message["type"],
            message.get("text"),
            message.get("bytes"),
            message.get("code"),
            message.get("reason"),
        )
        if message["type"] == "websocket.disconnect":
            return
        kind = "text" if message.get("text") is not None else "bytes"
        await send({"type": "websocket.send", kind: message[kind]})


async def accepts_with_more(scope: Any, receive: Any, send: Any, log: Log) -> None:
    await receive()
    log.add(scope["subprotocols"])
    await send(
        {
            "type": "websocket.accept",
            "subprotocol": scope["subprotocols"][-1],
            "headers": [(b"x-more", b"yes")],
        }
    )
    await send({"type": "websocket.close", "code": 4321, "reason": "enough"})
    log.add((await receive()).get("code"))


async def closes_at_once(scope: Any, receive: Any, send: Any, log: Log) -> None:
    await receive()
    await send({"type": "websocket.close"})
    log.add((await receive())["type"])


async def denies(scope: Any, receive: Any, send: Any, log: Log) -> None:
    await receive()
    await send({"type": "websocket.http.response.start", "status": 401, "headers": [(b"x-why", b"token")]})
    await send({"type": "websocket.http.response.body", "body": b"no ", "more_body": True})
    await send({"type": "websocket.http.response.body", "body": b"token"})
    log.add((await receive())["type"])


async def raises_before(scope: Any, receive: Any, send: Any, log: Log) -> None:
    await receive()
    raise ValueError("before")


async def returns_before(scope: Any, receive: Any, send: Any, log: Log) -> None:
    await receive()


async def sends_before_accept(scope: Any, receive: Any, send: Any, log: Log) -> None:
    await receive()
    try:
        await send({"type": "websocket.send", "text": "early"})
    except Exception as error:
        log.add(type(error).__name__)
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.close", "code": 1000})


async def sends_after_close(scope: Any, receive: Any, send: Any, log: Log) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.close", "code": 1001})
    try:
        await send({"type": "websocket.send", "text": "late"})
    except Exception as error:
        log.add("late", type(error).__name__)


async def many(scope: Any, receive: Any, send: Any, log: Log) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    for number in range(50):
        await send({"type": "websocket.send", "text": f"{number}" * number})
    await send({"type": "websocket.send", "bytes": b"z" * 100_000})
    await send({"type": "websocket.close", "code": 1000, "reason": "all"})


def plain(does: Does) -> Any:
    def make(log: Log) -> Any:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "websocket":
                await does(scope, receive, send, log)

        return app

    return make


@pytest.mark.parametrize(
    "does",
    [
        accepts_with_more, closes_at_once, denies, sends_after_close, many, sends_before_accept, raises_before,
        returns_before,
    ],
    ids=lambda does: does.__name__,
)  # fmt: skip
async def test_what_an_application_does(does: Does) -> None:
    """Accepting, closing, denying, failing: the handshake's answer, the frames and the codes."""

    async def talk(client: Talk) -> None:
        socket = Socket(client, "/a%20b?x=y", Sec_WebSocket_Protocol="one, two", X_A="b")
        if await socket.open():
            while client.notes[-1] != "ended":
                await socket.hear()

    await agree(plain(does), talk)


@pytest.mark.parametrize("code", [1000, 1001, 3000, 4999, None])
async def test_a_conversation(code: int | None) -> None:
    """Text, bytes, empty messages and pings are echoed; the client's code and reason arrive."""

    async def talk(client: Talk) -> None:
        socket = Socket(client)
        assert await socket.open()
        await socket.text("ä")
        await socket.hear()
        await socket.binary(b"\0\xff")
        await socket.hear()
        await socket.text("")
        await socket.hear()
        await socket.binary(b"q" * 70_000)
        await socket.hear()
        socket.core.send_ping(b"are you there")
        await socket.text("after the ping")
        await socket.hear()
        await socket.hear()
        await socket.close(code, "reason" if code else "")
        await socket.hear()

    await agree(plain(echo), talk)


class Changing:
    def __init__(self, app: Any, log: Log, change: Any) -> None:
        self.app, self.log, self.change = app, log, change

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            scope = dict(scope, headers=list(scope["headers"]))
            self.change(scope)
        await self.app(scope, receive, send)


class Hearing:
    """Notes and changes messages."""

    def __init__(self, app: Any, log: Log) -> None:
        self.app, self.log = app, log

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def hearing() -> Any:
            message = await receive()
            self.log.add("in", message["type"])
            return {**message, "text": message["text"].upper()} if "text" in message else message

        async def saying(message: Any) -> None:
            self.log.add("out", message["type"])
            await send(message)

        await self.app(scope, hearing, saying)


class Refusing:
    def __init__(self, app: Any, log: Log) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            await WebSocket(scope, receive, send).close(1008, "not today")
        else:
            await PlainTextResponse("not today", 403)(scope, receive, send)


def other_path(scope: Any) -> None:
    scope.update(path="/other/x y", raw_path=b"/other/x%20y")


def other_fields(scope: Any) -> None:
    scope["headers"].append((b"x-user", b"somebody"))
    scope.update(query_string=b"q=middleware", client=("192.0.2.7", 7), scheme="wss", subprotocols=["mine"])


def nowhere(scope: Any) -> None:
    scope.update(path="/nowhere", raw_path=b"/nowhere")


CHANGES: dict[str, Any] = {
    "path": lambda app, log: app.middleware(Changing, log=log, change=other_path),
    "fields": lambda app, log: app.middleware(Changing, log=log, change=other_fields),
    "nowhere": lambda app, log: app.middleware(Changing, log=log, change=nowhere),
    "messages": lambda app, log: app.middleware(Hearing, log=log),
    "refusing": lambda app, log: app.middleware(Refusing, log=log),
    "refusing a prefix": lambda app, log: app.middleware(Refusing, prefix="/ws", log=log),
    "none": lambda app, log: None,
}


@pytest.mark.parametrize("kind", CHANGES)
async def test_a_view_behind_a_middleware(kind: str) -> None:
    """Scope and messages as the middleware left them, refusals, another route."""

    def make(log: Log) -> Application:
        app = Application(BARE)

        async def tell(websocket: WebSocket, where: str, name: str) -> None:
            await websocket.accept(subprotocol=next(iter(websocket.scope["subprotocols"]), None))
            client = websocket.client
            told = {
                "where": where, "name": name, "query": websocket.query_params.multi_items(), "url": str(websocket.url),
                "user": websocket.headers.get("x-user"), "client": client and client.host,
                "path": websocket.scope["path"],
            }  # fmt: skip
            await websocket.send_text(json.dumps(told))
            await websocket.send_text(await websocket.receive_text())
            await websocket.close()

        @app.websocket("/ws/{name}")
        async def one(websocket: WebSocket, name: str) -> None:
            await tell(websocket, "ws", name)

        @app.websocket("/other/{name}")
        async def other(websocket: WebSocket, name: str) -> None:
            await tell(websocket, "other", name)

        CHANGES[kind](app, log)
        return app

    async def talk(client: Talk) -> None:
        socket = Socket(client, "/ws/n%20m?q=1&q=2", Sec_WebSocket_Protocol="theirs")
        if await socket.open():
            await socket.hear()
            await socket.text("text")
            while client.notes[-1] != "ended":
                await socket.hear()

    await agree(make, talk)


@pytest.mark.parametrize("kind", ["none", "messages", "fields"])
async def test_the_stream_of_events(kind: str) -> None:
    """The hub's own listeners, which our server lets write past the application: nobody sees a difference."""
    feeds: list[RingFeed] = []
    hubs: list[Hub] = []

    def make(log: Log) -> Application:
        feed = RingFeed(Position("a", 0))
        feeds[:] = [feed]
        hub = Hub(name="p")
        hub.start()
        hubs[:] = [hub]
        app = Application(BARE)
        app.websocket("/events")(Events(hub.channel("/events", feed, None), hub).websocket)
        CHANGES[kind](app, log)
        return app

    async def talk(client: Talk) -> None:
        socket = Socket(client, "/events")
        await socket.open()
        await socket.hear()
        await socket.hear()
        client.notes[-2:] = [sorted(json.loads(note[1])) for note in client.notes[-2:]]
        for number in (1, 2):
            feeds[0].append([FeedEvent(Position("a", number), "k", b'{"a":%d}' % number, 0.0)])
            await socket.hear()
        await socket.close(1000)
        await socket.hear()
        if kind == "messages":
            await client.log.until("in", "websocket.disconnect")
        hubs[0].stop()

    await agree(make, talk)
