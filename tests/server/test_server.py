"""A server as a whole: sockets handed in, hold, resume, drain, stop, TLS, limits, mounts, websockets, numbers."""

from __future__ import annotations

import asyncio
import socket
import ssl
import subprocess
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.websockets import WebSocket
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosedError, InvalidStatus

from skerry.errors import LifecycleError, SettingsError
from skerry.http.application import Application
from skerry.http.problems import Problem
from skerry.http.reply import Response
from skerry.http.request import Request
from skerry.server.server import HttpServer
from skerry.server.settings import ServerSettings
from skerry.server.state import QUICK_SECONDS

Start = Callable[..., Awaitable[Any]]
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
OFF = ServerSettings(access_log="off")


def hello() -> Application:
    app = Application()

    @app.get("/")
    def home() -> str:
        return "hello"

    return app


async def test_a_connection_accepted_elsewhere_is_served(start: Start) -> None:
    """`attach` takes the socket of a connection, as a balancer process hands it over, and counts it from then on."""
    running = await start(hello())
    ours, theirs = socket.socketpair()
    running.server.attach(theirs)
    assert running.server.connections == 1
    reader, writer = await asyncio.open_connection(sock=ours)
    writer.write(GET)
    assert (await reader.readline()).startswith(b"HTTP/1.1 200")
    writer.close()


@pytest.mark.parametrize("path", ["/now", "/later", "/async"])
async def test_an_answer_that_cannot_be_written_is_a_failure(start: Start, path: str) -> None:
    """Whatever was made of it after it was made: the client is told 500. The connection goes on, but for one whose
    answer an application of ASGI had begun, which is closed."""
    app = hello()

    def broken() -> Response:
        answer = Response(b"")
        answer.body = 204  # type: ignore[assignment]
        return answer

    @app.get("/now")
    def now() -> Response:
        return broken()

    @app.get("/later")
    def later() -> asyncio.Future[Response]:
        answer = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(answer.set_result, broken())
        return answer

    @app.get("/async")
    async def in_a_task() -> Response:
        return broken()

    running = await start(app)
    for _ in range(2):
        told = await running.ask(GET.replace(b" / ", b" %s " % path.encode()) + GET)
        assert told.startswith(b"HTTP/1.1 500 ")
        assert (b"hello" in told) == (path != "/async")
        assert told.endswith(b"<end>") == (path == "/async")


async def test_hold_and_resume(start: Start) -> None:
    """While held, open connections go on and new ones wait in the kernel; after resume they are served."""
    running = await start(hello())
    reader, writer = await running.connect()
    writer.write(GET)
    await reader.readuntil(b"hello")
    await running.server.hold()
    writer.write(GET)
    await reader.readuntil(b"hello")
    late_reader, late_writer = await running.connect()
    late_writer.write(GET)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(late_reader.read(1), 0.1)
    with pytest.raises(LifecycleError):
        await running.server.hold()
    await running.server.resume()
    await asyncio.wait_for(late_reader.readuntil(b"hello"), 30)
    writer.close()
    late_writer.close()


