"""The window of unconfirmed commands, without a broker: what was written, what was confirmed, what goes again."""

from __future__ import annotations

import asyncio

import pytest

from skerry.backends.rabbitmq.publisher import Publisher
from skerry.errors import Disconnected
from skerry.testing.transports import soon


class Wire:
    """What was written to one channel."""

    def __init__(self) -> None:
        self.written: list[tuple[int, bytes]] = []

    def write(self, partition: int, body: bytes) -> None:
        self.written.append((partition, body))


def sent(publisher: Publisher, *bodies: bytes, partition: int = 0) -> asyncio.Future[None]:
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    publisher.send(list(bodies), partition, future)
    return future


@pytest.fixture
def publisher() -> Publisher:
    return Publisher(window=4, window_bytes=100, resend_seconds=60.0)


async def test_confirms_come_in_any_order(publisher: Publisher) -> None:
    """Each confirm finishes its own message; `multiple` all up to it; unknown tags nothing."""
    wire = Wire()
    publisher.attach(wire.write)
    a, b, c, d = (sent(publisher, body) for body in (b"a", b"b", b"c", b"d"))
    publisher.confirm(3, False, True)
    assert [f.done() for f in (a, b, c, d)] == [False, False, True, False]
    publisher.confirm(2, True, True)
    assert [f.done() for f in (a, b, c, d)] == [True, True, True, False]
    publisher.confirm(99, False, True)
    assert publisher.unconfirmed == 1
    publisher.confirm(4, True, True)
    await soon(asyncio.gather(a, b, c, d))


async def test_a_send_of_several_messages_is_done_with_the_last(publisher: Publisher) -> None:
    """A future of several messages waits for all of them."""
    publisher.attach(Wire().write)
    future = sent(publisher, b"a", b"b")
    publisher.confirm(2, False, True)
    assert not future.done()
    publisher.confirm(1, False, True)
    await soon(future)


async def test_a_nack_fails_its_send(publisher: Publisher) -> None:
    """What the broker refuses fails, as unknown, and is not sent again behind its successors."""
    first, second = Wire(), Wire()
    publisher.attach(first.write)
    future = sent(publisher, b"a")
    publisher.confirm(1, False, False)
    with pytest.raises(Disconnected, match="nack"):
        await future
    publisher.detach()
    publisher.attach(second.write)
    assert second.written == []


async def test_unconfirmed_goes_again_in_order(publisher: Publisher) -> None:
    """A new channel gets what was not confirmed, in the order of sending, before anything new; its tags start
    at 1, and late confirms of the old channel mean nothing."""
    first, second = Wire(), Wire()
    publisher.attach(first.write)
    a, b, c = (sent(publisher, body, partition=1) for body in (b"a", b"b", b"c"))
    publisher.confirm(2, False, True)
    publisher.detach()
    publisher.confirm(1, False, True)
    assert not a.done()
    publisher.attach(second.write)
    d = sent(publisher, b"d")
    assert second.written == [(1, b"a"), (1, b"c"), (0, b"d")]
    assert publisher.resent == 2
    publisher.confirm(3, True, True)
    await soon(asyncio.gather(a, b, c, d))


async def test_without_a_channel_nothing_is_kept(publisher: Publisher) -> None:
    """A send while there is no channel fails at once and is not sent later."""
    future = sent(publisher, b"a")
    with pytest.raises(Disconnected):
        await future
    wire = Wire()
    publisher.attach(wire.write)
    assert wire.written == []
    assert publisher.unconfirmed == 0


async def test_the_window_is_bounded_by_messages_and_bytes(publisher: Publisher) -> None:
    """There is no room beyond either bound; one send alone always fits; confirms make room."""
    publisher.attach(Wire().write)
    assert publisher.room(10, 1000) is None
    sent(publisher, b"x" * 60)
    assert publisher.room(1, 40) is None
    assert publisher.room(1, 41) is not None
    for _ in range(3):
        sent(publisher, b"x")
    assert publisher.room(1, 1) is not None
    publisher.confirm(4, True, True)
    assert publisher.room(4, 100) is None
    publisher.stop("over")


async def test_what_stays_unconfirmed_is_given_up() -> None:
    """After `resend_seconds`, over any number of channels, the future fails: unknown."""
    publisher = Publisher(10, 1000, resend_seconds=0.02)
    publisher.attach(Wire().write)
    first = sent(publisher, b"a")
    publisher.detach()
    publisher.attach(Wire().write)
    with pytest.raises(Disconnected, match=r"not confirmed within 0\.02 s"):
        await soon(first)
    second = sent(publisher, b"b")
    with pytest.raises(Disconnected):
        await soon(second)
    assert publisher.unconfirmed == 0


async def test_stop_fails_what_waits(publisher: Publisher) -> None:
    """Nobody waits for ever."""
    publisher.attach(Wire().write)
    future = sent(publisher, b"a")
    given_up = sent(publisher, b"b")
    given_up.cancel()
    publisher.stop("stopped")
    with pytest.raises(Disconnected, match="stopped"):
        await future
    assert publisher.unconfirmed == 0
