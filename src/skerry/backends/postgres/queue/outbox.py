"""Commands on their way into the table: a bounded window of unconfirmed messages, inserted together, tried again.

One statement is under way at a time; what was sent meanwhile goes with the next one, so that messages of a process
stand in the order of `send`, and a slow commit (a synchronous standby far away) makes larger ones. A message is
confirmed by its commit. When that is not known, it is inserted again: the same ids, so that the second has no effect.
After `resend_seconds` it is given up with Disconnected: whether it is durable is then unknown. Not here: who hears it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from skerry.clock import Backoff, Clock
from skerry.errors import Disconnected, Overloaded, SkerryError, Unavailable

Insert = Callable[[Sequence[int], Sequence[bytes]], Awaitable[None]]
"""Insert messages, by their partitions and bodies, durably."""
_MOST_MESSAGES = 1000
_MOST_BYTES = 4 * 1024 * 1024


@dataclass(slots=True, eq=False)
class _Send:
    """What one future waits for: so many messages."""

    future: asyncio.Future[None]
    left: int


@dataclass(slots=True, eq=False)
class _Message:
    partition: int
    body: bytes
    deadline: float
    send: _Send
    tried: bool = False


class Outbox:
    """The window of one process. `inserted(partitions)` is called when messages are durable. Times are the loop's."""

    def __init__(
        self,
        insert: Insert,
        inserted: Callable[[set[int]], None],
        clock: Clock,
        *,
        window: int,
        window_bytes: int,
        resend_seconds: float,
    ) -> None:
        self._insert, self._inserted, self._clock = insert, inserted, clock
        self._window, self._window_bytes, self._resend_seconds = window, window_bytes, resend_seconds
        self._pending: dict[int, _Message] = {}  # by number: in order of sending
        self._numbers = 0
        self._bytes = 0
        self._waiting = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.resent = 0
        """Messages inserted more than once."""
        self.trouble = ""
        """Why the last attempt failed, until one succeeds."""

    @property
    def unconfirmed(self) -> int:
        return len(self._pending)

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run(), name="skerry: commands out")

    async def stop(self, reason: str) -> None:
        """Give up everything that waits."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait({task})
        for number in list(self._pending):
            self._done(number, Disconnected(reason))
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def room(self, messages: int, size_bytes: int) -> Overloaded | None:
        """Why these would not fit now, if so. One send alone always fits."""
        if self._pending and len(self._pending) + messages > self._window:
            return Overloaded(f"{len(self._pending)} messages wait for the database's commit")
        if self._pending and self._bytes + size_bytes > self._window_bytes:
            return Overloaded(f"{self._bytes} bytes wait for the database's commit")
        return None

    def send(self, bodies: Sequence[bytes], partition: int, future: asyncio.Future[None]) -> None:
        """Insert `bodies` in order; `future` is done when all are durable. The caller has asked for `room`."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._resend_seconds
        send = _Send(future, len(bodies))
        for body in bodies:
            self._numbers += 1
            self._pending[self._numbers] = _Message(partition, body, deadline, send)
            self._bytes += len(body)
        self._waiting.set()
        if self._timer is None:
            self._timer = loop.call_at(deadline, self._expire)

    def release(self, reason: str) -> None:
        """Give up what was never tried: it is not in the table."""
        for number, message in list(self._pending.items()):
            if not message.tried:
                self._done(number, Disconnected(reason))

    async def _run(self) -> None:
        backoff = Backoff(0.05, 1.0)
        while True:
            self._waiting.clear()
            batch = self._next()
            if not batch:
                await self._waiting.wait()
                continue
            messages = [self._pending[number] for number in batch]
            self.resent += sum(message.tried for message in messages)
            for message in messages:
                message.tried = True
            try:
                await self._insert([m.partition for m in messages], [m.body for m in messages])
            except Unavailable as error:
                self.trouble = str(error)
                await self._clock.sleep(backoff.next())
                continue
            except SkerryError as error:  # refused: no right, no room
                self.trouble = str(error)
                for number in batch:
                    self._done(number, Disconnected(f"not taken: {error}"))
                continue
            backoff.reset()
            self.trouble = ""
            self._inserted({message.partition for message in messages})
            for number in batch:
                self._done(number, None)

    def _next(self) -> list[int]:
        """The numbers of what is inserted together."""
        batch: list[int] = []
        size = 0
        for number, message in self._pending.items():
            size += len(message.body)
            if batch and (len(batch) >= _MOST_MESSAGES or size > _MOST_BYTES):
                break
            batch.append(number)
        return batch

    def _done(self, number: int, error: Unavailable | None) -> None:
        message = self._pending.pop(number, None)
        if message is None:
            return
        self._bytes -= len(message.body)
        send = message.send
        send.left -= 1
        if send.future.done():
            return
        if error is not None:
            send.future.set_exception(error)
        elif send.left == 0:
            send.future.set_result(None)

    def _expire(self) -> None:
        """Give up what is overdue; deadlines grow with numbers."""
        self._timer = None
        loop = asyncio.get_running_loop()
        now = loop.time()
        for number, message in list(self._pending.items()):
            if message.deadline > now:
                self._timer = loop.call_at(message.deadline, self._expire)
                return
            why = f": {self.trouble}" if self.trouble else ""
            self._done(number, Disconnected(f"not confirmed within {self._resend_seconds:g} s{why}"))
