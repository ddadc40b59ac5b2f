"""How often a process died over a command, or hung.

An attempt is noted in the journal before it is made, and stays noted when the process dies. What interrupts one while
the process works on (a database that goes away, a lease that is lost with it, a stop) is no death: the note is taken
back, at once or as soon as the journal can be reached again. A loop that stood still meanwhile is held against the
command: code that blocks would lose its lease for ever. Not here: what follows from the number (consumer.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

from skerry.errors import Fenced, Unavailable
from skerry.journal.journal import JournalWriter

HUNG_SECONDS = 1.0
"""A loop that stood still for so long during an attempt: as if the process had died."""
_AWAY = (Unavailable, OSError, TimeoutError)
_LOOK_SECONDS = 0.1
_PATIENCE_SECONDS = 1.0
_MOST_OWED = 10_000


class Attempts:
    """The notes of one process, which outlives the consumers that make them."""

    def __init__(self, writer: JournalWriter) -> None:
        self._writer = writer
        self._owed: list[str] = []

    async def note(self, claims: Sequence[str]) -> Mapping[str, int]:
        """One more attempt for each; how many there are by now."""
        await self.settle()
        return await self._writer.attempts(claims)

    @asynccontextmanager
    async def survived(self, claims: Sequence[str]) -> AsyncIterator[None]:
        """Around what was noted: when it ends otherwise than by itself, this process has survived it."""
        stillness = _Stillness()
        try:
            yield
        except BaseException as error:
            if _is_no_fault(error) and stillness.longest < HUNG_SECONDS:
                self._owed += claims[: max(0, _MOST_OWED - len(self._owed))]
                await self.settle()
            raise
        finally:
            stillness.end()

    async def settle(self) -> None:
        """Take back what is owed, if the journal can be reached now."""
        owed, self._owed = self._owed, []
        if not owed:
            return
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                await self._writer.survived(owed)
        except BaseException as error:
            self._owed += owed
            if not isinstance(error, _AWAY):
                raise


def _is_no_fault(error: BaseException) -> bool:
    """Whether the interruption came from outside. A handler may raise anything, a CancelledError too."""
    if isinstance(error, asyncio.CancelledError):
        task = asyncio.current_task()
        return task is not None and task.cancelling() > 0
    return isinstance(error, (Fenced, *_AWAY))


class _Stillness:
    """How long the loop stood still at most."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._longest = 0.0
        self._due = self._loop.time()
        self._look()

    @property
    def longest(self) -> float:
        return max(self._longest, self._loop.time() - self._due)

    def end(self) -> None:
        self._timer.cancel()

    def _look(self) -> None:
        self._longest = self.longest
        self._due = self._loop.time() + _LOOK_SECONDS
        self._timer = self._loop.call_at(self._due, self._look)
