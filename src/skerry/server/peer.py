"""The two ends of a transport, and whether the other one has said that it says no more."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from skerry.http.request import Ends
from skerry.loop.passing import Passed

_CLOSED = frozenset((7, 8))  # TCP_CLOSE and TCP_CLOSE_WAIT of Linux


def ends_of(transport: asyncio.BaseTransport) -> Ends:
    """Addresses and scheme, as they are now."""
    scheme = "https" if is_tls(transport) else "http"
    client = _address(transport.get_extra_info("peername"))
    server = transport.get_extra_info("sockname")
    if isinstance(server, str):
        return Ends(None, (server, None) if server else None, scheme)
    return Ends(client, _address(server), scheme)


def passed_of(ends: Ends, data: bytes = b"", *, relayed: bool = False) -> Passed:
    """What another process is told of these ends, and of what was read."""
    server = ends.server
    port = None if server is None else server[1]
    own = None if server is None or port is None else (server[0], port)
    return Passed(data, True, ends.client, own, ends.scheme == "https", relayed)


def is_tls(transport: asyncio.BaseTransport) -> bool:
    return bool(transport.get_extra_info("sslcontext"))


def has_left(transport: asyncio.BaseTransport) -> bool:
    """Whether the client's end came although it was not read: it stands behind input that nobody takes. Known on
    Linux, for TCP."""
    sock = transport.get_extra_info("socket")
    option = getattr(socket, "TCP_INFO", None)
    if sock is None or option is None or sock.family not in (socket.AF_INET, socket.AF_INET6):
        return False
    try:
        return sock.getsockopt(socket.IPPROTO_TCP, option, 1)[0] in _CLOSED
    except OSError:
        return True


def _address(found: Any) -> tuple[str, int] | None:
    return (str(found[0]), int(found[1])) if isinstance(found, tuple) and len(found) >= 2 else None
