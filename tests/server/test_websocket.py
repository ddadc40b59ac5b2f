"""Frames on the wire: what is valid is echoed, what is not ends the connection with the right code, early.

The cases are Autobahn's, in short; `compliance/autobahn` runs the suite itself.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from starlette.responses import PlainTextResponse
from starlette.websockets import WebSocket, WebSocketDisconnect

from skerry.http.application import Application
from skerry.server.server import HttpServer
from skerry.server.settings import ServerSettings
from skerry.server.websocket import WebSocketConnection, WebSockets, WebSocketSettings

TEXT, BINARY, CONT, CLOSE, PING, PONG = 1, 2, 0, 8, 9, 10
MASK = b"\x11\x22\x33\x44"
GOOD = "Hello-µ@ßöäüàá-UTF-8!!".encode()
BAD = b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80\x65\x64\x69\x74\x65\x64"
HANDSHAKE = (
    b"GET %b HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n%b\r\n"
)


def frame(opcode: int, data: bytes = b"", *, fin: bool = True, rsv: int = 0, masked: bool = True) -> bytes:
    head = (0x80 if fin else 0) | rsv << 4 | opcode
    size, mask = len(data), 0x80 if masked else 0
    if size < 126:
        length = bytes((mask | size,))
    elif size < 65536:
        length = bytes((mask | 126,)) + size.to_bytes(2)
    else:
        length = bytes((mask | 127,)) + size.to_bytes(8)
    if not masked:
        return bytes((head,)) + length + data
    return bytes((head,)) + length + MASK + bytes(b ^ MASK[n & 3] for n, b in enumerate(data))


class Client:
    """A raw websocket: what is sent is said byte by byte, what comes back is read frame by frame."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def shake(self, path: bytes = b"/", extra: bytes = b"") -> bytes:
        self.writer.write(HANDSHAKE % (path, extra))
        return await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 30)

    async def send(self, *parts: bytes) -> None:
        for part in parts:
            self.writer.write(part)
            await self.writer.drain()
            for _ in range(5):
                await asyncio.sleep(0)

    async def frame(self) -> tuple[int, bytes]:
        """The next frame as (opcode, data); (-1, b"") at the end of the stream."""
        try:
            async with asyncio.timeout(30):
                head, size = await self.reader.readexactly(2)
                assert not size & 0x80, "a server does not mask"
                assert head & 0xF0 == 0x80
                if size == 126:
                    size = int.from_bytes(await self.reader.readexactly(2))
                elif size == 127:
                    size = int.from_bytes(await self.reader.readexactly(8))
                return head & 15, await self.reader.readexactly(size)
        except (asyncio.IncompleteReadError, ConnectionResetError):
            return -1, b""

    async def closed_with(self) -> int:
        """Read the close frame, then the end. The code, 1005 without one."""
        opcode, data = await self.frame()
        assert opcode == CLOSE, (opcode, data)
        assert await self.frame() == (-1, b""), "nothing comes after a close frame but the end"
        return int(struct.unpack("!H", data[:2])[0]) if data else 1005


async def until(truth: Callable[[], bool]) -> None:
    """Wait for what a client on a real socket cannot see."""
    async with asyncio.timeout(30):
        while not truth():  # noqa: ASYNC110 - polled on purpose
            await asyncio.sleep(0.005)


application = Application()
seen: list[dict[str, Any]] = []


@application.websocket("/")
async def echo(websocket: WebSocket) -> None:
    await websocket.accept()
    while True:
        message = await websocket.receive()
        if message["type"] == "websocket.disconnect":
            seen.append(dict(message))
            return
        if message.get("text") is not None:
            await websocket.send_text(message["text"])
        else:
            await websocket.send_bytes(message["bytes"])


@application.websocket("/denied")
async def denied(websocket: WebSocket) -> None:
    await websocket.send_denial_response(PlainTextResponse("no entry", 402, headers={"X-Why": "because"}))


@application.websocket("/closed")
async def closed(websocket: WebSocket) -> None:
    await websocket.close()


@application.websocket("/silent")
async def silent(websocket: WebSocket) -> None:
    return


@application.websocket("/broken")
async def broken(websocket: WebSocket) -> None:
    await websocket.accept()
    raise RuntimeError("on purpose")


@application.websocket("/said")
async def said(websocket: WebSocket) -> None:
    await websocket.accept(subprotocol=websocket.scope["subprotocols"][1], headers=[(b"x-mine", b"yes")])
    await websocket.send_json(
        {"path": websocket.scope["raw_path"].decode(), "query": dict(websocket.query_params)}
    )
    await websocket.close(4001, "enough")
    with pytest.raises(RuntimeError):
        await websocket.send_text("after the end")


