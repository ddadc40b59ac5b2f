"""A child's end of the line; with real processes it is proved in test_runner.py."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import threading
import time

import pytest

from skerry.process.control_messages import (
    Collect,
    Failed,
    GatherReply,
    Lines,
    MetricsReply,
    StateChanged,
    Stop,
    line,
)
from skerry.process.worker import CONTROL, Worker
from skerry.supervision.failure import Failure


class Line:
    """A worker and the runner's end of its line, in one loop."""

    def __init__(self, hang_seconds: float = 0.0) -> None:
        self.ours, theirs = socket.socketpair()
        self.ours.setblocking(False)
        theirs.setblocking(False)
        self.worker = Worker(theirs, hang_seconds=hang_seconds)
        self.stops: list[float] = []
        self._lines = Lines()

    async def hear(self, kind: type) -> object:
        """The next word of that kind."""
        async with asyncio.timeout(60):
            while True:
                data = await asyncio.get_running_loop().sock_recv(self.ours, 65536)
                assert data, "the line ended"
                for word in self._lines.feed(data):
                    if isinstance(word, kind):
                        return word


@pytest.fixture
async def wire() -> Line:
    made = Line()
    await made.worker.start(made.stops.append)
    return made


def test_without_a_runner_there_is_no_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that nobody supervises, or that was given nonsense, runs alone."""
    monkeypatch.delenv(CONTROL, raising=False)
    assert Worker.inherited() is None
    monkeypatch.setenv(CONTROL, "no number")
    assert Worker.inherited() is None
    assert CONTROL not in os.environ


async def test_the_wish_to_end_comes_once(wire: Line) -> None:
    """Said twice, and then by the end of the line: it is told once."""
    wire.ours.send(line(Stop(2.0)) + line(Stop(1.0)))
    stopping = await wire.hear(StateChanged)
    assert stopping == StateChanged("stopping")
    wire.ours.close()
    await asyncio.sleep(0)
    assert wire.stops == [2.0]
    await wire.worker.close()


async def test_the_end_of_the_runner_is_a_wish_to_end() -> None:
    """A runner that is gone says nothing, but the line ends."""
    wire = Line()
    told = asyncio.Event()
    await wire.worker.start(lambda seconds: told.set())
    wire.ours.close()
    await asyncio.wait_for(told.wait(), 60)
    with pytest.raises(ConnectionError):
        await wire.worker.all_metrics()
    await wire.worker.close()


async def test_numbers_are_given_and_asked_for(wire: Line) -> None:
    """Own metrics on demand, also when their source fails; those of all by one question."""
    wire.worker.metrics = lambda: "mine 1\n"
    wire.ours.send(line(Collect(7)))
    assert await wire.hear(MetricsReply) == MetricsReply(7, "mine 1\n")

    def broken() -> str:
        raise RuntimeError("no numbers today")

    wire.worker.metrics = broken
    wire.ours.send(line(Collect(8)))
    assert await wire.hear(MetricsReply) == MetricsReply(8, "")
    asking = asyncio.create_task(wire.worker.all_metrics(60.0))
    await asyncio.sleep(0)
    wire.ours.send(line(GatherReply(1, "all 2\n")))
    assert await asking == "all 2\n"
    with pytest.raises(TimeoutError):
        await wire.worker.all_metrics(0.01)
    await wire.worker.close()


async def test_a_failure_crosses_with_its_traceback(wire: Line) -> None:
    """As plain values; nothing is made of class names on the other side."""
    try:
        raise KeyError("lost")
    except KeyError as error:
        wire.worker.failure(Failure.of("part", error, at=time.time()), fatal=True)
    word = await wire.hear(Failed)
    assert isinstance(word, Failed)
    failure = Failure.from_wire(word.failure)
    assert word.fatal
    assert failure.distance(KeyError) == 0
    assert 'raise KeyError("lost")' in failure.traceback
    await wire.worker.close()


def test_a_loop_that_hangs_without_a_runner_ends_itself() -> None:
    """Its stacks are dumped and the process is gone, though nobody watched it."""
    program = (
        "import asyncio, socket, time\n"
        "from skerry.process.worker import Worker\n"
        "a, b = socket.socketpair()\n"
        "b.setblocking(False)\n"
        "async def main():\n"
        "    await Worker(b, hang_seconds=0.2).start(lambda seconds: None)\n"
        "    time.sleep(300)\n"
        "asyncio.run(main())\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert ended.returncode == 1
    assert "in main" in ended.stderr


async def test_a_line_that_was_closed_leaves_no_watch_behind() -> None:
    """After the last word nothing ends the process any more: neither the watch over the loop nor the drain's limit."""
    wire = Line(hang_seconds=1000.0)
    await wire.worker.start(wire.stops.append)
    watching = {thread for thread in threading.enumerate() if thread.name == "skerry-stillness"}
    assert len(watching) == 1
    wire.ours.send(line(Stop(500.0)))
    await wire.hear(StateChanged)
    watching |= {thread for thread in threading.enumerate() if thread.name == "skerry-stillness"}
    await wire.worker.close()
    for thread in watching:
        await asyncio.to_thread(thread.join, 60)
        assert not thread.is_alive()
