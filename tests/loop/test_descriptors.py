"""Handing open sockets to another process."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from skerry.loop.descriptors import MAX_AT_ONCE, LinkClosed, pass_descriptors

Pair = tuple[socket.socket, socket.socket]


def received_from(link: socket.socket) -> list[socket.socket]:
    """The sockets of one message; none when no message waits."""
    try:
        _, numbers, _, _ = socket.recv_fds(link, MAX_AT_ONCE, MAX_AT_ONCE)
    except BlockingIOError:
        return []
    return [socket.socket(fileno=number) for number in numbers]


@pytest.fixture
def link() -> Iterator[Pair]:
    left, right = socket.socketpair()
    left.setblocking(False)
    right.setblocking(False)
    with left, right:
        yield left, right


def test_a_connection_goes_over_whole(link: Pair) -> None:
    """The receiver speaks on the very connection, also after the sender has closed its own copy."""
    client, served = socket.socketpair()
    with client:
        assert pass_descriptors(link[0], [served.fileno()])
        served.close()
        [taken] = received_from(link[1])
        with taken:
            taken.send(b"hello")
            assert client.recv(10) == b"hello"
        assert received_from(link[1]) == []


def test_messages_keep_their_descriptors(link: Pair) -> None:
    """Two messages that wait together are received one by one, each with its own descriptors, in order."""
    pairs = [socket.socketpair() for _ in range(5)]
    ours = [a.fileno() for a, _ in pairs]
    assert pass_descriptors(link[0], ours[:2])
    assert pass_descriptors(link[0], ours[2:])
    first, second = received_from(link[1]), received_from(link[1])
    assert (len(first), len(second)) == (2, 3)
    for number, taken in enumerate([*first, *second]):
        taken.send(bytes([number]))
        assert pairs[number][1].recv(1) == bytes([number])
        taken.close()
    for a, b in pairs:
        a.close()
        b.close()


def test_a_full_link_says_so(link: Pair) -> None:
    """Nobody reads: at some point nothing more goes in, and nothing is half sent."""
    with socket.socket() as one:
        sent = 0
        while pass_descriptors(link[0], [one.fileno()]):
            sent += 1
            assert sent < 100_000
        received = 0
        while taken := received_from(link[1]):
            received += len(taken)
            for each in taken:
                each.close()
        assert received == sent


def test_a_closed_link_is_told_apart(link: Pair) -> None:
    """The receiver is gone: the sender gets LinkClosed."""
    link[1].close()
    with socket.socket() as one, pytest.raises(LinkClosed):
        pass_descriptors(link[0], [one.fileno()])


def test_a_receiver_that_refuses_to_read_cannot_acknowledge(link: Pair) -> None:
    """After SHUT_RD the other side's acknowledgement fails, and what it sent before can still be read: so a sender
    that gives up a hung receiver knows exactly what that one took."""
    sender, receiver = link
    receiver.send(b"1")
    sender.shutdown(socket.SHUT_RD)
    with pytest.raises(BrokenPipeError):
        receiver.send(b"2")
    assert sender.recv(10) == b"1"


@pytest.mark.parametrize("count", [0, MAX_AT_ONCE + 1])
def test_the_number_at_once_is_bounded(link: Pair, count: int) -> None:
    """None, or more than the system takes, is a mistake of the caller."""
    with pytest.raises(ValueError, match="descriptors at once"):
        pass_descriptors(link[0], [0] * count)
