"""A server of several servants over real sockets."""

from __future__ import annotations

from typing import Any

import pytest

from skerry.errors import DeclarationError, LifecycleError
from skerry.tars.server import Server

NAME = "Test.Probe.ProbeObj"


async def test_plain_functions_run_in_threads(serve: Any, probe: Any, wire: Any) -> None:
    """They run outside of the loop, with the call's context."""
    server, _, _ = await serve()
    raw = await wire.to(server)
    raw.send(wire.ask(1, "thread"))
    (reply,) = await raw.replies(1)
    assert probe.__tars_interface__.functions["thread"].decode_result(reply.body).startswith("tars")


async def test_several_endpoints_and_servants(probe: Any, make_servant: Any, wire: Any) -> None:
    """tcp and udp of one servant, and a second servant; each under its own name only."""
    server = Server()
    server.add(make_servant(), "A.B.One@tcp -h 127.0.0.1 -p 0:udp -h 127.0.0.1 -p 0")
    server.add(make_servant(), "A.B.Two@tcp -h 127.0.0.1 -p 0")
    async with server:
        assert [endpoint.protocol for endpoint in server.endpoints] == ["tcp", "udp", "tcp"]
        two = await wire.to(server, 2)
        two.send(wire.ping(1, servant="A.B.Two"), wire.ping(2, servant="A.B.One"))
        assert [reply.code for reply in await two.replies(2)] == [0, -4]
        assert server.address("A.B.Two").startswith("A.B.Two@tcp -h 127.0.0.1 -p ")


async def test_impossible_uses(make_servant: Any) -> None:
    """No servants, no endpoint, adding after the start: each says what is wrong."""
    with pytest.raises(DeclarationError, match="without servants"):
        await Server().start()
    server = Server()
    with pytest.raises(DeclarationError, match="where to listen"):
        server.add(make_servant(), NAME)
    server.add(make_servant(), f"{NAME}@tcp -h 127.0.0.1 -p 0")
    async with server:
        with pytest.raises(LifecycleError):
            server.add(make_servant(), f"{NAME}@tcp -h 127.0.0.1 -p 0")
