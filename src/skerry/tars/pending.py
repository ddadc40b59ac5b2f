"""Requests that wait for their reply on one connection, and when each gives up.

One timer for all of them: it is set for the earliest deadline and looks at everyone when it fires, so a call that
gets its reply in time costs no timer at all. A call never ends early and at most `GRAIN_SECONDS` late.
"""

from __future__ import annotations

import asyncio
from time import monotonic

from skerry.tars.wire.packet import ResponsePacket

GRAIN_SECONDS = 0.01
_LAST_ID = 2**31 - 1


class PendingCalls:
    """Futures by request id; ids are those of one connection, from 1, never 0 (that is the server's push)."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: dict[int, tuple[asyncio.Future[ResponsePacket], float]] = {}
        self._id = 0
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self.unknown_replies = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def next_id(self) -> int:
        """An id that no waiting request has."""
        number = self._id
        while True:
            number = number + 1 if number < _LAST_ID else 1
            if number not in self._waiting:
                self._id = number
                return number

    def wait(self, request_id: int, deadline: float) -> asyncio.Future[ResponsePacket]:
        """A future for the reply; TimeoutError in it after `deadline` (time.monotonic)."""
        future: asyncio.Future[ResponsePacket] = self._loop.create_future()
        self._waiting[request_id] = (future, deadline)
        if self._timer is None or deadline < self._timer_at:
            self._set_timer(deadline)
        return future

    def forget(self, request_id: int) -> None:
        """Nobody waits for this one any more; its reply will be dropped."""
        self._waiting.pop(request_id, None)

    def resolve(self, reply: ResponsePacket) -> None:
        """Hand a reply to its caller; a reply that nobody waits for is counted and dropped."""
        entry = self._waiting.pop(reply.request_id, None)
        if entry is None:
            self.unknown_replies += 1
        elif not entry[0].done():
            entry[0].set_result(reply)

    def refuse(self, request_id: int, error: Exception) -> bool:
        """The caller that waits for this reply gets `error` in its place; whether there is one."""
        entry = self._waiting.pop(request_id, None)
        if entry is not None and not entry[0].done():
            entry[0].set_exception(error)
        return entry is not None

    def fail(self, error: BaseException) -> None:
        """The connection is gone: all that wait get `error`."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        waiting, self._waiting = self._waiting, {}
        for future, _ in waiting.values():
            if not future.done():
                future.set_exception(error)

    def _set_timer(self, deadline: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = deadline
        self._timer = self._loop.call_later(max(deadline - monotonic(), 0) + GRAIN_SECONDS / 2, self._expire)

    def _expire(self) -> None:
        self._timer = None
        now = monotonic()
        earliest: float | None = None
        for request_id, (future, deadline) in list(self._waiting.items()):
            if deadline <= now:
                del self._waiting[request_id]
                if not future.done():
                    future.set_exception(TimeoutError())
            elif earliest is None or deadline < earliest:
                earliest = deadline
        if earliest is not None:
            self._set_timer(max(earliest, now + GRAIN_SECONDS / 2))
