"""What a request leaves in its process beside its answer: threads, tasks, open files, receivers of signals, and changes
of the environment, the working directory and the locale. Every so many-th request is watched; the log names its route.

Only a request that has the process for itself is judged, as nothing tells which of two has changed something. A
process also fills itself up (a pool of connections, a file that is opened once), so growth is told when the same route
shows it a second time; and a thread or a task may go on for a moment. Not here: what is released after every request
(release.py), memory (leaks.py).
"""

from __future__ import annotations

import asyncio
import locale
import logging
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

logger = logging.getLogger("skerry.host")
DESCRIPTORS = "/proc/self/fd"
GOES_ON_SECONDS = 1.0
"""That a thread or a task may go on behind its request."""
MOST = 1_000
"""Findings that are remembered, so that each is told once."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How the process was when a request began. `alone`: what is the same at its end if nothing else ran meanwhile."""

    alone: object
    threads: set[threading.Thread]
    tasks: set[asyncio.Task[Any]]
    files: set[str]
    receivers: int
    environ: dict[str, str]
    directory: str
    locale: str


class Strict:
    """Of one hosted application. `every`: which requests are watched, 1 for all, 0 for none. `alone()` is None while
    other requests are under way, else what a further one would change. `receivers()` counts those of signals."""

    def __init__(
        self,
        every: int,
        alone: Callable[[], object],
        receivers: Callable[[], int] = lambda: 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.every = every
        self._alone, self._receivers, self._clock = alone, receivers, clock
        self._going: deque[tuple[float, str, str, Callable[[], bool]]] = deque(maxlen=MOST)
        """Threads and tasks that were left: since when, by which route, what, and whether it is still there."""
        self._left = 1
        self._suspected: set[tuple[str, str]] = set()
        self._told: set[tuple[str, str]] = set()

    def begin(self) -> Standing | None:
        """Called before a request; None for one that is not watched."""
        self._left -= 1
        if self._left > 0 or not self.every:
            return None
        self._left = self.every
        self._look_after()
        alone = self._alone()
        if alone is None:
            return None
        try:
            return self._standing(alone)
        except (
            OSError,
            RuntimeError,
        ):  # no working directory; a thread of its own has changed the environment
            return None

    def end(self, before: Standing, route: str) -> None:
        """Called when it is over, its answer closed and everything released."""
        try:
            now = self._standing(self._alone())
        except (OSError, RuntimeError):
            return
        if now.alone != before.alone:
            return
        for name in sorted(before.environ.keys() | now.environ.keys()):
            if before.environ.get(name) != now.environ.get(name):
                self._tell(route, f"the variable {name} of the environment changed")
        if before.directory != now.directory:
            self._tell(route, f"the working directory changed, to {now.directory}")
        if before.locale != now.locale:
            self._tell(route, f"the locale changed, to {now.locale}")
        since = self._clock()
        for thread in now.threads - before.threads:
            what = f"a thread, {type(thread).__qualname__} {_plain(thread.name)}"
            self._going.append((since, route, what, partial(_lives, weakref.ref(thread))))
        for task in now.tasks - before.tasks:
            what = f"a task, {getattr(task.get_coro(), '__qualname__', task.get_name())}"
            self._going.append((since, route, what, partial(_runs, weakref.ref(task))))
        for name in now.files - before.files:
            self._suspect(route, f"an open file, {name.partition(' ')[2]}")
        if now.receivers > before.receivers:
            self._suspect(route, "a receiver of a signal")

    def _look_after(self) -> None:
        """Suspect what was left a while ago and goes on."""
        until = self._clock() - GOES_ON_SECONDS
        while self._going and self._going[0][0] <= until:
            _, route, what, is_there = self._going.popleft()
            if is_there():
                self._suspect(route, what)

    def _standing(self, alone: object) -> Standing:
        return Standing(
            alone, _threads(), _tasks(), _files(), self._receivers(), dict(os.environ), os.getcwd(),
            locale.setlocale(locale.LC_ALL),
        )  # fmt: skip

    def _suspect(self, route: str, what: str) -> None:
        if (route, what) in self._suspected:
            self._tell(route, what)
        elif len(self._suspected) < MOST:
            self._suspected.add((route, what))

    def _tell(self, route: str, what: str) -> None:
        if (route, what) not in self._told and len(self._told) < MOST:
            self._told.add((route, what))
            logger.warning("%s has left something behind: %s", route, what)


def _lives(thread: weakref.ref[threading.Thread]) -> bool:
    found = thread()
    return found is not None and found.is_alive()


def _runs(task: weakref.ref[asyncio.Task[Any]]) -> bool:
    found = task()
    return found is not None and not found.done()


def _threads() -> set[threading.Thread]:
    """Without ours, of which there may be more at any time."""
    return {each for each in threading.enumerate() if not type(each).__module__.startswith("skerry.")}


def _tasks() -> set[asyncio.Task[Any]]:
    """Those of the loop that runs in this thread; without ours, of which the request's own is one."""
    try:
        found = asyncio.all_tasks()
    except RuntimeError:
        return set()
    return {each for each in found if not _is_ours(each)}


def _is_ours(task: asyncio.Task[Any]) -> bool:
    code = getattr(task.get_coro(), "cr_code", None)
    return code is not None and f"{os.sep}skerry{os.sep}" in code.co_filename


def _files() -> set[str]:
    """Open files, as `7 /tmp/x`. Sockets come and go with clients, and are left out."""
    found: set[str] = set()
    try:
        numbers = os.listdir(DESCRIPTORS)
    except OSError:
        return found
    for number in numbers:
        try:
            name = os.readlink(f"{DESCRIPTORS}/{number}")
        except OSError:
            continue  # it was that of the list itself
        if name.startswith("/"):
            found.add(f"{number} {name}")
    return found


def _plain(name: str) -> str:
    """Without a number, which the next one of its kind has not."""
    return name.rstrip("0123456789").rstrip("-_")
