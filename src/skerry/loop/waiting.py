"""Whether a loop's thread waits in the loop's own selector, found out without waking it.

Linux tells in which system call a thread is, and with which descriptor: a thread that waits on the loop's epoll
descriptor has nothing to do. One that waits on another one is somebody's blocking call. Which descriptor is the loop's
is learned from a socket that the loop is asked to watch. Elsewhere (another system, processor or kernel, a sandbox that
hides it) nothing is known, and only the loop itself can tell.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import platform
import socket
import threading

EPOLL_CALLS = {"x86_64": (b"232", b"281", b"441"), "aarch64": (b"22", b"441")}
"""Numbers of epoll_wait, epoll_pwait and epoll_pwait2 by processor."""
LONGEST_BYTES = 256


class Waiting:
    """Made in the loop's thread while the loop runs there. `learn` and `now` are for other threads."""

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
