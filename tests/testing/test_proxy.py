"""The fault proxy: what it does to a connection is what it says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from skerry.testing.proxy import FaultProxy
from skerry.testing.transports import until

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest.fixture
async def proxy() -> AsyncIterator[FaultProxy]:
    """In front of a server that sends back what it gets."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(1000):
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with server, FaultProxy(server.sockets[0].getsockname()[1]) as proxy:
        yield proxy


async def ask(streams: Streams, data: bytes, seconds: float = 60.0) -> bytes:
    reader, writer = streams
    writer.write(data)
    return await asyncio.wait_for(reader.read(100), seconds)


async def test_carries(proxy: FaultProxy) -> None:
    """Bytes go through, both ways, and an end goes through too."""
    streams = await asyncio.open_connection("127.0.0.1", proxy.port)
    assert await ask(streams, b"one") == b"one"
    streams[1].close()
    await until(lambda: proxy.open == 0, 60)


async def test_cut(proxy: FaultProxy) -> None:
    """A cut ends what is open, and only that."""
    streams = await asyncio.open_connection("127.0.0.1", proxy.port)
    await ask(streams, b"one")
    proxy.cut()
    try:
        assert await asyncio.wait_for(streams[0].read(), 60) == b""
    except ConnectionError:
        pass  # a reset: as good
    streams[1].close()
    again = await asyncio.open_connection("127.0.0.1", proxy.port)
    assert await ask(again, b"two") == b"two"
    again[1].close()


async def test_refuse(proxy: FaultProxy) -> None:
    """Refusing ends every new connection too, until it is mended."""
    proxy.refuse()
    streams = await asyncio.open_connection("127.0.0.1", proxy.port)
    try:
        assert await ask(streams, b"one") == b""
    except ConnectionError:
        pass
    streams[1].close()
    proxy.mend()
    again = await asyncio.open_connection("127.0.0.1", proxy.port)
    assert await ask(again, b"two") == b"two"
    again[1].close()


async def test_hold(proxy: FaultProxy) -> None:
    """A black hole takes bytes and answers nothing; mended, it answers all of it."""
    streams = await asyncio.open_connection("127.0.0.1", proxy.port)
    await ask(streams, b"one")
    proxy.hold()
    with pytest.raises(TimeoutError):
        await ask(streams, b"two", 0.1)
    proxy.mend()
    assert await asyncio.wait_for(streams[0].read(100), 60) == b"two"
    streams[1].close()


async def test_delay(proxy: FaultProxy) -> None:
    """A delay is had in both directions."""
    streams = await asyncio.open_connection("127.0.0.1", proxy.port)
    await ask(streams, b"one")
    proxy.delay_seconds = 0.05
    began = asyncio.get_running_loop().time()
    assert await ask(streams, b"two") == b"two"
    assert asyncio.get_running_loop().time() - began >= 0.1
    streams[1].close()
