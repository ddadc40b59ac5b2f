"""The balancer hands connections themselves to server processes, and loses none when one of these fails.

The servers here are the real receiving ends in this loop; what they take is answered by hand. Real processes are in
tests/e2e/test_up.py.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from skerry.loop.door import Door
from skerry.loop.handover import HandoverReceiver
from skerry.loop.sockets import bind_tcp
from skerry.roles.balancer import Balancer, BalancerSettings


async def until(ready: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait until `ready()`; fails after `seconds`."""
    async with asyncio.timeout(seconds):
        while not ready():  # noqa: ASYNC110 - what is waited for is somebody else's state
            await asyncio.sleep(0.002)


class World:
    """A public address, a door, balancers on them, and servers that take connections and keep them."""

    def __init__(self) -> None:
        self.public = bind_tcp("127.0.0.1", 0)
        self.inner, outer = Door.pair()
        self.door = Door(outer)
        self.taken: dict[str, list[socket.socket]] = {}
        self.kept: list[socket.socket] = []
        """Those of them that another server had before."""
        self.receivers: dict[str, HandoverReceiver] = {}
        self.clients: list[socket.socket] = []

    def balancer(
        self, wait_seconds: float = 60.0, max_waiting: int = 100, silent_seconds: float = 60.0
    ) -> Balancer:
        settings = BalancerSettings(wait_seconds, max_waiting, silent_seconds)
        return Balancer({self.public: "server"}, Door(self.inner.dup()), settings)

    async def server(self, name: str, group: str = "server") -> HandoverReceiver:
        taken = self.taken.setdefault(name, [])

        def take_kept(sock: socket.socket) -> None:
            taken.append(sock)
            self.kept.append(sock)

        receiver = HandoverReceiver(
            self.door.knock, name, taken.append, lambda: len(taken), group, 0.01, take_kept=take_kept
        )
        self.receivers[name] = receiver
        receiver.start()
        await asyncio.wait_for(receiver.joined.wait(), 60)
        return receiver

    async def client(self) -> socket.socket:
        sock = socket.socket()
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, self.public.getsockname())
        self.clients.append(sock)
        return sock

    def all_taken(self) -> int:
        return sum(len(taken) for taken in self.taken.values())

    async def close(self) -> None:
        for receiver in self.receivers.values():
            await receiver.stop()
        for sock in [
            *self.clients,
            *(s for taken in self.taken.values() for s in taken),
            self.public,
            self.inner,
        ]:
            sock.close()
        self.door.close()


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World()
    yield made
    await made.close()


@asynccontextmanager
async def running(balancer: Balancer) -> AsyncIterator[Balancer]:
    await balancer.start()
    try:
        yield balancer
    finally:
        await balancer.stop(0.2)


async def read(sock: socket.socket, size: int = 4096) -> bytes:
    return await asyncio.wait_for(asyncio.get_running_loop().sock_recv(sock, size), 60)


async def test_the_server_speaks_on_the_clients_own_connection(world: World) -> None:
    """What the server writes reaches the client and back, with nothing in between."""
    async with running(world.balancer()):
        await world.server("s1")
        client = await world.client()
        await until(lambda: world.all_taken() == 1)
        served = world.taken["s1"][0]
        assert served.getpeername() == client.getsockname()
        client.send(b"ping")
        assert await read(served) == b"ping"
        served.send(b"pong")
        assert await read(client) == b"pong"


async def test_the_least_busy_server_gets_the_next(world: World) -> None:
    """Connections are spread evenly, and a server that lost some gets the next ones."""
    async with running(world.balancer()) as balancer:
        for name in ("s1", "s2", "s3"):
            await world.server(name)
        await until(lambda: len(balancer.servers) == 3)
        for n in range(9):
            await world.client()
            await until(lambda n=n: world.all_taken() == n + 1)  # type: ignore[misc]
        assert [len(t) for t in world.taken.values()] == [3, 3, 3]
        while world.taken["s2"]:
            world.taken["s2"].pop().close()
        await until(lambda: balancer.servers["s2"] == 0)
        for n in range(3):
            await world.client()
            await until(lambda n=n: len(world.taken["s2"]) == n + 1)  # type: ignore[misc]


async def test_a_burst_is_spread_too(world: World) -> None:
    """Many connections accepted at once are counted while they are on their way."""
    async with running(world.balancer()) as balancer:
        for name in ("s1", "s2"):
            await world.server(name)
        await balancer.hold()
        await asyncio.gather(*(world.client() for _ in range(40)))
        await balancer.resume()
        await until(lambda: world.all_taken() == 40)
        assert [len(t) for t in world.taken.values()] == [20, 20]


async def test_connections_wait_for_the_first_server(world: World) -> None:
    """Clients that come before any server is ready are served when one joins."""
    async with running(world.balancer()) as balancer:
        await asyncio.gather(*(world.client() for _ in range(5)))
        await until(lambda: balancer.waiting == 5)
        await world.server("s1")
        await until(lambda: len(world.taken["s1"]) == 5)


async def test_nobody_healthy_for_too_long_is_a_503(world: World) -> None:
    """Past the wait a connection gets a whole 503 with Retry-After, although its request was not read."""
    async with running(world.balancer(wait_seconds=0.05)):
        client = await world.client()
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = b""
        while more := await read(client):
            answer += more
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 503 ")
        assert b"\r\nRetry-After: 1" in head
        assert f"Content-Length: {len(body)}".encode() in head


