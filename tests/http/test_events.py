"""One route, as WebSocket and as event stream: greeting, cursor, filter, limits, origins; slow readers are bounded."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Iterable
from typing import Any

import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from tests.http.applied_feed import AppliedFeed
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from skerry.http.application import Application
from skerry.http.events import Events
from skerry.http.feed import FeedEvent
from skerry.http.hub import Hub, HubSettings
from skerry.position import Position
from skerry.server.server import HttpServer
from skerry.server.settings import ServerSettings
from skerry.server.websocket import WebSockets


def put(offset: int, key: str = "k", value: str = "v") -> FeedEvent:
    body = {
        "type": "domain_event",
        "event": "value_put",
        "key": key,
        "value": value,
        "position": f"a:{offset}",
    }
    return FeedEvent(Position("a", offset), key, json.dumps(body).encode(), 0.0)


class Site:
    """A server with the route at /events, and its address."""

    def __init__(self, settings: HubSettings | None = None, origins: Iterable[str] = ()) -> None:
        self.feed = AppliedFeed(Position("a", 0))
        self.values: dict[str, str] = {}
        self.hub = Hub(settings, name="p")
        channel = self.hub.channel("/events", self.feed, self.snapshot)
        self.events = Events(channel, self.hub, origins=origins)
        self.application = Application()
        self.application.websocket("/events")(self.events.websocket)
        self.application.get("/events")(self.events.stream)
        self.server = HttpServer(self.application, ServerSettings(access_log="off"), websocket=WebSockets())
        self.port = 0

    def snapshot(self, prefix: str) -> tuple[Position, Iterable[bytes]]:
        rows = [
            json.dumps({"key": k, "value": v}).encode()
            for k, v in self.values.items()
            if k.startswith(prefix)
        ]
        return self.feed.position(), rows

    def apply(self, *events: FeedEvent) -> None:
        for e in events:
            self.values[e.key or ""] = json.loads(e.payload)["value"]
        self.feed.append(events)

    async def start(self) -> None:
        sock = socket.create_server(("127.0.0.1", 0))
        self.port = sock.getsockname()[1]
        self.hub.start()
        await self.server.start([sock])

    async def stop(self) -> None:
        await self.hub.drain(0.1)
        await self.server.stop(0.2)
        self.hub.stop()

    def websocket(self, query: str = "", **options: Any) -> connect:
        where = f"ws://127.0.0.1:{self.port}/events{query}"
        return connect(where, compression=None, open_timeout=30, ping_interval=None, **options)

    async def stream(self, query: str = "", method: str = "GET", **headers: str) -> Stream:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        fields = {"Host": f"127.0.0.1:{self.port}", "Accept": "text/event-stream", **headers}
        lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items())
        writer.write(f"{method} /events{query} HTTP/1.1\r\n{lines}\r\n".encode())
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)
        return Stream(reader, writer, head.decode())


class Stream:
    """A reader of chunked server-sent events."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: str) -> None:
        self.reader, self.writer, self.head = reader, writer, head
        self.status = int(head.split()[1])
        self._text = ""

    async def block(self) -> dict[str, str]:
        """The next block as fields; a comment is under ""; {} at the end."""
        async with asyncio.timeout(30):
            while "\n\n" not in self._text:
                size = int(await self.reader.readuntil(b"\r\n"), 16)
                data = await self.reader.readexactly(size + 2)
                if not size:
                    return {}
                self._text += data[:-2].decode()
        block, _, self._text = self._text.partition("\n\n")
        pairs = (line.partition(":") for line in block.split("\n"))
        return {name: value.removeprefix(" ") for name, _, value in pairs}

    async def event(self) -> dict[str, Any]:
        block = await self.block()
        return {**json.loads(block["data"]), "id": block.get("id")}


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    site = Site()
    await site.start()
    yield site
    await site.stop()


async def hear(client: ClientConnection, number: int) -> list[dict[str, Any]]:
    async with asyncio.timeout(30):
        return [json.loads(await client.recv()) for _ in range(number)]


