"""Telling who blocks the loop: a thread that asks the loop to answer, and shows its stack when it does not.

Cheap when idle: every quarter of the limit the thread looks where the loop's thread is; a loop that waits in its
selector is left alone, and not woken. Where that cannot be seen it is asked each time. Another process may look in the
thread's place (`Outside`). A turn that takes longer than 1.25 times the limit is always reported, one shorter than the
limit never.

Not here: what to do about it. `report` is called in the watching thread, while the loop is still blocked.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import platform
import socket
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from skerry.loop.stacks import stack_of

log = logging.getLogger("skerry.loop")


EPOLL_CALLS = {"x86_64": (b"232", b"281", b"441"), "aarch64": (b"22", b"441")}
"""Numbers of epoll_wait, epoll_pwait and epoll_pwait2 by processor."""

LONGEST_BYTES = 256


@dataclass(frozen=True, slots=True)
class Blocked:
    """The loop did not turn for `seconds` so far; `stack` is where its thread was at that moment."""

    seconds: float
    stack: str

    def __str__(self) -> str:
        return f"the loop has been blocked for {self.seconds:.3f} s; it is at:\n{self.stack}"


Report = Callable[[Blocked], object]


class Outside(Protocol):
    """Somebody in another process who looks where the loop's thread is. Used in the watching thread, but for
    `interrupt`."""

    def tell(self, thread: int, states: tuple[bytes, ...], pause: float) -> None:
        """What there is to look at (`Waiting.states`), and how often."""
        ...

    def wait(self, *, is_looked_at: bool) -> bool:
        """True when somebody who looks has said something: that the loop's thread does not wait, or just that. False
        when nobody has for too long. Does not wait unless it `is_looked_at`."""
        ...

    def interrupt(self) -> None:
        """End `wait` now."""
        ...


def log_blocked(blocked: Blocked) -> None:
    """The default report: a warning with the stack."""
    log.warning("%s", blocked)


class BlockWatch:
    """Watches one asyncio loop from `start` (called in the loop's thread) to `stop`."""

    def __init__(
        self, limit_seconds: float, report: Report = log_blocked, outside: Outside | None = None
    ) -> None:
        if limit_seconds <= 0:
            raise ValueError(f"the limit is some seconds, not {limit_seconds}")
        self.limit_seconds, self._report, self._outside = limit_seconds, report, outside
        self._is_looked_at = False
        self.reports = 0
        """How often the loop was found blocked."""
        self._stopped = threading.Event()
        self._answered = threading.Event()
        self._thread: threading.Thread | None = None
        self._waiting: Waiting | None = None

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to watch the loop that runs in this thread."""
        self._stopped.clear()
        self._waiting = waiting = Waiting(loop)
        self._thread = threading.Thread(
            target=self._watch,
            args=(loop, threading.get_ident(), waiting),
            name="skerry-block-watch",
            daemon=True,
        )
        self._thread.start()

    def stop(self) -> None:
        """End the watching thread; waits for a report that is being made, at most a second."""
        self._stopped.set()
        self._answered.set()
        if self._outside is not None:
            self._outside.interrupt()
        if self._thread is not None:
            self._thread.join(1.0)
            self._thread = None
        if self._waiting is not None:
            self._waiting.close()
            self._waiting = None

    def _watch(self, loop: asyncio.AbstractEventLoop, thread_id: int, waiting: Waiting) -> None:
        while not self._pause():
            if waiting.now():
                continue
            self._answered.clear()
            asked = time.monotonic()
            try:
                loop.call_soon_threadsafe(self._answered.set)
            except RuntimeError:
                return  # closed meanwhile
            if self._answered.wait(self.limit_seconds):
                self._learn(waiting)
                continue
            if self._stopped.is_set():
                return
            self._tell(thread_id, asked)
            while not self._answered.wait(1.0) and not self._stopped.is_set():
                pass  # one report for one block, however long it lasts

    def _pause(self) -> bool:
        """Until it is time to look; whether all is over."""
        if self._outside is not None:
            self._is_looked_at = self._outside.wait(is_looked_at=self._is_looked_at)
            if self._is_looked_at:
                return self._stopped.is_set()
        return self._stopped.wait(self.limit_seconds / 4)

    def _learn(self, waiting: Waiting) -> None:
        knew = waiting.states
        waiting.learn()
        if waiting.states and not knew and self._outside is not None:
            self._outside.tell(waiting.thread, waiting.states, self.limit_seconds / 4)

    def _tell(self, thread_id: int, asked: float) -> None:
        frame = sys._current_frames().get(thread_id)
        stack = stack_of(frame) if frame is not None else "(the thread has ended)"
        del frame
        self.reports += 1
        try:
            self._report(Blocked(time.monotonic() - asked, stack))
        except Exception:
            log.exception("the report about a blocked loop failed")


class Waiting:
    """Whether a loop's thread waits in the loop's own selector, found out without waking it. Made in the loop's thread
    while the loop runs there. `learn` and `now` are for other threads.

    Linux tells in which system call a thread is, and with which descriptor: a thread that waits on the loop's epoll
    descriptor has nothing to do. One that waits on another one is somebody's blocking call. Which descriptor is the
    loop's is learned from a socket that the loop is asked to watch. Elsewhere (another system, processor or kernel, a
    sandbox that hides it) nothing is known, and only the loop itself can tell.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.thread = threading.get_native_id()
        self._file = f"/proc/self/task/{self.thread}/syscall"
        self.states: tuple[bytes, ...] = ()
        """How the kernel's account of the thread begins while it waits; nothing while that is not known."""
        self._mark: tuple[socket.socket, socket.socket] | None = socket.socketpair()
        try:
            loop.add_reader(self._mark[0], _nothing)
        except NotImplementedError:
            self.close()

    def learn(self) -> None:
        """The loop has turned at least once since this was made: find its descriptor."""
        mark = self._mark
        if mark is None:
            return
        calls = EPOLL_CALLS.get(platform.machine(), ())
        with contextlib.suppress(OSError):
            found = _epoll_of(mark[0].fileno())
            if found is not None:
                self.states = tuple(b"%b 0x%x " % (call, found) for call in calls)
        with contextlib.suppress(RuntimeError):  # closed meanwhile
            self._loop.call_soon_threadsafe(self.close)

    def now(self) -> bool:
        """Whether it waits at this moment; False also when that cannot be known."""
        if not self.states:
            return False
        try:
            file = os.open(self._file, os.O_RDONLY | os.O_CLOEXEC)
            try:
                return os.read(file, LONGEST_BYTES).startswith(self.states)
            finally:
                os.close(file)
        except OSError:
            return False

    def close(self) -> None:
        """In the loop's thread, or after the loop's end: the socket is not needed any more."""
        mark, self._mark = self._mark, None
        if mark is not None:
            with contextlib.suppress(NotImplementedError, RuntimeError):
                self._loop.remove_reader(mark[0])
            for each in mark:
                each.close()


def _epoll_of(watched: int) -> int | None:
    """The epoll descriptor of this process that watches this one. Raises OSError where nothing is told."""
    line = b"tfd:%9d " % watched
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            if "eventpoll" in os.readlink(f"/proc/self/fd/{name}"):
                with open(f"/proc/self/fdinfo/{name}", "rb") as info:
                    if any(each.startswith(line) for each in info):
                        return int(name)
    return None


def _nothing() -> None:
    pass
