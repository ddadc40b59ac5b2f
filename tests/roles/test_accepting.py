"""A process that may open no more files takes what it can, leaves the rest in the kernel's queue, and does not spin."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import AsyncIterator

import pytest

from skerry.loop.sockets import bind_tcp
from skerry.roles import accepting
from skerry.roles.accepting import Acceptor


class Listener(socket.socket):
    """A listening socket whose process has no descriptor left while `out` says so."""

    out = False
    tries = 0

    def accept(self) -> tuple[socket.socket, object]:
        self.tries += 1
        if self.out:
            raise OSError(errno.EMFILE, "Too many open files")
        return super().accept()


@pytest.fixture
async def listener() -> AsyncIterator[Listener]:
    bound = bind_tcp("127.0.0.1", 0)
    listener = Listener(bound.family, bound.type, bound.proto, bound.detach())
    listener.setblocking(False)
    yield listener
    listener.close()


async def turns(number: int) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


async def connected(listener: Listener, number: int) -> list[socket.socket]:
    """So many clients, which wait in the kernel's queue."""
    clients = []
    for _ in range(number):
        sock = socket.socket()
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, listener.getsockname())
        clients.append(sock)
    return clients


async def test_out_of_descriptors_it_waits_and_says_so_once(
    listener: Listener, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """One try, however often the loop turns; later another one, without a second line; then everybody is there."""
    monkeypatch.setattr(accepting, "PAUSE_SECONDS", 3600.0)
    taken: list[socket.socket] = []
    acceptor = Acceptor(listener, taken.append)
    clients = await connected(listener, 3)
    listener.out = True
    acceptor.start()
    await turns(500)
    assert listener.tries == 1
    monkeypatch.setattr(accepting, "PAUSE_SECONDS", 0.0)
    acceptor.stop()
    acceptor.start()
    async with asyncio.timeout(30):
        while listener.tries < 5:  # noqa: ASYNC110 - turns of the loop are what is waited for
            await asyncio.sleep(0)
    listener.out = False
    async with asyncio.timeout(30):
        while len(taken) < 3:  # noqa: ASYNC110
            await asyncio.sleep(0)
    assert [record.message for record in caplog.records] == [
        "cannot accept: Too many open files; what comes waits in the kernel"
    ]
    acceptor.stop()
    for sock in (*clients, *taken):
        sock.close()


async def test_the_last_descriptors_are_left_to_others(
    listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond the spare ones there is a pause after each connection; nobody is lost."""
    monkeypatch.setattr(accepting, "PAUSE_SECONDS", 3600.0)
    monkeypatch.setattr(accepting, "most_descriptors", lambda: 10)
    clients = await connected(listener, 3)
    taken: list[socket.socket] = []
    rounds: list[int] = []
    acceptor = Acceptor(listener, taken.append, lambda: rounds.append(len(taken)), spare=10)
    for number in (1, 2, 3):
        acceptor.start()
        async with asyncio.timeout(30):
            while len(rounds) < number:  # noqa: ASYNC110
                await asyncio.sleep(0)
        await turns(500)
        acceptor.stop()
    assert rounds == [1, 2, 3]
    for sock in (*clients, *taken):
        sock.close()
