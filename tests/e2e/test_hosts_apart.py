"""`skerry up --hosts N`: hosted applications in processes of their own. Connections move to them and back, and no
client notices; a host that is killed loses its own requests only, one that is replaced none."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import ssl
import sys
from pathlib import Path

import pytest
from websockets.asyncio.client import connect

from skerry.process import control
from skerry.process.orders import Restart, Scale
from skerry.testing.program import HttpConnection

sys.path.insert(0, str(Path(__file__).parent))
from upworld import Up, up  # type: ignore[import-not-found]

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="processes as on Linux"),
    pytest.mark.timeout(600),
]
MIXED = """
from skerry import App, Command, Event, Projection, Query, Unit


class Buy(Command):
    name: str


class Bought(Event):
    name: str


class Sold(Query[list[str]]):
    pass


app = App("mixed")


@app.projection
class Sales(Projection):
    ephemeral = True

    def __init__(self):
        self.names = []

    def clear(self):
        self.names.clear()

    @Projection.applies(Bought)
    def bought(self, event, record):
        self.names.append(event.name)


@app.handles(Buy)
async def buy(command: Buy, unit: Unit) -> None:
    unit.emit(Bought(command.name))


@app.answers(Sold)
def sold(query: Sold, sales: Sales) -> list[str]:
    return list(sales.names)


@app.get("/hello/{name}")
def hello(name: str) -> str:
    return f"lane {name}"


app.live("/events")
app.host("/", "shop:application")
app.host("/chat", "chat:application")
"""
SHOP = """
import hashlib
import os


def application(environ, start):
    path = environ["PATH_INFO"]
    if path == "/expecting" and environ.get("HTTP_X_REFUSE"):
        start("403 Forbidden", [("Content-Length", "0")])
        return [b""]
    data = environ["wsgi.input"].read()
    if path == "/buy":
        from mixed import Buy, Sold
        from skerry.hosting import ask, send
        send(Buy(environ["QUERY_STRING"]), wait=30)
        text = " ".join(ask(Sold()))
        start("200 OK", [("Content-Length", str(len(text)))])
        return [text.encode()]
    if path == "/big":
        start("200 OK", [("Content-Type", "text/plain")])
        return (b"%07d\\n" % number * 1000 for number in range(300))
    if path == "/file":
        start("200 OK", [("Content-Type", "text/plain")])
        return environ["wsgi.file_wrapper"](open(__file__, "rb"))
    who = f"{environ['REMOTE_ADDR']}:{environ['REMOTE_PORT']}" if "REMOTE_PORT" in environ else environ["REMOTE_ADDR"]
    text = " ".join((str(os.getpid()), environ["REQUEST_METHOD"], path, hashlib.md5(data).hexdigest(),
                     environ["wsgi.url_scheme"], who, environ["SERVER_PORT"]))
    start("200 OK", [("Content-Length", str(len(text))), ("X-Shop", "yes")])
    return [text.encode()]
"""
CHAT = """
import os


async def application(scope, receive, send):
    if scope["type"] == "lifespan":
        raise RuntimeError("none")
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]})
        await send({"type": "http.response.body", "body": b"chat"})
        return
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        said = f"{os.getpid()} {scope['scheme']} {scope['client'][0]} {message['text']}"
        await send({"type": "websocket.send", "text": said})
