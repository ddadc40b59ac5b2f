"""The JavaScript client of Tars calls our server."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path
from typing import Any

import pytest

from skerry.tars.server import Server

pytestmark = pytest.mark.service("node")


async def test_the_peers_own_client(peers: dict[str, str], echo_servant: Any) -> None:
    """The unchanged client of the peer prints what it prints for a server of its own language: every basic type, a
    slow call, an unknown function, its time-out, a one-way call."""
    server = Server()
    server.add(echo_servant(), "Interop.JsServer.EchoObj@tcp -h 127.0.0.1 -p 0 -t 60000")
    async with server:
        process = await asyncio.create_subprocess_exec(
            "node",
            "--no-warnings",
            "--no-deprecation",
            str(Path(__file__).parent / "js" / "echo_client.js"),
            str(server.endpoints[0]),
            env=peers,
            stdout=subprocess.PIPE,
        )
        out, _ = await process.communicate()
    assert out.decode().splitlines() == [
        "echoAll { ret: 2147483647, b: true, l: '-9', t: 'héllo' }",
        "sleep 100",
        "nosuch -3",
        "timeout -13001",
        "oneway { code: undefined, message: 'one way call do not need response' }",
    ]


async def test_every_type_in_a_struct(js_client: Any, python_server: Server) -> None:
    """A struct with a member of every kind comes back equal; the out parameter beside the return value too."""
    result = await js_client(str(python_server.endpoints[0]), "struct")
    assert result["got"] == result["sent"]
    assert result["last"] == {"id": 2, "name": "two"}


async def test_replies_out_of_order(js_client: Any, python_server: Server) -> None:
    """Four calls on one connection end in the order of their duration, not of their sending."""
    assert await js_client(str(python_server.endpoints[0]), "order") == [0, 20, 150, 300]


async def test_failing_slow_and_unknown(js_client: Any, python_server: Server) -> None:
    """An exception, the servant's own code, an unknown function and servant, a time-out: each as its code; the
    connection works afterwards."""
    result = await js_client(str(python_server.endpoints[0]), "errors")
    assert result["fail"] == {"code": -99, "message": "boom"}
    assert result["ret"] == {"code": 5, "message": "five"}
    assert result["nosuch"]["code"] == -3
    assert result["servant"]["code"] == -4
    assert result["slow"]["code"] == -13001
    assert result["after"] == 1


async def test_large_messages(js_client: Any, python_server: Server) -> None:
    """Five million random bytes there and back."""
    assert await js_client(str(python_server.endpoints[0]), "large", 5_000_000) == {
        "same": True,
        "length": 5_000_000,
    }


async def test_ten_thousand_pipelined_calls(js_client: Any, python_server: Server) -> None:
    """Written at once on one connection, each answered with its own value."""
    assert await js_client(str(python_server.endpoints[0]), "pipeline", 10_000) == 10_000
    assert python_server.states()[0].counters.connections == 1


async def test_two_hundred_connections(js_client: Any, python_server: Server) -> None:
    """200 clients, each on a connection of its own."""
    assert await js_client(str(python_server.endpoints[0]), "connections", 200) == 200
    assert python_server.states()[0].counters.connections == 200


async def test_one_way(js_client: Any, python_server: Server) -> None:
    """One-way calls run and are not answered, nor is an unknown function."""
    assert await js_client(str(python_server.endpoints[0]), "oneway") == 3


@pytest.mark.parametrize("version", [2, 3])
async def test_tup(js_client: Any, python_server: Server, version: int) -> None:
    """TUP requests (by name, both maps) get a TUP reply that the peer's own codec reads."""
    result = await js_client(str(python_server.endpoints[0]), "tup", version)
    assert result["code"] == 0
    assert result["got"] == result["sent"]
    assert result["last"] == {"id": 2, "name": "two"}


async def test_udp(js_client: Any, python_server: Server) -> None:
    """The peer speaks udp too."""
    result = await js_client(str(python_server.endpoints[1]), "struct")
    assert result["got"] == result["sent"]


async def test_a_drain_while_it_calls(js_client: Any, python_server: Server) -> None:
    """The peer does not know the `_reconnect_` push: it is not disturbed by it and gets the replies it waits for."""
    calling = asyncio.create_task(js_client(str(python_server.endpoints[0]), "order"))
    async with asyncio.timeout(120):
        while python_server.states()[0].counters.requests < 4:  # noqa: ASYNC110  another process sets no event
            await asyncio.sleep(0.005)
    assert await python_server.stop(60.0)
    assert await calling == [0, 20, 150, 300]
