"""Whether a process may be forked: it has nothing that belongs to one process alone.

What an application's import has left behind is looked for: threads (they are not in the copy, and their locks would
never be freed), descriptors (a connection or a file's place would be shared), processes, timers, and directories that
are removed when a process ends. Linux only. Not here: generators of random numbers (`seeds`).
"""

from __future__ import annotations

import contextlib
import os
import signal
import weakref
from collections.abc import Iterable

HARMLESS = frozenset({"/dev/null", "/dev/urandom", "/dev/random", "/dev/zero"})


def open_descriptors() -> dict[int, str]:
    """Every descriptor of this process and what it is."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # the one of this very listing
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
    return found


def why_not_forked(meant: Iterable[int]) -> str:
    """What keeps this process from being forked, in words; empty when nothing does. `meant`: descriptors that are to be
    open."""
    if len(os.listdir("/proc/self/task")) > 1:
        return "threads run"
    expected = set(meant)
    for descriptor, what in sorted(open_descriptors().items()):
        if descriptor not in expected and what not in HARMLESS:
            return f"descriptor {descriptor} is open ({what})"
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        pass
    else:
        return "another process was started"
    if any(
        signal.getitimer(each)[0] for each in (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)
    ):
        return "a timer runs"
    registry = getattr(weakref.finalize, "_registry", {})
    if any(getattr(each, "atexit", False) for each in registry):
        return "something is to be removed at the end of the process (a temporary directory, say)"
    return ""
