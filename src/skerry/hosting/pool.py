"""The threads that hosted code runs in: ours, few, and never without a limit.

Work waits in one queue. There is a least number of them; more come while those that are busy wait (for a database, for
another service) and the queue does not move, since runnable threads only take the interpreter from each other. A
thread that is beyond its time cannot be killed: it is written off and replaced, until there are too many of them.

Each piece of work runs in a fresh copy of the context that was there when the pool was made, so nothing that it sets
in a `contextvars` variable is seen by another. All methods are called in the loop, but those of `Worker`.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import queue
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import Protocol

from skerry.hosting.settings import HostSettings, threads_of

logger = logging.getLogger("skerry.host")

SWEEP_SECONDS = 0.5
GROWTH_SECONDS = 0.05
"""How long the queue may stand still before it is asked why."""
WAITING_SHARE = 0.7
"""Of a processor: when this process has used less while the queue stood still, its threads wait."""


class Job(Protocol):
    """A piece of work."""

    def run(self, worker: Worker) -> None:
        """Do it, in the thread. Never raises."""
        ...

    def refuse(self) -> None:
        """It waited too long for a thread; called in the loop."""
        ...

    def overdue(self, now: float) -> bool:
        """Whether it is beyond its time."""
        ...

    def streams(self, now: float) -> bool:
        """Whether it goes on for long, as it should."""
        ...

    def expire(self, stack: str) -> None:
        """Its time is over; called in the loop. `stack` says what it does."""
        ...


class Worker(threading.Thread):
    """One thread. `bell` wakes it while its work waits for something; `job` is what it does; `lent`: it serves a
    stream; `lost`: it was written off."""

    def __init__(self, pool: Pool, number: int) -> None:
        super().__init__(name=f"{pool.name}-{number}", daemon=True)
        self._pool = pool
        self.bell = threading.Event()
        self.job: Job | None = None
        self.taken = 0
        self.lent = self.lost = False

    def run(self) -> None:
        pool = self._pool
        take, clean = pool.waiting.get, pool.context
        idle = pool.settings.idle_seconds
        while True:
            try:
                job = take(True, idle)
            except queue.Empty:
                if pool.may_leave(self):
                    break
                continue
            if job is None:
                break
            self.job = job
            self.taken += 1
            clean.copy().run(job.run, self)
            self.job = job = None  # nothing of it is kept until the next comes
            if (self.lost or self.lent) and pool.may_leave(self):
                break
        pool.left(self)


class Pool:
    """`on_thread_end()` is called in each thread before it ends; `on_exhausted()` in the loop, for each stuck thread
    beyond those allowed."""

    def __init__(
        self,
        name: str,
        settings: HostSettings,
        *,
        on_thread_end: Callable[[], None] = lambda: None,
        on_exhausted: Callable[[], None] = lambda: None,
    ) -> None:
        self.name, self.settings = name, settings
        self._least, self._most = threads_of(settings.threads)
        self.context = contextvars.copy_context()
        self.waiting: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self.refused = self.expired = 0
        self._on_thread_end, self._on_exhausted = on_thread_end, on_exhausted
        self._loop: asyncio.AbstractEventLoop | None = None
        self._workers: set[Worker] = set()
        self._lock = threading.Lock()  # over `_workers` and what is counted of them
        self._numbers = 0
        self._stopping = False
        self._sweeper: asyncio.TimerHandle | None = None
        self._growth: asyncio.TimerHandle | None = None
        self._ended: asyncio.Event | None = None

    # How things stand

    @property
    def threads(self) -> int:
        return len(self._workers)

    @property
    def busy(self) -> int:
        return sum(1 for each in tuple(self._workers) if each.job is not None)

    @property
    def stuck(self) -> int:
        return sum(1 for each in tuple(self._workers) if each.lost)

    @property
    def streams(self) -> int:
        return sum(1 for each in tuple(self._workers) if each.lent)

    # Living

    def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._ended = asyncio.Event()
        for _ in range(self._least):
            self._add()
        self._sweep()

    def submit(self, job: Job) -> bool:
        """Have it done; False when there is no room, or the pool ends."""
        waiting = self.waiting
        if self._stopping or waiting.qsize() >= self.settings.queue:
            self.refused += 1
            return False
        waiting.put(job)
        if self._growth is None and waiting.qsize():
            self._look_again(self.taken, time.process_time(), time.monotonic())
        return True

    async def stop(self, seconds: float) -> None:
        """Let the threads finish and end, within so many seconds; those that do not are left behind (they are daemons),
        those that are stuck at once. What waits in the queue is refused."""
        self._stopping = True
        for timer in (self._sweeper, self._growth):
            if timer is not None:
                timer.cancel()
        while True:
            try:
                job = self.waiting.get_nowait()
            except queue.Empty:
                break
            if job is not None:
                job.refuse()
        for _ in range(len(self._workers)):
            self.waiting.put(None)
        if self._ended is None:
            return
        try:
            async with asyncio.timeout(seconds):
                while not all(worker.lost for worker in tuple(self._workers)):
                    self._ended.clear()
                    await self._ended.wait()
        except TimeoutError:
            logger.warning("%s: %d threads did not end within %g s", self.name, len(self._workers), seconds)

    # The threads' side

    def may_leave(self, worker: Worker) -> bool:
        """Whether there are enough without it; then it must end."""
        with self._lock:
            enough = worker.lost or self._usable - (0 if worker.lent else 1) >= self._least
            if enough:
                self._workers.discard(worker)
            worker.lent = False
            return enough

    def left(self, worker: Worker) -> None:
        """It ends."""
        with self._lock:
            self._workers.discard(worker)
        try:
            self._on_thread_end()
        except Exception as error:
            logger.warning("%s: the end of a thread failed", self.name, exc_info=error)
        if self._loop is not None and self._ended is not None and self._stopping:
            try:
                self._loop.call_soon_threadsafe(self._ended.set)
            except RuntimeError:
                pass  # the loop is closed: nobody waits for it

    # Looking after them

    @property
    def _usable(self) -> int:
        """Threads that take further work."""
        return sum(1 for each in self._workers if not each.lent and not each.lost)

    @property
    def taken(self) -> int:
        """How much work was begun so far."""
        return sum(each.taken for each in tuple(self._workers))

    def _add(self) -> None:
        with self._lock:
            self._numbers += 1
            worker = Worker(self, self._numbers)
            self._workers.add(worker)
        worker.start()

    def _look_again(self, taken: int, cpu: float, since: float) -> None:
        assert self._loop is not None
        self._growth = self._loop.call_later(GROWTH_SECONDS, self._grow, taken, cpu, since)

    def _grow(self, taken: int, cpu: float, since: float) -> None:
        """Work has waited: is it for want of a thread, or of a processor?"""
        self._growth = None
        if self._stopping or not self.waiting.qsize():
            return
        now, now_cpu, now_taken = time.monotonic(), time.process_time(), self.taken
        stands = now_taken == taken
        waits = now_cpu - cpu < WAITING_SHARE * (now - since)
        if stands and waits and self._usable < self._most:
            self._add()
        self._look_again(now_taken, now_cpu, now)

    def _sweep(self) -> None:
        assert self._loop is not None
        self._sweeper = self._loop.call_later(SWEEP_SECONDS, self._sweep)
        now = time.monotonic()
        for worker in tuple(self._workers):
            job = worker.job
            if job is None or worker.lost:
                continue
            if job.overdue(now):
                self._write_off(worker, job)
            elif not worker.lent and self.streams < self.settings.max_streams and job.streams(now):
                worker.lent = True
                self._add()

    def _write_off(self, worker: Worker, job: Job) -> None:
        self.expired += 1
        with self._lock:
            if worker.job is not job:
                return  # it has just come to its end
            worker.lost, worker.lent = True, False
        frame = sys._current_frames().get(worker.ident or 0)
        stack = "".join(traceback.format_stack(frame)) if frame is not None else ""
        del frame
        job.expire(stack)
        worker.bell.set()
        if self.stuck > self.settings.max_stuck:
            logger.critical("%s: %d threads are stuck: this process is to be replaced", self.name, self.stuck)
            self._on_exhausted()
        self._add()
