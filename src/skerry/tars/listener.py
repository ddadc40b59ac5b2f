"""One listening endpoint: its socket, its open connections, its end.

Opens and closes; what is said on the connections is `protocol`, what becomes of requests is `adapter`. A drain
goes like TarsGo's: stop listening, push `_reconnect_` to every client, serve what still comes, close each
connection when it has gone quiet, and cut the rest when the time is up.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import ssl
from dataclasses import dataclass

from skerry.errors import SettingsError
from skerry.tars.adapter import Adapter, Counters
from skerry.tars.endpoint import Endpoint
from skerry.tars.protocol import ServerDatagrams, ServerStream

log = logging.getLogger("skerry.tars.server")

QUIET_SECONDS = 0.2
SWEEP_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class ListenerState:
    """What one endpoint is doing now."""

    object_name: str
    endpoint: Endpoint
    connections: int
    running: int
    queued: int
    counters: Counters


class Listener:
    """An adapter with a socket."""

    def __init__(
        self,
        adapter: Adapter,
        endpoint: Endpoint,
        loop: asyncio.AbstractEventLoop,
        tls: ssl.SSLContext | None = None,
        reuse_port: bool = False,
    ) -> None:
        self.adapter, self.endpoint = adapter, endpoint
        self._loop, self._tls, self._reuse_port = loop, tls, reuse_port
        self._connections: set[ServerStream] = set()
        self._server: asyncio.Server | None = None
        self._datagrams: ServerDatagrams | None = None
        self._sweeper: asyncio.TimerHandle | None = None
        self._changed = asyncio.Event()
        if endpoint.protocol == "ssl" and tls is None:
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
        )

    async def start(self) -> None:
        """Listen; `endpoint` then says the port that was really bound. SettingsError when it cannot be."""
        endpoint = self.endpoint
        try:
            if endpoint.stream:
                self._server = await self._loop.create_server(
                    self._connection,
                    endpoint.listens_on,
                    endpoint.port,
                    ssl=self._tls if endpoint.protocol == "ssl" else None,
                    ssl_handshake_timeout=10.0 if endpoint.protocol == "ssl" else None,
                    backlog=1024,
                    reuse_port=self._reuse_port or None,
                )
                address = self._server.sockets[0].getsockname()
            else:
                transport, self._datagrams = await self._loop.create_datagram_endpoint(
                    self._datagram_protocol,
                    local_addr=(endpoint.listens_on, endpoint.port),
                    reuse_port=self._reuse_port or None,
                )
                address = transport.get_extra_info("sockname")
        except OSError as error:
            reason = errno.errorcode.get(error.errno or 0, "") or type(error).__name__
            raise SettingsError(
                f"endpoint {endpoint}", f"cannot listen: {reason}, {error.strerror}"
            ) from error
        self.endpoint = endpoint.at_port(address[1])
        self._sweeper = self._loop.call_later(SWEEP_SECONDS, self._sweep)

    def enter(self, connection: ServerStream) -> bool:
        """Door: a connection was made."""
        if len(self._connections) >= self.adapter.limits.connections:
            return False
        self._connections.add(connection)
        return True

    def leave(self, connection: ServerStream) -> None:
        """Door: a connection is gone."""
        self._connections.discard(connection)
        self._changed.set()

    def stop_listening(self) -> None:
        """No new connections from now on; open ones are told to go elsewhere."""
        if self._server is not None:
            self._server.close()
        for connection in self._connections:
            connection.ask_to_reconnect()

    async def drain(self, seconds: float) -> bool:
        """Serve what is under way and what still comes, at most `seconds`. True when nothing was left."""
        deadline = self._loop.time() + seconds
        while self._connections or not self.adapter.idle:
            now = self._loop.time()
            if now >= deadline:
                return False
            for connection in list(self._connections):
                if not connection.in_flight and now - connection.last_heard >= QUIET_SECONDS:
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
        if self._server is not None:
            self._server.close()
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

    def _connection(self) -> ServerStream:
        return ServerStream(self._loop, self.adapter, self)

    def _datagram_protocol(self) -> ServerDatagrams:
        return ServerDatagrams(self.adapter)

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
