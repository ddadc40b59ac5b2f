"""A connection on real sockets: the lane, bodies, pipelining, limits, slow clients, in order."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import struct
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from starlette.requests import Request as StarletteRequest
from starlette.responses import StreamingResponse

from skerry.errors import Rejected, Unavailable
from skerry.http.application import Application
from skerry.http.reply import Response
from skerry.http.request import Request
from skerry.server.protocol import Connection

Start = Callable[..., Awaitable[Any]]
GET = b"GET /values/mykey HTTP/1.1\r\nHost: x\r\n\r\n"
LAST = b"GET /values/mykey HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


async def read_answer(
    reader: asyncio.StreamReader, *, body: bool = True
) -> tuple[int, dict[str, str], bytes]:
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)
    status_line, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    fields = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    size = int(fields.get("content-length", "0")) if body else 0
    return int(status_line.split(" ")[1]), fields, await asyncio.wait_for(reader.readexactly(size), 30)


async def test_a_value_from_memory(start: Start) -> None:
    """GET answers with the value, its ETag, its position, a date and a length."""
    running = await start()
    reader, writer = await running.connect()
    writer.write(GET)
    status, fields, body = await read_answer(reader)
    assert (status, json.loads(body)) == (200, {"key": "mykey", "value": "myvalue"})
    assert fields["etag"] == '"7"'
    assert fields["skerry-position"] == "e:7"
    assert fields["date"].endswith("GMT")
    assert fields["content-type"] == "application/json"
    writer.close()


async def test_the_same_head_again_is_read_without_the_parser(start: Start) -> None:
    """A repeated header block answers the same as a parsed one, whatever the key."""
    running = await start()
    reader, writer = await running.connect()
    connection: Connection | None = None
    for path, status in [
        ("mykey", 200), ("mykey", 200), ("other", 404), ("a%2Fb", 200), ("%C3%A4", 200), ("mykey?x=1", 200),
        (".", 400), ("..", 400), ("%2e%2e", 400), ("%zz", 400), ("%ff", 400), ("%00", 400), ("", 404), ("a/b", 404),
        ("my.key", 404), ("mykey", 200), ("k" * 9000, 414),
    ]:  # fmt: skip
        writer.write(b"GET /values/%b HTTP/1.1\r\nHost: x\r\nAccept: */*\r\n\r\n" % path.encode())
        found, _, _ = await read_answer(reader)
        assert found == status, path
        if status == 414:
            writer.close()
            reader, writer = await running.connect()
            continue
        (connection,) = running.server.state.connections
        assert connection.http.memory is not None
    writer.write(b"GET /values/mykey HTTP/1.1\r\nHost: x\r\nAccept: */*\r\nHost: y\r\n\r\n")
    assert (await read_answer(reader))[0] == 400
    writer.close()


@pytest.mark.parametrize("byte", [b"\0", b"\t", b" ", b"\x7f", b"\x80", b"\xff", b"#"])
async def test_a_repeated_head_lets_no_odd_byte_through(start: Start, byte: bytes) -> None:
    """What may not stand in a target is refused behind a repeated header block as it is behind a new one."""
    running = await start()
    odd = b"GET /values/my%bkey HTTP/1.1\r\nHost: x\r\n\r\n" % byte
    statuses = []
    for known in (False, True):
        reader, writer = await running.connect()
        if known:
            writer.write(b"GET /values/mykey HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (await read_answer(reader))[0] == 200
        writer.write(odd)
        statuses.append((await read_answer(reader))[0])
        writer.close()
    assert statuses == [400, 400]


async def test_every_side_reads_a_repeated_head(start: Start) -> None:
    """Static lane routes, queries, misses and ASGI routes answer a repeated block as they answer a parsed one."""
    app = Application()

    @app.get("/")
    def home(q: str = "none") -> str:
        return q

    @app.get("/asgi")
    async def asgi(request: StarletteRequest) -> str:
        request.scope["headers"].append((b"x-own", b"1"))
        return str(len(request.scope["headers"]))

    running = await start(app)
    reader, writer = await running.connect()
    for _ in range(3):
        for path, status, body in [
            (b"/", 200, b"none"), (b"/?q=a%20b", 200, b"a b"), (b"/asgi", 200, b"2"), (b"/asgi?x", 200, b"2"),
            (b"/nope", 404, None), (b"/?q=%ff", 400, None),
        ]:  # fmt: skip
            writer.write(b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n" % path)
            found, _, text = await read_answer(reader)
            assert found == status, path
            assert body in (None, text), path
    for bad in (b"/#a", b"/a b", b"/\xff", b"/\x01", b"x"):
        other, other_writer = await running.connect()
        for target in (b"/", bad):
            other_writer.write(b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n" % target)
            found, _, _ = await read_answer(other)
        assert found == 400, bad
        other_writer.close()
    writer.close()


async def test_a_remembered_head_may_be_followed_by_more(start: Start) -> None:
    """Two requests in one packet after the memory exists are both answered; so is one that comes in two packets."""
    running = await start()
    reader, writer = await running.connect()
    for _ in range(2):
        writer.write(GET)
        await read_answer(reader)
    writer.write(GET + GET)
    assert [(await read_answer(reader))[0] for _ in range(2)] == [200, 200]
    writer.write(GET[:20])
    await writer.drain()
    await asyncio.sleep(0.02)
    writer.write(GET[20:])
    assert (await read_answer(reader))[0] == 200
    writer.close()


async def test_conditional_reads(start: Start) -> None:
    """If-None-Match with the current tag is 304 without a body, another one 200; If-Match with another one 412."""
    running = await start()
    reader, writer = await running.connect()
    for field, status in [
        ('If-None-Match: "7"', 304), ('If-None-Match: W/"7", "8"', 304), ("If-None-Match: *", 304),
        ('If-None-Match: "8"', 200), ('If-Match: "7"', 200), ('If-Match: "8"', 412), ('If-Match: W/"7"', 412),
        ("If-None-Match: 7", 400),
    ]:  # fmt: skip
        for _ in range(3):  # parsed, then from memory
            writer.write(b"GET /values/mykey HTTP/1.1\r\nHost: x\r\n%b\r\n\r\n" % field.encode())
            found, fields, body = await read_answer(reader)
            assert found == status, field
            if found == 304:
                assert fields["etag"] == '"7"'
                assert body == b""
                assert "content-length" not in fields
    writer.close()


async def test_head_has_the_fields_but_no_body(start: Start) -> None:
    """HEAD answers what GET would, without the body, on both sides; the connection goes on."""
    running = await start()
    reader, writer = await running.connect()
    for path in (b"/values/mykey", b"/plain"):
        writer.write(b"HEAD %b HTTP/1.1\r\nHost: x\r\n\r\n" % path)
        status, fields, _ = await read_answer(reader, body=False)
        assert status == 200
        assert int(fields["content-length"]) > 0
    writer.write(GET)
    assert (await read_answer(reader))[0] == 200
    writer.close()


async def test_a_missing_key_has_an_empty_body(start: Start) -> None:
    """404 of a view is as the view made it; an unknown path is a problem."""
    running = await start()
    found = await running.ask(b"GET /values/nope HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert found.startswith(b"HTTP/1.1 404 Not Found\r\n")
    assert found.endswith(b"Content-Length: 0\r\n\r\n<end>")
    found = await running.ask(b"GET /nope HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert b"application/problem+json" in found


async def test_methods(start: Start) -> None:
    """A path with other methods is 405 with Allow; OPTIONS tells them."""
    running = await start()
    reader, writer = await running.connect()
    writer.write(b"DELETE /values/a HTTP/1.1\r\nHost: x\r\n\r\n")
    status, fields, _ = await read_answer(reader)
    assert (status, fields["allow"]) == (405, "GET, HEAD, OPTIONS, PUT")
    writer.write(b"OPTIONS /values/a HTTP/1.1\r\nHost: x\r\n\r\n")
    status, fields, _ = await read_answer(reader)
    assert (status, fields["allow"]) == (204, "GET, HEAD, OPTIONS, PUT")
    writer.close()


async def test_bodies_of_the_lane(start: Start) -> None:
    """A body arrives whole, by length or in chunks, trailers and chunk extensions left out."""
    running = await start()
    reader, writer = await running.connect()
    writer.write(b"PUT /values/k HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\none!")
    assert json.loads((await read_answer(reader))[2])["value"] == "one!"
    writer.write(b"PUT /values/k HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
    writer.write(b"2;name=value\r\ntw\r\n1\r\no\r\n0\r\nX-Trailer: y\r\n\r\n")
    assert json.loads((await read_answer(reader))[2])["value"] == "two"
    writer.write(b"PUT /values/k HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n\xff")
    assert (await read_answer(reader))[0] == 415
    writer.write(b"PUT /values/k HTTP/1.1\r\nHost: x\r\n\r\n")
    assert json.loads((await read_answer(reader))[2])["value"] == ""
    writer.close()


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("path", ["/values/k", "/"])
async def test_too_large_is_said_even_while_the_client_sends(start: Start, path: str, chunked: bool) -> None:
    """A body over the route's limit gets 413, by length or in chunks, and the client can read it."""
    running = await start()
    size = 3_000_000
    body = b"x" * size
    head = b"PUT" if path != "/" else b"POST"
    if chunked:
        request = head + b" %b HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" % path.encode()
        request += b"%x\r\n%b\r\n0\r\n\r\n" % (size, body)
    else:
        request = head + b" %b HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (
            path.encode(),
            size,
            body,
        )
    found = await running.ask(request)
    assert found.startswith(b"HTTP/1.1 413 ")
    assert found.lower().count(b"connection: close\r\n") == 1
    assert b"application/problem+json" in found


