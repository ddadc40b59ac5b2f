"""An endpoint from its socket to its end: too many connections, idle ones, drain, ports in use."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from skerry.errors import SettingsError
from skerry.tars.limits import AdapterLimits
from skerry.tars.listener import quiet_seconds
from skerry.tars.server import Server
from skerry.tars.wire.packet import (
    RECONNECT,
)

NAME = "Test.Probe.ProbeObj"


async def test_too_many_connections(serve: Any, until: Any, wire: Any) -> None:
    """One more than allowed is closed at once; when one leaves there is room again."""
    server, _, _ = await serve(limits=AdapterLimits(connections=1))
    first = await wire.to(server)
    first.send(wire.ping())
    await first.replies(1)
    second = await wire.to(server)
    try:
        assert await second.reply() is None
    except ConnectionError:
        pass
    first.writer.close()
    await until(lambda: not server.states()[0].connections)
    third = await wire.to(server)
    third.send(wire.ping())
    assert (await third.replies(1))[0].code == 0


async def test_drain_tells_clients_finishes_calls_and_ends(serve: Any, wire: Any) -> None:
    """stop(): `_reconnect_` is pushed, what runs gets its reply, then the connection is closed."""
    server, servant, _ = await serve()
    raw = await wire.to(server)
    raw.send(wire.ask(1, "gate", "g"))
    await servant.entered["g"].wait()
    stopping = asyncio.create_task(server.stop(5.0))
    (push,) = await raw.replies(1)
    assert (push.request_id, push.description) == (0, RECONNECT)
    raw.send(wire.ask(2, "echo", "still served"))
    assert [reply.request_id for reply in await raw.replies(1)] == [2]
    with pytest.raises(ConnectionRefusedError):
        await wire.to(server)
    servant.gates["g"].set()
    assert [reply.request_id for reply in await raw.replies(1)] == [1]
    assert await raw.reply() is None
    assert await stopping


async def test_drain_has_an_end(serve: Any, wire: Any) -> None:
    """A call that does not end within the drain time is cancelled and answered."""
    server, servant, _ = await serve()
    raw = await wire.to(server)
    raw.send(wire.ask(1, "gate", "g"))
    await servant.entered["g"].wait()
    assert not await server.stop(0.01)
    push, reply = await raw.replies(2)
    assert push.description == RECONNECT
    assert reply.code == -99
    assert servant.cancelled == ["g"]


async def test_idle_connections_are_closed(serve: Any, monkeypatch: pytest.MonkeyPatch, wire: Any) -> None:
    """After -t milliseconds without a packet the server closes; so it does when nothing ever came."""
    monkeypatch.setattr("skerry.tars.listener.SWEEP_SECONDS", 0.02)
    server, _, _ = await serve(f"{NAME}@tcp -h 127.0.0.1 -p 0 -t 500")
    idle, empty = await wire.to(server), await wire.to(server)
    idle.send(wire.ping())
    await idle.replies(1)
    async with asyncio.timeout(60):
        assert await idle.reply() is None
        assert await empty.reply() is None


async def test_a_busy_connection_is_not_idle(serve: Any, monkeypatch: pytest.MonkeyPatch, wire: Any) -> None:
    """A connection with a call under way is kept, however long it takes."""
    monkeypatch.setattr("skerry.tars.listener.SWEEP_SECONDS", 0.01)
    server, servant, _ = await serve(f"{NAME}@tcp -h 127.0.0.1 -p 0 -t 500")
    raw = await wire.to(server)
    raw.send(wire.ask(1, "gate", "g"))
    await servant.entered["g"].wait()
    async with asyncio.timeout(60):
        quiet = await wire.to(server)
        assert await quiet.reply() is None  # by now a sweep has passed
    servant.gates["g"].set()
    assert (await raw.replies(1))[0].code == 0


async def test_a_port_in_use_says_so(serve: Any, make_servant: Any, wire: Any) -> None:
    """SettingsError names the endpoint; endpoints that were bound before it are given up again."""
    server, _, _ = await serve()
    taken = server.endpoints[0].port
    second = Server()
    second.add(make_servant(), "A.B.One@tcp -h 127.0.0.1 -p 0")
    second.add(make_servant(), f"A.B.Two@tcp -h 127.0.0.1 -p {taken}")
    with pytest.raises(SettingsError, match="EADDRINUSE"):
        await second.start()
    with pytest.raises(ConnectionRefusedError):
        await wire.to(second)


async def test_ssl_needs_a_certificate(make_servant: Any) -> None:
    """An ssl endpoint without a TLS context is refused at start."""
    server = Server()
    server.add(make_servant(), f"{NAME}@ssl -h 127.0.0.1 -p 0")
    with pytest.raises(SettingsError, match="TLS context"):
        await server.start()


def test_a_slow_client_has_longer_where_there_is_time() -> None:
    """A connection is not closed under a client that has not read yet that it should go elsewhere."""
    assert [quiet_seconds(drain) for drain in (0.5, 2.0, 10.0, 20.0, 60.0)] == [0.2, 0.2, 0.5, 1.0, 1.0]
