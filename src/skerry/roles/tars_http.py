"""The address of an HTTP adapter of a Tars service in one process: who is let in, and how many at a time.

Accepts from the parent's socket, one connection at a time, so that each process gets its share. Not here: what answers
(tars_web.py, tars_app.py), how HTTP is read (`skerry.server`).
"""

from __future__ import annotations

import logging
import socket
from dataclasses import replace
from typing import Any

from skerry.kernel.settings import Settings
from skerry.roles.accepting import Acceptor
from skerry.roles.limits import server_settings
from skerry.server.server import HttpServer
from skerry.server.settings import ServerSettings
from skerry.tars.adapter import Counters
from skerry.tars.platform.adapters import access_of, share, tls_of
from skerry.tars.platform.configuration import AdapterConfiguration

log = logging.getLogger("skerry.tars.service")

BACKLOG = 1024
IDLE_SECONDS = 1.0
"""How long a connection may bring one more request when its process ends: the client may have sent it already."""


class HttpAdapter:
    """`shared`: the parent's socket; a copy of it is used. `workers`: how many processes share what the file allows.
    `limits` and `tls` are for the server that gets the connections."""

    def __init__(
        self, adapter: AdapterConfiguration, settings: Settings, shared: socket.socket, workers: int
    ) -> None:
        self.adapter, self._shared, self._access = adapter, shared, access_of(adapter)
        self.counters = Counters()
        self.most_connections = share(adapter.max_connections, workers)
        self.limits = _limits(adapter, settings, self.most_connections)
        self.tls = _tls(adapter)
        self._server: HttpServer | None = None
        self._acceptor: Acceptor | None = None

    def open(self, server: HttpServer) -> None:
        """Listen; connections go to `server`, which has started."""
        listener = self._shared.dup()
        listener.setblocking(False)
        listener.listen(BACKLOG)
        self._server = server
        self._acceptor = Acceptor(listener, self._take)
        self._acceptor.start()
        log.info("%s listens on %s (%s)", self.adapter.servant, self.adapter.endpoint, self.adapter.protocol)

    def hold(self) -> None:
        """Accept nothing for now: the other processes do."""
        if self._acceptor is not None:
            self._acceptor.stop()

    def resume(self) -> None:
        if self._acceptor is not None:
            self._acceptor.start()

    def close(self) -> None:
        """Accept nothing more."""
        if self._acceptor is not None:
            self._acceptor.stop()
            self._acceptor.listener.close()
            self._acceptor = None

    @property
    def connections(self) -> int:
        return 0 if self._server is None else self._server.connections

    def _take(self, connection: socket.socket) -> None:
        assert self._server is not None
        try:
            host = connection.getpeername()[0]
        except OSError:  # it has left already
            connection.close()
            return
        if not self._access.allows(host):
            self.counters.refused_connections += 1
            log.warning("refused %s at %s: it is not allowed", host, self.adapter.servant)
            connection.close()
            return
        if self._server.connections >= self.most_connections:
            self.counters.refused_connections += 1
        self._server.attach(connection)  # answers 503 to what is too many


def _limits(adapter: AdapterConfiguration, settings: Settings, connections: int) -> ServerSettings:
    limits = server_settings(settings)
    idle = adapter.endpoint.timeout_milliseconds / 1000
    return replace(
        limits,
        max_connections=connections,
        keep_alive_seconds=idle or limits.keep_alive_seconds,
        max_pending=adapter.queue_capacity,
    )


def _tls(adapter: AdapterConfiguration) -> Any:
    context = tls_of(adapter)
    if context is not None:
        context.set_alpn_protocols(["http/1.1"])
    return context
