"""What goes with a connection to another process that shall serve it: what was read of it already, and whose it is.

It travels as a socket beside the connection's own, so that the link between the two processes carries descriptors only,
and a process that keeps both can hand both on. Not here: how they get there (handover.py).
"""

from __future__ import annotations

import socket

import msgspec

from skerry.loop.proxy_head import Address, ProxyReport

LONGEST = 131_072
"""Bytes that are written before anybody reads: less than the system keeps for a unix socket."""


class Passed(msgspec.Struct, frozen=True, array_like=True):
    """`data`: read and not answered yet. `told`: the ends are not those of the socket but `client` and `server`, which
    spoke TLS or not. `relayed`: its other end is a process that passes on single requests of that client."""

    data: bytes = b""
    told: bool = False
    client: Address | None = None
    server: Address | None = None
    tls: bool = False
    relayed: bool = False

    @property
    def ends(self) -> ProxyReport | None:
        """What is known of the client where the socket does not say it."""
        return ProxyReport(self.client, self.server, self.tls) if self.told else None


_decoder = msgspec.msgpack.Decoder(Passed)
_encode = msgspec.msgpack.Encoder().encode


def wrapped(passed: Passed) -> socket.socket:
    """A socket that it can be read from, to its end, without waiting. Raises OSError when there is no room for it."""
    ours, theirs = socket.socketpair()
    try:
        data = _encode(passed)
        ours.setblocking(False)
        if ours.send(data) != len(data):
            raise OSError("what was read of a connection is too long to be passed on")
    except BaseException:
        theirs.close()
        raise
    finally:
        ours.close()
    return theirs


def unwrapped(sock: socket.socket) -> Passed:
    """What a socket made by `wrapped` holds; it is closed. Raises ValueError for anything else."""
    parts = []
    with sock:
        sock.setblocking(False)
        try:
            while part := sock.recv(LONGEST):
                parts.append(part)
        except OSError as error:
            raise ValueError(f"it does not end: {error}") from error
    try:
        return _decoder.decode(b"".join(parts))
    except msgspec.MsgspecError as error:
        raise ValueError(f"it cannot be read: {error}") from error
