"""Our client calls a JavaScript server of Tars."""

from __future__ import annotations

import asyncio
import os
import re
import socket
from typing import Any

import pytest

from skerry.provenance import carried, provenance
from skerry.tars.blocking import BlockingCommunicator
from skerry.tars.call_errors import CallTimeout, NoSuchFunction, RemoteError, ServerCannotDecode
from skerry.tars.communicator import Communicator
from skerry.tars.proxy import client_of, configure, ping
from skerry.tars.settings import CallOptions, ClientSettings
from skerry.tars.wire.packet import STATUS_DYED_KEY, STATUS_TRACE_KEY, RequestPacket, encode_request

pytestmark = pytest.mark.service("node")


def sample(echo: Any) -> Any:
    """A struct with the ends of every range."""
    return echo.Everything(
        flag=True,
        tiny=-128,
        utiny=255,
        small=-32768,
        usmall=65535,
        medium=-(2**31),
        umedium=2**32 - 1,
        big=-(2**63),
        single=-2.25,
        exact=-0.1,
        text="héllo 你好" + "x" * 300,
        colour=echo.Colour.BLUE,
        raw=bytes(range(256)),
        texts=["", "a", "y" * 256],
        inners=[echo.Inner(id=1, name="one"), echo.Inner(id=-70000)],
        numbers={"some": [1, -200, 70000], "none": []},
        byId={300: echo.Inner(id=300, name="three hundred")},
        inner=echo.Inner(id=2, name="two"),
        matrix=[[0.5, -0.5], []],
        last=True,
    )


async def test_every_basic_type(echo: Any, js_server: str) -> None:
    """In and out, as a named tuple with `ret` first and the out parameters by their names."""
    async with Communicator() as c:
        got = await c.proxy(echo.Echo, js_server).echoAll(
            True,
            -100,
            -30000,
            2**31 - 1,
            -(2**63),
            1.5,
            -0.1,
            "héllo",
            b"\x00\x01",
            [1, -200, 70000],
            {"a": "b"},
        )
    assert got.ret == 2**31 - 1
    assert (got.ob, got.oy, got.os, got.ol, got.of, got.od) == (True, -100, -30000, -(2**63), 1.5, -0.1)
    assert (got.ot, got.obytes, got.oli, got.om) == ("héllo", b"\x00\x01", [1, -200, 70000], {"a": "b"})


async def test_every_type_in_a_struct(echo: Any, js_server: str) -> None:
    """A struct with a member of every kind comes back equal."""
    sent = sample(echo)
    async with Communicator() as c:
        got = await c.proxy(echo.Echo, js_server).echoStruct(sent)
    assert got.ret == sent
    assert got.last == sent.inner
    assert isinstance(got.ret.colour, echo.Colour)


async def test_zeros(echo: Any, js_server: str) -> None:
    """Zero floats come back as the peer writes them (without payload), empty containers as empty."""
    async with Communicator() as c:
        proxy = c.proxy(echo.Echo, js_server)
        assert (await proxy.echoStruct(echo.Everything())).ret == echo.Everything()
        nothing = await proxy.echoAll(False, 0, 0, 0, 0, 0.0, 0.0, "", b"", [], {})
    assert tuple(nothing) == (0, False, 0, 0, 0, 0.0, 0.0, "", b"", [], {})


async def test_replies_out_of_order(echo: Any, js_server: str) -> None:
    """Calls on one connection end in the order of their duration."""
    ended: list[int] = []
    async with Communicator() as c:
        proxy = c.proxy(echo.Echo, js_server)

        async def call(milliseconds: int) -> None:
            ended.append(await proxy.sleep(milliseconds))

        await asyncio.gather(*(call(milliseconds) for milliseconds in (900, 0, 600, 300)))
    assert ended == [0, 300, 600, 900]


async def test_failing_slow_and_unknown(echo: Any, js_server: str) -> None:
    """Exceptions are -1 in this language; own codes, unknown functions and time-outs as everywhere; then it goes on."""
    async with Communicator() as c:
        proxy = c.proxy(echo.Echo, js_server)
        with pytest.raises(ServerCannotDecode, match="boom"):
            await proxy.fail()
        with pytest.raises(RemoteError, match="five") as five:
            await proxy.ret()
        assert five.value.code == 5
        with pytest.raises(NoSuchFunction):
            await client_of(proxy).call("nosuch", b"", CallOptions())
        with pytest.raises(CallTimeout):
            await configure(proxy, timeout_seconds=0.05).sleep(500)
        await ping(proxy)
        assert await proxy.sleep(1) == 1


