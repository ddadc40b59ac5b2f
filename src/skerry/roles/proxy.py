"""The balancer's level-4 mode: bytes between clients and servers on other machines, with health checks.

A connection goes to the healthy upstream with the fewest open ones; one that cannot be reached is tried with the
next. With none healthy all are tried: a server that says it is not well may still serve, and nobody serves otherwise.
Every byte passes through this process, which costs about ten microseconds a request; on one machine use `skerry up`,
which hands the connection itself over. Servers see this process as their client unless `send_proxy` tells
them who it is. Nothing is retried once a byte was sent: this is no HTTP proxy.

What is silent is cut: when an upstream answers no check for some seconds (it hangs, or its machine is gone), clients
would wait for it for ever, since their own connection, to this process, lives. One that says it is not well, or takes
no new connections, is left to finish what it has.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from skerry.balancing import LeastBusy
from skerry.loop.proxy_head import LOCAL_HEAD, Address, head_of
from skerry.loop.sockets import address_text, end_when_silent
from skerry.options import option, same_as
from skerry.roles.refusal import BUSY
from skerry.telemetry import Registry

log = logging.getLogger("skerry.balancer")

HIGH_WATER_BYTES = 256 * 1024
RESET = struct.pack("ii", 1, 0)
"""SO_LINGER with no time: closing discards what is unsent and tells the other end that it broke (`ECONNRESET`)."""
UNREACHABLE = {errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ETIMEDOUT}
"""The network says that nothing is to be heard from there. Refused is something else: a machine that lives."""


@dataclass(frozen=True, slots=True)
class ProxySettings:
    """`skerry balancer` in front of other machines. An upstream is out after `fall` bad checks in a row (or one refused
    connection), and back after one good one. With all of them out, connections go to whichever can be reached, silent
    ones last."""

    health_path: str = same_as("health", "/health/ready?for=traffic")
    """Asked by GET, 200 to 399 is healthy; empty: a connection that opens is enough."""
    check_seconds: float = option(1.0, "between two health checks", least=0.05, most=3600.0)
    check_timeout_seconds: float = option(2.0, "that a health check may take", least=0.05, most=600.0)
    connect_seconds: float = option(2.0, "to connect to a server", least=0.05, most=600.0)
    wait_seconds: float = option(
        5.0, "that a connection waits while no server can be reached", least=0.0, most=600.0
    )
    fall: int = option(2, "bad checks in a row after which a server gets nothing new", least=1, most=1000)
    cut: int = option(3, "checks in a row without any answer that end its connections", least=1, most=1000)
    silent_seconds: int = option(
        10, "the same by the kernel, for a server that acknowledges nothing", least=1, most=3600
    )
    max_connections: int = same_as("max_connections", 10_000)
    send_proxy: bool = same_as("send_proxy", False)
    """Connections begin with a PROXY head (version 2) that names the client, health checks with one that says they are
    our own."""


class Upstream:
    """One server elsewhere."""

    def __init__(self, host: str, port: int) -> None:
        self.host, self.port = host, port
        self.healthy = False
        self.open = 0
        self.bad_checks = 0
        self.silent_checks = 0
        self.clients: set[_Client] = set()

    def __str__(self) -> str:
        return address_text(self.host, self.port)


class Proxy:
    """Listens on `listeners`, forwards to `upstreams`. A role."""

    name = "balancer"

    def __init__(
        self,
        listeners: Sequence[socket.socket],
        upstreams: Sequence[Upstream],
        settings: ProxySettings | None = None,
        registry: Registry | None = None,
    ) -> None:
        self._listeners = list(listeners)
        self.upstreams = list(upstreams)
        self.settings = settings or ProxySettings()
        self._choose: LeastBusy[Upstream] = LeastBusy(lambda upstream: upstream.open, upstreams)
        self._servers: list[asyncio.Server] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._checking: list[asyncio.Task[None]] = []
        self._better = asyncio.Event()
        registry = registry or Registry()
        self._accepted = registry.counter("skerry_balancer_accepted_total", "Connections accepted.")
        self._again = registry.counter(
            "skerry_balancer_retried_total", "Connections tried with another server."
        )
        self._refused = registry.counter("skerry_balancer_refused_total", "Connections told 503.")

    async def start(self) -> None:
        """Check all upstreams once, then accept."""
        await asyncio.gather(*(self._check(upstream) for upstream in self.upstreams))
        self._checking = [
            asyncio.create_task(self._keep_checking(upstream), name=f"skerry-check-{upstream}")
            for upstream in self.upstreams
        ]
        await self.resume()

    async def hold(self) -> None:
        """Accept nothing more; what is open goes on."""
        for server in self._servers:
            server.close()
        self._servers.clear()

    async def resume(self) -> None:
        loop = asyncio.get_running_loop()
        for listener in self._listeners:
            if not self._servers or len(self._servers) < len(self._listeners):
                self._servers.append(await loop.create_server(lambda: _Client(self), sock=listener.dup()))

    async def stop(self, seconds: float = 4.0) -> None:
        """Accept nothing more, let open connections end within `seconds`, cut what is left."""
        await self.hold()
        for listener in self._listeners:
            listener.close()
        for task in self._checking:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)
        for task in list(self._tasks):
            task.cancel()
        if self._tasks or self._checking:
            await asyncio.wait([*self._tasks, *self._checking], timeout=1.0)

    @property
    def connections(self) -> int:
        return len(self._tasks)

    # --- connections

    def took(self, client: _Client) -> None:
        """A client connected."""
        self._accepted.value += 1
        if len(self._tasks) >= self.settings.max_connections:
            self._refuse(client)
            return
        task = asyncio.create_task(self._serve(client), name="skerry-proxy")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, client: _Client) -> None:
        """From connecting an upstream to the end of both sides."""
        try:
            async with asyncio.timeout(self.settings.wait_seconds):
                upstream, server = await self._connect(client)
        except TimeoutError:
            self._refuse(client)
            return
        upstream.open += 1
        upstream.clients.add(client)
        try:
            if self.settings.send_proxy:
                server.introduce(client)
            client.join(server)
            await asyncio.wait({client.gone, server.gone}, return_when=asyncio.ALL_COMPLETED)
        finally:
            upstream.open -= 1
            upstream.clients.discard(client)
            client.abort()
            server.abort()

    async def _connect(self, client: _Client) -> tuple[Upstream, _End]:
        """A connected upstream: a healthy one, else any that can be reached; waits while there is none."""
        loop = asyncio.get_running_loop()
        tried: set[Upstream] = set()
        while True:
            upstream = (
                self._choose.pick(usable=lambda each: each.healthy and each not in tried)
                or self._choose.pick(usable=lambda each: not each.silent_checks and each not in tried)
                or self._choose.pick(usable=lambda each: each not in tried)
            )
            if upstream is None:
                tried.clear()
                await self._until_better()
                continue
            try:
                async with asyncio.timeout(self.settings.connect_seconds):
                    transport, server = await loop.create_connection(_End, upstream.host, upstream.port)
                end_when_silent(transport.get_extra_info("socket"), self.settings.silent_seconds)
                return upstream, server
            except (OSError, TimeoutError) as error:
                if upstream.healthy:
                    log.warning("%s cannot be reached: %s", upstream, str(error) or "no answer")
                self._again.value += 1
                tried.add(upstream)
                self._set_healthy(upstream, False)

    async def _until_better(self) -> None:
        """Until one is healthy, or all may be tried once more."""
        self._better.clear()
        try:
            async with asyncio.timeout(self.settings.check_seconds):
                await self._better.wait()
        except TimeoutError:
            pass

    def _refuse(self, client: _Client) -> None:
        self._refused.value += 1
        client.refuse()

    # --- health

    async def _keep_checking(self, upstream: Upstream) -> None:
        while True:
            await asyncio.sleep(self.settings.check_seconds)
            await self._check(upstream)

    async def _check(self, upstream: Upstream) -> None:
        silent = False
        try:
            async with asyncio.timeout(self.settings.check_timeout_seconds):
                good = await self._ask(upstream)
        except (OSError, TimeoutError, asyncio.IncompleteReadError, ValueError) as error:
            good = False
            silent = isinstance(error, TimeoutError) or getattr(error, "errno", None) in UNREACHABLE
        upstream.silent_checks = upstream.silent_checks + 1 if silent else 0
        if upstream.silent_checks >= self.settings.cut:
            self._cut(upstream)
        if good:
            upstream.bad_checks = 0
            self._set_healthy(upstream, True)
        else:
            upstream.bad_checks += 1
            if upstream.bad_checks >= self.settings.fall or not upstream.healthy:
                self._set_healthy(upstream, False)

    @staticmethod
    def _cut(upstream: Upstream) -> None:
        """Nobody there answers: requests that wait are tried again, with another one."""
        clients = list(upstream.clients)
        if clients:
            log.warning("%s answers nothing: %d connections are cut", upstream, len(clients))
        for client in clients:
            client.cut()

    async def _ask(self, upstream: Upstream) -> bool:
        reader, writer = await asyncio.open_connection(upstream.host, upstream.port)
        try:
            path = self.settings.health_path
            if not path:
                return True
            if self.settings.send_proxy:
                writer.write(LOCAL_HEAD)
            request = f"GET {path} HTTP/1.1\r\nHost: {upstream}\r\nConnection: close\r\n\r\n"
            writer.write(request.encode("ascii"))
            status = (await reader.readuntil(b"\r\n")).split(b" ", 2)
            return len(status) > 1 and status[1][:1] in (b"2", b"3")
        finally:
            writer.close()

    def _set_healthy(self, upstream: Upstream, healthy: bool) -> None:
        if upstream.healthy != healthy:
            upstream.healthy = healthy
            log.info("%s is %s", upstream, "healthy" if healthy else "out")
        if healthy:
            self._better.set()


class _End(asyncio.Protocol):
    """One side of a forwarded connection: what it reads, the other side writes."""

    def __init__(self) -> None:
        self.gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.transport: asyncio.Transport | None = None
        self.other: _End | None = None
        self.ended = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport) or hasattr(transport, "write")
        self.transport = transport  # type: ignore[assignment]
        self.transport.set_write_buffer_limits(high=HIGH_WATER_BYTES)  # type: ignore[union-attr]

    def data_received(self, data: bytes) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.write(data)

    def eof_received(self) -> bool:
        """Half-closed: the other side is told, and may still answer."""
        self.ended = True
        other = self.other
        if other is not None and other.ended:  # both have said all they had to say
            if other.transport is not None:
                other.transport.close()
            return False
        if other is not None and other.transport is not None and other.transport.can_write_eof():
            other.transport.write_eof()
        return True

    def pause_writing(self) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.gone.done():
            self.gone.set_result(None)
        if self.other is not None and self.other.transport is not None:
            self.other.transport.close()  # what is buffered for it is still written

    def introduce(self, client: _End) -> None:
        """Say first whose bytes follow."""
        if self.transport is not None and client.transport is not None:
            named = client.transport.get_extra_info
            self.transport.write(head_of(_tcp(named("peername")), _tcp(named("sockname"))))

    def abort(self) -> None:
        if self.transport is not None:
            self.transport.abort()


def _tcp(name: object) -> Address | None:
    return (str(name[0]), int(name[1])) if isinstance(name, tuple) and len(name) >= 2 else None


class _Client(_End):
    """The side that connected to us; reads nothing until it has a server."""

    def __init__(self, proxy: Proxy) -> None:
        super().__init__()
        self._proxy = proxy

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        assert self.transport is not None
        self.transport.pause_reading()
        self._proxy.took(self)

    def join(self, server: _End) -> None:
        self.other, server.other = server, self
        if self.gone.done():
            server.abort()
        elif self.transport is not None:
            self.transport.resume_reading()

    def cut(self) -> None:
        """End both sides at once, by a reset: what was answered so far is not whole."""
        if self.transport is not None:
            sock = self.transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        for end in (self, self.other):
            if end is not None:
                end.abort()

    def refuse(self) -> None:
        if self.transport is not None:
            self.transport.write(BUSY)
            if self.transport.can_write_eof():
                self.transport.write_eof()
            self.transport.resume_reading()  # read away what it sent, so that the close is no reset
            asyncio.get_running_loop().call_later(0.5, self.transport.close)
