"""The asynchronous emitter: its calls are entries of a loop, counted and cancelled as in the synchronous one."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import pytest

from skerry.emitter import AsyncEventEmitter, EventEmitter, Mode, Subscription
from skerry.errors import DeadlineExceeded
from skerry.loop.loop import Loop
from skerry.testing.clock import run_virtual


class Entries(deque[Callable[[], object]]):
    """A loop's queue, drained by hand."""

    def drain(self) -> None:
        while self:
            self.popleft()()


@pytest.fixture
def entries() -> Entries:
    return Entries()


@pytest.fixture
def emitter(entries: Entries) -> AsyncEventEmitter:
    return AsyncEventEmitter(entries.append)


@dataclass(frozen=True)
class Opened:
    peer: str


def test_each_call_is_an_entry_of_its_own(emitter: AsyncEventEmitter, entries: Entries) -> None:
    """Nothing runs at emission; own listeners come in order, then forwards."""
    other, got = EventEmitter(), list[str]()
    emitter.forward_events(other)
    other.on("x", lambda: got.append("forward"))
    emitter.on("x", lambda: got.append("a"))
    emitter.on("x", lambda: got.append("b"))
    emitter.emit("x")
    assert (got, len(entries)) == ([], 3)
    entries.drain()
    assert got == ["a", "b", "forward"]


def test_counting_is_at_emission(emitter: AsyncEventEmitter, entries: Entries) -> None:
    """Five emissions before the loop turns: once, times and delay mean what they mean synchronously."""
    got: dict[str, list[int]] = {"once": [], "times": [], "delay_once": [], "delay": []}
    emitter.once("x", got["once"].append)
    emitter.times("x", 2, got["times"].append)
    emitter.delay_once("x", 3, got["delay_once"].append)
    emitter.delay("x", 4, got["delay"].append)
    for value in range(5):
        emitter.emit("x", value)
    entries.drain()
    assert got == {"once": [0], "times": [0, 1], "delay_once": [3], "delay": [4]}


@pytest.mark.parametrize("how", ["cancel", "remove_listener", "remove_listeners", "flush_listeners"])
@pytest.mark.parametrize("form", ["on", "once"])
def test_a_cancelled_call_is_not_made(
    emitter: AsyncEventEmitter, entries: Entries, how: str, form: str
) -> None:
    """K-2: cancelling after the emission stops the queued call, of an ended `once` too."""
    got: list[int] = []
    handle = getattr(emitter, form)("x", got.append)
    emitter.emit("x", 1)
    match how:
        case "cancel":
            handle.cancel()
        case "remove_listener":
            assert emitter.remove_listener("x", got.append)
        case "remove_listeners":
            emitter.remove_listeners("x")
        case _:
            emitter.flush_listeners()
    entries.drain()
    assert got == []
    assert not emitter._last_calls


def test_discarding_stops_a_queued_forward(emitter: AsyncEventEmitter, entries: Entries) -> None:
    """A forward that was ended, or muted, before its entry runs does not happen."""
    other, got = EventEmitter(), list[int]()
    other.on("x", got.append)
    emitter.forward_events(other)
    emitter.emit("x", 1)
    emitter.discard_events(other)
    entries.drain()
    emitter.forward_events(other)
    emitter.emit("x", 2)
    emitter.mode = Mode.MUTE_OUTGOING
    entries.drain()
    assert got == []


def test_an_error_surfaces_from_the_entry_or_goes_to_on_error(
    emitter: AsyncEventEmitter, entries: Entries
) -> None:
    """Errors of one listener touch no other entry."""
    errors: list[object] = []
    emitter.on("x", lambda: 1 / 0)
    emitter.emit("x")
    with pytest.raises(ZeroDivisionError):
        entries.drain()
    emitter.on_error = lambda error, event: errors.append((type(error), event))
    emitter.emit("x")
    entries.drain()
    assert errors == [(ZeroDivisionError, "x")]


async def test_the_entry_of_a_coroutine_function_gives_its_coroutine(
    emitter: AsyncEventEmitter, entries: Entries
) -> None:
    """The loop gets something to await; its errors go to `on_error` as others do."""
    errors, got = list[object](), list[int]()

    async def listener(value: int) -> None:
        await asyncio.sleep(0)
        got.append(value)
        raise KeyError(value)

    emitter.on_error = lambda error, event: errors.append(type(error))
    emitter.on("x", listener)
    emitter.emit("x", 1)
    running = entries.popleft()()
    assert asyncio.iscoroutine(running)
    await running
    assert (got, errors) == ([1], [KeyError])


async def test_emit_async_is_one_after_another_by_default(emitter: AsyncEventEmitter) -> None:
    """K-7: the caller waits; listeners do not overlap; results come in order of registration."""
    order: list[str] = []

    async def first(value: int) -> int:
        order.append("first in")
        await asyncio.sleep(0)
        order.append("first out")
        return value + 1

    def second(value: int) -> int:
        order.append("second")
        return value + 2

    emitter.on("x", first)
    emitter.on("x", second)
    assert await emitter.emit_async("x", 10) == [11, 12]
    assert order == ["first in", "first out", "second"]


@pytest.mark.parametrize(("limit", "most"), [(1, 1), (2, 2), (None, 5)])
async def test_together_with_a_limit(emitter: AsyncEventEmitter, limit: int | None, most: int) -> None:
    """At most `limit` listeners are under way at once; None is all together."""
    running, peak = 0, 0

    async def listener(number: int, value: int) -> int:
        nonlocal running, peak
        running += 1
        peak = max(peak, running)
        for _ in range(5 - number):
            await asyncio.sleep(0)
        running -= 1
        return number

    for number in range(5):

        async def one(value: int, number: int = number) -> int:
            return await listener(number, value)

        emitter.on("x", one)
    assert await emitter.emit_async("x", 1, limit=limit) == [0, 1, 2, 3, 4]
    assert peak == most


