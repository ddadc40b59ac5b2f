"""A server's end of the link to a balancer. The whole conversation is proved in tests/roles/test_balancer.py."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest

from skerry.loop.door import Door
from skerry.loop.handover import (
    LEAVE,
    LEFT,
    MARK_SOCKET,
    REPORT_SIZE,
    WELCOME,
    HandoverReceiver,
    join_message,
    read_report,
    report_message,
)


class Balancer:
    """A balancer played by hand."""

    def __init__(self) -> None:
        self.inner, self.outer = Door.pair()
        self.inner.setblocking(False)
        self.links: list[socket.socket] = []

    async def accept(self) -> socket.socket:
        came: asyncio.Queue[socket.socket] = asyncio.Queue()
        door = Door(self.inner)
        door.open(came.put_nowait)
        link = await asyncio.wait_for(came.get(), 30)
        door.shut()
        self.links.append(link)
        assert await self.hear(link, len(join_message("server", "s1"))) == join_message("server", "s1")
        return link

    async def hear(self, link: socket.socket, size: int) -> bytes:
        data = b""
        while len(data) < size:
            more = await asyncio.wait_for(asyncio.get_running_loop().sock_recv(link, size - len(data)), 30)
            assert more, "the server closed the link"
            data += more
        return data

    def close(self) -> None:
        for link in (*self.links, self.inner, self.outer):
            link.close()


@pytest.fixture
async def door() -> AsyncIterator[Balancer]:
    made = Balancer()
    yield made
    made.close()


def receiver(door: Balancer, taken: list[socket.socket]) -> HandoverReceiver:
    return HandoverReceiver(
        Door(door.outer.dup()).knock, "s1", taken.append, lambda: len(taken), report_seconds=60.0
    )


def test_reports_are_read_back() -> None:
    """Counters may wrap around."""
    assert len(report_message(1, 2)) == REPORT_SIZE
    assert read_report(report_message(2**32 + 5, 7)) == (5, 7)
    with pytest.raises(ValueError, match="bytes together"):
        join_message("server", "n" * 300)


async def test_a_socket_is_acknowledged_and_taken(door: Balancer) -> None:
    """The acknowledgement comes with the number of connections, this one included."""
    taken: list[socket.socket] = []
    server = receiver(door, taken)
    server.start()
    link = await door.accept()
    assert read_report(await door.hear(link, REPORT_SIZE)) == (0, 0)
    link.send(WELCOME)
    ours, theirs = socket.socketpair()
    socket.send_fds(link, [MARK_SOCKET], [theirs.fileno()])
    theirs.close()
    assert read_report(await door.hear(link, REPORT_SIZE)) == (1, 1)
    taken[0].send(b"x")
    assert ours.recv(1) == b"x"
    for sock in (ours, *taken):
        sock.close()
    await server.stop()


async def test_a_server_out_of_files_gives_up_the_link(
    door: Balancer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The kernel has then dropped some of what was sent: nothing is taken, so that the balancer hands it elsewhere."""
    taken: list[socket.socket] = []
    server = receiver(door, taken)
    server.start()
    link = await door.accept()
    await door.hear(link, REPORT_SIZE)
    real = socket.recv_fds

    def cut(*args: int) -> tuple[bytes, list[int], int, object]:
        data, numbers, flags, address = real(*args)  # type: ignore[arg-type]
        return data, numbers, flags | socket.MSG_CTRUNC, address

    monkeypatch.setattr("skerry.loop.handover.socket.recv_fds", cut)
    ours, theirs = socket.socketpair()
    socket.send_fds(link, [MARK_SOCKET], [theirs.fileno()])
    theirs.close()
    assert await asyncio.wait_for(asyncio.get_running_loop().sock_recv(link, 1), 30) == b""
    assert taken == []
    ours.setblocking(False)
    assert await asyncio.wait_for(asyncio.get_running_loop().sock_recv(ours, 1), 30) == b""
    assert [record for record in caplog.records if "too many open files" in record.getMessage()]
    await server.stop()
    ours.close()


async def test_draining_waits_for_the_balancers_word(door: Balancer) -> None:
    """`drain` ends when nothing can come any more; `start` joins anew after it."""
    server = receiver(door, [])
    server.start()
    link = await door.accept()
    await door.hear(link, REPORT_SIZE)
    link.send(WELCOME)
    await asyncio.wait_for(server.joined.wait(), 30)
    draining = asyncio.create_task(server.drain(30.0))
    assert await door.hear(link, 1) == LEAVE
    assert not draining.done()
    link.send(LEFT)
    assert await draining
    server.start()
    again = await door.accept()
    assert again is not link
    await server.stop()


async def test_draining_without_an_answer_ends_in_time(door: Balancer) -> None:
    """A balancer that hangs: the link is given up, and it keeps what was not acknowledged."""
    server = receiver(door, [])
    server.start()
    link = await door.accept()
    link.send(WELCOME)
    await asyncio.wait_for(server.joined.wait(), 30)
    assert not await server.drain(0.02)
    with socket.socket() as idle:
        assert not server.give_back(idle)
    await server.stop()


async def test_who_knocks_waits_for_the_next_balancer(door: Balancer) -> None:
    """Nobody is there, and then somebody: the link was in the kernel meanwhile. One that was taken and dropped by a
    balancer that died is made anew."""
    server = receiver(door, [])
    server.start()
    await asyncio.sleep(0)
    first = await door.accept()
    first.close()
    second = await door.accept()
    second.send(WELCOME)
    await asyncio.wait_for(server.joined.wait(), 30)
    await server.stop()


async def test_without_a_balancer_there_is_nothing_to_wait_for(door: Balancer) -> None:
    """Nobody has ever seen this server: draining is done at once, and stopping too."""
    server = receiver(door, [])
    server.start()
    assert await asyncio.wait_for(server.drain(60.0), 30)
    await asyncio.wait_for(server.stop(), 30)