async def test_a_websocket_is_greeted_and_hears_what_happens(site: Site) -> None:
    """hello, its own connection event, then each applied event; one JSON object a frame."""
    site.apply(put(1))
    async with site.websocket() as client:
        hello, opened = await hear(client, 2)
        assert (hello["type"], hello["position"], hello["recovered"]) == ("hello", "a:1", False)
        assert opened == {"type": "connection_opened", "route": "/events", "connection": hello["connection"]}
        site.apply(put(2, "key", "a<b"), put(3))
        assert [e["position"] for e in await hear(client, 2)] == ["a:2", "a:3"]


async def test_since_and_snapshot_and_prefix_on_a_websocket(site: Site) -> None:
    """Resume where possible; else the values first; only what begins with the prefix."""
    site.apply(put(1, "x/1"), put(2, "y/1"), put(3, "x/2"))
    async with site.websocket("?since=a:1&snapshot=1&prefix=x/") as client:
        hello, missed, caught_up, _ = await hear(client, 4)
        assert (hello["recovered"], missed["key"], caught_up["type"]) == (True, "x/2", "caught_up")
    for since in ("zz:1", "nonsense", "a:-1"):
        async with site.websocket(f"?since={since}&snapshot=1&prefix=x/") as client:
            hello, values, end, _ = await hear(client, 4)
            assert hello["recovered"] is False
            assert [row["key"] for row in values["values"]] == ["x/1", "x/2"]
            assert end == {"type": "snapshot_end", "position": "a:3", "count": 2}


async def test_connections_are_told_to_others(site: Site) -> None:
    """A second listener's coming and going reaches the first, also when it just breaks off."""
    async with site.websocket() as first:
        await hear(first, 2)
        async with site.websocket() as second:
            (hello, _), (opened,) = await hear(second, 2), await hear(first, 1)
            assert opened["connection"] == hello["connection"]
            assert second.transport is not None
            second.transport.abort()
        (closed,) = await hear(first, 1)
        assert closed == {"type": "connection_closed", "route": "/events", "connection": hello["connection"]}
    assert site.hub.stats.opened == 2


async def test_foreign_origins_get_403(site: Site) -> None:
    """Another page may not listen; ours, listed ones and programs without an Origin may."""
    site.events.origins = ("http://friend.example",)
    with pytest.raises(InvalidStatus) as refused:
        async with site.websocket(origin="http://evil.example"):
            pass
    assert refused.value.response.status_code == 403
    for method in ("GET", "HEAD"):  # nor learn by the head who is logged in
        refused_stream = await site.stream(method=method, Origin="http://evil.example")
        assert refused_stream.status == 403
        assert "access-control-allow-origin" not in refused_stream.head.lower()
    async with site.websocket(origin=f"http://127.0.0.1:{site.port}"):
        pass
    async with site.websocket(origin="http://friend.example"):
        pass
    friend = await site.stream(Origin="http://friend.example")
    assert friend.status == 200
    assert "access-control-allow-origin: http://friend.example" in friend.head.lower()


async def test_an_event_stream_has_the_same_cursor() -> None:
    """`id:` is the position; Last-Event-ID resumes and wins over the URL; retry is told; a comment keeps it alive."""
    site = Site(HubSettings(ping_seconds=5, pong_seconds=2))
    await site.start()
    site.apply(put(1), put(2))
    stream = await site.stream("?since=a:0", Last_Event_ID="a:1")
    assert "content-type: text/event-stream" in stream.head.lower()
    assert "cache-control: no-cache" in stream.head.lower()
    assert await stream.block() == {"retry": "2000"}
    hello = await stream.event()
    assert (hello["type"], hello["recovered"], hello["id"]) == ("hello", True, "a:1")
    assert (await stream.event())["id"] == "a:2"
    assert (await stream.event())["type"] == "caught_up"
    opened = await stream.event()
    assert (opened["type"], opened["id"]) == ("connection_opened", None), "an announcement moves no cursor"
    site.apply(put(3))
    assert (await stream.event())["id"] == "a:3"
    for _ in range(5):
        site.hub.tick()
    assert await stream.block() == {"": ""}
    await site.stop()
    assert await stream.block() == {}, "draining ends the stream in good order"


