"""A loop that another process looks at: what blocks it is told all the same, whatever becomes of the one who looks."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time

import pytest

from skerry.loop import models
from skerry.loop.blocked import Blocked
from skerry.loop.loop import Loop
from skerry.process.control_messages import Watched
from skerry.process.looking import Looked, Looks

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="what a thread does is told by Linux")
EPOLLS = [name for name in models.available() if name not in ("select", "poll")]


class Runner(threading.Thread):
    """Looks as the runner of a process does, from another thread. `end`: what becomes of it after a while."""

    def __init__(self, end: str = "") -> None:
        super().__init__(daemon=True)
        self.looks = Looks()
        self.looked = Looked(self.looks.theirs.dup(), self.take)
        self.looks.theirs.close()
        self.began, self.ended, self.over = threading.Event(), threading.Event(), threading.Event()
        self.end = end

    def take(self, watched: Watched) -> None:
        self.looks.begin(os.getpid(), watched)
        assert self.looks.pause == watched.pause
        self.began.set()
        self.start()

    def run(self) -> None:
        turns = 0
        while not self.over.wait(self.looks.pause or 0.01):
            if self.end == "" or turns < 3:
                self.looks.look(time.monotonic())
            elif self.end == "killed":
                self.looks.close()
                break
            turns += 1
            if turns > 3:
                self.ended.set()
        self.ended.set()


def blocked_once(runner: Runner, model: str) -> Blocked:
    """What is told of one call that blocks until it is."""
    loop, reports = Loop(model=model), list[Blocked]()
    loop.watch_blocking(0.05, reports.append, runner.looked)

    def a_blocking_call() -> None:
        end = time.monotonic() + 60.0
        while not any("in a_blocking_call\n" in each.stack for each in reports) and time.monotonic() < end:
            time.sleep(0.005)

    async def main() -> None:
        while not (runner.began.is_set() and (runner.ended.is_set() or not runner.end)):  # noqa: ASYNC110 - a thread
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        a_blocking_call()

    loop.run(main)
    runner.over.set()
    runner.join(60)
    runner.looks.close()
    return next(each for each in reports if "in a_blocking_call\n" in each.stack)


@pytest.mark.parametrize("model", EPOLLS)
def test_a_block_that_was_seen_from_outside_is_told(model: str) -> None:
    """The runner finds the loop busy and says so; the loop's own thread asks it, and reports."""
    assert blocked_once(Runner(), model).seconds >= 0.05


@pytest.mark.parametrize("end", ["killed", "silent"])
def test_nobody_who_looks_is_noticed(end: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A runner that is gone, or says nothing for too long: the process looks itself again."""
    monkeypatch.setattr("skerry.process.looking.SILENT_SECONDS", 0.1)
    assert blocked_once(Runner(end), "asyncio").seconds >= 0.05


def test_what_the_kernel_does_not_show_is_not_looked_at() -> None:
    """A thread that is gone, or that is hidden: nothing is said, so that the process looks itself."""
    looks = Looks()
    looks.begin(os.getpid(), Watched(0, ["232 0x3 "], 0.05))
    assert looks.pause == 0.0
    looks.close()


def test_a_loop_that_waits_is_told_of_now_and_then() -> None:
    """Once a second is enough to say that somebody looks; a loop that is found busy is told each time."""
    looks = Looks()
    looks.theirs.setblocking(False)
    thread = threading.get_native_id()
    looks.begin(os.getpid(), Watched(thread, [""], 0.05))  # whatever it does, it counts as waiting
    for at in (10.0, 10.5, 11.5):
        looks.look(at)
    assert len(looks.theirs.recv(100)) == 2
    looks.begin(os.getpid(), Watched(thread, ["nothing"], 0.05))
    for at in (12.0, 12.05, 12.1):
        looks.look(at)
    assert len(looks.theirs.recv(100)) == 3
    looks.close()
