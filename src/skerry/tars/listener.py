"""One listening endpoint: its socket, its open connections, its end.

Opens and closes; what is said on the connections is `protocol`, what becomes of requests is `adapter`. A drain
goes like TarsGo's: stop listening, push `_reconnect_` to every client, serve what still comes, close each
connection when it has gone quiet, and cut the rest when the time is up.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import ssl
from dataclasses import dataclass
from typing import Any

from skerry.errors import SettingsError
from skerry.tars.access import EVERYBODY, AccessList
from skerry.tars.account import Account
from skerry.tars.adapter import Adapter, Counters
from skerry.tars.call import Peer
from skerry.tars.endpoint import Endpoint
from skerry.tars.protocol import ServerDatagrams, ServerStream

log = logging.getLogger("skerry.tars.server")

QUIET_SECONDS, LONGEST_QUIET_SECONDS = 0.2, 1.0
SWEEP_SECONDS = 1.0
BACKLOG = 1024
YIELD_SECONDS, MOST_YIELDS = 0.005, 4
"""How long, and how often, a process that has no room leaves a new connection to those it shares the socket with."""
PAUSE_SECONDS = 0.1
HANDSHAKE_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Door:
    """Which clients are let in, and how. `tls`: for an `ssl` endpoint. `access`: addresses that may connect.
    `shared`: a socket that is bound already, and that other processes accept from as well; each gets its share.
    `account`: what clients of an endpoint with `-e 1` have to prove."""

    tls: ssl.SSLContext | None = None
    access: AccessList = EVERYBODY
    shared: socket.socket | None = None
    reuse_port: bool = False
    account: Account | None = None


@dataclass(frozen=True, slots=True)
class ListenerState:
    """What one endpoint is doing now."""

    object_name: str
    endpoint: Endpoint
    connections: int
    running: int
    queued: int
    counters: Counters
    most_connections: int = 0
    peers: tuple[Peer, ...] = ()


class Listener:
    """An adapter with a socket."""

    def __init__(
        self,
        adapter: Adapter,
        endpoint: Endpoint,
        loop: asyncio.AbstractEventLoop,
        door: Door = Door(),
    ) -> None:
        self.adapter, self.endpoint = adapter, endpoint
        self._loop, self._door, self._shared = loop, door, door.shared
        self._taking: set[asyncio.Task[None]] = set()
        self._pause: asyncio.TimerHandle | None = None
        self._yields, self._rearmed_at = 0, 0.0
        self._connections: set[ServerStream] = set()
        self._server: asyncio.Server | None = None
        self._datagrams: ServerDatagrams | None = None
        self._sweeper: asyncio.TimerHandle | None = None
        self._changed = asyncio.Event()
        self._account = door.account if endpoint.auth and endpoint.stream else None
        if endpoint.auth and endpoint.stream and door.account is None:
            raise SettingsError(
                f"endpoint {endpoint}",
                "-e 1 needs an account (account=..., accesskey and secretkey in the file)",
            )
        if endpoint.protocol == "ssl" and door.tls is None:
            raise SettingsError(
                f"endpoint {endpoint}", "ssl needs a TLS context with a certificate (tls=...)"
            )

    @property
    def state(self) -> ListenerState:
        adapter = self.adapter
        return ListenerState(
            adapter.servant.name,
            self.endpoint,
            len(self._connections),
            adapter.running,
            adapter.queued,
            adapter.counters,
            adapter.limits.connections,
            tuple(connection.peer for connection in self._connections),
        )

    async def start(self) -> None:
        """Listen; `endpoint` then says the port that was really bound. SettingsError when it cannot be."""
        endpoint, door = self.endpoint, self._door
        try:
            if not endpoint.stream:
                address = await self._receive()
            elif self._shared is not None:
                self._shared.setblocking(False)
                self._shared.listen(BACKLOG)
                address = self._shared.getsockname()
                self._loop.add_reader(self._shared.fileno(), self._on_acceptable)
            else:
                self._server = await self._loop.create_server(
                    self._connection,
                    endpoint.listens_on,
                    endpoint.port,
                    ssl=self._tls,
                    ssl_handshake_timeout=HANDSHAKE_SECONDS if self._tls else None,
                    backlog=BACKLOG,
                    reuse_port=door.reuse_port or None,
                )
                address = self._server.sockets[0].getsockname()
        except OSError as error:
            reason = errno.errorcode.get(error.errno or 0, "") or type(error).__name__
            raise SettingsError(
                f"endpoint {endpoint}", f"cannot listen: {reason}, {error.strerror}"
            ) from error
        self.endpoint = endpoint.at_port(address[1])
        self._sweeper = self._loop.call_later(SWEEP_SECONDS, self._sweep)

    @property
    def _tls(self) -> ssl.SSLContext | None:
        return self._door.tls if self.endpoint.protocol == "ssl" else None

    async def _receive(self) -> Any:
        """Receive datagrams; where."""
        endpoint = self.endpoint
        transport, self._datagrams = await self._loop.create_datagram_endpoint(
            self._datagram_protocol,
            local_addr=None if self._shared is not None else (endpoint.listens_on, endpoint.port),
            reuse_port=self._door.reuse_port or None,
            sock=self._shared,
        )
        return transport.get_extra_info("sockname")

    def _on_acceptable(self) -> None:
        """Take one connection. What comes at the same time is for others, too, if they are quicker."""
        if self._is_full and self._yields < MOST_YIELDS:
            # As often as that in direct succession: then nobody else has room either.
            is_next = self._loop.time() - self._rearmed_at < 10 * YIELD_SECONDS
            self._yields = self._yields + 1 if is_next else 1
            self._rest(YIELD_SECONDS)
        else:
            self._yields = 0
            self._accept()

    def _accept(self) -> None:
        assert self._shared is not None
        try:
            connection, _ = self._shared.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return
        except OSError as error:  # no more descriptors: it would spin
            log.error("cannot accept: %s; what comes waits in the kernel", error.strerror)
            self._rest(PAUSE_SECONDS)
            return
        connection.setblocking(False)
        task = self._loop.create_task(self._take(connection))
        self._taking.add(task)
        task.add_done_callback(self._taking.discard)

    def _rest(self, seconds: float) -> None:
        assert self._shared is not None
        self._loop.remove_reader(self._shared.fileno())
        self._pause = self._loop.call_later(seconds, self._go_on)

    def _go_on(self) -> None:
        assert self._shared is not None
        self._pause = None
        self._rearmed_at = self._loop.time()
        self._loop.add_reader(self._shared.fileno(), self._on_acceptable)

    async def _take(self, connection: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(
                self._connection,
                connection,
                ssl=self._tls,
                ssl_handshake_timeout=HANDSHAKE_SECONDS if self._tls else None,
            )
        except (OSError, TimeoutError) as error:  # the handshake, mostly
            log.debug("a connection came to nothing: %s", error)
            connection.close()

    @property
    def _is_full(self) -> bool:
        return len(self._connections) + len(self._taking) >= self.adapter.limits.connections

    def admits(self, host: str) -> bool:
        """Gate: whether the access list lets this address in."""
        return self._door.access.allows(host)

    def enter(self, connection: ServerStream) -> bool:
        """Gate: a connection was made."""
        if not self.admits(connection.peer[0]) or len(self._connections) >= self.adapter.limits.connections:
            return False
        self._connections.add(connection)
        return True

    def leave(self, connection: ServerStream) -> None:
        """Gate: a connection is gone."""
        self._connections.discard(connection)
        self._changed.set()

    def stop_listening(self) -> None:
        """No new connections from now on; open ones are told to go elsewhere."""
        self._stop_accepting()
        for connection in self._connections:
            connection.ask_to_reconnect()

    def hold(self) -> None:
        """Accept nothing from a shared socket for now: others that share it do."""
        if self._shared is not None and self.endpoint.stream:
            self._loop.remove_reader(self._shared.fileno())
            if self._pause is not None:
                self._pause.cancel()
                self._pause = None

    def resume(self) -> None:
        """The reverse of `hold`."""
        if self._shared is not None and self.endpoint.stream:
            self._go_on()

    async def drain(self, seconds: float) -> bool:
        """Serve what is under way and what still comes, at most `seconds`. True when nothing was left."""
        deadline, quiet = self._loop.time() + seconds, quiet_seconds(seconds)
        while self._connections or not self.adapter.idle:
            now = self._loop.time()
            if now >= deadline:
                return False
            for connection in list(self._connections):
                if not connection.in_flight and now - connection.last_heard >= quiet:
                    connection.close()
            self._changed.clear()
            try:
                async with asyncio.timeout(min(QUIET_SECONDS / 4, deadline - now)):
                    await self._changed.wait()
            except TimeoutError:
                pass
        return True

    async def close(self) -> None:
        """End everything now; calls under way are cancelled and answered, then connections are closed."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        self._stop_accepting()
        for task in list(self._taking):
            task.cancel()
        await self.adapter.stop()
        for connection in list(self._connections):
            connection.close()
        if self._datagrams is not None:
            self._datagrams.transport.close()
        if self._connections:
            self._changed.clear()
            try:
                async with asyncio.timeout(QUIET_SECONDS):  # let what was written leave
                    while self._connections:
                        await self._changed.wait()
                        self._changed.clear()
            except TimeoutError:
                pass
        for connection in list(self._connections):
            connection.transport.abort()

    def _stop_accepting(self) -> None:
        if self._server is not None:
            self._server.close()
        if self._shared is not None and self.endpoint.stream:
            self.hold()
            self._shared.close()  # ours alone: whoever shares it goes on
            self._shared = None

    def _connection(self) -> ServerStream:
        return ServerStream(self._loop, self.adapter, self, self._account)

    def _datagram_protocol(self) -> ServerDatagrams:
        return ServerDatagrams(self.adapter, self.admits)

    def _sweep(self) -> None:
        """Close connections that have been idle for the endpoint's -t, or never said anything."""
        self._sweeper = self._loop.call_later(SWEEP_SECONDS, self._sweep)
        now = self._loop.time()
        idle = self.endpoint.timeout_milliseconds / 1000
        empty = min(idle, self.adapter.limits.empty_connection_seconds) if idle else idle
        for connection in list(self._connections):
            limit = idle if connection.heard else empty
            if limit and not connection.in_flight and now - connection.last_heard > limit:
                connection.close()


def quiet_seconds(drain_seconds: float) -> float:
    """How long a client may say nothing before a server that ends closes its connection. A client closes it itself when
    it has read that it should go elsewhere, and one on a busy machine may be slow to read: it has longer where there is
    time."""
    return min(LONGEST_QUIET_SECONDS, max(QUIET_SECONDS, drain_seconds / 20))