"""
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def world_in(directory: Path, *options: str) -> object:
    for name, text in (("mixed", MIXED), ("shop", SHOP), ("chat", CHAT)):
        (directory / f"{name}.py").write_text(text)
    arguments = ("--servers", "1", "--keep-alive", "600", "--hang", "0", *options)
    return up(directory, *arguments, target="mixed:app")


async def answer(reader: asyncio.StreamReader, *, head_only: bool = False) -> tuple[bytes, bytes]:
    """The head and the body of the next answer."""
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 60)
    lower = head.lower()
    if head_only or lower.startswith(b"http/1.1 100"):
        return head, b""
    if (found := re.search(rb"content-length: (\d+)", lower)) is not None:
        return head, await asyncio.wait_for(reader.readexactly(int(found[1])), 60)
    assert b"transfer-encoding: chunked" in lower, head
    body = b""
    while size := int(await reader.readline(), 16):
        body += await reader.readexactly(size)
        await reader.readexactly(2)
    await reader.readexactly(2)
    return head, body


def request(path: str, method: str = "GET", *fields: str, body: bytes = b"") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", *fields]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


async def asked(streams: Streams, *given: str) -> bytes:
    reader, writer = streams
    writer.write(request(*given))
    head, body = await answer(reader)
    assert head.startswith(b"HTTP/1.1 200"), head
    return body


async def check_every_kind(world: Up, tls: ssl.SSLContext | None) -> None:
    """What a client sees of an application whose processes it has never heard of."""
    hosts = {str(process.pid) for process in world.processes("host")}
    scheme = "http" if tls is None else "https"

    async def opened() -> Streams:
        return await asyncio.open_connection("127.0.0.1", world.port, ssl=tls)

    streams = await opened()
    port = streams[1].get_extra_info("sockname")[1]
    # In turns, then in rows: one connection for all.
    for number in range(6):
        assert (await asked(streams, f"/hello/{number}")) == f"lane {number}".encode()
        assert (await asked(streams, f"/a/{number}")).split()[0].decode() in hosts
    for row in range(3):
        for number in range(4):
            said = (await asked(streams, f"/b/{row}-{number}")).decode().split()
            assert (said[2], said[4], said[6]) == (f"/b/{row}-{number}", scheme, str(world.port))
            assert said[5] in ("127.0.0.1", f"127.0.0.1:{port}")
            assert await asked(streams, "/chat/x") == b"chat"
        for number in range(4):
            assert (await asked(streams, f"/hello/{row}-{number}")) == f"lane {row}-{number}".encode()
    # Bodies of any kind, as single requests and in a row.
    large = bytes(range(256)) * 4096
    reader, writer = streams
    for _ in range(4):
        writer.write(request("/up", "POST", body=large))
        _, body = await answer(reader)
        writer.write(request("/up", "POST", "Transfer-Encoding: chunked"))
        for at in range(0, len(large), 100_000):
            part = large[at : at + 100_000]
            writer.write(b"%x\r\n%b\r\n" % (len(part), part))
        writer.write(b"0\r\n\r\n")
        _, chunked = await answer(reader)
        assert body.split()[1:] == chunked.split()[1:]
        whole = b"".join(b"%07d\n" % number * 1000 for number in range(300))
        assert await asked(streams, "/big") == whole
        assert await asked(streams, "/file") == SHOP.encode()
        assert await asked(streams, "/hello/x") == b"lane x"
    writer.write(request("/head", "HEAD") + request("/after"))
    head, _ = await answer(reader, head_only=True)
    assert b"x-shop: yes" in head.lower()
    assert b"/after" in (await answer(reader))[1]
    # A body that is wanted first, by the application: also where it does not want it.
    for path, extra, expected in (("/wanted", "X: y", b"100"), ("/expecting", "X-Refuse: 1", b"403")):
        fresh = await opened()
        fresh[1].write(request(path, "POST", "Expect: 100-continue", extra, "Content-Length: 3"))
        head, _ = await answer(fresh[0])
        assert head.split()[1] == expected
        if expected == b"100":
            fresh[1].write(b"abc")
            assert (await answer(fresh[0]))[0].startswith(b"HTTP/1.1 200")
        fresh[1].close()
    # Everything at once, answered in order.
    paths = ["/hello/a", "/p1", "/hello/b", "/p2", "/p3", "/p4", "/chat/", "/hello/c", "/p5"]
    fresh = await opened()
    fresh[1].write(b"".join(request(path) for path in paths))
    for path in paths:
        _, found = await answer(fresh[0])
        text = f"lane {path[7:]}" if "hello" in path else "chat" if "chat" in path else path
        assert text.encode() in found
    fresh[1].close()
    # Websockets: of the hosted application, and of the App on a connection that was in a host.
    async with connect(f"{scheme.replace('http', 'ws')}://127.0.0.1:{world.port}/chat/", ssl=tls) as chat:
        for number in range(3):
            await chat.send(f"m{number}")
            heard = str(await asyncio.wait_for(chat.recv(), 60)).split()
            assert heard[0] in hosts
            assert heard[1:] == [scheme.replace("http", "ws"), "127.0.0.1", f"m{number}"]
    for number in range(4):
        await asked(streams, f"/{number}")
    keys = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13")
    writer.write(request("/events", "GET", *keys, "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="))
    head, _ = await answer(reader, head_only=True)
    assert head.startswith(b"HTTP/1.1 101")
    kind = await reader.readexactly(2)
    size = kind[1] if kind[1] < 126 else int.from_bytes(await reader.readexactly(2))
    assert json.loads(await reader.readexactly(size))["type"] == "hello"
    writer.close()


async def numbers(world: Up, name: str) -> dict[str, float]:
    """By direction: how often something went elsewhere, over all processes."""
    client = HttpConnection(world.port)
    text = (await client.ask("GET", "/-/skerry/metrics")).body.decode()
    client.close()
    found: dict[str, float] = {}
    for labels, value in re.findall(rf"^{name}{{(.*)}} (\S+)$", text, re.MULTILINE):
        to = re.search(r'to="(\w+)"', labels)
        assert to is not None
        found[to[1]] = found.get(to[1], 0.0) + float(value)
    return found


async def test_a_client_notices_nothing(tmp_path: Path) -> None:
    """One connection for lane, WSGI and ASGI, in turns and in rows: it moves, and comes back by itself when idle."""
    async with world_in(tmp_path, "--hosts", "2") as world:  # type: ignore[attr-defined]
        await check_every_kind(world, None)
        client = HttpConnection(world.port)
        assert (await client.ask("GET", "/buy?tea")).body == b"tea"
        assert (await client.ask("GET", "/buy?milk")).body == b"tea milk"
        client.close()
        moved = await numbers(world, "skerry_http_moved_total")
        assert moved["host"] >= 4, moved
        assert moved["server"] >= 3, moved
        # A connection that has moved goes home when it is idle, and is served on.
        client = HttpConnection(world.port)
        for number in range(4):
            await client.ask("GET", f"/{number}")

        def open_in_hosts() -> float:
            return sum(float(process.gauges.get("connections", 1)) for process in world.processes("host"))

        await world.until(lambda: open_in_hosts() == 0)
        assert (await client.ask("GET", "/hello/you")).body == b"lane you"
        assert client.connections == 1
        client.close()
        assert world.said("hosting shop:application")
        assert {process.name for process in world.processes("host")} == {"host-1", "host-2"}


async def test_tls_and_its_websockets_are_passed_on(tmp_path: Path, certificate: tuple[Path, Path]) -> None:
    """Where a connection cannot move, as its keys are in one process, everything is the same to the client."""
    files = ("--tls-cert", str(certificate[0]), "--tls-key", str(certificate[1]))
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    async with world_in(tmp_path, "--hosts", "1", *files) as world:  # type: ignore[attr-defined]
        await check_every_kind(world, context)


async def test_hosts_die_and_are_replaced_under_load(tmp_path: Path) -> None:
    """A kill loses what that host had under way, a replacement and fewer of them nothing at all."""
    async with world_in(tmp_path, "--hosts", "2") as world:  # type: ignore[attr-defined]
        done = asyncio.Event()
        bad: list[object] = []
        counts = [0]

        async def load(number: int) -> None:
            client = HttpConnection(world.port)
            turn = 0
            while not done.is_set():
                turn += 1
                lane = (turn // 5) % 2 == 0 if number % 2 else turn % 2 == 0
                try:
                    found = await client.ask("GET", "/hello/x" if lane else f"/{number}")
                except ConnectionError as error:
                    bad.append(error)
                    continue
                if found.status != 200:
                    bad.append((lane, found.status, found.body))
                counts[0] += 1
                await asyncio.sleep(0.002)
            client.close()

        async def ordered(order: Restart | Scale) -> None:
            outcome = await asyncio.to_thread(control.order, world.pid, order, lambda text: None)
            assert outcome.code == 0, outcome

        async def went_on() -> None:
            before = counts[0]
            await world.until(lambda: counts[0] > before + 100)

        tasks = [asyncio.create_task(load(number)) for number in range(6)]
        await went_on()
        assert bad == []
        [victim] = [process for process in world.processes() if process.name == "host-1"]
        os.kill(victim.pid, signal.SIGKILL)
        await world.until(lambda: sum(process.restarts for process in world.processes("host")) == 1)
        await world.all_ready()
        await went_on()
        assert len(bad) <= len(tasks), bad
        assert all(isinstance(each, ConnectionError) or (not each[0] and each[1] == 502) for each in bad)  # type: ignore[index]
        bad.clear()
        await ordered(Restart("host-1"))
        await went_on()
        assert bad == []
        await ordered(Scale("host", 1))
        await went_on()
        assert bad == []
        before = {process.name: process.pid for process in world.processes()}
        world.send_signal(signal.SIGHUP)
        await world.until(lambda: world.said("every process was replaced"))
        await went_on()
        done.set()
        await asyncio.gather(*tasks)
        assert bad == []
        assert set(before) == {"balancer", "server-1", "host-1", "consumer-1"}
        assert not any(process.pid == before[process.name] for process in world.processes())


async def test_what_hosts_cannot_be_is_said_at_once(tmp_path: Path) -> None:
    """An App that hosts nothing has no work for them; the exit code is 2."""
    async with up(tmp_path, "--hosts", "1", wait=False) as world:
        assert await world.ended() == 2
        assert world.said("the application hosts nothing: app.host(...) says what")
