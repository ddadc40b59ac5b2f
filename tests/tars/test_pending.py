"""Waiting calls: ids that are free, replies to the right one, time-outs with one timer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from skerry.tars import connection
from skerry.tars.connection import PendingCalls
from skerry.tars.wire.packet import ResponsePacket


class Time:
    now = 50.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    clock = Time()
    monkeypatch.setattr(connection, "monotonic", clock)
    return clock


def calls(on_unknown: Callable[[], object] | None = None) -> PendingCalls:
    return PendingCalls(asyncio.get_running_loop(), on_unknown)


async def test_replies_find_their_call() -> None:
    """By id, in any order; an id that nobody waits for is told."""
    unknown: list[str] = []
    waiting = calls(lambda: unknown.append("reply"))
    first, second = waiting.next_id(), waiting.next_id()
    futures = [waiting.wait(number, 1e9) for number in (first, second)]
    waiting.resolve(ResponsePacket(request_id=second, code=2))
    waiting.resolve(ResponsePacket(request_id=first, code=1))
    waiting.resolve(ResponsePacket(request_id=99))
    assert [(await future).code for future in futures] == [1, 2]
    assert unknown == ["reply"]
    assert len(waiting) == 0


async def test_ids_start_at_one_wrap_and_skip_those_in_use() -> None:
    """0 is the server's push; after 2**31 - 1 comes 1, unless 1 still waits."""
    waiting = calls()
    assert waiting.next_id() == 1
    waiting.wait(1, 1e9)
    waiting._id = 2**31 - 2
    assert [waiting.next_id(), waiting.next_id()] == [2**31 - 1, 2]


async def test_the_earliest_deadline_fires_and_the_others_wait(time: Time) -> None:
    """Each future times out after its own deadline, never before."""
    waiting = calls()
    late, early = waiting.wait(1, 60.0), waiting.wait(2, 51.0)
    time.now = 50.9
    waiting._expire()
    assert not early.done()
    time.now = 51.0
    waiting._expire()
    with pytest.raises(TimeoutError):
        await early
    assert not late.done()
    time.now = 60.0
    waiting._expire()
    with pytest.raises(TimeoutError):
        await late


async def test_the_timer_is_real() -> None:
    """With the real clock a call ends by itself."""
    import time as clock

    waiting = calls()
    with pytest.raises(TimeoutError):
        await waiting.wait(1, clock.monotonic() + 0.01)
    assert len(waiting) == 0


async def test_a_lost_connection_fails_everyone() -> None:
    """All that wait get the error; who was cancelled is left alone."""
    waiting = calls()
    lost, cancelled = waiting.wait(1, 1e9), waiting.wait(2, 1e9)
    cancelled.cancel()
    waiting.fail(ConnectionResetError("gone"))
    with pytest.raises(ConnectionResetError):
        await lost
    assert cancelled.cancelled()


async def test_a_reply_after_the_cancellation_is_dropped() -> None:
    """A cancelled future whose reply comes before it was forgotten does no harm."""
    waiting = calls()
    future = waiting.wait(1, 1e9)
    future.cancel()
    waiting.resolve(ResponsePacket(request_id=1))
    assert len(waiting) == 0
