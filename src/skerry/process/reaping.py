"""Children that this process has not made: the process that made them has ended, and the kernel gives them to this one.

To the runner, because it asks for them (Linux): a process that another one forks can be its child like any other; its
end is told, its exit code is there, and it ends with the runner. The price is that orphans of children come here too,
and have to be waited for.

To the first process of a container (PID 1) in any case, and the kernel sends it only those signals that it handles. So
as PID 1 a program forks once: the child goes on with its work, the parent waits for children, passes signals on, and
ends as the child did.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Collection

_PR_SET_CHILD_SUBREAPER = 36


_KERNEL = 0x80
"""`si_code` of what a terminal sends: the child is in its foreground group too and has it already."""

_OURS = {signal.SIGKILL, signal.SIGSTOP, signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL}


def adopt_orphans() -> bool:
    """Have orphans of this process's descendants become its children; whether the system can do that."""
    if sys.platform != "linux":
        return False
    try:
        done: int = ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    except (OSError, AttributeError):
        return False
    return done == 0


def reap_orphans(known: Collection[int]) -> None:
    """Wait for those children that have ended and are none of these."""
    while True:
        try:
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if ended is None or ended.si_pid in known:
            return  # one that is known is looked after first, and who looks comes here again
        os.waitpid(ended.si_pid, os.WNOHANG)


def fork_as_first() -> None:
    """Return in the process that is to do the work; where this one is not PID 1 that is this one."""
    if os.getpid() != 1:
        return
    caught = set(signal.valid_signals()) - _OURS
    before = signal.pthread_sigmask(signal.SIG_BLOCK, caught)
    child = os.fork()
    if child == 0:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return
    while True:
        told = signal.sigwaitinfo(caught)
        if told.si_signo == signal.SIGCHLD:
            _reap(child)
        elif told.si_code != _KERNEL:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, told.si_signo)


def _reap(child: int) -> None:
    """Wait for children that have ended; end as `child` when it has."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
            os._exit(code if code >= 0 else 128 - code)
