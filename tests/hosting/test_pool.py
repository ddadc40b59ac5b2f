"""The threads of hosted code: they end with their pool, and what waits for one is told."""

from __future__ import annotations

import asyncio
import threading

from skerry.hosting.pool import Pool, Worker
from skerry.hosting.settings import HostSettings
from skerry.testing import settle


class Work:
    """A job that runs until `go` is set."""

    def __init__(self) -> None:
        self.begun, self.go = threading.Event(), threading.Event()
        self.became = ""

    def run(self, worker: Worker) -> None:
        self.begun.set()
        self.go.wait(60)
        self.became = "done"

    def refuse(self) -> None:
        self.became = "refused"

    def overdue(self, now: float) -> bool:
        return False

    def streams(self, now: float) -> bool:
        return False

    def expire(self, stack: str) -> None: ...


async def test_a_pool_ends_when_its_threads_have_ended() -> None:
    """What runs is finished first; what waits in the queue is refused, and so is what comes later."""
    pool = Pool("web", HostSettings(threads="1"))
    pool.start()
    running, waiting = Work(), Work()
    assert pool.submit(running)
    assert await asyncio.to_thread(running.begun.wait, 60)
    assert pool.submit(waiting)
    stopping = asyncio.ensure_future(pool.stop(60))
    await settle()
    assert (waiting.became, running.became, stopping.done()) == ("refused", "", False)
    assert not pool.submit(Work())
    running.go.set()
    await asyncio.wait_for(stopping, 60)
    assert (running.became, pool.threads) == ("done", 0)
