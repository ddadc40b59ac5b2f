"""What a service does every so many seconds, in exactly one of its processes.

The processes share an open file, which their parent made; the one that holds its lock has its turn, and the kernel
passes the lock on when that process ends, however it ends. A process that ends in order finishes what runs,
then releases it.
"""

from __future__ import annotations

import asyncio
import fcntl
import inspect
import logging
from collections.abc import Awaitable, Sequence

from skerry.tars.service import Every

log = logging.getLogger("skerry.tars.service")

LOOK_SECONDS = 0.5
"""How soon another process notices that it is its turn."""


class Timers:
    """`lock`: the descriptor of the shared file; None: this process is alone."""

    def __init__(self, timers: Sequence[Every], lock: int | None = None) -> None:
        self._timers, self._lock = timers, lock
        self._tasks: set[asyncio.Task[None]] = set()
        self._waiting: asyncio.Task[None] | None = None
        self._over = asyncio.Event()
        self.has_turn = False

    def start(self) -> None:
        """Begin, as soon as it is this process's turn."""
        if self._timers:
            self._waiting = asyncio.get_running_loop().create_task(self._wait_for_turn())

    async def stop(self, seconds: float) -> None:
        """Start nothing any more; what runs may take so long, then it is cancelled. Releases the lock."""
        self._over.set()
        if self._waiting is not None:
            await asyncio.wait({self._waiting})
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=seconds)
            for task in late:
                task.cancel()
            if late:
                log.error("%d timers did not end within %.1f s and were cancelled", len(late), seconds)
                await asyncio.wait(late, timeout=1.0)
        if self.has_turn and self._lock is not None:
            fcntl.lockf(self._lock, fcntl.LOCK_UN)
        self.has_turn = False

    async def _wait_for_turn(self) -> None:
        while not self._over.is_set():
            if self._try():
                self.has_turn = True
                for timer in self._timers:
                    task = asyncio.get_running_loop().create_task(self._repeat(timer))
                    self._tasks.add(task)
                return
            await self._rest(LOOK_SECONDS)

    def _try(self) -> bool:
        if self._lock is None:
            return True
        try:
            fcntl.lockf(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True

    async def _repeat(self, timer: Every) -> None:
        while not await self._rest(timer.seconds):
            try:
                if inspect.iscoroutinefunction(timer.work):
                    await timer.work()
                else:
                    made = await asyncio.to_thread(timer.work)
                    if isinstance(made, Awaitable):
                        await made
            except Exception:
                log.exception("%s, every %g s, failed; it is tried again then", timer.name, timer.seconds)

    async def _rest(self, seconds: float) -> bool:
        """Wait. Whether everything is over."""
        try:
            async with asyncio.timeout(seconds):
                await self._over.wait()
        except TimeoutError:
            pass
        return self._over.is_set()
