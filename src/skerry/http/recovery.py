"""What a returning listener missed: from the feed's memory, beyond it from the journal, wholly or not at all.

Waits for the journal, with limits, and for memory when the listener was served by a process further on. What is told
to whom, and in which order, is the channel's.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Protocol

from skerry.clock import Clock, Deadline
from skerry.errors import SkerryError
from skerry.http.feed import Feed, FeedEvent
from skerry.position import Position

log = logging.getLogger("skerry.hub")


class RecoveryLimits(Protocol):
    """The part of the hub's settings that bounds a recovery."""

    @property
    def replay_events(self) -> int: ...
    @property
    def wait_seconds(self) -> float: ...
    @property
    def backlog_seconds(self) -> float: ...


class Behind(Exception):
    """Memory lags behind the listener: whatever it could be told is older than what it knows."""


class Recovery:
    """Reads histories of one feed; `reads` bounds how many journal reads run at a time in this process."""

    def __init__(self, feed: Feed, limits: RecoveryLimits, reads: asyncio.Semaphore, clock: Clock) -> None:
        self._feed, self._limits, self._reads, self._clock = feed, limits, reads, clock
        self._reading: dict[Position, asyncio.Task[list[FeedEvent] | None]] = {}

    def stop(self) -> None:
        """Give up reads under way; a coroutine that waits for one gets CancelledError."""
        for task in self._reading.values():
            task.cancel()

    async def events(self, since: Position) -> Sequence[FeedEvent] | None:
        """The events after `since` up to the moment of the return; None when they cannot be had wholly. Raises
        Behind."""
        feed, limits = self._feed, self._limits
        carried = feed.carry(since)
        if carried is None or carried.offset > feed.position().offset:  # another server was further on
            if not await feed.wait(since, Deadline.after(limits.wait_seconds, self._clock)):
                if await self._is_behind(since):
                    raise Behind(f"this process has not come to {since} yet: come again")
                return None
            carried = feed.carry(since)
            if carried is None:
                return None
        since = carried
        recent = feed.since(since)
        if recent is not None:
            events = list(recent)
            return events if len(events) <= limits.replay_events else None
        read = await self._read(since)
        here = feed.position()
        if read is None or len(read) > limits.replay_events or feed.carry(since) is None:
            return None
        # The journal may be ahead of memory: what memory has not applied yet comes as a live event.
        events = [event for event in read if event.position.offset <= here.offset]
        end = events[-1].position if events else since
        return events if feed.since(end) is not None else None

    async def _is_behind(self, since: Position) -> bool:
        """Whether the journal has that position, as far as it can be asked."""
        try:
            async with asyncio.timeout(self._limits.backlog_seconds), self._reads:
                return await self._feed.is_in_journal(since)
        except (SkerryError, OSError, TimeoutError):
            return True

    async def _read(self, since: Position) -> list[FeedEvent] | None:
        """Read the journal; those who ask for the same at the same time share one read."""
        task = self._reading.get(since)
        if task is None:
            task = asyncio.get_running_loop().create_task(self._read_once(since))
            self._reading[since] = task
            task.add_done_callback(lambda _: self._reading.pop(since, None))
        return await asyncio.shield(task)

    async def _read_once(self, since: Position) -> list[FeedEvent] | None:
        try:
            async with asyncio.timeout(self._limits.backlog_seconds), self._reads:
                return await self._feed.backlog(since)
        except (SkerryError, TimeoutError) as error:
            log.warning("events after %s could not be read from the journal: %s", since, error)
            return None
