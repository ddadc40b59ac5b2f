"""Several servers accept from one socket that somebody else has bound; access lists at the door."""

from __future__ import annotations

import socket
from contextlib import AsyncExitStack
from typing import Any

import pytest

from skerry import tars
from skerry.tars.access import AccessList

NAME = "Test.Probe.ProbeObj"


def bound(kind: socket.SocketKind = socket.SOCK_STREAM) -> socket.socket:
    """A socket as a parent binds it."""
    made = socket.socket(socket.AF_INET, kind)
    made.bind(("127.0.0.1", 0))
    return made


async def started(
    stack: AsyncExitStack, servant: Any, shared: socket.socket, protocol: str = "tcp", **options: Any
) -> tars.Server:
    server = tars.Server(drain_seconds=5.0)
    port = shared.getsockname()[1]
    server.add(servant, f"{NAME}@{protocol} -h 127.0.0.1 -p {port}", shared=shared.dup(), **options)
    await server.start()
    stack.push_async_callback(server.close)
    return server


async def test_two_servers_share_a_port_and_one_leaves(probe: Any, make_servant: Any) -> None:
    """Calls go on while one of two servers of a socket drains, and while a third one has come in its place."""
    async with AsyncExitStack() as stack:
        shared = stack.enter_context(bound())
        first = await started(stack, make_servant(), shared)
        await started(stack, make_servant(), shared)
        for number in range(20):
            # A communicator of its own each time: a new connection, for whoever takes it.
            async with tars.Communicator(timeout_seconds=30) as communicator:
                proxy = communicator.proxy(probe, first.address(NAME))
                assert await proxy.echo(str(number)) == str(number)
            if number == 6:
                address = first.address(NAME)
                assert await first.stop()
                first = await started(stack, make_servant(), shared)
                assert first.address(NAME) == address


async def test_nobody_is_served_before_the_first_server_is_ready(make_servant: Any) -> None:
    """A bound socket refuses connections until one of its servers has started."""
    async with AsyncExitStack() as stack:
        shared = stack.enter_context(bound())
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(shared.getsockname(), timeout=30)
        await started(stack, make_servant(), shared)
        socket.create_connection(shared.getsockname(), timeout=30).close()


async def test_one_without_room_leaves_connections_to_the_other(
    probe: Any, make_servant: Any, until: Any
) -> None:
    """Each takes its share: with room for two at each of two servers, four connections are served."""
    async with AsyncExitStack() as stack:
        shared = stack.enter_context(bound())
        limits = tars.AdapterLimits(connections=2)
        servers = [await started(stack, make_servant(), shared, limits=limits) for _ in range(2)]
        for number in range(4):
            communicator = await stack.enter_async_context(tars.Communicator(timeout_seconds=30))
            assert await communicator.proxy(probe, servers[0].address(NAME)).echo("x") == "x", number
        assert [server.states()[0].connections for server in servers] == [2, 2]


async def test_datagrams_of_a_shared_socket(probe: Any, make_servant: Any) -> None:
    """Each datagram is answered by one of the servers."""
    async with AsyncExitStack() as stack:
        shared = stack.enter_context(bound(socket.SOCK_DGRAM))
        server = await started(stack, make_servant(), shared, "udp")
        await started(stack, make_servant(), shared, "udp")
        communicator = await stack.enter_async_context(tars.Communicator(timeout_seconds=30))
        proxy = communicator.proxy(probe, server.address(NAME))
        assert [await proxy.echo(str(number)) for number in range(10)] == [str(n) for n in range(10)]


@pytest.mark.parametrize("allowed", [True, False])
async def test_access_list_of_an_adapter(allowed: bool, probe: Any, make_servant: Any) -> None:
    """Who is not in `allow` is not served, and counted as refused."""
    async with AsyncExitStack() as stack:
        server = tars.Server()
        access = AccessList(allow=("127.*" if allowed else "10.*",))
        server.add(make_servant(), f"{NAME}@tcp -h 127.0.0.1 -p 0", access=access)
        await server.start()
        stack.push_async_callback(server.close)
        communicator = await stack.enter_async_context(tars.Communicator(timeout_seconds=30))
        proxy = communicator.proxy(probe, server.address(NAME))
        if allowed:
            assert await proxy.echo("x") == "x"
        else:
            with pytest.raises(tars.CallError):
                await proxy.echo("x")
        assert bool(server.states()[0].counters.refused_connections) != allowed


async def test_one_that_holds_leaves_connections_to_the_others(probe: Any, make_servant: Any) -> None:
    """What is open is served on; new connections are the other server's, until it resumes."""
    async with AsyncExitStack() as stack:
        shared = stack.enter_context(bound())
        first = await started(stack, make_servant(), shared)
        address = first.address(NAME)
        open_one = await stack.enter_async_context(tars.Communicator(timeout_seconds=30))
        assert await open_one.proxy(probe, address).echo("before") == "before"
        second = await started(stack, make_servant(), shared)
        first.hold()
        for number in range(5):
            async with tars.Communicator(timeout_seconds=30) as communicator:
                assert await communicator.proxy(probe, address).echo(str(number)) == str(number)
        assert (first.states()[0].connections, second.states()[0].counters.requests) == (1, 5)
        assert await open_one.proxy(probe, address).echo("held") == "held"
        first.resume()
        second.hold()
        async with tars.Communicator(timeout_seconds=30) as communicator:
            assert await communicator.proxy(probe, address).echo("after") == "after"
        assert first.states()[0].counters.requests == 3
