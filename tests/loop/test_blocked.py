"""A callback that blocks the loop is found, with its stack; a loop that waits or works in turns is left alone."""

from __future__ import annotations

import asyncio
import time

import pytest

from skerry.loop import models
from skerry.loop.blocked import Blocked
from skerry.loop.loop import Loop


def a_blocking_call(seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.005)


@pytest.mark.parametrize("model", models.available())
def test_a_blocking_callback_is_reported_with_its_stack(model: str) -> None:
    """While it still blocks, once, naming the function; and the loop tells its listeners afterwards."""
    loop, reports, told = Loop(model=model), list[Blocked](), list[Blocked]()
    loop.watch_blocking(0.05, reports.append)
    loop.events.on("blocked", told.append)

    async def main() -> None:
        a_blocking_call(0.6)
        assert reports  # already, while it still blocks
        await asyncio.sleep(0.05)

    loop.run(main)
    assert sum("a_blocking_call" in report.stack for report in reports) == 1
    assert "a_blocking_call" in reports[0].stack
    assert reports[0].seconds >= 0.05
    assert "blocked for" in str(reports[0])
    assert told[0] is reports[0]


@pytest.mark.parametrize("model", models.available())
def test_waiting_and_working_in_turns_is_not_blocking(model: str) -> None:
    """Many short callbacks, and a loop that only waits, are never reported (unless the machine itself stood still)."""
    loop, reports = Loop(model=model), list[Blocked]()
    limit, longest = 0.3, 0.0
    loop.watch_blocking(limit, reports.append)

    async def main() -> None:
        nonlocal longest
        at = time.monotonic()
        end = at + 1.5 * limit
        while at < end:
            await asyncio.sleep(0)
            at, before = time.monotonic(), at
            longest = max(longest, at - before)
        await asyncio.sleep(1.5 * limit)
        longest = max(longest, time.monotonic() - at - 1.5 * limit)

    loop.run(main)
    assert reports == [] or longest > limit / 2


def test_a_report_that_fails_does_not_end_the_watch(caplog: pytest.LogCaptureFixture) -> None:
    """The watch goes on after a failing report, and ends with the loop."""
    loop, calls = Loop(), list[int]()

    def report(blocked: Blocked) -> None:
        calls.append(1)
        raise KeyError("x")

    loop.watch_blocking(0.03, report)

    async def main() -> None:
        for _ in range(2):
            a_blocking_call(0.15)
            await asyncio.sleep(0.05)

    loop.run(main)
    assert len(calls) >= 2
    assert "report about a blocked loop failed" in caplog.text
    loop.watch_blocking(None)
    with pytest.raises(ValueError, match="seconds"):
        loop.watch_blocking(0.0)


def test_the_default_report_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    """Without a report of your own the stack is in the log; the watch may begin while the loop runs."""
    loop = Loop()

    async def main() -> None:
        loop.watch_blocking(0.03)
        a_blocking_call(0.15)

    loop.run(main)
    assert "a_blocking_call" in caplog.text
