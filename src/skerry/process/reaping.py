"""Children that this process has not made: who made them has ended, and the kernel gives them to it (Linux).

So a process that another one forks can be a child of the runner like any other: its end is told, its exit code is
there, and it ends with the runner. The price is that orphans of children come here too, and have to be waited for.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Collection

_PR_SET_CHILD_SUBREAPER = 36


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
