"""The balancer's level-4 mode: bytes to healthy servers elsewhere."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from skerry.loop.proxy_head import head_of
from skerry.loop.sockets import bind_tcp
from skerry.roles.proxy import HIGH_WATER_BYTES, Proxy, ProxySettings, Upstream, _End
from skerry.telemetry import Registry

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], object]


class Server:
    """A server elsewhere: greets with its name, echoes what it gets, answers health checks as it is told."""

    def __init__(self, name: str) -> None:
        self.name, self.status, self.silent = name, 200, False
        self.checks = 0
        self.asked = asyncio.Event()
        self.server: asyncio.Server | None = None
        self.port = 0
        self.writers: set[asyncio.StreamWriter] = set()

    async def start(self) -> Server:
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    async def stop(self) -> None:
        if self.server is not None:
            self.server.close()
        for writer in self.writers:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.add(writer)
        try:
            data = await reader.read(65536)
            if data.startswith(b"GET /health"):
                self.checks += 1
                self.asked.set()
                if self.silent:
                    await reader.read()
                writer.write(b"HTTP/1.1 %d X\r\n\r\n" % self.status)
            else:
                writer.write(self.name.encode() + b":" + data)
                while data := await reader.read(65536):
                    writer.write(data)
                    await writer.drain()
                writer.write(b"<end>")
            await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    def upstream(self) -> Upstream:
        return Upstream("127.0.0.1", self.port)


async def until(ready: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not ready():  # noqa: ASYNC110 - what is waited for is somebody else's state
            await asyncio.sleep(0.002)


@asynccontextmanager
async def forwarding(
    *servers: Server, registry: Registry | None = None, **settings: float | str
) -> AsyncIterator[tuple[Proxy, int]]:
    bound = bind_tcp("127.0.0.1", 0)
    chosen = ProxySettings(**{"check_seconds": 0.02, **settings})  # type: ignore[arg-type]
    proxy = Proxy([bound], [server.upstream() for server in servers], chosen, registry)
    await proxy.start()
    try:
        yield proxy, bound.getsockname()[1]
    finally:
        await proxy.stop(0.2)
        for server in servers:
            await server.stop()


async def ask(port: int, data: bytes = b"x") -> tuple[bytes, asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    return await asyncio.wait_for(reader.read(65536), 60), reader, writer


async def test_bytes_pass_both_ways_and_the_ends_too() -> None:
    """What either side sends arrives, in any amount, and a half-closed connection still gets its answer."""
    async with forwarding(await Server("one").start()) as (_, port):
        first, reader, writer = await ask(port)
        assert first == b"one:x"
        big = b"0123456789" * (HIGH_WATER_BYTES // 2)
        writer.write(big)
        assert await asyncio.wait_for(reader.readexactly(len(big)), 60) == big
        writer.write_eof()
        assert await asyncio.wait_for(reader.read(), 60) == b"<end>"
        writer.close()


async def test_a_side_that_reads_slowly_slows_the_other_one_down() -> None:
    """What is not taken waits with its sender, not here; taken at last, it is all there."""
    loop = asyncio.get_running_loop()
    ends, far = (_End(), _End()), []
    for end, other in zip(ends, reversed(ends), strict=True):
        end.other = other
        near, outside = socket.socketpair()
        outside.setblocking(False)
        far.append(outside)
        await loop.create_connection(lambda end=end: end, sock=near)  # type: ignore[misc]
    size = 32 * HIGH_WATER_BYTES
    sending = asyncio.ensure_future(loop.sock_sendall(far[0], bytes(size)))
    sender = ends[0].transport
    assert sender is not None
    await until(lambda: sending.done() or not sender.is_reading())
    assert not sending.done()
    taken = 0
    while taken < size:
        taken += len(await asyncio.wait_for(loop.sock_recv(far[1], 1 << 20), 60))
    await asyncio.wait_for(sending, 60)
    assert taken == size
    for sock in far:
        sock.close()
    await asyncio.gather(*(end.gone for end in ends))


async def test_the_fewest_connections_first() -> None:
    """Open connections are counted, and given back when they end."""
    one, two = await Server("one").start(), await Server("two").start()
    async with forwarding(one, two) as (proxy, port):
        open_ones = [await ask(port) for _ in range(4)]
        assert [upstream.open for upstream in proxy.upstreams] == [2, 2]
        for name, _, writer in open_ones:
            if name.startswith(b"one"):
                writer.close()
        await until(lambda: proxy.upstreams[0].open == 0)
        assert [(await ask(port))[0][:3] for _ in range(2)] == [b"one", b"one"]
        for _, _, writer in open_ones:
            writer.close()


async def test_a_server_that_cannot_be_reached_is_passed_over() -> None:
    """Refused between two checks: the same client is served by another one, and that is counted."""
    one, two = await Server("one").start(), await Server("two").start()
    registry = Registry()
    async with forwarding(one, two, registry=registry, check_seconds=60.0) as (proxy, port):
        await one.stop()
        for _ in range(4):
            answer, _, writer = await ask(port)
            assert answer == b"two:x"
            writer.close()
        assert [upstream.healthy for upstream in proxy.upstreams] == [False, True]
        counted = {metric.name: metric.samples[0].value for metric in registry.collect()}
        assert counted["skerry_balancer_retried_total"] == 1


async def test_a_server_is_told_who_its_client_is() -> None:
    """With `send_proxy` a PROXY head comes first, with the addresses of the client's own connection."""
    one = await Server("one").start()
    async with forwarding(one, health_path="", send_proxy=True) as (_, port):
        answer, _, writer = await ask(port)
        ours, theirs = (writer.get_extra_info(name) for name in ("sockname", "peername"))
        assert answer.startswith(b"one:" + head_of(ours, theirs))
        writer.close()


