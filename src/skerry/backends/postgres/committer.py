"""The committer of one process: batches that are ready while a commit is under way make up the next one together.

One row orders all commits and is locked until the disk, or a standby, has the commit: batches of several partitions
would wait for it one after the other. Here they wait for it together. A batch that is alone is committed at once, by
its own task. One that the database refuses, as its lease was lost or as another writer was quicker, is taken out, and
the others are written; a commit whose outcome is unknown is unknown to all of them.
Not here: how a batch is opened (batch.py), what goes together (gathered.py).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import asyncpg

from skerry.backends.postgres.gathered import Gathered, Ready, as_of, gathered
from skerry.backends.postgres.room import Room
from skerry.backends.postgres.session import Session, committing
from skerry.errors import Conflict, Corrupt, Disconnected, Fenced, SkerryError, Unavailable
from skerry.position import Position

_FENCED, _MOVED, _SOME = -2, -3, -4
_CROWDED = 8
_XMIN = 0xFFFF_FFFF
"""A row knows so much of the id of the transaction that wrote it."""
_NOT_ALL_MOVED = "skerry: moved"
"""What `flush_and_move` says when it deleted other rows than it was to."""
_SHARE = 0.25
"""Of the last commit's time: so long those who took part in it are waited for."""
_LEAST_SECONDS = 0.001
"""A shorter wait is none: timers are no finer."""


@dataclass(slots=True, eq=False)
class _Waiting:
    """A batch that is ready, and where its base will be told."""

    ready: Ready
    base: asyncio.Future[int]

    def tell(self, base: int) -> None:
        if not self.base.done():
            self.base.set_result(base)

    def refuse(self, error: Exception) -> None:
        if not self.base.done():
            self.base.set_exception(error)


