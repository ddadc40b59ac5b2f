"""Bytes in, requests out: the parser of one connection, the strict checks, the limits, the way a body is collected.

llhttp parses; what it finds is checked here and in `strict`, and handed to the connection as turns. Nothing is
answered here. A head that is malformed or too large is refused through the connection, behind what came before it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httptools
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from skerry.http.headers import Headers
from skerry.http.problems import Problem
from skerry.http.request import Request
from skerry.http.routes import WEBSOCKET, Found, Missing, Mount
from skerry.server.asgi import HIGH_WATER
from skerry.server.strict import PLAIN, examine, origin_form
from skerry.server.turns import CLOSE, KEEP, KEEP_OLD, Turn, Upgrade

if TYPE_CHECKING:
    from skerry.server.protocol import Connection

# The parser is fed so much at a time, so that one packet cannot bring thousands of waiting requests.
SLICE = 65_536
LONGEST_MEMORY = 4_096
IDLE, HEAD, BODY, LINGERING = range(4)


class Intake:
    """What a connection is being told. `phase`: where in a request it stands; `since`: from when, on the monotonic
    clock, 0 when it began after the last sweep; `size`: bytes of the present body; `requests`: how many were complete.

    `memory` is the header block of the last plain GET, with the line's end, and `memory_headers` what it says: the
    connection reads a GET that repeats it without the parser.
    """

    __slots__ = (
        "_body", "_connection", "_fields", "_head_size", "_headers", "_learn", "_limit", "_parser", "_raw", "_upgrade",
        "_url", "cycle", "found", "keep", "memory", "memory_headers", "owes_continue", "phase", "request", "requests",
        "since", "size", "version",
    )  # fmt: skip

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._parser: Any = httptools.HttpRequestParser(self)
        self.phase = IDLE
        self.since = 0.0
        self.size = 0
        self.requests = 0
        self.memory: bytes | None = None
        self.memory_headers = Headers()
        self.owes_continue = False
        self.version = "1.1"
        self.keep = KEEP
        self.request: Request | None = None
        self.found: Found | Mount | Missing | None = None
        self.cycle: RequestResponseCycle | None = None
        self._raw = 0  # bytes of this message as they came, chunk framing included
        self._head_size = 0
        self._limit = 0
        self._learn = False
        self._upgrade = False
        self._url = b""
        self._fields: list[tuple[bytes, bytes]] = []
        self._headers = self.memory_headers
        self._body: list[bytes] = []

    def close(self) -> None:
        """Let go of the parser, which holds us."""
        self._parser = None

    @property
    def closed(self) -> bool:
        return self._parser is None

    def feed(self, data: bytes) -> None:
        """Parse; every complete request goes to the connection. Never raises."""
        fresh, requests = self.phase == IDLE, self.requests
        self._learn = False
        self._raw += len(data)
        try:
            while True:
                try:
                    self._parser.feed_data(data)
                    break
                except httptools.HttpParserUpgrade as stop:
                    data = data[stop.args[0] :]
                    if self._upgrade:
                        self._connection.order.upgrade(data)
                        return
                    if not data:
                        break
        except httptools.HttpParserCallbackError as error:
            found = error.__context__
            if not isinstance(found, Exception):
                raise
            self._connection.order.refuse(found, self.request)
            return
        except httptools.HttpParserError as error:
            self._connection.order.refuse(Problem(400, f"malformed request: {error}"))
            return
        if (
            self.phase == HEAD
            and self._raw
            > self._connection.settings.max_head_bytes + self._connection.settings.max_target_bytes
        ):
            self._connection.order.refuse(
                Problem(431, f"the head is over {self._connection.settings.max_head_bytes} bytes")
            )
        elif self._learn and fresh and self.requests == requests + 1 and self.phase == IDLE:
            self._remember(data)

    def again(self, target: bytes) -> None:
        """A GET of `target` (a valid path and query) with the header block that is remembered, and no body."""
        connection = self._connection
        self.since = 0.0
        self.requests += 1
        self.keep, self.version = KEEP, "1.1"
        request = Request("GET", target, self.memory_headers, b"", connection)
        found = connection.lane.table.find("GET", request.raw_path)
        if connection.lane_side.answers(found):
            connection.order.take(Turn(request, found, KEEP))
            return
        try:
            cycle = connection.asgi_side.begin(request, found, expects=False)
        except Problem as problem:
            connection.order.refuse(problem, request)
        else:
            cycle.more_body = False
            cycle.message_event.set()

    def _remember(self, data: bytes) -> None:
        """Keep what follows the target of a plain GET, when `data` is that request and nothing else."""
        if not data.startswith(b"GET /") or not data.endswith(b"\r\n\r\n"):
            return
        tail = data[data.index(b" HTTP/1.1\r\n") :]
        if len(tail) <= LONGEST_MEMORY:
            self.memory, self.memory_headers = tail, self._headers

    def on_message_begin(self) -> None:
        if self._connection.closing:
            raise Problem(400, "more data after the last request")
        self._url = b""
        self._fields = []
        self._head_size = 0
        self.phase = HEAD
        self.since = 0.0
        self.cycle = None
        self.request = None

    def on_url(self, url: bytes) -> None:
        self._url += url
        if len(self._url) > self._connection.settings.max_target_bytes:
            raise Problem(
                414, f"the request target is over {self._connection.settings.max_target_bytes} bytes"
            )

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head_size += len(name) + len(value) + 4
        if self._head_size > self._connection.settings.max_head_bytes:
            raise Problem(431, f"the head is over {self._connection.settings.max_head_bytes} bytes")
        if self.phase == BODY:
            return  # a trailer; nobody here wants one
        self._fields.append((name.lower(), value.rstrip(b" \t")))
        if len(self._fields) > self._connection.settings.max_fields:
            raise Problem(431, f"more than {self._connection.settings.max_fields} header fields")

    def on_headers_complete(self) -> None:
        parser, fields = self._parser, self._fields
        version = parser.get_http_version()
        head = examine(version, fields)
        method = parser.get_method().decode("ascii")
        if method == "CONNECT":
            raise Problem(501, "this server is no proxy")
        target = origin_form(method, self._url, fields)
        keep = parser.should_keep_alive() and not self._connection.state.draining
        self.keep = CLOSE if not keep else KEEP if version == "1.1" else KEEP_OLD
        self.version = version
        self._headers = Headers(fields)
        if self._connection.lane.hosts is not None:
            self._connection.lane.hosts.check(self._headers)
        self.request = request = Request(method, target, self._headers, b"", self._connection)
        self.phase = BODY
        self.since = 0.0
        self._raw = self.size = 0
        self._body = []
        expects = head.expects and head.has_body
        if parser.should_upgrade():
            # RFC 9110 section 7.8: an Upgrade in HTTP/1.0 is ignored.
            self._upgrade = head.websocket and method == "GET" and version == "1.1" and not head.has_body
            if self._upgrade:
                self.found = self._connection.lane.table.find(WEBSOCKET, request.raw_path)
                return
            if head.has_body:
                raise Problem(400, "a body and an upgrade that is not possible here")
        self._learn = head is PLAIN and self.keep == KEEP and method == "GET"
        self.found = found = self._connection.lane.table.find(method, request.raw_path)
        if self._connection.lane_side.answers(found):
            self._limit = (
                found.route.max_body_bytes
                if isinstance(found, Found)
                else self._connection.state.max_body_bytes
            )
            if head.length is not None and head.length > self._limit:
                raise Problem(413, f"the body is over {self._limit} bytes")
            if expects:
                self.owes_continue = True
                self._connection.order.encourage()
        else:
            self.cycle = self._connection.asgi_side.begin(request, found, expects=expects)

    def on_body(self, data: bytes) -> None:
        cycle = self.cycle
        self.size += len(data)
        if cycle is not None:
            if cycle.response_complete:
                return
            cycle.body += data
            if len(cycle.body) > HIGH_WATER:
                self._connection.reading.pause_reading()
            cycle.message_event.set()
            return
        # Chunks may be tiny and their extensions long: what frames a body is bounded as well.
        if self.size > self._limit or self._raw > 8 * self._limit + SLICE:
            raise Problem(413, f"the body is over {self._limit} bytes")
        self._body.append(data)

    def on_message_complete(self) -> None:
        self.phase = IDLE
        self.since = 0.0
        self._raw = 0
        self.requests += 1
        self.owes_continue = False
        cycle, request, connection = self.cycle, self.request, self._connection
        assert request is not None
        if self.keep == CLOSE:
            connection.closing = True
        if cycle is not None:
            self.cycle = None
            cycle.more_body = False
            cycle.message_event.set()
        elif self._upgrade:
            # It begins when the parser has told where the handshake ends.
            assert self.found is not None
            upgrade = Upgrade(request, self.found, self.version)
            connection.closing = True
            connection.order.turns.append(Turn(request, self.found, self.keep, upgrade=upgrade))
        else:
            if self._body:
                request.body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
                self._body = []
            connection.order.take(Turn(request, self.found, self.keep))