async def test_health_checks_take_a_server_out_and_back() -> None:
    """Two bad answers in a row take it out, one good answer brings it back."""
    one, two = await Server("one").start(), await Server("two").start()
    async with forwarding(one, two) as (proxy, port):
        one.status = 503
        await until(lambda: not proxy.upstreams[0].healthy)
        assert {(await ask(port))[0][:3] for _ in range(3)} == {b"two"}
        one.status = 200
        await until(lambda: proxy.upstreams[0].healthy)
        assert (await ask(port))[0][:3] == b"one"


async def test_without_a_path_a_connection_that_opens_is_health_enough() -> None:
    """Whatever the server would say to a question."""
    one = await Server("one").start()
    one.status = 503
    async with forwarding(one, health_path="") as (proxy, port):
        await until(lambda: proxy.upstreams[0].healthy)
        assert (await ask(port))[0][:3] == b"one"


async def test_what_is_silent_is_cut() -> None:
    """A server that answers no check any more keeps nobody: connections there end, and come to another one. A server
    that says it is not well, or takes no new connections, keeps what it has."""
    one, two = await Server("one").start(), await Server("two").start()
    async with forwarding(one, two, check_timeout_seconds=0.5) as (proxy, port):
        answers = [await ask(port) for _ in range(2)]
        names = {name[:3]: (reader, writer) for name, reader, writer in answers}
        (deaf, _), (well, told) = names[b"one"], names[b"two"]
        two.status = 503
        await until(lambda: not proxy.upstreams[1].healthy)
        one.silent = True
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(deaf.read(), 60)
        assert proxy.upstreams[0].open == 0
        assert not proxy.upstreams[0].healthy
        told.write(b"still here")
        assert await asyncio.wait_for(well.readexactly(10), 60) == b"still here"
        assert two.server is not None
        two.server.close()  # refuses, as one that drains
        await until(lambda: proxy.upstreams[1].bad_checks > 5)
        told.write(b"and now")
        assert await asyncio.wait_for(well.readexactly(7), 60) == b"and now"
        told.close()


async def test_an_upstream_that_is_gone_is_noticed_by_the_kernel() -> None:
    """Each connection to a server ends when nothing of it is acknowledged for ten seconds, used or not."""
    one = await Server("one").start()
    async with forwarding(one) as (proxy, port):
        _, _, writer = await ask(port)
        [client] = proxy.upstreams[0].clients
        assert client.other is not None
        assert client.other.transport is not None
        sock = client.other.transport.get_extra_info("socket")
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 10_000
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        idle, each, count = (
            sock.getsockopt(socket.IPPROTO_TCP, option)
            for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
        )
        assert idle + each * count <= 10
        writer.close()


async def test_with_nobody_healthy_all_serve() -> None:
    """Servers that all say they are not well may still answer, and a balancer that sent nobody to them would make an
    outage of it; the first that is well again is preferred at once."""
    one, two = await Server("one").start(), await Server("two").start()
    one.status = two.status = 503
    async with forwarding(one, two) as (proxy, port):
        assert [upstream.healthy for upstream in proxy.upstreams] == [False, False]
        answers = [await ask(port) for _ in range(4)]
        assert sorted(answer for answer, _, _ in answers) == [b"one:x", b"one:x", b"two:x", b"two:x"]
        two.status = 200
        await until(lambda: proxy.upstreams[1].healthy)
        assert {(await ask(port))[0][:3] for _ in range(3)} == {b"two"}
        for _, _, writer in answers:
            writer.close()


async def test_nobody_reachable_waits_and_is_then_told_so() -> None:
    """Within the wait a server may come back; past it the client gets a whole 503."""
    one = await Server("one").start()
    await one.stop()
    async with forwarding(one, wait_seconds=0.05) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        answer = await asyncio.wait_for(reader.read(), 60)
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"Retry-After: 1" in answer
        writer.close()
    two = await Server("two").start()
    await two.stop()
    async with forwarding(two) as (proxy, port):
        waiting = asyncio.create_task(ask(port))
        await until(lambda: proxy.connections == 1)
        await two.start()
        answer, _, writer = await waiting
        assert answer == b"two:x"
        writer.close()


async def test_stopping_lets_open_connections_end() -> None:
    """Nothing new is accepted; a connection that ends in time ends by itself, another one is cut."""
    one = await Server("one").start()
    async with forwarding(one) as (proxy, port):
        _, reader, writer = await ask(port)
        stopping = asyncio.create_task(proxy.stop(60.0))
        await asyncio.sleep(0)
        with pytest.raises(ConnectionRefusedError):
            await asyncio.wait_for(asyncio.open_connection("127.0.0.1", port), 60)
        writer.write_eof()
        assert await asyncio.wait_for(reader.read(), 60) == b"<end>"
        await asyncio.wait_for(stopping, 60)
        writer.close()
