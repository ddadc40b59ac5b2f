"""How a child process comes to be: a program that is executed. Forked ones come from a fork server (forkserver.py).

Not here: what the child is given and what becomes of it (child.py).
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Launch:
    """What to start. `descriptors`: what the child inherits, by the environment variable that tells their number there.
    `output`: where its standard output and its errors go. `role`: what it is to do."""

    command: Sequence[str]
    environment: Mapping[str, str]
    descriptors: Mapping[str, int]
    output: int
    role: str = ""


class Process(Protocol):
    """A child of this process, whoever has made it."""

    @property
    def pid(self) -> int: ...
    def poll(self) -> int | None:
        """The exit code, or minus the signal, once it has ended."""
        ...

    def send_signal(self, sig: int, /) -> None: ...


class Launcher(Protocol):
    """Starts processes. `immediate`: whether that never waits for anything."""

    @property
    def immediate(self) -> bool: ...
    async def launch(self, launch: Launch) -> Process:
        """Raises OSError when the system refuses."""
        ...


class Executing:
    """Starts each as a program of its own."""

    immediate = True

    async def launch(self, launch: Launch) -> Process:
        given = {variable: str(descriptor) for variable, descriptor in launch.descriptors.items()}
        # A Ctrl-C that comes while it starts is the runner's alone: the mask is inherited, the child lifts it when
        # it has learnt to ignore the signal. For us the signal waits for these few milliseconds.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            return subprocess.Popen(  # noqa: ASYNC220 - a spawn takes a millisecond, its end is watched
                launch.command,
                stdin=subprocess.DEVNULL,
                stdout=launch.output,
                stderr=launch.output,
                env={**launch.environment, **given},
                pass_fds=list(launch.descriptors.values()),
                process_group=0,  # what it starts ends with it
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Adopted:
    """A child of this process that another one has made: who made its parent has ended."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._code: int | None = None

    def poll(self) -> int | None:
        if self._code is None:
            try:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
            except ChildProcessError:  # somebody else has waited for it
                self._code = 255
            else:
                self._code = os.waitstatus_to_exitcode(status) if pid else None
        return self._code

    def send_signal(self, sig: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, sig)