@application.websocket("/deaf")
async def deaf(websocket: WebSocket) -> None:
    await websocket.accept()
    await asyncio.Event().wait()


@application.websocket("/flood")
async def flood(websocket: WebSocket) -> None:
    await websocket.accept()
    try:
        while True:
            await websocket.send_bytes(bytes(65536))
    except WebSocketDisconnect:
        seen.append({"type": "flood ended"})


@pytest.fixture
async def server() -> AsyncIterator[HttpServer]:
    seen.clear()
    websockets = WebSockets(
        WebSocketSettings(max_message_bytes=100_000, close_seconds=0.2, linger_seconds=0.2)
    )
    server = HttpServer(application, ServerSettings(access_log="off"), websocket=websockets)
    await server.start([socket.create_server(("127.0.0.1", 0))])
    yield server
    await server.stop(0.2)


@pytest.fixture
async def client(server: HttpServer) -> AsyncIterator[Client]:
    port = int(server.addresses[0].rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    yield Client(reader, writer)
    writer.close()


@pytest.fixture
async def ws(client: Client) -> Client:
    answer = await client.shake()
    assert answer.startswith(b"HTTP/1.1 101 ")
    assert b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in answer
    return client


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 128, 65535, 65536])
async def test_messages_of_every_length_are_echoed(ws: Client, size: int) -> None:
    """Cases 1.*: text and binary at each border of the length field."""
    await ws.send(frame(TEXT, b"x" * size), frame(BINARY, bytes(size)))
    assert await ws.frame() == (TEXT, b"x" * size)
    assert await ws.frame() == (BINARY, bytes(size))


async def test_a_frame_may_come_byte_by_byte(ws: Client) -> None:
    """Cases 1.*.8: where packets end means nothing."""
    await ws.send(*(bytes((b,)) for b in frame(TEXT, GOOD)))
    assert await ws.frame() == (TEXT, GOOD)


async def test_pings_are_answered_with_their_payload(ws: Client) -> None:
    """Cases 2.*: in order, up to 125 bytes; an unasked pong means nothing; a longer ping is an error."""
    await ws.send(
        frame(PONG, b"unasked"), *(frame(PING, b"%d" % n) for n in range(10)), frame(PING, bytes(125))
    )
    for n in range(10):
        assert await ws.frame() == (PONG, b"%d" % n)
    assert await ws.frame() == (PONG, bytes(125))
    await ws.send(frame(PING, bytes(126)))
    assert await ws.closed_with() == 1002


@pytest.mark.parametrize("rsv", [1, 2, 4, 7])
@pytest.mark.parametrize("opcode", [TEXT, BINARY, PING, CLOSE])
async def test_reserved_bits_are_refused(ws: Client, opcode: int, rsv: int) -> None:
    """Cases 3.*: without an extension none of the three may be set."""
    await ws.send(frame(opcode, rsv=rsv))
    assert await ws.closed_with() == 1002


@pytest.mark.parametrize("opcode", [3, 7, 11, 15])
async def test_unknown_opcodes_are_refused(ws: Client, opcode: int) -> None:
    """Cases 4.*: reserved opcodes, with and without data."""
    await ws.send(frame(opcode, b"data"))
    assert await ws.closed_with() == 1002


async def test_unmasked_frames_are_refused(ws: Client) -> None:
    """Section 5.1: a client masks."""
    await ws.send(frame(TEXT, b"plain", masked=False))
    assert await ws.closed_with() == 1002


async def test_fragments_make_one_message_with_control_frames_between(ws: Client) -> None:
    """Cases 5.3 to 5.8, 5.19: a ping inside a fragmented message is answered at once."""
    await ws.send(
        frame(TEXT, GOOD[:9], fin=False), frame(PING, b"1"), frame(CONT, b"", fin=False), frame(PING, b"2"),
        frame(CONT, GOOD[9:]),
    )  # fmt: skip
    assert await ws.frame() == (PONG, b"1")
    assert await ws.frame() == (PONG, b"2")
    assert await ws.frame() == (TEXT, GOOD)


