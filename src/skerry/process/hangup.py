"""What a SIGHUP means: that everything is to be replaced, or that the terminal was closed.

One that was started so that it outlives its terminal (nohup, setsid) is replaced. Else it depends on whether the
terminal that it was started on can still be opened. Not here: what is done then.
"""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Hangup:
    """How a process was started. `is_ignored`: SIGHUP was, as nohup does. `had_terminal`: it had a controlling one."""

    is_ignored: bool
    had_terminal: bool

    @classmethod
    def at_start(cls) -> Hangup:
        """To be called before a handler of the signal is set."""
        return cls(signal.getsignal(signal.SIGHUP) == signal.SIG_IGN, has_terminal())

    def means_the_end(self, *, has_terminal: bool) -> bool:
        """Of a signal that comes while there is a controlling terminal, or none any more."""
        return self.had_terminal and not self.is_ignored and not has_terminal


def has_terminal() -> bool:
    """Whether this process has a controlling terminal now."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK))
    except OSError:
        return False
    return True
