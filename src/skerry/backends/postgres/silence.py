"""Whether a server that does not answer is still working: it is asked over another connection.

A commit may wait for a lock or a standby for a long time, and the connection that it waits on may be dead for as long
without anybody noticing (a pooler that hangs, a network that swallows what it acknowledged). So a statement without
an answer for some seconds is looked for in pg_stat_activity. Where the server is silent too, or another one by now, or
does nothing in that session, its connection is given up. Not here: what the sockets notice by themselves (dialing.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection

import asyncpg

from skerry.backends.postgres.dialing import FAILS, NoneAnswered
from skerry.backends.postgres.role import ServerRole
from skerry.backends.postgres.session import Session

_WORKING = (
    "select pid from pg_stat_activity where pid = any($1::integer[]) and coalesce(state, '') not like 'idle%'"
)
_ALIVE = ("28", "53")
"""Classes of errors of a server that answers, though not to us: it is full, or lets us in no more."""
_SILENT = "PostgreSQL went silent"


class SilenceWatch:
    """Looks after the sessions of `used` that wait for longer than `seconds`, by sessions that `connect` opens."""

    def __init__(
        self,
        used: Collection[Session],
        connect: Callable[[], Awaitable[Session]],
        seconds: float,
        patience: float,
    ) -> None:
        self._used, self._connect = used, connect
        self._seconds, self._patience = seconds, patience
        self._timer: asyncio.TimerHandle | None = None
        self._asking: asyncio.Task[None] | None = None
        self._answered: ServerRole | None = None

    def begin(self) -> None:
        """Look from now on, as long as any session is in use."""
        if self._timer is None and self._asking is None:
            self._timer = asyncio.get_running_loop().call_later(self._seconds / 3, self._look)

    async def end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        asking, self._asking = self._asking, None
        if asking is not None:
            asking.cancel()
            await asyncio.wait({asking})

    def _look(self) -> None:
        self._timer = None
        now = asyncio.get_running_loop().time()
        late = [s for s in self._used if s.waiting_since is not None and now - s.asked_at >= self._seconds]
        if late:
            self._asking = asyncio.create_task(self._ask(late), name="skerry-postgres-silence")
        elif self._used:
            self.begin()

    async def _ask(self, late: list[Session]) -> None:
        since = {session: session.waiting_since for session in late}
        try:
            working = await self._working(late)
        finally:
            self._asking = None
        now = asyncio.get_running_loop().time()
        for session in late:
            if session.waiting_since is None or session.waiting_since != since[session]:
                continue  # it was answered meanwhile
            if session in working:
                session.asked_at = now
            elif session.idle_since == session.waiting_since or not self._may_answer(session):
                session.give_up(_SILENT)
            else:  # perhaps its answer is on the way: once more
                session.idle_since = session.waiting_since
        if self._used:
            self.begin()

    async def _working(self, late: list[Session]) -> list[Session]:
        """Those that the server works for, or may."""
        self._answered = None
        try:
            async with asyncio.timeout(self._patience):
                asked = await self._connect()
                try:
                    found = await asked.fetch(_WORKING, [session.role.backend for session in late])
                finally:
                    asked.terminate()
        except NoneAnswered as error:
            if any(
                isinstance(e, asyncpg.PostgresError) and e.sqlstate[:2] in _ALIVE for _, e in error.errors
            ):
                return late
            return []
        except FAILS:
            return []
        self._answered = asked.role
        pids = {row[0] for row in found}
        return [session for session in late if session.role.backend in pids and self._may_answer(session)]

    def _may_answer(self, session: Session) -> bool:
        """Whether the server that was asked is the session's, and has not been started anew since."""
        mine, there = session.role, self._answered
        return there is not None and (mine.system, mine.started_microseconds) == (
            there.system,
            there.started_microseconds,
        )
