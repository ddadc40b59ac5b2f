"""The same application under uvicorn and under our server, and a client that says raw bytes: what comes back and what
the application saw is noted on both sides and compared.

    def make(log: Log) -> Any: ...                  # the application; it notes what it sees in `log`
    async def talk(client: Talk) -> None: ...       # what a client does; answers are noted in `client.notes`

    await agree(make, talk)

What differs by choice is in `test_differences.py`, each with its reason. Left out of the comparison: the fields `date`
and `server`, and the order in which header fields come.
"""

from __future__ import annotations

import asyncio
import contextlib
import difflib
import re
import socket
import struct
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import h11
import uvicorn

from skerry.http.application import Application, ApplicationSettings
from skerry.server.server import HttpServer
from skerry.server.settings import ServerSettings
from skerry.server.websocket import WebSockets

Make = Callable[["Log"], Any]
Script = Callable[["Talk"], Awaitable[None]]
BARE = ApplicationSettings(openapi=None, docs=None)
PATIENCE = 20.0
"""Seconds for what takes milliseconds; then a side is noted as silent."""
UNCOMPARED = frozenset({b"date", b"server"})


class Log:
    """What the application saw, in order."""

    def __init__(self) -> None:
        self.items: list[Any] = []
        self._told: set[asyncio.Future[None]] = set()

    def add(self, *item: Any) -> None:
        self.items.append(item[0] if len(item) == 1 else item)
        for each in self._told:
            if not each.done():
                each.set_result(None)

    async def until(self, *item: Any) -> None:
        """Return when that has been noted."""
        wanted = item[0] if len(item) == 1 else item
        while wanted not in self.items:
            told: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._told.add(told)
            try:
                await told
            finally:
                self._told.discard(told)


class Talk:
    """A client on one connection, or several: what it says are bytes, what it hears is noted."""

    def __init__(self, port: int, log: Log) -> None:
        self.port, self.log, self.notes = port, log, list[Any]()
        self._heard = b""
        self.reader: asyncio.StreamReader
        self.writer: asyncio.StreamWriter

    async def connect(self) -> Talk:
        """A connection of its own; what it notes is noted here."""
        other = Talk(self.port, self.log)
        other.notes = self.notes
        other.reader, other.writer = await asyncio.open_connection("127.0.0.1", self.port, limit=2**24)
        return other

    async def say(self, *parts: bytes) -> None:
        """Write the parts, each in a packet of its own where the kernel allows it."""
        for part in parts:
            self.writer.write(part)
            with contextlib.suppress(ConnectionError):
                await self.writer.drain()
            await asyncio.sleep(0)

    async def ask(self, head: bytes, body: bytes = b"", *, method: bytes | None = None) -> None:
        """Say a request (head without its Host and last line) and note the answer."""
        method = method or head.split()[0]
        lines = head.split(b"\r\n", 1)
        fields = lines[1] + b"\r\n" if len(lines) > 1 else b""
        await self.say(lines[0] + b" HTTP/1.1\r\nHost: server.test\r\n" + fields + b"\r\n" + body)
        await self.answer(method)

    async def head(self, method: bytes = b"GET") -> h11.Connection:
        """Note status and fields of the next final answer; its body is still to be read."""
        parser = h11.Connection(h11.CLIENT)
        parser.send(h11.Request(method=method, target=b"/", headers=[(b"host", b"x")]))
        parser.send(h11.EndOfMessage())
        while True:
            event = await self._event(parser)
            if not isinstance(event, h11.InformationalResponse):
                break
            self.notes.append(("interim", event.status_code))
        if isinstance(event, h11.Response):
            fields = sorted(
                field for field in event.headers.raw_items() if field[0].lower() not in UNCOMPARED
            )
            lowered = [(name.lower(), value) for name, value in fields]
            self.notes.append(("head", event.status_code, sorted(lowered)))
        else:
            self.notes.append(event)
        return parser

    async def body(self, parser: h11.Connection) -> None:
        """Note the rest of the answer: the whole body, or what had come of it when it broke off."""
        if parser.their_state is not h11.SEND_BODY:
            return
        parts: list[bytes] = []
        while True:
            event = await self._event(parser)
            if isinstance(event, h11.Data):
                parts.append(bytes(event.data))
                continue
            body = b"".join(parts)
            self.notes.append(("body", body if len(body) < 200 else (len(body), zlib.crc32(body))))
            if isinstance(event, h11.EndOfMessage):
                if event.headers:
                    self.notes.append(("trailers", list(event.headers)))
            else:
                self.notes.append(event)
            self._heard, _ = parser.trailing_data
            return

    async def some(self, parser: h11.Connection, wanted: bytes) -> None:
        """Read on until the body has brought that much."""
        found = b""
        while wanted not in found:
            event = await self._event(parser)
            if not isinstance(event, h11.Data):
                self.notes.append(("instead of", wanted, event))
                return
            found += bytes(event.data)

    async def answer(self, method: bytes = b"GET") -> None:
        """Note one whole answer."""
        await self.body(await self.head(method))

    async def _event(self, parser: h11.Connection) -> Any:
        while True:
            try:
                event = parser.next_event()
            except h11.RemoteProtocolError:
                return ("broken off",)
            if event is h11.NEED_DATA:
                data, self._heard = self._heard, b""
                if not data:
                    try:
                        data = await self.reader.read(65536)
                    except ConnectionError:
                        return ("broken off",)
                parser.receive_data(data)
            elif event is h11.PAUSED or isinstance(event, h11.ConnectionClosed):
                return ("closed",)
            else:
                return event

    async def afterwards(self) -> None:
        """Note whether the connection takes another request."""
        await self.say(b"GET /afterwards HTTP/1.1\r\nHost: server.test\r\nConnection: close\r\n\r\n")
        if self._heard:
            self.notes.append(("unasked", self._heard))
        try:
            data = await self.reader.read()  # to its end: an application that is left half way would see that
        except ConnectionError:
            data = b""
        self.notes.append("kept" if data else "closed")

    async def ended(self) -> None:
        """Note what comes until the server closes."""
        rest = self._heard
        with contextlib.suppress(ConnectionError):
            while data := await self.reader.read(65536):
                rest += data
        rest = re.sub(rb"\r\ndate: [^\r]*", b"", rest)
        self.notes.append(("ended", rest) if rest else "ended")

    def finish(self) -> None:
        """FIN: nothing more is said, what comes is still read."""
        self.writer.write_eof()

    async def leave(self) -> None:
        """Close in good order."""
        self.writer.close()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()

    async def reset(self) -> None:
        """Close with RST."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await self.leave()


def listening() -> socket.socket:
    """A socket that says it is TCP, without which asyncio leaves Nagle's algorithm on: 40 ms for many an answer."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    sock.bind(("127.0.0.1", 0))
    sock.listen()
    return sock


