"""A client for tests: an application on memory, without a socket, through the server's own protocol.

    async with Client(application) as client:
        answer = await client.put("/values/mykey", body="myvalue")
        assert (answer.status, answer.json()["value"]) == (200, "myvalue")

What is asked is rendered to bytes and read by the same `Connection` that sits behind a socket, so statuses, header
fields, limits and refusals are the real ones. Requests that overlap take connections of their own; cookies are kept;
redirects are not followed. Not here: sockets, TLS, several processes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any
from urllib.parse import quote, urlencode

import httptools
import msgspec

from skerry.http.application import Application
from skerry.http.headers import Headers
from skerry.server.server import HttpServer
from skerry.server.settings import ServerSettings
from skerry.server.state import WebSocketFactory
from skerry.testing.wire import MemoryTransport

QUIET = ServerSettings(access_log="off", gone_seconds=1.0)
"""No access log, and streams that are left are ended after a second, so that tests need not wait for that."""


class Answer:
    """The answer to a request: `status`, `headers` (names in any case), `body` bytes."""

    __slots__ = ("body", "headers", "status")

    def __init__(self, status: int, headers: Headers, body: bytes) -> None:
        self.status, self.headers, self.body = status, headers, body

    @property
    def text(self) -> str:
        return self.body.decode("utf-8")

    @property
    def etag(self) -> str | None:
        """The entity tag as it stands in the field, quotes included."""
        return self.headers.get("etag")

    def json(self, kind: Any = Any) -> Any:
        """The body as JSON, of a type when one is given."""
        return msgspec.json.decode(self.body, type=kind)

    def __repr__(self) -> str:
        return f"Answer({self.status}, {self.body[:80]!r})"


class Stream:
    """An answer that arrives in parts: `status` and `headers` are known, iterate for the body's bytes."""

    def __init__(self, exchange: _Exchange, seconds: float) -> None:
        self._exchange, self._seconds = exchange, seconds

    @property
    def status(self) -> int:
        return self._exchange.status

    @property
    def headers(self) -> Headers:
        return Headers(self._exchange.fields)

    def __aiter__(self) -> Stream:
        return self

    async def __anext__(self) -> bytes:
        """The next part; TimeoutError when none comes in time."""
        async with asyncio.timeout(self._seconds):
            part = await self._exchange.part()
        if part is None:
            raise StopAsyncIteration
        return part


