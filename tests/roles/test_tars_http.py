"""Connections to an adapter that speaks HTTP, before a server has them."""

from __future__ import annotations

import socket
from typing import Any

from skerry.roles.tars_http import HttpAdapter


class Left:
    """A connection whose client has left: nobody knows its address any more."""

    closed = False

    def getpeername(self) -> Any:
        raise OSError("not connected")

    def close(self) -> None:
        self.closed = True


def test_a_connection_that_has_left_is_closed() -> None:
    """And reaches no server."""
    adapter = object.__new__(HttpAdapter)
    adapter._server = NoServer()  # type: ignore[assignment]
    left: Any = Left()
    adapter._take(left)
    assert left.closed


class NoServer:
    def attach(self, connection: socket.socket) -> None:
        raise AssertionError("it has left")
