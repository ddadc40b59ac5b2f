"""Can this process take writes: a way to the queue, a database that can be written, and somebody who decides.

The first two are known at once. Whether anybody decides shows by the commands themselves: one that has waited for
`after_seconds` while nothing was decided speaks for all, once the database was asked whether it is decided after all
(its answer may have gone to another process). Not here: what readiness says of it (checks.py), what waits
(bus/undecided.py).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol, runtime_checkable

from skerry.bus.transport import Transport
from skerry.bus.undecided import Undecided
from skerry.clock import Clock
from skerry.journal.journal import JournalReader

LOOK_SECONDS = 1.0
_LOOK_UPS = 100
"""So many waiting commands are looked up at a time, at most."""


@runtime_checkable
class KnowsItsRole(Protocol):
    """A journal that may be reached at a server which takes no writes."""

    @property
    def read_only(self) -> bool:
        """Whether the server last spoken to was a standby, or read-only for another reason."""
        ...


class Writable:
    """Why writes are not taken or not decided. `run` is a task of the process; `trouble` may be asked at any time.
    `is_decided` asks the database of one command and has its outcome noted; False also when it could not be asked."""

    def __init__(
        self,
        transport: Transport,
        reader: JournalReader,
        undecided: Undecided,
        is_decided: Callable[[str], Awaitable[bool]],
        clock: Clock,
        after_seconds: float,
    ) -> None:
        self._transport, self._reader, self._undecided = transport, reader, undecided
        self._is_decided, self._clock, self._after = is_decided, clock, after_seconds
        self._looked_up = ""

    @property
    def trouble(self) -> str:
        """Why a write would not be decided in time; empty when it would, as far as is known."""
        queue = self._transport.trouble
        if queue is not None:
            return f"the command queue is away: writes answer 503, reads go on ({queue})"
        if isinstance(self._reader, KnowsItsRole) and self._reader.read_only:
            return "the database is read-only: commands wait until it is not"
        waiting = self._undecided.oldest(self._clock.monotonic())
        if waiting is not None and waiting[0] == self._looked_up:
            seconds = self._clock.monotonic() - waiting[1]
            if seconds >= self._after:
                return f"commands have waited for {seconds:.0f} s and nobody decides them"
        return ""

    async def run(self) -> None:
        """Look for commands that wait, for ever."""
        while True:
            await self._clock.sleep(LOOK_SECONDS)
            await self.look()

    async def look(self) -> None:
        """Ask the database of those that have waited for half the time; the first that is not decided speaks for the
        others, and so does one that it says nothing about."""
        for _ in range(_LOOK_UPS):
            now = self._clock.monotonic()
            waiting = self._undecided.oldest(now)
            if waiting is None or now - waiting[1] < self._after / 2:
                return
            if not await self._is_decided(waiting[0]):
                self._looked_up = waiting[0]
                return
