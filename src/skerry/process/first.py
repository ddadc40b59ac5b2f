"""The first process of a container (PID 1): reaps what nobody else waits for, and passes signals on.

The kernel gives orphans to PID 1, and sends it only those signals that it handles. So as PID 1 a program forks once:
the child goes on with its work, the parent does this and nothing else, and ends as the child did.
"""

from __future__ import annotations

import contextlib
import os
import signal

_KERNEL = 0x80
"""`si_code` of what a terminal sends: the child is in its foreground group too and has it already."""
_OURS = {signal.SIGKILL, signal.SIGSTOP, signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL}


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
