"""Keeps one session alive: open, run until it is lost, close all of it, back off with jitter, again.

Nothing is repaired in place: whatever fails ends the whole session, so that there is one way to be connected and it
is the way that every start has proved. Not here: what a session is made of.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Generic, Protocol, TypeVar

from skerry.clock import Backoff, Clock
from skerry.errors import Disconnected, SettingsError

log = logging.getLogger("skerry.transport")

_SETTLED_SECONDS = 5.0
"""A session that lived longer was a good one: the next pause starts small again."""


class Session(Protocol):
    """Something connected."""

    @property
    def lost(self) -> asyncio.Future[str]:
        """Done, with the reason, when it is over."""
        ...

    async def close(self, polite: bool = False) -> None:
        """End all of it, in bounded time, whatever state it is in."""
        ...


S = TypeVar("S", bound=Session)


class Supervisor(Generic[S]):
    """`opened` and `lost` are called when a session came or went, in turn."""

    def __init__(
        self,
        what: str,
        open_session: Callable[[], Awaitable[S]],
        opened: Callable[[S], None],
        lost: Callable[[str], None],
        clock: Clock,
        backoff: Backoff | None = None,
    ) -> None:
        self._what, self._open, self._opened, self._lost = what, open_session, opened, lost
        self._clock = clock
        self._backoff = backoff or Backoff(first=0.1, ceiling=5.0)
        self._task: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()
        self.session: S | None = None
        self.failure: Exception = Disconnected("not started")
        """Why there is no session, when there is none."""
        self.opens = 0
        """How many sessions there were."""

    @property
    def running(self) -> bool:
        return self._task is not None

    def start(self) -> None:
        """Begin, if it has not begun; `wait` tells when there is a session."""
        if self._task is None:
            self.failure = Disconnected("connecting")
            self._task = asyncio.get_running_loop().create_task(self._run(), name=f"skerry: {self._what}")

    async def wait(self, seconds: float) -> S:
        """A session that is open now, or opens within `seconds`. Raises Disconnected with the last failure's
        text, or that SettingsError at once which only a person can put right."""
        try:
            async with asyncio.timeout(seconds):
                while self.session is None:
                    if isinstance(self.failure, SettingsError) or self._task is None:
                        raise self.failure
                    self._changed.clear()
                    await self._changed.wait()
                return self.session
        except TimeoutError:
            raise Disconnected(f"no connection within {seconds:g} s: {self.failure}") from self.failure

    async def stop(self) -> None:
        """End the session politely, and never open one again."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait({task})
        self.failure = Disconnected("stopped")
        self._changed.set()

    async def _run(self) -> None:
        """Ends when it is cancelled, also where a library on the way lost the cancellation: hence the looks."""
        while True:
            try:
                session = await self._open()
                if self._task is None:
                    await session.close(polite=True)
                else:
                    await self._live(session)
            except Exception as error:  # the supervisor: whatever it was, it is told, and tried again
                self._note(error)
            if self._task is None:
                return
            await self._clock.sleep(self._backoff.next())

    async def _live(self, session: S) -> None:
        stopping = False
        reason = "stopped"
        began = self._clock.monotonic()
        try:
            self.session, self.opens = session, self.opens + 1
            self._opened(session)
            self._changed.set()
            if self.opens > 1:
                log.info("%s: connected again", self._what)
            reason = await asyncio.shield(session.lost)
            log.warning("%s: connection lost: %s", self._what, reason)
        except asyncio.CancelledError:
            stopping = True
            raise
        finally:
            self.session, self.failure = None, Disconnected(reason)
            self._lost(reason)
            if self._clock.monotonic() - began > _SETTLED_SECONDS:
                self._backoff.reset()
            await session.close(polite=stopping)

    def _note(self, error: Exception) -> None:
        first = str(error) != str(self.failure)
        self.failure = error
        self._changed.set()
        if first:  # the same trouble is said once
            log.warning("%s: cannot connect, trying on: %s", self._what, error)
