"""Connections of a server beside processes of an application. What moves is proved in tests/e2e/test_hosts_apart.py."""

from __future__ import annotations

import asyncio
import socket

from skerry.http.application import Application
from skerry.server.moving import Moves
from skerry.server.server import HttpServer
from skerry.server.settings import ServerSettings


async def test_a_connection_that_ends_is_forgotten() -> None:
    """As any other: it does not count against the limit, and a stop does not wait for it."""
    app = Application()

    @app.get("/")
    def view() -> str:
        return "here"

    server = HttpServer(app, ServerSettings(access_log="off"), moves=Moves("hosted"))
    await server.start([socket.create_server(("127.0.0.1", 0))])
    reader, writer = await asyncio.open_connection("127.0.0.1", int(server.addresses[0].rpartition(":")[2]))
    writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert (await reader.readuntil(b"here")).startswith(b"HTTP/1.1 200 ")
    assert len(server.state.connections) == 1
    writer.close()
    async with asyncio.timeout(30):
        while server.state.connections:  # noqa: ASYNC110 - the kernel tells the server
            await asyncio.sleep(0.001)
    await server.stop(0.1)