async def test_who_is_refused_may_send_on_to_the_end(start: Start) -> None:
    """An application that refuses a body halfway closes the connection after it: a client that sends all of it before
    it looks finds the answer, and no reset."""
    running = await start(linger_seconds=60.0)
    loop, size = asyncio.get_running_loop(), 60_000_000
    with socket.socket() as sock:
        sock.setblocking(False)
        await loop.sock_connect(sock, ("127.0.0.1", running.port))
        head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size
        await loop.sock_sendall(sock, head + bytes(size))
        found = b""
        while part := await loop.sock_recv(sock, 65_536):
            found += part
    assert found.startswith(b"HTTP/1.1 413 ")
    assert b"application/problem+json" in found


async def test_the_limit_itself_is_allowed(start: Start) -> None:
    """Exactly max_body_bytes pass, one more does not."""
    running = await start()
    for size, status in ((1000, b"200"), (1001, b"413")):
        found = await running.ask(
            b"PUT /values/k HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b"
            % (size, b"x" * size)
        )
        assert found.split(b" ")[1] == status


async def test_endless_chunk_framing_is_bounded(start: Start) -> None:
    """Chunk extensions cost no memory, and cannot go on for ever."""
    running = await start()
    reader, writer = await running.connect()
    writer.write(b"PUT /values/k HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
    line = b"1;" + b"e" * 1000 + b"\r\nx\r\n"
    writer.write(line * 500)
    assert (await read_answer(reader))[0] == 413
    writer.close()


async def test_head_limits(start: Start) -> None:
    """A long target is 414, too many or too large fields 431, also when they never end."""
    running = await start(max_target_bytes=1000, max_head_bytes=2000, max_fields=10)
    for text, status in [
        (b"GET /values/" + b"a" * 1000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", b"414"),
        (b"GET /" + b"a" * 5000, b"414"),
        (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 10 + b"\r\n", b"431"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"b" * 2000 + b"\r\n\r\n", b"431"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"b" * 5000, b"431"),
        (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"a" * 5000, b"431"),
    ]:
        found = await running.ask(text)
        assert found.split(b" ")[1] == status, text[:40]
        assert found.endswith(b"<end>")


async def test_expect_continue(start: Start) -> None:
    """100 Continue comes when the body is wanted; 413 instead when it is not."""
    running = await start()
    reader, writer = await running.connect()
    for path, method in ((b"/values/k", b"PUT"), (b"/", b"POST")):
        head = b"%b %b HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n" % (
            method,
            path,
        )
        writer.write(head)
        assert await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30) == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"hi")
        assert (await read_answer(reader))[0] == 200
    writer.write(b"PUT /values/k HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2000\r\n\r\n")
    assert (await read_answer(reader))[0] == 413
    writer.close()


