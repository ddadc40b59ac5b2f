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
        """Let the pause end after so long: something that exists is missing here."""
        self._repair_at = self._clock.monotonic() + after_seconds
        self._wake.set()

    def look(self) -> None:
        """Let the pause end now, unless there is a repair whose time has not come."""
        self._wake.set()

    async def pause(self, seconds: float) -> None:
        """Wait until the next look. What was asked for before is done with: the last look has seen it."""
        self._repair_at = None
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
            if self._repair_at is None:
                return