class Client:
    """A client of one application, or of a server that is started and stopped elsewhere. `headers` go with
    every request, `token` as a bearer token; `seconds` bounds every wait."""

    def __init__(
        self,
        application: Application | HttpServer,
        *,
        settings: ServerSettings = QUIET,
        headers: Mapping[str, str] | None = None,
        token: str | None = None,
        seconds: float = 30.0,
        websocket: WebSocketFactory | None = None,
    ) -> None:
        self._is_own = not isinstance(application, HttpServer)
        self.server = (
            application
            if isinstance(application, HttpServer)
            else HttpServer(application, settings, websocket=websocket)
        )
        self.headers = dict(headers or {})
        self.cookies: dict[str, str] = {}
        self.seconds = seconds
        if token is not None:
            self.headers["Authorization"] = f"Bearer {token}"
        self._idle: list[_Wire] = []
        self._started = False

    async def __aenter__(self) -> Client:
        if self._is_own:
            await self.server.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for wire in self._idle:
            wire.transport.close()
        self._idle.clear()
        if self._is_own:
            await self.server.stop(self.seconds)

    async def request(
        self,
        method: str,
        path: str,
        *,
        body: bytes | str | None = None,
        json: Any = None,
        query: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send a request and wait for the whole answer. `path` may contain unescaped characters; `json` is a
        body.

        Raises ConnectionError when the server closes without an answer, TimeoutError when none comes in time.
        """
        data = self._render(method, path, body, json, query, headers)
        wire = self._idle.pop() if self._idle else _Wire(self.server)
        exchange = wire.ask(method, data)
        try:
            async with asyncio.timeout(self.seconds):
                content = b"".join([part async for part in exchange])
        except BaseException:
            wire.transport.abort()
            raise
        return self._answered(wire, exchange, content)

    async def get(self, path: str, **options: Any) -> Answer:
        """Send a GET, with the options of `request`."""
        return await self.request("GET", path, **options)

    async def head(self, path: str, **options: Any) -> Answer:
        """Send a HEAD, with the options of `request`."""
        return await self.request("HEAD", path, **options)

    async def put(self, path: str, **options: Any) -> Answer:
        """Send a PUT, with the options of `request`."""
        return await self.request("PUT", path, **options)

    async def post(self, path: str, **options: Any) -> Answer:
        """Send a POST, with the options of `request`."""
        return await self.request("POST", path, **options)

    async def patch(self, path: str, **options: Any) -> Answer:
        """Send a PATCH, with the options of `request`."""
        return await self.request("PATCH", path, **options)

    async def delete(self, path: str, **options: Any) -> Answer:
        """Send a DELETE, with the options of `request`."""
        return await self.request("DELETE", path, **options)

    async def options(self, path: str, **options: Any) -> Answer:
        """Send an OPTIONS, with the options of `request`."""
        return await self.request("OPTIONS", path, **options)

    @asynccontextmanager
    async def stream(self, method: str, path: str, **options: Any) -> AsyncIterator[Stream]:
        """An answer that is read while it arrives (server-sent events); leaving the block closes the
        connection."""
        names = ("body", "json", "query", "headers")
        data = self._render(method, path, *(options.get(name) for name in names))
        wire = _Wire(self.server)
        exchange = wire.ask(method, data)
        try:
            async with asyncio.timeout(self.seconds):
                await exchange.begun.wait()
            exchange.check()
            yield Stream(exchange, self.seconds)
        finally:
            wire.transport.abort()
            await asyncio.sleep(0)

    async def raw(self, data: bytes) -> bytes:
        """Send bytes as they are on a connection of their own; everything that comes back until the server is still.

        For malformed requests. The server is still when two turns of the loop bring nothing.
        """
        received: list[bytes] = []
        transport = MemoryTransport(received.append, lambda: None)
        transport.connect(self.server.connection())
        transport.feed(data)
        seen = -1
        while seen != len(received):
            seen = len(received)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        transport.abort()
        await asyncio.sleep(0)
        return b"".join(received)

    def _render(
        self,
        method: str,
        path: str,
        body: bytes | str | None,
        json: Any,
        query: Mapping[str, object] | None,
        headers: Mapping[str, str] | None,
    ) -> bytes:
        target = quote(path, safe="/!$&'()*+,;=:@-._~%?")
        if query:
            target += ("&" if "?" in target else "?") + urlencode(query, doseq=True)
        fields = {"Host": "testserver", **self.headers, **(headers or {})}
        if self.cookies and "Cookie" not in fields:
            fields["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        if json is not None:
            body = msgspec.json.encode(json)
            fields.setdefault("Content-Type", "application/json")
        content = body.encode("utf-8") if isinstance(body, str) else body or b""
        if content or method in ("PUT", "POST", "PATCH"):
            fields.setdefault("Content-Length", str(len(content)))
        lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
        return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + content

    def _answered(self, wire: _Wire, exchange: _Exchange, content: bytes) -> Answer:
        exchange.check()
        answer = Answer(exchange.status, Headers(exchange.fields), content)
        for line in answer.headers.get_all("set-cookie"):
            name, _, rest = line.partition("=")
            value = rest.partition(";")[0]
            self.cookies[name] = value
            if not value or "max-age=0" in rest.lower():
                del self.cookies[name]
        if (
            not wire.transport.is_closing()
            and "close" not in (answer.headers.get("connection") or "").lower()
        ):
            self._idle.append(wire)
        return answer


class _Wire:
    """One connection to the server, one exchange at a time."""

    def __init__(self, server: HttpServer) -> None:
        self.exchange: _Exchange | None = None
        self.transport = MemoryTransport(self._received, self._ended)
        self.transport.connect(server.connection())

    def ask(self, method: str, data: bytes) -> _Exchange:
        self.exchange = exchange = _Exchange(method)
        self.transport.feed(data)
        return exchange

    def _received(self, data: bytes) -> None:
        if self.exchange is not None:
            self.exchange.feed(data)

    def _ended(self) -> None:
        if self.exchange is not None:
            self.exchange.end()


class _Exchange:
    """One answer on its way: httptools reads it, whoever asked takes its parts."""

    def __init__(self, method: str) -> None:
        self.status = 0
        self.fields: list[tuple[bytes, bytes]] = []
        self.begun = asyncio.Event()
        self._method = method
        self._parts: asyncio.Queue[bytes | None] = asyncio.Queue()  # bounded by the answer that is under test
        self._complete = False
        self._parser = httptools.HttpResponseParser(self)

    def feed(self, data: bytes) -> None:
        if not self._complete:
            self._parser.feed_data(data)

    def end(self) -> None:
        """The server closed: a body without a length is complete, anything else is broken off."""
        if not self._complete:
            self._complete = True
            self.begun.set()
            self._parts.put_nowait(None)

    def check(self) -> None:
        if not self.status:
            raise ConnectionError("the server closed the connection without an answer")

    async def part(self) -> bytes | None:
        return await self._parts.get()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while (part := await self._parts.get()) is not None:
            yield part

    # httptools calls these

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()
        if self.status == 100:
            return
        self.begun.set()
        if self._method == "HEAD":
            self.end()

    def on_body(self, data: bytes) -> None:
        self._parts.put_nowait(data)

    def on_message_complete(self) -> None:
        if self.status == 100:
            self.status, self.fields = 0, []
        else:
            self.end()
