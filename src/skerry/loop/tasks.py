"""The tasks that a loop's callbacks have begun: owned, bounded at the end, their errors reported."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any

from skerry.loop.timers import Timer


class Tasks:
    """Runs what coroutine functions return. `report(error, callback)` hears of failures, `ended()` of every end."""

    def __init__(self, report: Callable[[Exception, object], object], ended: Callable[[], object]) -> None:
        self._report, self._ended = report, ended
        self._running: dict[asyncio.Task[Any], Timer | None] = {}

    def __len__(self) -> int:
        return len(self._running)

    def begin(
        self,
        running: asyncio.AbstractEventLoop,
        work: Coroutine[Any, Any, object],
        callback: object,
        context: Context,
        timer: Timer | None,
    ) -> None:
        """Own `work` as a task; `timer` is what began it, if one did."""
        task = running.create_task(work, context=context)
        self._running[task] = timer

        def ended(task: asyncio.Task[Any]) -> None:
            del self._running[task]
            if not task.cancelled() and (error := task.exception()) is not None:
                if not isinstance(error, Exception):
                    raise error
                self._report(error, callback)
            self._ended()

        task.add_done_callback(ended)

    def has(self, timer: Timer) -> bool:
        """Whether what this timer began is still running."""
        return timer in self._running.values()

    async def drain(self, seconds: float) -> None:
        """Wait for all; those that take longer are cancelled and given as long again."""
        tasks = [task for task in self._running if task is not asyncio.current_task()]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=seconds)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late, timeout=seconds)
