"""The last resort against hanging: a thread that ends the process when a `with` block takes too long.

It is for a loop that does not turn any more; whatever does turn has deadlines of its own.
"""

from __future__ import annotations

import faulthandler
import sys
import threading
from collections.abc import Callable


class Watchdog:
    """After `seconds`: `message` and all stacks on standard error, then `end()`."""

    def __init__(self, seconds: float, message: str, end: Callable[[], object]) -> None:
        self._message, self._end_process = message, end
        self._timer = threading.Timer(seconds, self._end)
        self._timer.daemon = True

    def _end(self) -> None:
        print(f"{self._message}; ending the process, it was at:", file=sys.stderr, flush=True)
        faulthandler.dump_traceback(file=sys.__stderr__ or 2)
        self._end_process()

    def __enter__(self) -> None:
        self._timer.start()

    def __exit__(self, *_exc: object) -> None:
        self._timer.cancel()