async def test_an_event_stream_costs_no_task(site: Site) -> None:
    """While it goes on nothing runs for it; it is counted until its client leaves, by a FIN too."""
    stream = await site.stream()
    await stream.block()
    assert (await stream.event())["type"] == "hello"
    assert not site.server.state.tasks
    metrics = {each.name: each.samples[0].value for each in site.server.collect() if each.samples}
    assert metrics["skerry_http_streams"] == 1
    async with site.websocket() as other:
        await hear(other, 2)
        stream.writer.write_eof()
        (closed,) = await hear(other, 1)
        assert closed["type"] == "connection_closed"
    assert not site.server.state.followed


async def test_an_event_stream_of_an_old_client_is_not_cut_into_chunks(site: Site) -> None:
    """HTTP/1.0 knows no chunks: the answer ends with its connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
    writer.write(b"GET /events HTTP/1.0\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n")
    head = await reader.readuntil(b"\r\n\r\n")
    assert b"transfer-encoding" not in head
    assert await reader.readuntil(b"\n\n") == b"retry: 2000\n\n"
    assert b'data: {"type":"hello"' in await reader.readuntil(b"\n\n")
    site.hub.reset()
    assert b"retry" not in await reader.read()
    writer.close()


async def test_requests_behind_an_event_stream_are_answered_when_it_ends(site: Site) -> None:
    """The connection is kept: the next answer begins where the stream has ended."""
    stream = await site.stream()
    stream.writer.write(b"HEAD /events HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    await stream.block()
    await stream.event()
    site.hub.reset()
    while await stream.block():
        pass
    head = await stream.reader.read()
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"text/event-stream" in head


async def test_a_snapshot_over_an_event_stream_moves_the_cursor_at_its_end(site: Site) -> None:
    """Who is cut within a snapshot must not resume behind it."""
    site.apply(put(1, "a"), put(2, "b"))
    stream = await site.stream("?snapshot=1")
    await stream.block()
    events = [await stream.event() for _ in range(3)]
    assert [(e["type"], e["id"]) for e in events] == [
        ("hello", None),
        ("snapshot", None),
        ("snapshot_end", "a:2"),
    ]


async def test_a_reader_of_a_stream_that_leaves_is_noticed(site: Site) -> None:
    """Its listener is gone and the others hear of it."""
    async with site.websocket() as other:
        await hear(other, 2)
        stream = await site.stream()
        (opened,) = await hear(other, 1)
        stream.writer.transport.abort()
        (closed,) = await hear(other, 1)
        assert (opened["type"], closed["type"]) == ("connection_opened", "connection_closed")
    assert site.hub.stats.listeners <= 1


@pytest.mark.parametrize("kind", ["websocket", "stream"])
async def test_a_stalled_reader_is_bounded_and_delays_nobody(kind: str) -> None:
    """It reads nothing while 40 MB pass: others get all in time, it costs its limit at most and is closed."""
    site = Site(HubSettings(held_bytes=200_000))
    await site.start()
    sock = socket.create_connection(("127.0.0.1", site.port))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)  # else the kernel may take nearly all of it
    reader, writer = await asyncio.open_connection(sock=sock, limit=1024)
    fields = (
        "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        if kind == "websocket"
        else "Accept: text/event-stream\r\n"
    )
    writer.write(f"GET /events HTTP/1.1\r\nHost: x\r\n{fields}\r\n".encode())
    await reader.readuntil(b"\r\n\r\n")
    async with site.websocket(max_size=None) as quick:
        await hear(quick, 2)
        for n in range(1, 401):
            site.apply(put(n, key=f"k{n}", value="x" * 100_000))
            (event,) = await hear(quick, 1)
            while event["type"] != "domain_event":
                (event,) = await hear(quick, 1)
            assert event["position"] == f"a:{n}"
        assert site.hub.stats.closed_slow == 1
        assert site.hub.stats.listeners == 1
        assert site.hub.stats.held < 20
    writer.transport.abort()
    await site.stop()


async def test_a_drained_websocket_is_told_to_come_again(site: Site) -> None:
    """1012 on shutdown."""
    async with site.websocket() as client:
        await hear(client, 2)
        await site.hub.drain(0.1)
        with pytest.raises(ConnectionClosed) as closed:
            await client.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1012


async def test_too_many_listeners_get_503() -> None:
    """With a time after which to try again; as WebSocket and as stream."""
    site = Site(HubSettings(max_listeners=1))
    await site.start()
    async with site.websocket() as client:
        await hear(client, 2)
        with pytest.raises(InvalidStatus) as refused:
            async with site.websocket():
                pass
        assert refused.value.response.status_code == 503
        assert refused.value.response.headers["Retry-After"] == "5"
        assert (await site.stream()).status == 503
    await site.stop()


async def test_what_a_listener_says_is_limited(site: Site) -> None:
    """A chatty one is ignored, one that sends more than 64 KiB at once is closed with 1009."""
    async with site.websocket() as client:
        await hear(client, 2)
        await client.send("anybody there?")
        await client.ping()
        site.apply(put(1))
        assert (await hear(client, 1))[0]["position"] == "a:1"
        await client.send("x" * 70_000)
        with pytest.raises(ConnectionClosed) as closed:
            await client.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1009


async def test_bad_requests_are_answered_clearly(site: Site) -> None:
    """A prefix too long: 400; neither a stream nor a websocket: 406; a method that makes no sense: 405."""
    assert (await site.stream("?prefix=" + "x" * 513)).status == 400
    assert (await site.stream("?prefix=%ff")).status == 400
    assert (await site.stream(Accept="text/html")).status == 406
    with pytest.raises(InvalidStatus) as refused:
        async with site.websocket("?prefix=" + "x" * 513):
            pass
    assert refused.value.response.status_code == 400


class Hearing:
    """A middleware that notes the messages of a websocket, or that only stands there."""

    def __init__(self, app: ASGIApp, heard: list[str], wraps: bool) -> None:
        self.app, self.heard, self.wraps = app, heard, wraps

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def noting(message: Message) -> None:
            self.heard.append(message["type"])
            await send(message)

        await self.app(scope, receive, noting if self.wraps else send)


@pytest.mark.parametrize("wraps", [True, False])
async def test_a_middleware_that_wraps_messages_hears_every_one(site: Site, wraps: bool) -> None:
    """The hub writes past the application only while nobody stands between; the listener hears the same."""
    heard: list[str] = []
    site.application.middleware(Hearing, heard=heard, wraps=wraps)
    site.application.compile()
    async with site.websocket() as client:
        await hear(client, 2)
        site.apply(put(1))
        assert [e["position"] for e in await hear(client, 1)] == ["a:1"]
    assert heard[:4] == (["websocket.accept", *["websocket.send"] * 3] if wraps else [])


async def test_under_another_asgi_server_it_works_the_same(site: Site) -> None:
    """Without our own server's short way the route is an ordinary ASGI websocket."""
    site.apply(put(1, "a", "1"))
    inbox: asyncio.Queue[Message] = asyncio.Queue()
    outbox: asyncio.Queue[Message] = asyncio.Queue()
    scope = {
        "type": "websocket",
        "path": "/events",
        "query_string": b"snapshot=1",
        "headers": [(b"host", b"x")],
    }
    inbox.put_nowait({"type": "websocket.connect"})
    task = asyncio.ensure_future(site.events(scope, inbox.get, outbox.put))
    assert (await outbox.get())["type"] == "websocket.accept"
    texts = [json.loads((await outbox.get())["text"]) for _ in range(4)]
    assert [t["type"] for t in texts] == ["hello", "snapshot", "snapshot_end", "connection_opened"]
    site.apply(put(2))
    assert json.loads((await outbox.get())["text"])["position"] == "a:2"
    await site.hub.drain(0.1)
    assert await outbox.get() == {"type": "websocket.close", "code": 1012, "reason": "service restart"}
    async with asyncio.timeout(30):
        await task
    assert site.hub.stats.listeners == 0
