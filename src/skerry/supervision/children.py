"""What can be supervised: anything with a name that starts and stops; a task, a role, a process, a supervisor.

`TaskChild` runs a coroutine function as such a child. Not here: deciding about failures (supervisor).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol
from weakref import WeakSet

from skerry.supervision.failure import ChildEnded

_ending: WeakSet[asyncio.AbstractEventLoop] = WeakSet()


def end_at_once(loop: asyncio.AbstractEventLoop) -> None:
    """The loop is about to be closed, and cancels whatever runs in it: no child's end is a failure any more."""
    _ending.add(loop)


class Child(Protocol):
    """The interface of a supervised child. It may also have `hold()` and `resume()`, sync or async.

    `start` returns when the child works (or has begun to), `stop` when it has ended; both may be called again. A
    child that fails later tells its supervisor: `supervisor.report(child.name, error)`.
    """

    @property
    def name(self) -> str: ...
    def start(self) -> Awaitable[object] | object: ...
    def stop(self) -> Awaitable[object] | object: ...


class TaskChild:
    """A coroutine function as a child: started as a task, cancelled to stop it.

    It is meant to run until it is stopped; returning is a failure (`ChildEnded`) unless `ends` is true: then
    `finished` is called with its name.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[], Coroutine[Any, Any, object]],
        report: Callable[[str, BaseException], object],
        *,
        ends: bool = False,
        finished: Callable[[str], object] | None = None,
    ) -> None:
        self.name = name
        self._work, self._report, self._ends, self._finished = work, report, ends, finished
        self._task: asyncio.Task[object] | None = None

    @property
    def running(self) -> bool:
        return self._task is not None and not self._task.done()

    def start(self) -> None:
        """Begin the task, unless it runs."""
        if not self.running:
            self._task = asyncio.get_running_loop().create_task(self._work(), name=self.name)
            self._task.add_done_callback(self._ended)

    async def stop(self) -> None:
        """Cancel the task and wait until it has ended."""
        task, self._task = self._task, None
        if task is not None and not task.done():
            task.cancel()
            await asyncio.wait((task,))

    def _ended(self, task: asyncio.Task[object]) -> None:
        if task.get_loop() in _ending:
            return
        error = None if task.cancelled() else task.exception()
        if task is not self._task:  # stopped: only what went wrong on the way out is news
            if error is not None:
                self._report(self.name, error)
        elif task.cancelled():
            self._report(self.name, ChildEnded(self.name))  # somebody else cancelled it
        elif error is not None:
            self._report(self.name, error)
        elif not self._ends:
            self._report(self.name, ChildEnded(self.name))
        elif self._finished is not None:
            self._finished(self.name)