@contextlib.asynccontextmanager
async def under_uvicorn(app: Any) -> AsyncIterator[int]:
    """The application under uvicorn, without what it adds by itself; its port."""
    sock = listening()
    config = uvicorn.Config(
        app, http="httptools", ws="websockets-sansio", lifespan="on", log_config=None, access_log=False,
        proxy_headers=False, server_header=False, date_header=False, ws_per_message_deflate=False,
    )  # fmt: skip
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    await server.startup([sock])
    try:
        yield sock.getsockname()[1]
    finally:
        # `server.shutdown` does the same with pauses of a tenth of a second.
        for each in server.servers:
            each.close()
        for connection in list(server.server_state.connections):
            if connection.transport is not None:
                connection.transport.abort()
        tasks = list(server.server_state.tasks)
        if tasks:
            _, left = await asyncio.wait(tasks, timeout=1.0)
            for task in left:
                task.cancel()
            if left:
                await asyncio.wait(left, timeout=5.0)
        await server.lifespan.shutdown()


@contextlib.asynccontextmanager
async def under_ours(app: Any) -> AsyncIterator[int]:
    """The application on our server, as what it is or mounted at the root; its port."""
    if not isinstance(app, Application):
        outer = Application(BARE)
        outer.mount("/", app)
        app = outer
    sock = listening()
    server = HttpServer(app, ServerSettings(access_log="off"), websocket=WebSockets())
    await server.start([sock])
    try:
        yield sock.getsockname()[1]
    finally:
        await server.stop(1.0)


async def seen(server: Callable[[Any], Any], make: Make, script: Script) -> tuple[list[Any], list[Any]]:
    """What the client and the application noted on one side."""
    log = Log()
    async with server(make(log)) as port:
        client = await Talk(port, log).connect()
        try:
            async with asyncio.timeout(PATIENCE):
                await script(client)
        except TimeoutError:
            client.notes.append("silent")
        finally:
            client.writer.close()
    return client.notes, log.items


async def both(make: Make, script: Script) -> dict[str, tuple[list[Any], list[Any]]]:
    """What was noted under uvicorn and under ours."""
    return {
        "uvicorn": await seen(under_uvicorn, make, script),
        "ours": await seen(under_ours, make, script),
    }


async def agree(make: Make, script: Script) -> list[Any]:
    """Fail unless both sides noted the same, client and application; returns what the client noted."""
    found = await both(make, script)
    for number, who in enumerate(("client", "application")):
        theirs, ours = found["uvicorn"][number], found["ours"][number]
        if theirs != ours:
            raise AssertionError(f"what the {who} saw (- uvicorn, + ours):\n{_difference(theirs, ours)}")
    notes = found["ours"][0]
    assert "silent" not in notes, "both sides said nothing"
    return notes


def _difference(theirs: list[Any], ours: list[Any]) -> str:
    before, after = ([f"{item!r:.400}" for item in items] for items in (theirs, ours))
    return "\n".join(difflib.unified_diff(before, after, lineterm="", n=2))
