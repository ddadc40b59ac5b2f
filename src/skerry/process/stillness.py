"""Ends a process whose loop does not turn any more, for when there is no runner to do it, or it hangs too.

A pause of the whole process is none of the loop's: stopped by a signal, frozen with its container, or moved to another
machine, everybody stands still, this watch too. So it counts only time in which it has run itself. `Stillness` is what
is decided, `StillnessWatch` waits. Not here: what the runner sees of its children (hanging.py).
"""

from __future__ import annotations

import faulthandler
import os
import sys
import threading
import time
from collections.abc import Callable

LATE_SECONDS = 1.0
"""A look that comes later than it should by so much was paused."""


class Stillness:
    """Is told the time at each look; times are seconds."""

    def __init__(self, limit: float, pause: float) -> None:
        self.limit, self.pause = limit, pause
        self._still = 0.0
        self._looked_at: float | None = None

    def turned(self) -> None:
        """The loop runs."""
        self._still = 0.0

    def look(self, now: float) -> bool:
        """Whether the loop has not turned for too long, of the time that was shared with the watcher."""
        passed = 0.0 if self._looked_at is None else now - self._looked_at
        self._looked_at = now
        self._still = 0.0 if passed > self.pause + LATE_SECONDS else self._still + passed
        return self._still > self.limit


class StillnessWatch:
    """A thread that looks. `end` is called when the loop has not turned for `limit_seconds`, after the stacks were
    written to standard error; a loop that says `turned` often enough is left alone."""

    def __init__(self, limit_seconds: float, end: Callable[[int], object] = os._exit) -> None:
        self._end = end
        self._stillness = Stillness(limit_seconds, max(0.02, min(2.0, limit_seconds / 8)))
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="skerry-stillness", daemon=True)
        self._thread.start()

    def turned(self) -> None:
        self._stillness.turned()

    def stop(self) -> None:
        self._over.set()

    def _watch(self) -> None:
        while not self._over.wait(self._stillness.pause):
            if self._stillness.look(time.monotonic()):
                print("the loop does not run any more; ending, it was at:", file=sys.stderr, flush=True)
                faulthandler.dump_traceback(file=sys.__stderr__ or 2)
                self._end(1)
                return