async def test_garbage(echo: Any, js_server: str) -> None:
    """A body that is none is answered -1; a connection with a broken frame harms nobody else."""
    async with Communicator() as c:
        proxy = c.proxy(echo.Echo, js_server)
        with pytest.raises(ServerCannotDecode):
            await client_of(proxy).call("echoAll", b"\xff\xff", CallOptions())
        name, _, endpoint = js_server.partition("@")
        port = int(endpoint.split()[4])
        with socket.create_connection(("127.0.0.1", port)) as broken:
            broken.sendall(
                encode_request(RequestPacket(servant=name, function="sleep"))[:-3] + os.urandom(64)
            )
            assert await proxy.sleep(2) == 2
        assert await proxy.sleep(3) == 3


async def test_large_messages(echo: Any, js_server: str) -> None:
    """Five million random bytes there and back, also while others call."""
    data = os.urandom(5_000_000)
    async with Communicator() as c:
        proxy = c.proxy(echo.Echo, js_server)
        got, *rest = await asyncio.gather(proxy.echoBytes(data), *(proxy.sleep(1) for _ in range(20)))
    assert got == data
    assert rest == [1] * 20


async def test_ten_thousand_pipelined_calls(echo: Any, js_server: str) -> None:
    """At once on one connection, each answered with its own value."""
    async with Communicator(timeout_seconds=120.0) as c:
        proxy = c.proxy(echo.Echo, js_server)
        got = await asyncio.gather(*(proxy.sleep(number % 3) for number in range(10_000)))
    assert got == [number % 3 for number in range(10_000)]


async def test_two_hundred_connections(echo: Any, js_server: str) -> None:
    """200 connections to one endpoint, each of them used."""
    async with Communicator(settings=ClientSettings(connections=200)) as c:
        proxy = c.proxy(echo.Echo, js_server)
        got = await asyncio.gather(*(proxy.sleep(number % 7) for number in range(600)))
        assert got == [number % 7 for number in range(600)]
        (link,) = client_of(proxy).routes.links
        assert sum(link.ready() is not None for _ in range(200)) == 200


async def test_one_way(echo: Any, js_server: str) -> None:
    """One-way calls arrive and nobody answers; the connection goes on."""
    async with Communicator() as c:
        proxy = c.proxy(echo.Echo, js_server)
        before = await proxy.oneways()
        silent = configure(proxy, one_way=True)
        for _ in range(3):
            assert await silent.oneway() is None
        assert await proxy.oneways() == before + 3


async def test_synchronous_code(echo: Any, js_server: str) -> None:
    """The blocking facade talks to it too."""

    def use() -> Any:
        with BlockingCommunicator() as c:
            return c.proxy(echo.Echo, js_server).echoStruct(sample(echo)).ret

    assert await asyncio.to_thread(use) == sample(echo)


@pytest.mark.parametrize("version", [1, 2, 3])
async def test_the_demo_server_in_every_version(js_demo_server: tuple[str, Any], version: int) -> None:
    """The package's own generated server, by its own IDL file: TARS and both forms of TUP."""
    address, demo = js_demo_server
    async with Communicator(version=version) as c:
        proxy = c.proxy(demo.NodeTars, address)
        got = await proxy.getUsrName("czzou")
        assert (got.ret, got.sValue1, got.sValue2) == (100002, "OUT_czzou_1", "OUT_czzou_2")
        level = await proxy.getall(demo.User_t(id=70000, score=-5, name="tencent"))
        assert (level.ret, level.stResult.iLevel) == (10000, 11000)


async def test_traces_and_dyeing_are_told(echo: Any, js_server: str) -> None:
    """A call for a `traceparent` brings its chain, a dyed one its key; any other brings neither."""
    chain = "ee824ad0eb4dacf56b29d230a229c584"
    async with Communicator(timeout_seconds=60) as c:
        proxy = c.proxy(echo.Echo, js_server)
        assert await proxy.told(STATUS_TRACE_KEY) == ""
        cause = carried.set(provenance(trace=f"00-{chain}-00f067aa0ba902b7-01"))
        try:
            told = await proxy.told(STATUS_TRACE_KEY)
        finally:
            carried.reset(cause)
        assert re.fullmatch(rf"0-{chain}\|[0-9a-f]{{16}}", told)
        assert await configure(proxy, status={STATUS_DYED_KEY: "u1"}).told(STATUS_DYED_KEY) == "u1"
