"""Looking from outside whether a process's loop waits: one look of the runner in place of a thread's in each process.

The runner reads in which system call the thread of a child's loop is, and says so to the child when it is not waiting
(the child then asks its own loop), and once a second besides. A child that hears nothing for longer looks itself again.
`Looker` is the runner's side, `Looked` a child's. Not here: what is made of it (`skerry.loop.blocked`).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import socket
import time
from collections.abc import Callable, Iterable
from typing import Protocol

from skerry.process.control_messages import Watched

LOOKED = "SKERRY_LOOKED_FD"
"""Tells a child the descriptor over which it hears of looks."""
HEARD_SECONDS = 1.0
"""How often a child hears of a runner that finds it waiting."""
SILENT_SECONDS = 2.5
"""A runner that is silent for so long does not look."""
LONGEST_BYTES = 256


class Looked:
    """A child's side. `wait` and `tell` are for the thread that watches the loop."""

    def __init__(self, line: socket.socket, say: Callable[[Watched], None]) -> None:
        self._line, self._say = line, say
        line.setblocking(False)
        line.set_inheritable(False)
        self._interrupt, self._interrupted = socket.socketpair()
        self._interrupt.setblocking(False)
        self._is_over = False

    def tell(self, thread: int, states: Iterable[bytes], pause: float) -> None:
        """What the runner has to know to look."""
        self._say(Watched(thread, [each.decode() for each in states], pause))

    def wait(self, *, is_looked_at: bool) -> bool:
        """Until the runner says something, for as long as it may be silent (without a wait, unless it looks);
        whether it did."""
        if self._is_over:
            return False
        poll = select.poll()
        for each in (self._line, self._interrupted):
            poll.register(each, select.POLLIN)
        if not poll.poll(SILENT_SECONDS * 1000 if is_looked_at else 0):
            return False
        with contextlib.suppress(BlockingIOError):
            if self._line.recv(LONGEST_BYTES):
                return True
            self._is_over = True  # there is no runner any more
        with contextlib.suppress(BlockingIOError):
            self._interrupted.recv(LONGEST_BYTES, socket.MSG_DONTWAIT)
        return False

    def interrupt(self) -> None:
        """End `wait` now."""
        with contextlib.suppress(OSError):
            self._interrupt.send(b".")


class Seen(Protocol):
    """A child as the runner sees it."""

    @property
    def pid(self) -> int: ...
    @property
    def exit_code(self) -> int | None: ...
    @property
    def looks(self) -> Looks: ...


class Looks:
    """The looks at one child, over the socket that tells it of them."""

    def __init__(self) -> None:
        self.line, self.theirs = socket.socketpair()
        self.line.setblocking(False)
        self._file = -1
        self._states: tuple[bytes, ...] = ()
        self._heard_at = 0.0
        self.pause = 0.0
        """How often it is to be looked at; 0 while it is not."""

    def begin(self, pid: int, watched: Watched) -> None:
        """It has told how. Nothing is looked at where the kernel does not show it."""
        self.end()
        with contextlib.suppress(OSError):
            self._file = os.open(f"/proc/{pid}/task/{watched.thread}/syscall", os.O_RDONLY | os.O_CLOEXEC)
            os.pread(self._file, LONGEST_BYTES, 0)
            self._states = tuple(each.encode() for each in watched.states)
            self.pause = max(0.01, watched.pause)

    def look(self, now: float) -> None:
        """Say when it does not wait, and now and then that it does."""
        try:
            waits = os.pread(self._file, LONGEST_BYTES, 0).startswith(self._states)
        except OSError:
            self.end()
            return
        if not waits or now - self._heard_at >= HEARD_SECONDS:
            self._heard_at = now
            with contextlib.suppress(OSError):  # what it has not read yet says the same
                self.line.send(b".")

    def end(self) -> None:
        """No more looks."""
        self.pause = 0.0
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def close(self) -> None:
        """The child has ended, or will not be."""
        self.end()
        self.line.close()
        self.theirs.close()


class Looker:
    """Looks at all children that want it."""

    def __init__(self, children: Callable[[], Iterable[Seen]]) -> None:
        self._children = children
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """There is one."""
        if self._timer is None:
            self._look()

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        now = time.monotonic()
        pauses = []
        for child in self._children():
            if child.looks.pause and child.exit_code is None:
                child.looks.look(now)
                pauses.append(child.looks.pause)
        self._timer = asyncio.get_running_loop().call_later(min(pauses), self._look) if pauses else None
