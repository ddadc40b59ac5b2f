"""Work under a lease: kept while the work goes on, given back afterwards.

Not here: which lease a process should have, and what is done under it (`reactor`, the consumer's role).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine

from skerry.clock import Clock
from skerry.errors import Disconnected, Fenced, Unavailable
from skerry.journal.journal import JournalPeer, Lease


class Leases:
    """Those of one process, `owner`, of `seconds` each. `connected`: whether the broker is there. `answered_at`: when
    the database last said something about one, on the clock."""

    def __init__(
        self, writer: JournalPeer, owner: str, seconds: float, connected: Callable[[], bool], clock: Clock
    ) -> None:
        self._writer, self._owner, self._seconds = writer, owner, seconds
        self._connected, self._clock = connected, clock
        self._held: set[str] = set()
        self.answered_at = float("-inf")

    async def acquire(self, name: str) -> Lease | None:
        """Take one; None while somebody else holds it."""
        lease = await self._writer.acquire(name, self._owner, self._seconds)
        self.answered_at = self._clock.monotonic()
        return lease

    def has(self, name: str) -> bool:
        """Whether work goes on under a lease of that name which was not lost, as far as is known."""
        return name in self._held

    async def hold(self, lease: Lease | None, **work: Coroutine[object, object, None]) -> None:
        """Do all of this while the lease is ours (None: it takes none); whichever ends first ends the others, and the
        lease is given back. Raises what any of them raised, but for Fenced."""
        tasks = {asyncio.create_task(each, name=f"skerry-{name}") for name, each in work.items()}
        if lease is not None:
            self._held.add(lease.name)
            tasks.add(asyncio.create_task(self._keep(lease), name=f"skerry-keep-{lease.name}"))
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await _end(tasks)
            if lease is not None:
                self._held.discard(lease.name)
                await self._give_back(lease)
        for task in tasks:
            if not task.cancelled() and not isinstance(task.exception(), Fenced | None):
                task.result()

    async def _keep(self, lease: Lease) -> None:
        """Renew it. Raises Fenced when somebody else has it, Disconnected when this process was cut off from the
        database or the broker for as long as a lease: others may not be, and the work is theirs then."""
        try:
            await self._renew(lease)
        except (Fenced, Disconnected):
            self._held.discard(lease.name)
            raise

    async def _renew(self, lease: Lease) -> None:
        well_at = self._clock.monotonic()
        while True:
            await self._clock.sleep(self._seconds / 3)
            try:
                async with asyncio.timeout(self._seconds):  # a silent database is away too
                    renewed = await self.acquire(lease.name)
            except (Unavailable, OSError, TimeoutError) as error:
                away = str(error) or "the database does not answer"
            else:
                if renewed is None or renewed.fence != lease.fence:
                    raise Fenced(lease.name)
                away = "" if self._connected() else "the broker is away"
            if not away:
                well_at = self._clock.monotonic()
            elif self._clock.monotonic() - well_at > self._seconds:
                raise Disconnected(f"{away}; left to others after {self._seconds:g} s")

    async def _give_back(self, lease: Lease) -> None:
        try:
            async with asyncio.timeout(1.0):
                await self._writer.release(lease)
        except (Unavailable, OSError, TimeoutError):
            pass  # it ends by itself


async def _end(tasks: set[asyncio.Task[None]]) -> None:
    """Cancel until it is done: a wait inside that ends at the very moment of a cancellation may swallow it (wait_for
    of Python 3.11 does), and a partition would stand still for ever."""
    while tasks:
        for task in tasks:
            task.cancel()
        _, tasks = await asyncio.wait(tasks, timeout=1.0)
