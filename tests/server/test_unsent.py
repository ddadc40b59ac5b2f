"""A client that takes nothing holds little: in this process and in the kernel."""

from __future__ import annotations

import fcntl
import socket
import struct
import sys
from collections.abc import AsyncIterator

import pytest
from starlette.responses import StreamingResponse
from tests.server.conftest import Start

from skerry.http.application import Application
from skerry.loop.sockets import UNSENT_BYTES

SIOCOUTQNSD = 0x894B  # bytes that were written and not sent (linux/sockios.h)
CHUNK = 64 * 1024


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what is unsent")
async def test_what_the_kernel_keeps_for_a_stalled_client_is_bounded(start: Start) -> None:
    """A stream without end: the kernel takes 128 KiB and one piece at most that it could not send, not megabytes."""
    app = Application()

    @app.get("/endless")
    async def endless() -> StreamingResponse:
        async def parts() -> AsyncIterator[bytes]:
            while True:
                yield b"x" * CHUNK

        return StreamingResponse(parts())

    running = await start(app)
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8_192)
        client.connect(("127.0.0.1", running.port))
        client.sendall(b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n")
        state = running.server.state
        await running.until(lambda: state.connections)
        (connection,) = state.connections
        await running.until(lambda: connection.transport.get_write_buffer_size() > 0)
        number = connection.transport.get_extra_info("socket").fileno()
        (unsent,) = struct.unpack("i", fcntl.ioctl(number, SIOCOUTQNSD, b"\0" * 4))
        assert unsent <= UNSENT_BYTES + 2 * CHUNK
        assert connection.transport.get_write_buffer_size() <= 4 * CHUNK