@pytest.mark.parametrize(
    "frames",
    [
        (frame(PING, b"x", fin=False), frame(CONT, b"y")),
        (frame(CONT, b"nothing to go on from"),),
        (frame(CONT, b"nothing", fin=False),),
        (frame(TEXT, b"a", fin=False), frame(TEXT, b"b")),
        (frame(TEXT, b"a", fin=False), frame(BINARY, b"b")),
    ],
    ids=["fragmented ping", "cont first", "cont first, open", "text in text", "binary in text"],
)
async def test_wrong_fragments_are_refused(ws: Client, frames: tuple[bytes, ...]) -> None:
    """Cases 5.1, 5.2, 5.9 to 5.18."""
    await ws.send(*frames)
    assert await ws.closed_with() == 1002


@pytest.mark.parametrize("cut", range(1, len(GOOD)))
async def test_text_may_be_cut_within_a_character(ws: Client, cut: int) -> None:
    """Cases 6.2, 6.5: fragments end where they like."""
    await ws.send(frame(TEXT, GOOD[:cut], fin=False), frame(CONT, GOOD[cut:]))
    assert await ws.frame() == (TEXT, GOOD)


async def test_text_that_is_not_utf8_fails_early(ws: Client) -> None:
    """Case 6.4.1: the message is not over, the first wrong bytes end it."""
    await ws.send(frame(TEXT, BAD[:11], fin=False), frame(CONT, BAD[11:14], fin=False))
    assert await ws.closed_with() == 1007


async def test_text_that_is_not_utf8_fails_within_a_frame(ws: Client) -> None:
    """Case 6.4.4: not even the frame is complete; also when the character began in the fragment before."""
    whole = frame(TEXT, BAD)
    await ws.send(whole[:15], whole[15:18])
    ws.writer.write(whole[18:20])
    assert await ws.closed_with() == 1007


async def test_text_across_frames_fails_within_a_later_frame(ws: Client) -> None:
    """A character begun in one fragment and broken in the middle of the next."""
    later = frame(CONT, b"\x28 and so on")
    await ws.send(frame(TEXT, b"\xe2\x82", fin=False), later[:7])
    assert await ws.closed_with() == 1007


@pytest.mark.parametrize(
    "data", [b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xf8\x88\x80\x80\x80", b"ok \xc3"]
)
async def test_forms_of_wrong_utf8(ws: Client, data: bytes) -> None:
    """Cases 6.*: bytes that never occur, overlong forms, surrogates, beyond U+10FFFF, a character that is cut off."""
    await ws.send(frame(TEXT, data))
    assert await ws.closed_with() == 1007


@pytest.mark.parametrize(
    "code", [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999]
)
async def test_valid_close_codes_are_echoed(ws: Client, code: int) -> None:
    """Cases 7.7.*, and the view hears code and reason."""
    await ws.send(frame(CLOSE, code.to_bytes(2) + b"bye"))
    assert await ws.closed_with() == code
    await until(lambda: bool(seen))
    assert seen == [{"type": "websocket.disconnect", "code": code, "reason": "bye"}]


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999, 5000, 65535])
async def test_invalid_close_codes_are_refused(ws: Client, code: int) -> None:
    """Cases 7.9.*, 7.13.*."""
    await ws.send(frame(CLOSE, code.to_bytes(2)))
    assert await ws.closed_with() == 1002


@pytest.mark.parametrize(
    ("data", "code"), [(b"", 1005), (b"\x03", 1002), (b"\x03\xe8" + b"x" * 123, 1000), (b"\x03\xe8" + BAD, 1007)],
    ids=["empty", "one byte", "longest", "reason is not UTF-8"],
)  # fmt: skip
async def test_close_frames_of_every_shape(ws: Client, data: bytes, code: int) -> None:
    """Cases 7.3.*, 7.5.1."""
    await ws.send(frame(CLOSE, data))
    assert await ws.closed_with() == code


async def test_a_close_within_a_fragmented_message_is_a_close(ws: Client) -> None:
    """Case 7.1.5: the peer changed its mind; no error, and what comes after is not read."""
    await ws.send(frame(TEXT, b"part", fin=False), frame(CLOSE, b"\x03\xe8"), frame(CONT, b"rest"))
    assert await ws.closed_with() == 1000


async def test_nothing_after_a_close_is_answered(ws: Client) -> None:
    """Cases 7.1.2 to 7.1.4."""
    await ws.send(frame(CLOSE, b"\x03\xe8") + frame(PING, b"still there?") + frame(TEXT, b"hello?"))
    assert await ws.closed_with() == 1000


