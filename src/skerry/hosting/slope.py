"""Whether a process that serves an application grows with its requests: the slope that `skerry leaks` measures of a
route, of the running process, by what it looks at anyway when its numbers are asked for.

Which route it is, and what grows, is found by `skerry leaks`.
"""

from __future__ import annotations

import gc
import sys
import time
from collections import deque
from collections.abc import Callable

from skerry.hosting.trend import LEAST_VALUES, grows, slope_of

LEAST_REQUESTS = 50
"""Between two values: what grows is told from what comes and goes with single requests."""
LEAST_SECONDS = 10.0
FEWEST_BLOCKS = 0.2
"""For each request: less is no growth, as for `skerry leaks`."""
VALUES = 30
"""The latest are looked at, so that what was filled once, a cache say, is forgotten."""


def blocks_in_use() -> int:
    """Blocks of memory that the interpreter has given out, without young garbage."""
    gc.collect(1)
    return sys.getallocatedblocks()


class LeakSlope:
    """Of one hosted application. `level()`: how much is in use now."""

    def __init__(
        self, level: Callable[[], int] = blocks_in_use, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._level, self._clock = level, clock
        self._requests: deque[float] = deque(maxlen=VALUES)
        self._values: deque[float] = deque(maxlen=VALUES)
        self._looked_at = float("-inf")

    def look(self, requests: int) -> float:
        """So many were answered. Blocks that each one leaves behind; 0 where growth is not significant, or not known
        yet. Looks at most every ten seconds, and again only after fifty requests."""
        now = self._clock()
        latest = self._requests[-1] if self._requests else 0.0
        if now - self._looked_at >= LEAST_SECONDS and requests - latest >= LEAST_REQUESTS:
            self._looked_at = now
            self._requests.append(requests)
            self._values.append(self._level())
        return self.per_request

    @property
    def per_request(self) -> float:
        """As found by the latest look."""
        values = list(self._values)
        if len(values) < LEAST_VALUES or not grows(values):
            return 0.0
        found = slope_of(values, list(self._requests))
        return found if found >= FEWEST_BLOCKS else 0.0
