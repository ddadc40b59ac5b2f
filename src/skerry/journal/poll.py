"""When the journal is asked for its end again: after a while, or sooner because there is a gap to repair."""

from __future__ import annotations

import asyncio

from skerry.clock import Clock


class Poll:
    """One loop's pause between two looks at the journal, which others may cut short."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._wake = asyncio.Event()
        self._repair_at: float | None = None

    @property
    def repairing(self) -> bool:
        """Whether somebody has asked for a repair that did not begin yet."""
        return self._repair_at is not None

    def repair(self, after_seconds: float = 0.0) -> None:
        """Let the pause end after so long, or not begin: something is missing here that the journal may have."""
        at = self._clock.monotonic() + after_seconds
        self._repair_at = at if self._repair_at is None else min(at, self._repair_at)
        self._wake.set()

    def settle(self) -> None:
        """Clear the request for a repair: a poll is about to start."""
        self._repair_at = None

    async def pause(self, seconds: float) -> None:
        """Wait until the next look."""
        until = self._clock.monotonic() + seconds
        while True:
            self._wake.clear()
            if self._repair_at is not None:
                until = min(until, self._repair_at)
            left = until - self._clock.monotonic()
            if left <= 0:
                return
            try:
                async with asyncio.timeout(left):
                    await self._wake.wait()
            except TimeoutError:
                return
