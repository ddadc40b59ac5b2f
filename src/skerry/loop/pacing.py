"""Periodic work of a process at the same moments: a loop with nothing else to do wakes up once for all of it."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

EARLY = 0.05
"""A timer may come a little before its time: the part of a period that still counts as that time."""


def call_in_step(
    loop: asyncio.AbstractEventLoop, seconds: float, callback: Callable[..., object], *arguments: object
) -> asyncio.TimerHandle:
    """Call it at the next whole multiple of `seconds` of the loop's clock: within so many, and for work that asks for
    it anew each time, every so many."""
    due = (math.floor(loop.time() / seconds + EARLY) + 1) * seconds
    return loop.call_at(due, callback, *arguments)