async def test_pipelined_requests_are_answered_in_order(start: Start) -> None:
    """Lane, ASGI and refused requests mixed in one packet keep their order."""
    running = await start()
    found = await running.ask(
        b"GET /values/mykey HTTP/1.1\r\nHost: x\r\n\r\n"
        b"GET /plain HTTP/1.1\r\nHost: x\r\n\r\n"
        b"GET /values/nope HTTP/1.1\r\nHost: x\r\n\r\n"
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"
        b"PUT /values/k HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"
        b"GET /values/k HTTP/1.1\r\nHost: x\r\n\r\n"
        b"NONSENSE\r\n\r\n"
    )
    statuses = [part.split(b" ")[0] for part in found.split(b"HTTP/1.1 ")[1:]]
    assert statuses == [b"200", b"200", b"404", b"200", b"200", b"200", b"400"]
    assert (
        found.index(b'"myvalue"')
        < found.index(b"plain")
        < found.index(b"3 bytes")
        < found.index(b'"message"')
    )
    assert found.endswith(b"<end>")


async def test_pipelined_large_values_do_not_pile_up(start: Start) -> None:
    """Many GETs of 1 MiB in one go: only what the client takes is rendered, the rest waits unread; all arrive."""
    app = Application()
    value = b"v" * 1_048_576
    calls = 0

    @app.get("/large/{key}")
    def large(key: str) -> Response:
        nonlocal calls
        calls += 1
        return Response(value)

    running = await start(app)
    reader, writer = await running.connect()
    request = b"GET /large/x HTTP/1.1\r\nHost: x\r\n\r\n"
    count = 4000
    writer.transport.pause_reading()
    writer.write(request * count)
    await running.until(lambda: calls)
    for _ in range(20):
        await asyncio.sleep(0.01)  # time enough to render thousands
    (connection,) = running.server.state.connections
    assert 1 <= calls < 100, "answers pile up in the server's memory"  # the kernel's buffers take 4 to 40
    assert connection.transport.get_write_buffer_size() < 3 * len(value)
    assert len(connection.http.turns) * len(request) <= 65_536 + len(request)
    writer.transport.resume_reading()
    for _ in range(100):
        assert len((await read_answer(reader))[2]) == len(value)
    assert calls < 400  # 100 were read; the client's and the kernel's buffers hold some more
    writer.transport.abort()