class Committer:
    """Commits for all batches of one process."""

    def __init__(self, room: Room) -> None:
        self.room = room
        self._waiting: deque[_Waiting] = deque()
        self._arrived = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._is_busy = False
        self._took_seconds = 0.0
        self._ended_at = float("-inf")
        self._took_part = 0

    async def commit(self, ready: Ready) -> int:
        """Write a batch durably; its base. Raises as `Batch.commit`."""
        waiting = _Waiting(ready, asyncio.get_running_loop().create_future())
        if not self._is_busy and not self._patience(1):
            self._is_busy = True
            try:
                await self._commit([waiting])
            finally:
                self._go_on()
        else:
            self._waiting.append(waiting)
            self._arrived.set()
            if not self._is_busy:
                self._go_on()
        try:
            return await waiting.base
        except asyncio.CancelledError:
            if waiting in self._waiting:
                self._waiting.remove(waiting)
            raise

    async def close(self) -> None:
        """Give up what is under way, whose outcome is unknown then, and what waits."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait({task})
        while self._waiting:
            self._waiting.popleft().refuse(Disconnected("this journal is not open"))

    # --- one after the other

    def _go_on(self) -> None:
        """No commit is under way: let those that wait have theirs."""
        self._is_busy = bool(self._waiting)
        if self._is_busy:
            self._task = asyncio.get_running_loop().create_task(self._run(), name="skerry: commits")

    async def _run(self) -> None:
        try:
            while self._waiting:
                await self._be_patient()
                together, met = self._next()
                try:
                    await self._commit(together)
                finally:
                    for waiting in met:
                        waiting.refuse(_overtaken())
                    for waiting in together:  # it was cancelled, or broke
                        waiting.refuse(Disconnected("the commit was given up"))
        finally:
            self._go_on()

    def _patience(self, ready: int) -> float:
        """Seconds for which `ready` batches are to wait for others that took part in the last commit, which come again
        when they have decided what they took meanwhile. Without that, the first one to come goes alone and all others
        wait for it, again and again: half the commits would be of a single batch."""
        if ready >= self._took_part:
            return 0.0
        left = self._ended_at + self._took_seconds * _SHARE - asyncio.get_running_loop().time()
        return left if left >= _LEAST_SECONDS else 0.0

    async def _be_patient(self) -> None:
        while seconds := self._patience(len(self._waiting)):
            self._arrived.clear()
            try:
                async with asyncio.timeout(seconds):
                    await self._arrived.wait()
            except TimeoutError:
                return

    def _next(self) -> tuple[list[_Waiting], list[_Waiting]]:
        """What is committed together, from the front; and what meets another one of it, and has to look again once that
        is written."""
        together, met, parts = list[_Waiting](), list[_Waiting](), Gathered()
        while self._waiting and parts.has_room(self._waiting[0].ready):
            waiting = self._waiting.popleft()
            if parts.meets(waiting.ready):
                met.append(waiting)
            else:
                parts.add(waiting.ready)
                together.append(waiting)
        return together, met

    # --- one commit

    async def _commit(self, together: Sequence[_Waiting]) -> None:
        """Each of these is told its base, or why it has none."""
        time = asyncio.get_running_loop().time
        began = time()
        try:
            await self._write(together)
        finally:
            self._ended_at = time()
            self._took_seconds = self._ended_at - began
            self._took_part = len(together) + len(self._waiting)

    async def _write(self, together: Sequence[_Waiting]) -> None:
        left = self._still_right(together)
        if not left:
            return
        try:
            async with self.room.connections.one() as connection:
                with committing(connection):
                    while left:
                        parts = gathered([waiting.ready for waiting in left])
                        told = await self._at_once(connection, parts)
                        if told[0] >= 0:
                            break
                        left = _without_refused(left, told)
        except BaseException as error:
            self.room.recent.forget()
            if not isinstance(error, (SkerryError, ValueError, TypeError)):
                raise
            is_one = len(left) == 1
            if is_one or (isinstance(error, (Unavailable, Corrupt)) and not isinstance(error, Conflict)):
                for waiting in left:
                    waiting.refuse(error)
                return
            for waiting in left:  # it is not known whose fault it was
                await self._write([waiting])
            return
        if left:
            self._note(parts, told[0], told[1])
            for waiting, before in zip(left, parts.befores, strict=True):
                waiting.tell(told[0] + before)

    def _still_right(self, together: Sequence[_Waiting]) -> list[_Waiting]:
        """Those whose memory holds after what was committed meanwhile; the others are told."""
        left = []
        for waiting in together:
            still = as_of(waiting.ready, self.room.recent)
            if still is None:
                waiting.refuse(_overtaken())
            else:
                waiting.ready = still
                left.append(waiting)
        return left

    def _note(self, parts: Gathered, base: int, wrote: int) -> None:
        room, epoch = self.room, parts.parts[0].position.epoch
        if parts.events:
            room.note_seen(Position(epoch, base + parts.events), parts.last_id)
        if any(part.moves for part in parts.parts):
            room.wrote = wrote
        for part, before in zip(parts.parts, parts.befores, strict=True):
            room.recent.committed(Position(epoch, base + before), part.writes, part.places)

    async def _at_once(self, connection: Session, parts: Gathered) -> list[int]:
        """Flush and commit: one statement, more where events are amended."""
        if not any(part.writes.amendments for part in parts.parts):
            return await self._flush(connection, parts)
        async with connection.transaction():
            told = await self._flush(connection, parts)
            if told[0] >= 0:
                await self._amend(connection, parts, told[0])
        return told

    async def write_within(self, connection: Session, ready: Ready) -> tuple[int, int]:
        """Write one batch into the transaction that is open there (SQL mode); its base, and the transaction's id."""
        still = as_of(ready, self.room.recent)
        if still is None:
            raise _overtaken()
        parts = gathered([still])
        told = await self._flush(connection, parts)
        if told[0] < 0:
            raise _refusal(ready, told[-1])
        await self._amend(connection, parts, told[0])
        base, wrote = told
        return base, wrote

    def committed(self, ready: Ready, base: int, wrote: int) -> None:
        """Told when that transaction was committed."""
        self._note(gathered([ready]), base, wrote)

    async def _amend(self, connection: Session, parts: Gathered, base: int) -> None:
        statement = self.room.statements["amend"]
        for part, before in zip(parts.parts, parts.befores, strict=True):
            for new in part.writes.amendments:
                values = {
                    "offset": new.offset,
                    "by": base + before + new.events_before,
                    "name": new.name,
                    "version": new.version,
                    "data": new.data.decode(),
                }
                await connection.execute(statement.sql, *statement.arguments(values))

    async def _flush(self, connection: Session, parts: Gathered) -> list[int]:
        """Write them where all may be written; what the function in `migrations/0004.sql` tells. Raises Conflict where
        that does not say whose fault it is."""
        room = self.room
        statement = room.statements.flush(parts.shape)
        values = parts.values(room.clock.now())
        values["wrote"] = str(room.wrote & _XMIN) if parts.is_recalled and room.wrote is not None else None
        values["seen"], values["seen_id"] = room.seen[0].offset, room.seen[1]
        is_checked = room.crowded > 0 or parts.position is None
        while True:
            values.update(parts.evidence(wanted=is_checked))
            try:
                told: list[int] = await connection.fetchval(statement.sql, *statement.arguments(values))
            except asyncpg.UniqueViolationError as error:
                if error.table_name == f"{room.statements.namespace}__outcome":
                    raise Conflict("another writer decided one of these commands") from error
                raise
            except asyncpg.InvalidTextRepresentationError as error:
                if _NOT_ALL_MOVED in str(error):
                    raise Conflict("another one has moved some of these rows of the intake") from error
                raise
            if told[0] != _MOVED:
                break
            is_checked = True
            room.crowded = _CROWDED
        if told[0] < 0 and parts.is_recalled:
            room.recent.forget()
            room.crowded = _CROWDED
        elif is_checked and parts.position is not None:
            room.crowded = room.crowded - 1 if told[0] == parts.position.offset else _CROWDED
        return told


def _without_refused(left: Sequence[_Waiting], told: list[int]) -> list[_Waiting]:
    """Those that may be written; the others are told."""
    each = told[1:] if told[0] == _SOME else told * len(left)
    for waiting, verdict in zip(left, each, strict=True):
        if verdict < 0:
            waiting.refuse(_refusal(waiting.ready, verdict))
    return [waiting for waiting, verdict in zip(left, each, strict=True) if verdict >= 0]


def _overtaken() -> Conflict:
    return Conflict("another batch of this process was quicker")


def _refusal(ready: Ready, verdict: int) -> SkerryError:
    if verdict == _FENCED and ready.lease is not None:
        return Fenced(ready.lease.name)
    return Conflict("another writer was quicker, or a new epoch has to begin")
