"""A callback that blocks the loop is found, with its stack; a loop that waits or works in turns is left alone."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable

import pytest

from skerry.loop import models
from skerry.loop.blocked import Blocked, BlockWatch
from skerry.loop.loop import Loop
from skerry.loop.stacks import from_application, is_application, stack_of


def a_blocking_call(until: Callable[[], object], seconds: float = 30.0) -> None:
    """Block until the watch has seen it; the seconds only end a test that would hang."""
    end = time.monotonic() + seconds
    while not until() and time.monotonic() < end:
        time.sleep(0.005)


@pytest.mark.parametrize("model", models.available())
def test_a_blocking_callback_is_reported_with_its_stack(model: str) -> None:
    """While it still blocks, once, naming the function; and the loop tells its listeners afterwards."""
    loop, reports, told = Loop(model=model), list[Blocked](), list[Blocked]()
    loop.watch_blocking(0.05, reports.append)
    loop.events.on("blocked", told.append)

    def ours() -> list[Blocked]:
        """Without those of a machine that stood still."""
        return [report for report in reports if "in a_blocking_call\n" in report.stack]

    async def main() -> None:
        a_blocking_call(ours)  # ends as soon as it is reported: while it still blocks
        a_blocking_call(lambda: False, 0.2)  # still the same block
        while ours()[0] not in told:  # noqa: ASYNC110 - told by the loop, when it turns again
            await asyncio.sleep(0.001)

    loop.run(main)
    [report] = ours()
    assert report.seconds >= 0.05
    assert "blocked for" in str(report)


@pytest.mark.parametrize("model", models.available())
def test_waiting_and_working_in_turns_is_not_blocking(model: str) -> None:
    """Many short callbacks, and a loop that only waits, are never reported (unless the machine itself stood still)."""
    loop, reports = Loop(model=model), list[Blocked]()
    limit, longest, at = 0.3, 0.0, time.monotonic()
    loop.watch_blocking(limit, reports.append)

    async def main() -> None:
        nonlocal at, longest
        longest = time.monotonic() - at
        at = time.monotonic()
        end = at + 1.5 * limit
        while at < end:
            await asyncio.sleep(0)
            at, before = time.monotonic(), at
            longest = max(longest, at - before)
        await asyncio.sleep(1.5 * limit)
        at, before = time.monotonic(), at
        longest = max(longest, at - before - 1.5 * limit)

    loop.run(main)
    longest = max(longest, time.monotonic() - at)
    assert reports == [] or longest > limit / 2


def test_a_report_that_fails_does_not_end_the_watch(caplog: pytest.LogCaptureFixture) -> None:
    """The watch goes on after a failing report, and ends with the loop."""
    loop, calls = Loop(), list[int]()

    def report(blocked: Blocked) -> None:
        calls.append(1)
        raise KeyError("x")

    loop.watch_blocking(0.03, report)

    async def main() -> None:
        for count in (1, 2):
            a_blocking_call(lambda: len(calls) >= count)  # noqa: B023 - called at once
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
        a_blocking_call(lambda: "in a_blocking_call\n" in caplog.text)

    loop.run(main)
    assert "in a_blocking_call\n" in caplog.text


def test_a_stack_is_shown_from_the_application_on() -> None:
    """Neither the interpreter's start nor the event loop nor Skerry stand above it; what the application calls stands
    below."""
    shown = [line for line in stack_of(sys._getframe()).splitlines() if line.startswith("  File")]
    assert "test_a_stack_is_shown_from_the_application_on" in shown[-1]
    assert __file__ in shown[0] or "site-packages" not in shown[0]
    assert not is_application(asyncio.__file__)
    assert not is_application(models.__file__)
    assert not is_application("<frozen runpy>")
    assert is_application(__file__)

    def ours() -> None:
        raise ValueError

    try:
        asyncio.run(_calls(ours))
    except ValueError as error:
        short = from_application(error.__traceback__)
    assert short is not None
    assert short.tb_frame.f_code.co_filename == __file__


async def _calls(function: Callable[[], None]) -> None:
    function()


def test_a_watch_may_be_started_again() -> None:
    """After it was stopped it sees what blocks as before, and counts on."""
    reports: list[Blocked] = []
    watch = BlockWatch(0.03, reports.append)

    async def main() -> None:
        for count in (1, 2):
            watch.start(asyncio.get_running_loop())
            a_blocking_call(lambda: len(reports) >= count)  # noqa: B023 - called at once
            watch.stop()

    asyncio.run(main())
    assert watch.reports >= 2