async def test_a_pipeline_lets_others_have_their_turn(start: Start) -> None:
    """A hundred costly requests in one packet do not make another client wait for all of them."""
    app = Application()
    order: list[str] = []

    @app.get("/costly")
    def costly() -> str:
        end = time.monotonic() + 0.002
        while time.monotonic() < end:
            pass
        order.append("costly")
        return "costly"

    @app.get("/quick")
    def quick() -> str:
        order.append("quick")
        return "quick"

    running = await start(app)
    many, many_writer = await running.connect()
    one, one_writer = await running.connect()
    many_writer.write(b"GET /costly HTTP/1.1\r\nHost: x\r\n\r\n" * 100)
    one_writer.write(b"GET /quick HTTP/1.1\r\nHost: x\r\n\r\n")
    await one.readuntil(b"quick")
    for _ in range(100):
        await many.readuntil(b"costly")
    assert order.count("costly") == 100
    assert order.index("quick") < 50
    many_writer.close()
    one_writer.close()


async def test_a_future_is_answered_when_it_is_done(start: Start) -> None:
    """A lane view may answer later; what was pipelined behind it waits, other connections do not."""
    app = Application()
    waiting: list[asyncio.Future[Any]] = []

    @app.put("/later/{key}")
    def later(key: str) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        waiting.append(future)
        return future

    @app.get("/now")
    def now() -> str:
        return "now"

    running = await start(app)
    reader, writer = await running.connect()
    writer.write(
        b"PUT /later/a HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n1GET /now HTTP/1.1\r\nHost: x\r\n\r\n"
    )
    other, other_writer = await running.connect()
    other_writer.write(b"GET /now HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (await read_answer(other))[2] == b"now"
    assert len(waiting) == 1
    waiting[0].set_result({"done": True})
    assert json.loads((await read_answer(reader))[2]) == {"done": True}
    assert (await read_answer(reader))[2] == b"now"

    for outcome, status in ((Rejected("no"), 409), (Unavailable("away"), 503), (ValueError("secret"), 500)):
        writer.write(b"PUT /later/a HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
        await running.until(lambda: len(waiting) == 2)
        waiting.pop().set_exception(outcome)
        found, _, body = await read_answer(reader)
        assert found == status
        assert b"secret" not in body
    writer.close()
    other_writer.close()


async def test_a_client_that_leaves_cancels_nothing(start: Start) -> None:
    """The future of a write goes on without its receiver, and its failure is nobody's surprise."""
    app = Application()
    waiting: list[asyncio.Future[Any]] = []

    @app.put("/later")
    def later() -> asyncio.Future[Any]:
        waiting.append(asyncio.get_running_loop().create_future())
        return waiting[-1]

    running = await start(app)
    _, writer = await running.connect()
    writer.write(b"PUT /later HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
    await running.until(lambda: waiting)
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()  # with a reset, so that the server knows at once
    await running.until(lambda: not running.server.connections)
    assert not waiting[0].cancelled()
    waiting[0].set_result("durable")


async def test_a_half_closed_client_still_gets_its_answer(start: Start) -> None:
    """`nc -N` style: the client ends its side after the request and waits; the answer comes, then the end."""
    app = Application()
    waiting: list[asyncio.Future[Any]] = []

    @app.put("/later")
    def later() -> asyncio.Future[Any]:
        waiting.append(asyncio.get_running_loop().create_future())
        return waiting[-1]

    running = await start(app)
    reader, writer = await running.connect()
    writer.write(b"PUT /later HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
    writer.write_eof()
    await running.until(lambda: waiting)
    await asyncio.sleep(0.01)
    waiting[0].set_result("here")
    assert (await read_answer(reader))[2] == b"here"
    assert await reader.read() == b""
    writer.close()


async def test_http_1_0(start: Start) -> None:
    """HTTP/1.0 closes unless asked to keep, and never sees chunks."""
    app = Application()

    @app.get("/stream")
    async def stream() -> StreamingResponse:
        return StreamingResponse(iter([b"one", b"two"]))

    @app.get("/now")
    def now() -> str:
        return "now"

    running = await start(app)
    found = await running.ask(b"GET /now HTTP/1.0\r\n\r\n")
    assert found.endswith(b"now<end>")
    found = await running.ask(b"GET /stream HTTP/1.0\r\n\r\n")
    assert b"chunked" not in found
    assert found.endswith(b"\r\n\r\nonetwo<end>")
    reader, writer = await running.connect()
    for _ in range(2):
        writer.write(b"GET /now HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        status, fields, body = await read_answer(reader)
        assert (status, fields["connection"], body) == (200, "keep-alive", b"now")
    writer.close()


async def test_slow_senders_are_cut(start: Start) -> None:
    """A head that drips is 408 however often a byte comes; a silent new connection is closed; a dripping body too."""
    running = await start(head_seconds=0.2, body_seconds=0.2, keep_alive_seconds=0.3)

    async def rest(reader: asyncio.StreamReader) -> bytes:
        """Until the end; a byte that meets a closing door makes it a reset, after all that was said."""
        found = b""
        try:
            while part := await reader.read(65536):
                found += part
        except ConnectionResetError:
            pass
        return found

    async def drip(text: bytes) -> bytes:
        reader, writer = await running.connect()
        pending = asyncio.ensure_future(rest(reader))
        for byte in text:
            if pending.done():
                break
            writer.write(bytes((byte,)))
            await asyncio.sleep(0.03)
        found = await asyncio.wait_for(pending, 30)
        writer.close()
        return found

    head = b"GET / HTTP/1.1\r\nHost: x\r\nAccept: a, b, c, d, e, f, g, h, i, j, k\r\n\r\n"
    body = b"PUT /values/k HTTP/1.1\r\nHost: x\r\nContent-Length: 900\r\n\r\n"

    async def drip_body() -> bytes:
        reader, writer = await running.connect()
        writer.write(body)
        pending = asyncio.ensure_future(rest(reader))
        while not pending.done():
            writer.write(b"x")
            await asyncio.sleep(0.03)
        writer.close()
        return await pending

    async def say_nothing(first: bytes = b"") -> bytes:
        reader, writer = await running.connect()
        writer.write(first)
        found: bytes = await asyncio.wait_for(reader.read(), 30)
        writer.close()
        return found

    dripped, dripped_body, silent, idle, crlf = await asyncio.gather(
        drip(head), drip_body(), say_nothing(), say_nothing(GET), drip(b"\r\n" * 40)
    )
    assert dripped.startswith(b"HTTP/1.1 408 ")
    assert dripped_body.startswith(b"HTTP/1.1 408 ")
    assert silent == b""
    assert idle.startswith(b"HTTP/1.1 200 ")
    assert crlf == b""
    assert running.server.state.timed_out == 2


async def test_a_client_that_takes_nothing_is_cut(start: Start) -> None:
    """A client that asks and never reads loses its connection after stall_seconds."""
    app = Application()
    asked: list[bool] = []

    @app.get("/large")
    def large() -> bytes:
        asked.append(True)
        return b"x" * 30_000_000

    running = await start(app, stall_seconds=0.2)
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", running.port))
    await asyncio.get_running_loop().sock_sendall(sock, b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
    await running.until(lambda: asked and not running.server.connections)
    sock.close()


async def test_errors_of_a_view_show_no_internals(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    """An exception is a 500 problem with the request's id, the log has the stack under the same id."""
    app = Application()

    @app.get("/lane")
    def lane() -> str:
        raise RuntimeError("secret")

    @app.get("/asgi")
    async def asgi() -> str:
        raise RuntimeError("secret")

    @app.get("/coroutine")
    def coroutine() -> Any:
        return asgi()

    running = await start(app)
    for path in (b"/lane", b"/asgi", b"/coroutine"):
        caplog.clear()
        reader, writer = await running.connect()
        writer.write(b"GET %b HTTP/1.1\r\nHost: x\r\nX-Request-ID: abc-1\r\n\r\n" % path)
        status, fields, body = await read_answer(reader)
        assert status == 500
        assert fields["x-request-id"] == "abc-1"
        assert b"secret" not in body
        assert any("abc-1" in record.getMessage() and record.exc_info for record in caplog.records)
        writer.close()


async def test_a_view_that_blocks_is_named(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    """A lane view over slow_view_seconds is counted, logged by name and told to listeners."""
    import time

    app = Application()

    @app.get("/slow")
    def slow_one() -> str:
        time.sleep(0.02)  # blocks the loop on purpose
        return "late"

    running = await start(app, slow_view_seconds=0.01)
    heard: list[str] = []
    running.server.emitter.on("slow_view", lambda name, seconds: heard.append(name))
    with caplog.at_level(logging.WARNING):
        await running.ask(b"GET /slow HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert heard == ["slow_one"]
    assert "slow_one" in caplog.text


async def test_streams_in_and_out(start: Start) -> None:
    """An ASGI view reads a body larger than any buffer as a stream and answers with one."""
    app = Application()

    @app.post("/echo")
    async def echo(request: StarletteRequest) -> StreamingResponse:
        sizes = [len(part) async for part in request.stream()]
        return StreamingResponse(iter([b"%d;" % size for size in sizes]))

    running = await start(app)
    reader, writer = await running.connect()
    size = 5_000_000
    writer.write(b"POST /echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % size)
    sender = asyncio.ensure_future(_send(writer, b"x" * size))
    found = await asyncio.wait_for(reader.read(), 30)
    await sender
    numbers = [part.rpartition(b"\n")[2] for part in found.partition(b"\r\n\r\n")[2].split(b";")]
    assert found.startswith(b"HTTP/1.1 200 "), found
    assert sum(int(number) for number in numbers if number.isdigit()) == size
    writer.close()


async def _send(writer: asyncio.StreamWriter, body: bytes) -> None:
    writer.write(body)
    await writer.drain()


async def test_an_asgi_client_that_leaves_is_told(start: Start) -> None:
    """`http.disconnect` reaches an application that streams."""
    left = asyncio.Event()

    async def forever(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"first", "more_body": True})
        await receive()
        assert (await receive())["type"] == "http.disconnect"
        left.set()

    app = Application()
    app.mount("/forever", forever)
    running = await start(app)
    reader, writer = await running.connect()
    writer.write(b"GET /forever HTTP/1.1\r\nHost: x\r\n\r\n")
    await reader.readuntil(b"first")
    writer.close()
    await asyncio.wait_for(left.wait(), 30)


async def test_request_values_are_the_same_on_both_sides(start: Start) -> None:
    """Path, query, fields, body, client: a view sees the same on the lane and through ASGI."""
    app = Application()

    def described(request: Request) -> dict[str, Any]:
        return {
            "method": request.method,
            "path": request.path,
            "raw": request.raw_path.decode(),
            "q": request.query.items(),
            "many": request.headers.get("x-many"),
            "body": request.text(),
            "client": request.client[0] if request.client else None,
            "cookies": request.cookies(),
        }

    @app.put("/lane/{key}")
    def lane(request: Request, key: str) -> dict[str, Any]:
        return described(request) | {"key": key}

    @app.put("/asgi/{key}")
    async def asgi(request: Request, key: str) -> dict[str, Any]:
        return described(request) | {"key": key}

    running = await start(app)
    found = []
    for path in (b"lane", b"asgi"):
        reader, writer = await running.connect()
        writer.write(
            b"PUT /%b/a%%2Fb%%C3%%A4?x=1&y=%%20&x=2 HTTP/1.1\r\nHost: x\r\nX-Many: a\r\nX-Many: b\r\n"
            b"Cookie: c=d; e=f\r\nContent-Length: 4\r\n\r\nbody" % path
        )
        status, _, body = await read_answer(reader)
        assert status == 200
        found.append(json.loads(body.replace(path, b"side")))
        writer.close()
    assert found[0] == found[1]
    assert found[0]["key"] == "a/bä"
    assert found[0]["q"] == [["x", "1"], ["y", " "], ["x", "2"]]
    assert found[0]["many"] == "a, b"