async def test_drain_finishes_what_is_under_way(start: Start) -> None:
    """Requests that run are answered with Connection: close, idle connections close, new ones are not accepted."""
    app = hello()
    waiting: list[asyncio.Future[str]] = []

    @app.get("/later")
    def later() -> asyncio.Future[str]:
        waiting.append(asyncio.get_running_loop().create_future())
        return waiting[-1]

    @app.get("/asgi")
    async def asgi() -> str:
        waiting.append(asyncio.get_running_loop().create_future())
        return await waiting[-1]

    running = await start(app)
    idle, idle_writer = await running.connect()
    idle_writer.write(GET)
    await idle.readuntil(b"hello")
    busy = []
    for path in (b"/later", b"/asgi"):
        reader, writer = await running.connect()
        writer.write(b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n" % path)
        busy.append((reader, writer))
    await running.until(lambda: len(waiting) == 2)
    draining = asyncio.ensure_future(running.server.drain(30))
    assert await asyncio.wait_for(idle.read(), 30) == b""
    with pytest.raises(OSError):  # noqa: PT011  # refused or reset, by the platform
        await running.connect()
    assert not draining.done()
    for future in waiting:
        future.set_result("done")
    for reader, writer in busy:
        found = await asyncio.wait_for(reader.read(), 30)
        assert b"connection: close" in found.lower()
        assert found.endswith(b"done")
        writer.close()
    assert await draining
    idle_writer.close()


async def test_drain_has_a_deadline(start: Start) -> None:
    """What does not end in time is cut: the client is told so, the task is cancelled."""
    app = hello()
    ended = asyncio.Event()

    @app.get("/never")
    async def never() -> str:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return ""

    running = await start(app)
    reader, writer = await running.connect()
    writer.write(b"GET /never HTTP/1.1\r\nHost: x\r\n\r\n")
    await running.until(lambda: running.server.state.tasks)
    await running.server.stop(0.05)
    assert ended.is_set()
    assert (await reader.read()).startswith(b"HTTP/1.1 503 ")
    assert running.server.status == "stopped"
    await running.server.stop()  # again is allowed
    writer.close()


async def test_a_drain_does_not_wait_for_clients_that_keep_it_waiting(start: Start) -> None:
    """Half a head, half a body, an answer that nobody takes: each gets its patience, then the server ends."""
    app = hello()

    @app.put("/thing")
    def thing(request: Request) -> bytes:
        return request.body

    @app.get("/large")
    def large() -> bytes:
        return b"x" * 30_000_000

    running = await start(app, patience_seconds=0.1)
    halves = []
    for text in (b"GET /thi", b"PUT /thing HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc"):
        reader, writer = await running.connect()
        writer.write(text)
        halves.append((reader, writer))
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", running.port))
    await asyncio.get_running_loop().sock_sendall(sock, b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
    await running.until(lambda: sum(not each.http.writable for each in running.server.state.connections) == 1)

    assert await running.server.drain(40)

    for reader, writer in halves:
        assert (await reader.read()).startswith(b"HTTP/1.1 503 ")
        writer.close()
    sock.close()


async def test_events_tell_the_life(start: Start) -> None:
    """started, held, resumed, draining, stopped come in this order."""
    heard: list[str] = []
    server = HttpServer(hello(), OFF)
    for name in ("started", "held", "resumed", "draining", "stopped"):
        server.emitter.on(name, lambda name=name: heard.append(name))
    await server.start()
    await server.hold()
    await server.resume()
    await server.stop()
    assert heard == ["started", "held", "resumed", "draining", "stopped"]
    with pytest.raises(LifecycleError):
        await server.start()


async def test_too_many_connections_are_told_so(start: Start) -> None:
    """Over max_connections a client gets 503 at once; when one leaves, there is room again."""
    running = await start(hello(), max_connections=2)
    streams = [await running.connect() for _ in range(2)]
    for reader, writer in streams:
        writer.write(GET)
        await reader.readuntil(b"hello")
    found = await running.ask(GET)
    assert found.startswith(b"HTTP/1.1 503 ")
    assert b"Retry-After" in found
    head, _, body = found.removesuffix(b"<end>").removesuffix(b"<reset>").partition(b"\r\n\r\n")
    assert int(head.lower().partition(b"content-length: ")[2].split(b"\r")[0]) == len(body)
    streams[0][1].close()
    await running.until(lambda: running.server.connections != 2)
    assert (await running.ask(GET)).startswith(b"HTTP/1.1 200 ")
    streams[1][1].close()


async def test_too_many_asgi_requests_are_told_so(start: Start) -> None:
    """Over max_pending an ASGI request gets 503; the lane goes on."""
    app = hello()
    gate = asyncio.Event()

    @app.get("/asgi")
    async def asgi() -> str:
        await gate.wait()
        return "done"

    running = await start(app, max_pending=1)
    reader, writer = await running.connect()
    writer.write(b"GET /asgi HTTP/1.1\r\nHost: x\r\n\r\n")
    await running.until(lambda: running.server.state.tasks)
    assert (await running.ask(b"GET /asgi HTTP/1.1\r\nHost: x\r\n\r\n")).startswith(b"HTTP/1.1 503 ")
    assert (await running.ask(GET)).startswith(b"HTTP/1.1 200 ")
    gate.set()
    assert (await reader.readline()).startswith(b"HTTP/1.1 200")
    writer.close()


@pytest.mark.service("openssl")
async def test_a_handshake_has_the_time_of_a_head(start: Start, tmp_path: Path) -> None:
    """Who opens a connection for TLS and says nothing is gone after head_seconds, attached sockets too, and only so
    many may be at it."""
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    command = (
        f"openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -keyout {key} -out {cert}"
    )
    subprocess.run(command.split(), check=True, capture_output=True)  # noqa: ASYNC221  # before the server runs
    running = await start(hello(), tls_cert=cert, tls_key=key, head_seconds=0.2, max_connections=1)
    reader, writer = await running.connect()
    assert await asyncio.wait_for(reader.read(), 30) == b""
    writer.close()
    pairs = [socket.socketpair() for _ in range(2)]
    for _, theirs in pairs:
        running.server.attach(theirs)
    assert running.server.state.refused == 1
    for ours, _ in pairs:
        ours.setblocking(False)
        loop = asyncio.get_running_loop()
        assert await asyncio.wait_for(loop.sock_recv(ours, 10), 30) == b""
        ours.close()


@pytest.mark.service("openssl")
async def test_tls(start: Start, tmp_path: Path) -> None:
    """With a certificate the same application answers over TLS, attached sockets too."""
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    command = (
        f"openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -keyout {key} -out {cert}"
    )
    subprocess.run(command.split(), check=True, capture_output=True)  # noqa: ASYNC221  # before the server runs
    app = hello()

    @app.put("/size", max_body_bytes=10)
    def size(body: bytes) -> int:
        return len(body)

    running = await start(app, tls_cert=cert, tls_key=key)
    context = ssl.create_default_context(cafile=str(cert))
    context.check_hostname = False
    reader, writer = await asyncio.open_connection("127.0.0.1", running.port, ssl=context)
    for _ in range(2):
        writer.write(GET)
        assert (await reader.readuntil(b"hello")).startswith(b"HTTP/1.1 200")
    writer.write(b"PUT /size HTTP/1.1\r\nHost: x\r\nContent-Length: 11\r\n\r\n")
    assert (await reader.read()).startswith(b"HTTP/1.1 413")
    writer.close()
    assert running.server.addresses == [f"https://127.0.0.1:{running.port}"]
    ours, theirs = socket.socketpair()
    running.server.attach(theirs)
    reader, writer = await asyncio.open_connection(sock=ours, ssl=context, server_hostname="localhost")
    writer.write(GET)
    await reader.readuntil(b"hello")
    writer.close()


async def test_mounted_applications_live_with_the_server() -> None:
    """Lifespans start with the server and end with it; each mount sees its own state; root_path is set."""
    said: list[str] = []

    def mounted(name: str) -> Any:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "lifespan":
                await receive()
                scope["state"]["name"] = name
                said.append(f"{name} up")
                await send({"type": "lifespan.startup.complete"})
                await receive()
                said.append(f"{name} down")
                await send({"type": "lifespan.shutdown.complete"})
                return
            text = f"{scope['state']['name']} {scope['root_path']} {scope['path']}".encode()
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": text})

        return app

    app = hello()
    app.mount("/one", mounted("one"))
    app.mount("/", mounted("rest"))
    server = HttpServer(app, OFF)
    sock = socket.create_server(("127.0.0.1", 0))
    await server.start([sock])
    assert said == ["one up", "rest up"]
    reader, writer = await asyncio.open_connection(*sock.getsockname())
    for path, text in (
        (b"/one/x", b"one /one /one/x"),
        (b"/else", b"rest  /else"),
        (b"/onex", b"rest  /onex"),
    ):
        writer.write(b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n" % path)
        await asyncio.wait_for(reader.readuntil(text), 30)
    writer.close()
    await server.stop()
    assert said == ["one up", "rest up", "rest down", "one down"]


async def test_a_mount_that_refuses_to_start() -> None:
    """A failed lifespan stops the start, with its reason, and stops what had started."""
    said: list[str] = []

    async def good(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        said.append("down")
        await send({"type": "lifespan.shutdown.complete"})

    async def bad(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})

    app = hello()
    app.mount("/good", good)
    app.mount("/bad", bad)
    with pytest.raises(LifecycleError, match="no database"):
        await HttpServer(app, OFF).start()
    assert said == ["down"]


async def test_websockets_pass_through(start: Start) -> None:
    """A websocket view echoes; one that is not declared is refused as HTTP."""
    app = hello()

    @app.websocket("/echo/{name}")
    async def echo(websocket: WebSocket, name: str) -> None:
        await websocket.accept()
        async for text in websocket.iter_text():
            await websocket.send_text(f"{name}: {text}")

    running = await start(app)
    async with connect(f"ws://127.0.0.1:{running.port}/echo/a%2Fb", proxy=None) as client:
        await client.send("hi")
        assert await client.recv() == "a/b: hi"
    with pytest.raises(InvalidStatus) as caught:
        await connect(f"ws://127.0.0.1:{running.port}/nowhere", proxy=None)
    assert caught.value.response.status_code == 404


async def test_websockets_have_limits_unless_told_otherwise(start: Start) -> None:
    """A server to which nobody gave websocket settings refuses a message above 1 MiB, as a started process does."""
    app = Application()

    @app.websocket("/size")
    async def size(websocket: WebSocket) -> None:
        await websocket.accept()
        async for text in websocket.iter_text():
            await websocket.send_text(str(len(text)))

    running = await start(app)
    async with connect(f"ws://127.0.0.1:{running.port}/size", proxy=None, compression=None) as client:
        await client.send("x" * 1_048_576)
        assert await client.recv() == "1048576"
        await client.send("x" * 1_048_577)
        with pytest.raises(ConnectionClosedError) as caught:
            await client.recv()
    assert caught.value.rcvd is not None
    assert caught.value.rcvd.code == 1009


async def test_numbers(start: Start) -> None:
    """Answers are counted by route and status; connections are a gauge."""
    running = await start(hello())
    for _ in range(3):
        await running.ask(GET)
    await running.ask(b"GET /nope HTTP/1.1\r\nHost: x\r\n\r\n")
    found = {sample.name + str(dict(sample.labels)): sample.value
             for metric in running.server.collect() for sample in metric.samples}  # fmt: skip
    assert found["skerry_http_answers_total" + str({"method": "GET", "route": "/", "status": "200"})] == 3
    assert found["skerry_http_answers_total" + str({"method": "", "route": "", "status": "404"})] == 1


def test_settings_are_checked() -> None:
    """A wrong limit, a certificate without its key and a file that is none are named."""
    with pytest.raises(SettingsError, match="head_seconds"):
        ServerSettings(head_seconds=0)
    with pytest.raises(SettingsError, match="tls_cert"):
        ServerSettings(tls_cert=Path("x"))
    with pytest.raises(SettingsError, match="access_log"):
        ServerSettings(access_log="loud")  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="cannot be used"):
        HttpServer(hello(), ServerSettings(tls_cert=Path("/nonexistent"), tls_key=Path("/nonexistent")))


async def test_answers_are_told(start: Start) -> None:
    """Each off the lane, with its status; those of the lane when they took long."""
    app = hello()

    @app.get("/slow")
    def slow() -> str:
        time.sleep(2 * QUICK_SECONDS)
        return ""

    @app.get("/task")
    async def task() -> str:
        raise Problem(409, "no")

    told: list[tuple[str, int, bool]] = []
    running = await start(app)
    running.server.state.on_answer = lambda found, status, seconds, lane: told.append(
        (found.route.path, status, lane)
    )
    for path in (b"/", b"/slow", b"/task"):
        reader, writer = await running.connect()
        writer.write(b"GET " + path + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        await reader.read()
        writer.close()
    assert told == [("/slow", 200, True), ("/task", 409, False)]
