"""Commands on their way out: a bounded window of unconfirmed messages, confirmed in any order, sent again.

`send` writes at once and gives a future; nothing here is a task. When the link is lost, what was not confirmed stays
and is written again, in order, to the next link: the same ids, so that what the broker had already is a duplicate and
has no effect. After `resend_seconds` a message is given up with Disconnected: whether it is durable is then unknown.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from skerry.errors import Disconnected, Overloaded

Write = Callable[[int, bytes], None]
"""Write a message body to a partition, on a channel with confirms."""


@dataclass(slots=True, eq=False)
class _Send:
    """What one future waits for: `left` messages."""

    future: asyncio.Future[None]
    left: int


@dataclass(slots=True, eq=False)
class _Message:
    number: int
    partition: int
    body: bytes
    deadline: float
    send: _Send


class Publisher:
    """The window of one process over all partitions. `resend_seconds` by the loop's clock."""

    def __init__(self, window: int, window_bytes: int, resend_seconds: float) -> None:
        self._window, self._window_bytes, self._resend_seconds = window, window_bytes, resend_seconds
        self._pending: dict[int, _Message] = {}  # by number: in order of sending
        self._tags: dict[int, _Message] = {}  # by delivery tag of the present channel
        self._numbers = 0
        self._tag = 0
        self._bytes = 0
        self._write: Write | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.resent = 0
        """Messages written more than once."""
        self.confirmed = 0
        """Messages that the broker took or refused."""

    @property
    def unconfirmed(self) -> int:
        return len(self._pending)

    @property
    def awaited(self) -> int:
        """Confirms that the present channel still owes."""
        return len(self._tags)

    def room(self, messages: int, size_bytes: int) -> Overloaded | None:
        """Why these would not fit now, if so. One send alone always fits."""
        if self._pending and len(self._pending) + messages > self._window:
            return Overloaded(f"{len(self._pending)} messages wait for the broker's confirm")
        if self._pending and self._bytes + size_bytes > self._window_bytes:
            return Overloaded(f"{self._bytes} bytes wait for the broker's confirm")
        return None

    def send(self, bodies: list[bytes], partition: int, future: asyncio.Future[None]) -> None:
        """Write `bodies` in order; `future` is done when all are confirmed. The caller has asked for `room`."""
        if self._write is None:
            future.set_exception(Disconnected("the broker is away"))
            return
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._resend_seconds
        send = _Send(future, len(bodies))
        for body in bodies:
            self._numbers += 1
            message = _Message(self._numbers, partition, body, deadline, send)
            self._pending[message.number] = message
            self._bytes += len(body)
            self._put(message)
        if self._timer is None:
            self._timer = loop.call_at(deadline, self._expire)

    def attach(self, write: Write) -> None:
        """A channel came, its first delivery tag will be 1: everything unconfirmed is written again."""
        self._write, self._tag = write, 0
        self._tags.clear()
        for message in list(self._pending.values()):
            self.resent += 1
            self._put(message)

    def detach(self) -> None:
        """The channel went; its tags mean nothing any more."""
        self._write = None
        self._tags.clear()

    def confirm(self, tag: int, multiple: bool, taken: bool) -> None:
        """The broker took, or refused, the message `tag` (and all before it)."""
        if multiple:
            found = []
            for known in self._tags:
                if known > tag:
                    break
                found.append(known)
        else:
            found = [tag]
        for known in found:
            message = self._tags.pop(known, None)
            if message is None:
                continue
            self.confirmed += 1
            error = None if taken else Disconnected("the broker refused the message (nack)")
            self._done(message, error)

    def stop(self, reason: str) -> None:
        """Give up everything that waits."""
        self.detach()
        for message in list(self._pending.values()):
            self._done(message, Disconnected(reason))
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _put(self, message: _Message) -> None:
        assert self._write is not None
        self._tag += 1
        self._tags[self._tag] = message
        self._write(message.partition, message.body)

    def _done(self, message: _Message, error: Disconnected | None) -> None:
        if self._pending.pop(message.number, None) is None:
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
        for message in list(self._pending.values()):
            if message.deadline > now:
                self._timer = loop.call_at(message.deadline, self._expire)
                return
            self._done(message, Disconnected(f"not confirmed within {self._resend_seconds:g} s"))
