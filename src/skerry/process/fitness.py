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
HARMLESS_AT_EXIT = frozenset({("django.dispatch.dispatcher", "Signal._remove_receiver")})
"""Functions of finalizers, by module and name, that touch memory only: receivers of Django's signals have one."""


def open_descriptors() -> dict[int, str]:
    """Every descriptor of this process and what it is."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # the one of this very listing
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
    return found


def removes_at_exit(finalizer: weakref.finalize[..., object]) -> bool:
    """Whether it is to be called at the end of the process, and does something outside of it, for all we know."""
    if not (finalizer.atexit and (held := finalizer.peek())):
        return False
    function = held[1]
    return (
        getattr(function, "__module__", ""),
        getattr(function, "__qualname__", ""),
    ) not in HARMLESS_AT_EXIT


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
    if any(removes_at_exit(each) for each in list(getattr(weakref.finalize, "_registry", {}))):
        return "something is to be removed at the end of the process (a temporary directory, say)"
    return ""