async def test_messages_are_limited_also_in_fragments(ws: Client) -> None:
    """Over the limit the connection ends with 1009, before the message is taken in."""
    await ws.send(frame(BINARY, bytes(60_000), fin=False), frame(CONT, bytes(60_000))[:20])
    assert await ws.closed_with() == 1009


async def test_a_lying_length_is_refused_before_its_bytes(ws: Client) -> None:
    """A header that announces an exabyte costs nothing."""
    await ws.send(b"\x82\xff\x0f\xff\xff\xff\xff\xff\xff\xff")
    assert await ws.closed_with() in (1002, 1009)


async def test_the_end_comes_right_behind_the_close_frame_of_an_error() -> None:
    """However long a client has to read that frame before the connection is cut."""
    websockets = WebSockets(WebSocketSettings(close_seconds=3_600, linger_seconds=3_600))
    server = HttpServer(application, ServerSettings(access_log="off"), websocket=websockets)
    await server.start([socket.create_server(("127.0.0.1", 0))])
    reader, writer = await asyncio.open_connection("127.0.0.1", int(server.addresses[0].rpartition(":")[2]))
    client = Client(reader, writer)
    await client.shake()
    await client.send(frame(TEXT, BAD))
    assert await client.closed_with() == 1007
    writer.close()
    await server.stop(0.2)


async def test_what_came_before_an_error_is_answered_first(ws: Client) -> None:
    """Cases 3.2, 4.1.3: a good message and a wrong frame in one packet; the echo, then the close frame."""
    await ws.send(frame(TEXT, b"good") + frame(3, b"wrong") + frame(PING, b"too late"))
    assert await ws.frame() == (TEXT, b"good")
    assert await ws.closed_with() == 1002


async def test_a_view_that_does_not_listen_delays_the_close_only_so_long(client: Client) -> None:
    """The error is told after the linger time, whatever the view does."""
    await client.shake(b"/deaf")
    await client.send(frame(TEXT, b"unheard") + frame(3))
    assert await client.closed_with() == 1002


async def test_a_view_may_answer_with_something_else(client: Client) -> None:
    """websocket.http.response: status, headers and body as given."""
    head = await client.shake(b"/denied")
    assert head.startswith(b"HTTP/1.1 402 ")
    assert b"x-why: because" in head.lower()
    assert await client.reader.read() == b"no entry"


@pytest.mark.parametrize(
    ("path", "status"), [(b"/closed", b"403"), (b"/silent", b"500"), (b"/nowhere", b"404")]
)
async def test_handshakes_that_do_not_succeed(client: Client, path: bytes, status: bytes) -> None:
    """Closed before accept: 403; a view that says nothing: 500; no route: 404."""
    head = await client.shake(path)
    assert head.split()[1] == status


async def test_wrong_handshakes_are_refused(server: HttpServer) -> None:
    """Section 4.2.1: version, key and method are checked."""
    port = int(server.addresses[0].rpartition(":")[2])
    good = HANDSHAKE % (b"/", b"")
    for wrong, status in (
        (good.replace(b"Version: 13", b"Version: 8"), b"426"),
        (good.replace(b"dGhlIHNhbXBsZSBub25jZQ==", b"short"), b"400"),
        (good.replace(b"Sec-WebSocket-Key", b"X-Key"), b"400"),
        (good.replace(b"HTTP/1.1", b"HTTP/1.0"), b"404"),
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(wrong)
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)
        assert head.split()[1] == status, head
        if status == b"400":
            assert b"application/problem+json" in head
            assert await reader.read() == (
                b'{"type":"about:blank","title":"Bad Request","status":400,'
                b'"detail":"the handshake is not valid: Sec-WebSocket-Key"}'
            )
        writer.close()


async def test_scope_subprotocol_headers_and_close_code(client: Client) -> None:
    """What a view is told and what it says reach the other side."""
    head = await client.shake(b"/said?a=1", b"Sec-WebSocket-Protocol: one, two\r\n")
    assert b"sec-websocket-protocol: two" in head.lower()
    assert b"x-mine: yes" in head.lower()
    assert await client.frame() == (TEXT, b'{"path":"/said","query":{"a":"1"}}')
    opcode, data = await client.frame()
    assert (opcode, data) == (CLOSE, (4001).to_bytes(2) + b"enough")
    await client.send(frame(CLOSE, data))
    assert await client.frame() == (-1, b"")


async def test_a_failing_view_closes_with_1011(client: Client) -> None:
    """The client is told that it was not its fault, and nothing of the reason."""
    await client.shake(b"/broken")
    assert await client.frame() == (CLOSE, (1011).to_bytes(2) + b"internal error")


