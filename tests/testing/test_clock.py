"""Virtual time is deterministic and takes no time."""

from __future__ import annotations

import asyncio

import pytest

from skerry.clock import Clock
from skerry.testing.clock import VirtualClock, VirtualLoop, run_virtual, settle


async def test_it_is_a_clock_that_stands_still() -> None:
    """It fits the Clock protocol and moves only when told to; now and monotonic move together."""
    clock: Clock = VirtualClock(start=5.0, epoch=100.0)
    assert (clock.monotonic(), clock.now()) == (5.0, 100.0)
    assert isinstance(clock, VirtualClock)
    await clock.advance(2.5)
    assert (clock.monotonic(), clock.now()) == (7.5, 102.5)


async def test_sleepers_wake_in_order_of_due_time() -> None:
    """Due time first, then the order of the calls; each reads the time it was due at."""
    clock, woken = VirtualClock(), list[tuple[str, float]]()

    async def sleeper(name: str, seconds: float) -> None:
        await clock.sleep(seconds)
        woken.append((name, clock.monotonic()))

    async with asyncio.TaskGroup() as tasks:
        for name, seconds in (("c", 3.0), ("a", 1.0), ("b", 1.0), ("late", 10.0)):
            tasks.create_task(sleeper(name, seconds))
        await clock.advance(3.0)
        assert woken == [("a", 1.0), ("b", 1.0), ("c", 3.0)]
        assert clock.sleeping == 1
        await clock.advance(100.0)
    assert woken[-1] == ("late", 10.0)


async def test_who_sleeps_again_is_woken_again() -> None:
    """One advance carries a loop of short sleeps through all its rounds."""
    clock, ticks = VirtualClock(), list[float]()

    async def ticking() -> None:
        for _ in range(5):
            await clock.sleep(1.0)
            ticks.append(clock.monotonic())

    task = asyncio.ensure_future(ticking())
    await clock.advance(5.0)
    assert ticks == [1.0, 2.0, 3.0, 4.0, 5.0]
    assert task.done()


async def test_a_cancelled_sleeper_is_forgotten() -> None:
    """Cancelling a sleep leaves nothing in the clock, and time does not go back."""
    clock = VirtualClock()
    task = asyncio.ensure_future(clock.sleep(1.0))
    await settle()
    task.cancel()
    await settle()
    assert clock.sleeping == 0
    assert not clock._sleepers
    await clock.sleep(0)
    for move in (clock.jump, clock.advance):
        with pytest.raises(ValueError, match="back"):
            await (move(-1.0) or settle())


async def test_jump_wakes_without_running() -> None:
    """`jump` moves at once; whoever is due runs when the loop does."""
    clock = VirtualClock()
    task = asyncio.ensure_future(clock.sleep(1.0))
    await settle()
    clock.jump(2.0)
    assert not task.done()
    await settle()
    assert task.done()
    clock.set_wall(50.0)
    assert (clock.now(), clock.monotonic()) == (50.0, 2.0)


def test_an_hour_takes_no_time_on_a_virtual_loop() -> None:
    """asyncio's own timers jump; their order is that of their due times."""
    order: list[str] = []

    async def main() -> float:
        loop = asyncio.get_running_loop()
        loop.call_later(7200.0, order.append, "two hours")
        loop.call_later(60.0, order.append, "minute")
        assert isinstance(loop, VirtualLoop)
        await loop.clock.sleep(3600.0)
        order.append("hour")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(100_000.0):
                await loop.create_future()
        return loop.time()

    assert run_virtual(main()) == pytest.approx(103_600.0)
    assert order == ["minute", "hour", "two hours"]


def test_threads_still_wake_a_virtual_loop() -> None:
    """With no timer due the loop really waits for what comes from outside."""

    async def main() -> int:
        return await asyncio.to_thread(lambda: 7)

    assert run_virtual(main()) == 7
