"""What a service does every so often: in one process, passed on when that one ends."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator

import pytest

from skerry.tars.service import Every, Service
from skerry.tars.timers import Timers

# A process that holds the lock of the descriptor it is given, until its input ends.
HOLDER = """
import fcntl, sys
fcntl.lockf(int(sys.argv[1]), fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def lock() -> Iterator[int]:
    """A shared file, as the parent makes it."""
    with tempfile.TemporaryFile() as file:
        descriptor = os.dup(file.fileno())
    yield descriptor
    os.close(descriptor)


async def test_it_waits_for_its_turn_and_gets_it_when_the_other_is_killed(lock: int) -> None:
    """While another process holds the lock nothing runs here; its end, in whatever way, passes the turn on."""
    other = await asyncio.create_subprocess_exec(
        sys.executable, "-c", HOLDER, str(lock),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=[lock],
    )  # fmt: skip
    assert other.stdout is not None
    await other.stdout.readline()
    ran = asyncio.Event()
    timers = Timers([Every("sweep", 0.01, ran.set)], lock)
    timers.start()
    await asyncio.sleep(0)
    assert not timers.has_turn
    other.kill()
    await other.communicate()
    async with asyncio.timeout(60):
        await ran.wait()
    assert timers.has_turn
    await timers.stop(10.0)
    assert not timers.has_turn


async def test_what_runs_is_finished_and_what_fails_is_tried_again() -> None:
    """A failure is logged and the timer goes on; the end waits for what is under way, as long as it may."""
    times: list[str] = []
    entered, leave = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        times.append("begun")
        if len(times) == 1:
            raise ValueError("the first time")
        entered.set()
        await leave.wait()
        times.append("ended")

    timers = Timers([Every("work", 0.01, work)])
    timers.start()
    async with asyncio.timeout(60):
        await entered.wait()
    stopping = asyncio.create_task(timers.stop(60.0))
    await asyncio.sleep(0)
    leave.set()
    await stopping
    assert times == ["begun", "begun", "ended"]


async def test_what_does_not_end_is_cancelled() -> None:
    """The grace is not exceeded."""
    entered, cancelled = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        entered.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    timers = Timers([Every("work", 0.01, work)])
    timers.start()
    async with asyncio.timeout(60):
        await entered.wait()
    await timers.stop(0.01)
    assert cancelled.is_set()


def test_slips_in_a_declaration_are_told() -> None:
    """Names twice, commands of the platform's own, hooks without parentheses or parameters."""
    service = Service()
    service.http("WebObj", lambda environ, start_response: [])
    for slip in (
        lambda: service.http("WebObj", None),
        lambda: service.servant("HelloObj", object()),
        lambda: service.admin("tars.own"),
        lambda: service.admin("two words"),
        lambda: service.every(seconds=0),
        lambda: service.on_started(test_slips_in_a_declaration_are_told),  # type: ignore[arg-type]
        lambda: service.on_stopping()(lambda: None),
    ):
        with pytest.raises(Exception, match=r"\w+ .*") as error:
            slip()
        assert type(error.value).__name__ == "DeclarationError"
