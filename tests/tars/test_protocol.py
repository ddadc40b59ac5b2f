"""Bytes become requests and answers bytes: pieces, pipelining, garbage, back-pressure, datagrams."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skerry.tars.adapter import Adapter
from skerry.tars.limits import AdapterLimits
from skerry.tars.protocol import ServerStream
from skerry.tars.servant import Servant, lane
from skerry.tars.wire.packet import (
    RequestPacket,
    decode_reply,
    encode_request,
)

NAME = "Test.Probe.ProbeObj"
WHOLE = [
    encode_request(RequestPacket(request_id=1, servant=NAME, function=name, body=body, packet_type=kind))
    for name, body, kind in [
        ("tars_ping", b"", 0),
        ("echo", b"\x16\x01a", 0),
        ("echo", b"\xff", 0),
        ("lane", b"", 1),
    ]
]
PIECES = [*WHOLE, *(frame[:cut] for frame in WHOLE for cut in (3, 9, -1)), *(frame[4:] for frame in WHOLE)]


async def test_replies_come_out_of_order(serve: Any, wire: Any) -> None:
    """A slow call does not hold up a later one on the same connection."""
    server, servant, _ = await serve()
    raw = await wire.to(server)
    raw.send(wire.ask(1, "gate", "slow"), wire.ask(2, "echo", "quick"))
    assert [r.request_id for r in await raw.replies(1)] == [2]
    servant.gates["slow"].set()
    assert [r.request_id for r in await raw.replies(1)] == [1]


async def test_many_pipelined_calls_on_one_connection(serve: Any, wire: Any) -> None:
    """3,000 calls written at once, three times what may be in flight: all are answered."""
    server, _, _ = await serve(limits=AdapterLimits(in_flight=1000))
    raw = await wire.to(server)
    raw.send(*(wire.ask(number, "echo", "x") for number in range(1, 3001)))
    got = await raw.replies(3000)
    assert sorted(reply.request_id for reply in got) == list(range(1, 3001))
    assert {reply.code for reply in got} == {0}


async def test_in_flight_is_bounded_per_connection(serve: Any, wire: Any) -> None:
    """Beyond `in_flight` unanswered requests a connection is not served until replies have gone out."""
    server, servant, _ = await serve(limits=AdapterLimits(in_flight=2))
    raw = await wire.to(server)
    raw.send(*(wire.ask(number, "gate", f"g{number}") for number in (1, 2, 3)))
    await servant.entered["g2"].wait()
    await asyncio.sleep(0)
    assert server.states()[0].running == 2
    other = await wire.to(server)
    other.send(wire.ping())
    assert (await other.replies(1))[0].code == 0
    assert "g3" not in servant.calls
    servant.gates["g1"].set()
    await servant.entered["g3"].wait()


async def test_a_byte_at_a_time(serve: Any, wire: Any) -> None:
    """Frames may arrive in any pieces."""
    server, _, _ = await serve()
    raw = await wire.to(server)
    for byte in encode_request(wire.ping()):
        raw.writer.write(bytes([byte]))
        await raw.writer.drain()
        await asyncio.sleep(0)
    assert (await raw.replies(1))[0].code == 0


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x00\x00\x00\x04",
        b"\x7f\xff\xff\xff",
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x00\x00\x00\x08\xff\xff\xff\xff",
        b"\x00\x00\x00\x05\x0b",
        encode_request(RequestPacket(servant="A.B.C", function="tars_ping"))[:-1] + b"\xff",
    ],
    ids=["too short", "too long", "http", "no packet", "empty struct", "bad end"],
)
async def test_garbage_closes_its_connection_only(serve: Any, garbage: bytes, wire: Any) -> None:
    """A length out of range or a packet that is none closes the connection; others are not disturbed."""
    server, _, _ = await serve()
    bad, good = await wire.to(server), await wire.to(server)
    bad.writer.write(garbage)
    async with asyncio.timeout(60):
        assert await bad.reply() is None
        good.send(wire.ping())
        assert (await good.replies(1))[0].code == 0
    assert server.states()[0].counters.broken_frames == 1


async def test_a_client_that_does_not_read_is_not_read(serve: Any, wire: Any) -> None:
    """Large replies to a client that never reads: the server stops taking its requests, memory stays bounded."""
    server, _, _ = await serve()
    raw = await wire.to(server)
    raw.writer.transport.pause_reading()
    raw.send(*(wire.ask(number, "blob", 100_000) for number in range(1, 1001)))
    before = -1
    async with asyncio.timeout(60):
        while (now := server.states()[0].counters.requests) != before:
            before = now
            await asyncio.sleep(0.05)
    assert before < 400
    other = await wire.to(server)
    other.send(wire.ping())
    assert (await other.replies(1))[0].code == 0
    raw.writer.transport.resume_reading()
    assert len(await raw.replies(1000)) == 1000


async def test_a_half_closed_client_gets_its_replies(serve: Any, wire: Any) -> None:
    """Who says that it sends no more (as `nc` does) still gets what it asked for, then the end."""
    server, _, _ = await serve()
    raw = await wire.to(server)
    raw.send(wire.ask(1, "echo", "a"))
    raw.writer.write_eof()
    assert (await raw.replies(1))[0].code == 0
    assert await raw.reply() is None


async def test_udp(serve: Any, wire: Any) -> None:
    """One datagram in, one out; a datagram that is no request is dropped; a reply that does not fit says so."""
    server, _, _ = await serve(f"{NAME}@udp -h 127.0.0.1 -p 0")
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.setblocking(False)
        udp.connect(("127.0.0.1", server.endpoints[0].port))
        for data in (b"junk", b"", encode_request(RequestPacket(servant="A.B.C", function="tars_ping"))[:-1]):
            udp.send(data)
        udp.send(encode_request(wire.ask(3, "echo", "a")))
        reply = decode_reply((await loop.sock_recv(udp, 65536))[4:])
        assert (reply.request_id, reply.code) == (3, 0)
        udp.send(encode_request(wire.ask(4, "blob", 70_000)))
        reply = decode_reply((await loop.sock_recv(udp, 65536))[4:])
        assert (reply.request_id, reply.code) == (4, -2)


class Ended(asyncio.Transport):
    """A transport that swallows everything."""

    def __init__(self) -> None:
        super().__init__({"peername": ("192.0.2.9", 1)})
        self.written = 0
        self.ended = self.reading = False

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...

    def write(self, data: Any) -> None:
        self.written += len(data)

    def close(self) -> None:
        self.ended = True

    abort = close

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


class Anyone:
    """A door without a keeper (Door)."""

    def enter(self, connection: ServerStream) -> bool:
        return True

    def leave(self, connection: ServerStream) -> None: ...


async def test_large_answers_of_the_lane_stop_for_a_client_that_does_not_read(
    make_servant: Any, wire: Any
) -> None:
    """Answers that are made at once are written as they grow, so that the transport can say "enough"."""

    class Large(type(make_servant())):  # type: ignore[misc]
        @lane
        def blob(self, size: int) -> bytes:
            return bytes(size)

    class Full(Ended):
        def write(self, data: Any) -> None:
            super().write(data)
            made.pause_writing()

    loop = asyncio.get_running_loop()
    made = ServerStream(loop, Adapter(Servant.of(NAME, Large()), AdapterLimits(), loop), Anyone())
    transport = Full()
    made.connection_made(transport)
    made.data_received(
        b"".join(encode_request(wire.ask(number, "blob", 50_000)) for number in range(1, 1001))
    )
    assert transport.written < 1_000_000
    for _ in range(1000):
        made.resume_writing()
        await asyncio.sleep(0)
    assert transport.written > 50_000_000


@given(st.lists(st.binary(max_size=200) | st.sampled_from(PIECES), max_size=8))
@settings(max_examples=150, deadline=None)
def test_whatever_comes_in_nothing_breaks(make_servant: Any, chunks: list[bytes]) -> None:
    """Any bytes, mixed with pieces of real requests: an answer, a wait for more, or the end of the connection."""

    async def feed() -> None:
        loop = asyncio.get_running_loop()
        adapter = Adapter(Servant.of(NAME, make_servant()), AdapterLimits(), loop)
        made = ServerStream(loop, adapter, Anyone())
        transport = Ended()
        made.connection_made(transport)
        for chunk in chunks:
            if transport.ended:
                break
            made.data_received(chunk)
            await asyncio.sleep(0)
        await adapter.stop()
        assert made.in_flight == 0 or transport.ended

    asyncio.run(feed())
