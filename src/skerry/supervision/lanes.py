"""Failures that wait to be handled: a lane for each component, one after another within it, lanes side by side.

Not here: what is done about one (`supervisor`, which gives `handle`).
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import replace
from functools import partial
from typing import Any

from skerry.supervision.failure import Failure

logger = logging.getLogger("skerry.supervision")

MOST_PENDING = 10_000
"""Queued failures from which on those of the same kind and component are merged and counted; the maximum is twice as
many."""


class Lanes:
    """Keeps every failure until `handle` has returned for it. `owner` names the tasks that work on them."""

    def __init__(self, owner: str, handle: Callable[[Failure], Coroutine[Any, Any, None]]) -> None:
        self.pending = 0
        """How many failures wait or are being handled."""
        self._owner, self._handle = owner, handle
        self._lanes: dict[str, deque[Failure]] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._starting: set[str] = set()
        self.dropped = 0
        """How many failures were only logged, because too many waited already."""
        self._calm = asyncio.Event()
        self._calm.set()

    def put(self, failure: Failure) -> None:
        """Keep a failure, at the end of its component's lane. Beyond the limit it is counted with another one of its
        kind in that lane; beyond twice the limit it is only logged."""
        if self.pending >= MOST_PENDING and self._counted_with_another(failure):
            return
        if self.pending >= 2 * MOST_PENDING:
            self.dropped += 1
            told = self._owner, self.pending, failure, failure.traceback
            logger.critical("%s: %d failures wait already; only logged: %s\n%s", *told)
            return
        self.pending += 1
        self._calm.clear()
        self._lanes.setdefault(failure.component, deque()).append(failure)

    def work_on(self, component: str) -> None:
        """Have a task handle what waits in this lane, unless one does."""
        running = self._tasks.get(component)
        if component in self._starting or (running is not None and not running.done()):
            return
        # An eager task (Python 3.12) works within create_task, and may have ended when that returns.
        self._starting.add(component)
        try:
            task = asyncio.get_running_loop().create_task(
                self._work(component), name=f"{self._owner}: {component}"
            )
        finally:
            self._starting.discard(component)
        self._tasks[component] = task
        task.add_done_callback(partial(self._ended, component))

    def _ended(self, component: str, task: asyncio.Task[None]) -> None:
        if self._tasks.get(component) is task:
            del self._tasks[component]

    def work_on_all(self) -> None:
        """`work_on` for every lane in which a failure waits."""
        for component in list(self._lanes):
            self.work_on(component)

    async def pause(self) -> None:
        """End the tasks, except one that calls this. What they were at waits again."""
        current = asyncio.current_task()
        tasks = [task for task in self._tasks.values() if task is not current]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def is_first(self, failure: Failure) -> bool:
        """Whether this very failure is the one that its lane is at."""
        lane = self._lanes.get(failure.component)
        return lane[0] is failure if lane else False

    async def settled(self) -> None:
        """Return when no failure waits or is being handled."""
        await self._calm.wait()

    def _counted_with_another(self, failure: Failure) -> bool:
        """In a storm: raise the count of the same failure that waits already, instead of keeping both."""
        lane = self._lanes.get(failure.component, deque())
        for place in range(len(lane) - 1, -1, -1):
            if lane[place].kind == failure.kind:
                lane[place] = replace(lane[place], count=failure.count)
                return True
        return False

    async def _work(self, component: str) -> None:
        """Handle the failures of one component, in order."""
        lane = self._lanes[component]
        try:
            while lane:
                failure = lane[0]
                try:
                    await self._handle(failure)
                except Exception:  # the last resort itself failed: say so, and go on with the next
                    logger.critical(
                        "%s could not handle %s\n%s", self._owner, failure, failure.traceback, exc_info=True
                    )
                lane.popleft()
                self.pending -= 1
        finally:
            if not lane:
                del self._lanes[component]
            if self.pending == 0:
                self._calm.set()