async def test_too_many_waiting_are_refused_at_once(world: World) -> None:
    """The queue of those who wait has a limit."""
    async with running(world.balancer(max_waiting=2)) as balancer:
        clients = [await world.client() for _ in range(3)]
        assert (await read(clients[2])).startswith(b"HTTP/1.1 503 ")
        assert balancer.waiting == 2


class Silent:
    """A server that joins and then acknowledges nothing: it hangs, or is about to die."""

    def __init__(self, door: Door) -> None:
        self.sock = door.knock()
        self.sock.send(b"J" + bytes([9]) + b"server/s0")

    def die(self) -> None:
        self.sock.close()


async def test_a_server_that_dies_leaves_its_unread_connections_to_others(world: World) -> None:
    """What was sent to a server and not acknowledged is handed to another one, whole."""
    async with running(world.balancer()) as balancer:
        silent = Silent(world.door)
        await until(lambda: "s0" in balancer.servers)
        client = await world.client()
        client.send(b"hello")
        await until(lambda: balancer.waiting == 0 and balancer._handed.value == 1)
        await world.server("s1")
        silent.die()
        await until(lambda: world.all_taken() == 1)
        assert await read(world.taken["s1"][0]) == b"hello"


async def test_a_hung_server_is_given_up_and_cannot_take_them_later(world: World) -> None:
    """Silent for too long: its connections go to others, and its late acknowledgement fails, so that it closes its
    copies unread and nobody is served twice."""
    async with running(world.balancer(silent_seconds=0.5)) as balancer:
        silent = Silent(world.door)
        await until(lambda: "s0" in balancer.servers)
        client = await world.client()
        await until(lambda: balancer._handed.value == 1)
        await world.server("s1")
        await until(lambda: world.all_taken() == 1)
        assert "s0" not in balancer.servers
        with pytest.raises(OSError, match=r"Broken pipe|reset"):
            silent.sock.send(b"R" + bytes(8))
        world.taken["s1"][0].send(b"served once")
        assert await read(client) == b"served once"
        silent.die()


async def test_a_draining_server_gets_nothing_more_and_gives_back(world: World) -> None:
    """After `drain` no connection comes; an idle one that it gives back is served by another server, which is told that
    it is none that has just begun, without the client noticing."""
    async with running(world.balancer()) as balancer:
        first = await world.server("s1")
        client = await world.client()
        await until(lambda: len(world.taken["s1"]) == 1)
        assert await first.drain(60)
        await world.server("s2")
        later = await world.client()
        await until(lambda: len(world.taken["s2"]) == 1)
        assert first.give_back(world.taken["s1"].pop())
        await until(lambda: len(world.taken["s2"]) == 2)
        client.send(b"again")
        assert await read(world.taken["s2"][1]) == b"again"
        assert world.taken["s2"][0].getpeername() == later.getsockname()
        assert world.kept == world.taken["s2"][1:]
        assert "s1" not in balancer.servers


async def test_a_new_balancer_takes_over(world: World) -> None:
    """The sockets outlive a balancer: clients wait in the kernel, servers join the next one, connections go on."""
    first = world.balancer()
    await first.start()
    await world.server("s1")
    early = await world.client()
    await until(lambda: world.all_taken() == 1)
    await first.stop()
    late = await world.client()
    async with running(world.balancer()) as second:
        await until(lambda: world.all_taken() == 2)
        assert second.servers
        for client, served in zip((early, late), world.taken["s1"], strict=True):
            served.send(b"still here")
            assert await read(client) == b"still here"


async def test_what_servers_give_while_a_balancer_ends_reaches_others(world: World) -> None:
    """A connection given back just before is handed over still; afterwards a server keeps what it has until the
    next balancer is there."""
    first = world.balancer()
    await first.start()
    giver = await world.server("s1")
    clients = [await world.client() for _ in range(2)]
    await until(lambda: world.all_taken() == 2)
    taker = await world.server("s2")
    world.taken["s2"].extend(
        [world.public, world.public]
    )  # busier than s1 will be, so that it is last in line
    await until(lambda: first.servers.get("s2") == 2)
    await giver.drain(60)
    connection, kept = world.taken["s1"]
    assert giver.give_back(connection)
    ending = asyncio.create_task(first.stop(60))
    await until(lambda: len(world.taken["s2"]) == 3)
    await until(lambda: not taker.can_give)
    assert not taker.give_back(kept)
    await ending
    del world.taken["s2"][:2]
    assert len(world.kept) == 1
    async with running(world.balancer()):
        giver.start()
        await until(lambda: giver.can_give and taker.can_give)
        assert taker.give_back(kept)
        del world.taken["s1"][:]
        await until(lambda: len(world.kept) == 2)
    for client, served in zip(clients, world.kept, strict=True):
        served.send(b"still here")
        assert await read(client) == b"still here"


async def test_an_unknown_group_or_nonsense_is_turned_away(world: World) -> None:
    """Who joins a group that does not exist, or speaks another protocol, is disconnected; others go on."""
    async with running(world.balancer()):
        for said in (b"J" + bytes([7]) + b"other/x", b"GET / HTTP/1.1\r\n\r\n"):
            stranger = world.door.knock()
            stranger.send(said)
            assert await read(stranger) == b""
            stranger.close()
        await world.server("s1")
        await world.client()
        await until(lambda: world.all_taken() == 1)