async def test_a_client_that_does_not_answer_a_close_is_cut(client: Client) -> None:
    """After close_seconds the connection ends without its consent."""
    await client.shake(b"/broken")
    await client.frame()
    assert await client.frame() == (-1, b"")


async def test_a_slow_reader_blocks_its_own_view_only(server: HttpServer, client: Client) -> None:
    """Send waits while the transport is full; when the client is gone the view hears of it."""
    await client.shake(b"/flood")
    (connection,) = server.state.connections
    assert isinstance(connection, WebSocketConnection)
    await until(lambda: not connection.room)
    assert connection.transport.get_write_buffer_size() < 4 * 65536
    client.writer.transport.abort()
    await until(lambda: bool(seen))
    assert seen == [{"type": "flood ended"}]


class Told:
    """A hub's listener, as far as its connection tells it of room."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.write: Any = None

    def __getattr__(self, name: str) -> Callable[[], None]:
        return lambda: self.told.append(name)


@pytest.mark.parametrize("full", [False, True], ids=["later", "before"])
async def test_a_listener_is_told_when_its_connection_is_full(
    server: HttpServer, client: Client, full: bool
) -> None:
    """Also where it was full before the hub had it; and when it has room again."""
    await client.shake(b"/deaf")
    (connection,) = server.state.connections
    assert isinstance(connection, WebSocketConnection)
    listener: Any = Told()
    if full:
        connection.pause_writing()
    connection.take(listener)
    if not full:
        assert listener.told == []
        connection.pause_writing()
    assert listener.told == ["pause"]
    connection.resume_writing()
    assert listener.told == ["pause", "resume"]


async def test_pongs_do_not_pile_up_for_a_client_that_reads_nothing(server: HttpServer) -> None:
    """While nothing is taken the latest ping alone is owed an answer, and gets it."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.connect(("127.0.0.1", int(server.addresses[0].rpartition(":")[2])))
    reader, writer = await asyncio.open_connection(sock=sock, limit=1024)
    client = Client(reader, writer)
    await client.shake()
    (connection,) = server.state.connections
    assert isinstance(connection, WebSocketConnection)
    pings = frame(PING, b"x" * 125) * 500
    sent = 0
    while connection.room or sent < 2**24:
        await client.send(pings)
        sent += len(pings)
        assert connection.transport.get_write_buffer_size() < 2**20
    await client.send(frame(PING, b"the last"))
    async with asyncio.timeout(30):
        while await client.frame() != (PONG, b"the last"):
            pass
    await client.send(frame(TEXT, b"still here"))
    assert await client.frame() == (TEXT, b"still here")
    writer.close()


async def test_messages_do_not_pile_up_for_a_view_that_reads_none(server: HttpServer, client: Client) -> None:
    """However small they are, and however many come in one packet."""
    await client.shake(b"/deaf")
    (connection,) = server.state.connections
    assert isinstance(connection, WebSocketConnection)
    connection.data_received(frame(TEXT) * 40_000)
    conversation = connection._conversation
    assert conversation is not None
    assert len(conversation._inbox) < 1000


async def test_silent_clients_are_closed_and_pongs_keep_alive(server: HttpServer, ws: Client) -> None:
    """A ping is due once a period; who does not answer it within the grace is closed with 1011."""
    websockets = server.state.websocket
    assert isinstance(websockets, WebSockets)
    assert websockets._timer is not None
    websockets._timer.cancel()  # here seconds pass by `tick`
    for ticks, expected in ((15, (PING, b"")), (25, (PING, b"")), (10, None)):
        for _ in range(ticks):
            websockets.tick()
        opcode, data = await ws.frame()
        if expected is None:
            assert (opcode, data[:2]) == (CLOSE, (1011).to_bytes(2))
        elif ticks == 15:
            assert (opcode, data) == expected
            await ws.send(frame(PONG))
        else:
            assert (opcode, data) == expected, "an answered ping is followed by the next one"


async def test_shutdown_tells_clients_to_come_again(server: HttpServer, ws: Client) -> None:
    """A server that stops closes with 1012, and its views end."""
    stopping = asyncio.ensure_future(server.stop(30.0))
    opcode, data = await ws.frame()
    assert (opcode, data[:2]) == (CLOSE, (1012).to_bytes(2))
    await ws.send(frame(CLOSE, data))
    await stopping
    await until(lambda: bool(seen))
    assert seen[0]["code"] == 1012
