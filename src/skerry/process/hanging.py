"""Notices children whose loop does not run: they beat about once a second, and then they do not.

A child that has not said anything since its start gets longer: it may be importing, or loading a large memory.
Not here: what is done about one (runner.py).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable

from skerry.process.child import Child

SHORTEST_PAUSE, LONGEST_PAUSE = 0.25, 1.0
"""Between looks: until the first child would be silent for too long."""


class HangWatch:
    """Looks at least once a second; `on_hung(child, seconds)` is called once for each child, never with
    `hang_seconds` 0."""

    def __init__(
        self,
        children: Callable[[], Iterable[Child]],
        on_hung: Callable[[Child, float], None],
        hang_seconds: float,
        start_seconds: float,
    ) -> None:
        self._children, self._on_hung = children, on_hung
        self._hang_seconds, self._start_seconds = hang_seconds, start_seconds
        self._timer: asyncio.TimerHandle | None = None
        self._looked_at = self._pause = 0.0

    def start(self) -> None:
        self._look()

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        now = time.monotonic()
        # When this process itself did not run (SIGSTOP, a frozen container, Ctrl-Z), everybody looks silent.
        slept = self._looked_at and now - self._looked_at > self._pause + 1.0
        self._looked_at = now
        soonest = now + LONGEST_PAUSE
        for child in self._children():
            child.look()
            if child.hung or child.is_launching or not self._hang_seconds or child.exit_code is not None:
                continue
            if slept:
                child.pardoned_at = now
            heard = child.last_beat if child.last_beat is not None else child.started_at
            allowed = self._start_seconds if child.last_beat is None else self._allowed(child)
            if now - max(heard, child.pardoned_at) <= allowed:
                child.is_suspect = False
                soonest = min(soonest, max(heard, child.pardoned_at) + allowed)
            elif not child.is_suspect:
                child.is_suspect = True  # what it has said may not have been read yet: look again
                soonest = now
            else:
                child.hung = True
                self._on_hung(child, allowed)
        shortest = min(SHORTEST_PAUSE, self._hang_seconds / 4) if self._hang_seconds else LONGEST_PAUSE
        self._pause = max(soonest - now, shortest)
        self._timer = asyncio.get_running_loop().call_later(self._pause, self._look)

    def _allowed(self, child: Child) -> float:
        return min(self._hang_seconds, child.spec.hang_seconds or self._hang_seconds)