def test_a_listener_that_hangs_is_cancelled_and_named() -> None:
    """The time-out is for each listener; the others run, the results of those that returned are lost to nobody."""

    async def main() -> None:
        emitter, errors = AsyncEventEmitter(lambda entry: None), list[Exception]()
        emitter.on_error = lambda error, event: errors.append(error)
        cancelled = []

        async def hangs() -> None:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.append(True)
                raise

        emitter.on("x", hangs)
        emitter.on("x", lambda: "well")
        assert await emitter.emit_async("x", timeout_seconds=5.0) == ["well"]
        assert await emitter.emit_async("x", limit=None, timeout_seconds=5.0) == ["well"]
        assert cancelled == [True, True]
        assert [type(error) for error in errors] == [DeadlineExceeded] * 2
        assert "hangs" in str(errors[0])

    run_virtual(main())


async def test_emit_async_groups_errors_and_a_listeners_own_timeout_is_its_own(
    emitter: AsyncEventEmitter,
) -> None:
    """All errors are raised together; a TimeoutError that a listener raises stays what it is."""

    async def slow() -> None:
        raise TimeoutError("its own")

    emitter.on("x", slow)
    emitter.on("x", lambda: 1 / 0)
    for limit in (1, None):
        with pytest.raises(ExceptionGroup) as caught:
            await emitter.emit_async("x", limit=limit)
        assert sorted(type(e).__name__ for e in caught.value.exceptions) == [
            "TimeoutError",
            "ZeroDivisionError",
        ]
    with pytest.raises(ValueError, match="1 or more"):
        await emitter.emit_async("x", limit=0)


async def test_a_counted_call_that_is_not_made_is_given_back(emitter: AsyncEventEmitter) -> None:
    """`once` behind a listener that was cancelled with its emission is called by the next one, once."""
    started, got = asyncio.Event(), list[int]()

    async def slow(n: int) -> None:
        started.set()
        if n == 0:
            await asyncio.Event().wait()

    emitter.on("x", slow)
    emitter.once("x", got.append)
    task = asyncio.create_task(emitter.emit_async("x", 0, timeout_seconds=None))
    await started.wait()
    task.cancel()
    await asyncio.wait({task})
    assert got == []
    await emitter.emit_async("x", 1)
    await emitter.emit_async("x", 2)
    assert got == [1]
    assert emitter.listeners("x") == (slow,)
    assert not emitter._last_calls


def test_calls_that_a_loop_erases_are_given_back() -> None:
    """`Loop.erase` drops queued calls; a `once` among them waits for the next emission."""
    loop, got = Loop(), list[int]()
    emitter = AsyncEventEmitter(loop.on_tick)
    emitter.once("x", got.append)
    emitter.emit("x", 1)
    loop.erase()
    loop.tick()
    assert got == []
    emitter.emit("x", 2)
    emitter.emit("x", 3)
    loop.tick()
    assert got == [2]
    loop.stop()


async def test_cancelling_emit_async_cancels_its_listeners(emitter: AsyncEventEmitter) -> None:
    """Whoever stops waiting stops the listeners; nothing runs on."""
    ended: list[str] = []

    async def listener() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("ended")

    emitter.on("x", listener)
    emitter.on("x", listener)
    for limit, expected in ((1, 1), (None, 3)):
        task = asyncio.ensure_future(emitter.emit_async("x", limit=limit))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert len(ended) == expected


async def test_removal_counts_within_emit_async(emitter: AsyncEventEmitter) -> None:
    """A listener cancelled by an earlier one is not called; counts are kept."""
    got: list[int] = []
    handles: list[Subscription] = []
    emitter.once("x", lambda value: handles[0].cancel())
    handles += [emitter.on("x", got.append), emitter.once("x", got.append)]
    assert await emitter.emit_async("x", 1) == [None, None]
    assert await emitter.emit_async("x", 2) == []
    assert got == [1]
    assert not emitter._last_calls


async def test_emit_async_awaits_what_it_passes_on(emitter: AsyncEventEmitter) -> None:
    """Forwards and copies to other emitters are awaited too, typed events included."""
    far, near, got = AsyncEventEmitter(lambda entry: None), EventEmitter(), list[object]()

    async def listener(event: Opened) -> None:
        await asyncio.sleep(0)
        got.append(event)

    far.on(Opened, listener)
    near.on(Opened, got.append)
    emitter.forward_events(far)
    emitter.forward_events(near)
    await emitter.emit_async(Opened("a"))
    emitter.discard_events(far)
    emitter.discard_events(near)
    emitter.copy_event(far, Opened)
    await emitter.emit_async(Opened("b"))
    assert got == [Opened("a"), Opened("a"), Opened("b")]


async def test_emit_async_goes_through_a_long_chain() -> None:
    """2,000 emitters that forward to each other are awaited in order, without recursion."""
    chain, got = [AsyncEventEmitter(lambda entry: None) for _ in range(2_000)], list[int]()

    async def listener(number: int) -> None:
        await asyncio.sleep(0)
        got.append(number)

    for number, emitter in enumerate(chain):
        emitter.on("x", partial(listener, number))
    for here, there in pairwise(chain):
        here.forward_events(there)
    await chain[0].emit_async("x")
    assert got == list(range(2_000))
