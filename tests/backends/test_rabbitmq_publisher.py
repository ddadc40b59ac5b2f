"""The window of unconfirmed commands, without a broker: what was written, what was confirmed, what goes again."""

from __future__ import annotations

import asyncio

import pytest

from skerry.backends.rabbitmq.publisher import Publisher
from skerry.errors import Disconnected, Overloaded
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


async def test_a_nack_after_a_confirm_is_a_limit(publisher: Publisher) -> None:
    """Where the queue's leader has answered on this channel its no is known: "not taken", and not sent again."""
    first, second = Wire(), Wire()
    doubted: list[int] = []
    publisher.attach(first.write, doubted.append)
    taken, refused = sent(publisher, b"a"), sent(publisher, b"b")
    publisher.confirm(1, False, True)
    publisher.confirm(2, False, False)
    await soon(taken)
    with pytest.raises(Overloaded, match=r"not taken: the queue of partition 0 is at a limit"):
        await refused
    assert "limit" in publisher.refusal
    again = sent(publisher, b"c")
    publisher.confirm(3, False, True)
    await soon(again)
    assert publisher.refusal == ""
    publisher.detach()
    publisher.attach(second.write, doubted.append)
    assert second.written == []
    assert doubted == []


async def test_a_nack_without_a_confirm_is_doubt(publisher: Publisher) -> None:
    """A channel may know a leader that died. What was refused waits with what came behind it, the doubt is told once
    nothing of that partition is under way, and the next channel gets all of it, in order; others go on."""
    first, second = Wire(), Wire()
    doubted: list[int] = []
    publisher.attach(first.write, doubted.append)
    a, b = sent(publisher, b"a"), sent(publisher, b"b")
    publisher.confirm(1, False, False)
    assert doubted == []
    held = sent(publisher, b"c")
    other = sent(publisher, b"o", partition=1)
    assert first.written == [(0, b"a"), (0, b"b"), (1, b"o")]
    publisher.confirm(2, False, False)
    assert doubted == [0]
    assert "refuses commands of partition 0 (nack)" in publisher.refusal
    publisher.confirm(3, False, True)
    await soon(other)
    publisher.detach()
    publisher.attach(second.write, doubted.append)
    assert second.written == [(0, b"a"), (0, b"b"), (0, b"c")]
    assert publisher.resent == 2
    publisher.confirm(3, True, True)
    await soon(asyncio.gather(a, b, held))
    assert publisher.refusal == ""


async def test_nothing_overtakes_by_repetition(publisher: Publisher) -> None:
    """A refused message behind which one was taken, or may have been, fails: sent again it would come behind it."""
    for confirmed in (True, False):
        wire = Wire()
        publisher.attach(wire.write)
        refused, later = sent(publisher, b"a"), sent(publisher, b"b")
        publisher.confirm(1, False, False)
        waiting = sent(publisher, b"c")
        if confirmed:
            publisher.confirm(2, False, True)
            assert wire.written[-1] == (0, b"c")
        publisher.detach()
        with pytest.raises(Overloaded, match="not taken"):
            await refused
        again = Wire()
        publisher.attach(again.write)
        assert again.written == ([(0, b"c")] if confirmed else [(0, b"b"), (0, b"c")])
        publisher.confirm(2, True, True)
        await soon(asyncio.gather(later, waiting))
        publisher.detach()


async def test_a_limit_that_was_found_out_holds_for_a_while(publisher: Publisher) -> None:
    """The doubt ended with "a limit": what waited fails or goes out, and further nacks are answered at once."""
    wire = Wire()
    doubted: list[int] = []
    publisher.attach(wire.write, doubted.append)
    refused = sent(publisher, b"a")
    publisher.confirm(1, False, False)
    waiting = sent(publisher, b"b")
    publisher.limit(0)
    with pytest.raises(Overloaded, match="not taken"):
        await refused
    publisher.confirm(2, False, False)
    with pytest.raises(Overloaded, match="not taken"):
        await waiting
    assert doubted == [0]
    assert publisher.unconfirmed == 0


async def test_what_may_have_been_taken_is_not_called_refused(publisher: Publisher) -> None:
    """Refused on this channel, but written to one before that was lost: nobody knows. So with a part of several."""
    publisher.attach(Wire().write)
    before = sent(publisher, b"a")
    publisher.detach()
    publisher.attach(Wire().write)
    parts = sent(publisher, b"b", b"c")
    publisher.confirm(2, False, True)
    publisher.confirm(1, False, False)
    publisher.confirm(3, False, False)
    for future in (before, parts):
        with pytest.raises(Disconnected):
            await future


async def test_between_two_channels_sends_are_held(publisher: Publisher) -> None:
    """While it is told to hold, what is sent waits for the next channel; when none comes it fails, and what was
    written before goes on waiting."""
    publisher.attach(Wire().write)
    before = sent(publisher, b"a")
    publisher.detach()
    publisher.hold()
    held = sent(publisher, b"b")
    wire = Wire()
    publisher.attach(wire.write)
    assert wire.written == [(0, b"a"), (0, b"b")]
    publisher.confirm(2, True, True)
    await soon(asyncio.gather(before, held))
    kept = sent(publisher, b"c")
    publisher.detach()
    publisher.hold()
    dropped = sent(publisher, b"d")
    publisher.release()
    with pytest.raises(Disconnected, match="the broker is away"):
        await dropped
    late = sent(publisher, b"e")
    with pytest.raises(Disconnected):
        await late
    assert not kept.done()
    publisher.stop("over")


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
