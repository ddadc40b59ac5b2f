"""Commands on their way out: a bounded window of unconfirmed messages, confirmed in any order, sent again.

`send` writes at once and gives a future; nothing here is a task. When the link is lost, what was not confirmed stays
and is written again, in order, to the next link: the same ids, so that what the broker had already is a duplicate and
has no effect. After `resend_seconds` a message is given up with Disconnected: whether it is durable is then unknown.
Between two links `hold` keeps what is sent for the next one.

A nack is a known limit (somebody's max-length) where this link has had a message of the partition confirmed: the
queue's leader is there and says no, and the message fails as Overloaded, "not taken". Anything else is doubt, as a
channel that knows a leader which died says the same: the partition is written to no more, what was refused waits, and
`doubt` is told once nothing of it is under way. It answers by ending the link (all is sent again) or by `limit`.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from skerry.errors import Disconnected, Overloaded, Unavailable

Write = Callable[[int, bytes], None]
"""Write a message body to a partition, on a channel with confirms."""
LIMIT_SECONDS = 30.0
"""How long a limit is believed before a nack is doubted again."""
_FULL = "not taken: the queue of partition {} is at a limit that somebody set on it"


@dataclass(slots=True, eq=False)
class _Send:
    """What one future waits for: `left` of `total` messages."""

    future: asyncio.Future[None]
    total: int
    left: int


@dataclass(slots=True, eq=False)
class _Message:
    """`unsure`: it was written to a link that was lost before it said anything, so it may be in the queue."""

    number: int
    partition: int
    body: bytes
    deadline: float
    send: _Send
    written: bool = False
    unsure: bool = False


class Publisher:
    """The window of one process over all partitions. Times are the loop's."""

    def __init__(self, window: int, window_bytes: int, resend_seconds: float) -> None:
        self._window, self._window_bytes, self._resend_seconds = window, window_bytes, resend_seconds
        self._pending: dict[int, _Message] = {}  # by number: in order of sending
        self._tags: dict[int, _Message] = {}  # by delivery tag of the present channel
        self._under_way: Counter[int] = Counter()  # written and not confirmed, by partition
        self._proved: set[int] = set()  # partitions of which the present channel had a message confirmed
        self._refused: dict[int, list[_Message]] = {}  # in doubt, by partition
        self._limited: dict[int, float] = {}  # partitions that are at a limit, until when it is believed
        self._numbers = 0
        self._tag = 0
        self._bytes = 0
        self._write: Write | None = None
        self._doubt: Callable[[int], None] = lambda partition: None
        self._holding = False
        self._timer: asyncio.TimerHandle | None = None
        self.resent = 0
        """Messages written more than once."""
        self.confirmed = 0
        """Messages that the broker took or refused."""
        self.refusal = ""
        """What the latest nack meant, until a message of its partition is taken."""
        self._refusal_of = -1
        self.refused_at = float("-inf")

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
        if self._write is None and not self._holding:
            future.set_exception(Disconnected("the broker is away"))
            return
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._resend_seconds
        send = _Send(future, len(bodies), len(bodies))
        for body in bodies:
            self._numbers += 1
            message = _Message(self._numbers, partition, body, deadline, send)
            self._pending[message.number] = message
            self._bytes += len(body)
            self._put(message)
        if self._timer is None:
            self._timer = loop.call_at(deadline, self._expire)

    def attach(self, write: Write, doubt: Callable[[int], None] | None = None) -> None:
        """A channel came, its first delivery tag will be 1: everything unconfirmed is written again. `doubt(partition)`
        is called when it refuses that partition's messages and it is not known why."""
        self._forget()
        self._write, self._tag, self._holding = write, 0, False
        self._doubt = doubt or (lambda partition: None)
        for message in list(self._pending.values()):
            self._put(message)

    def detach(self) -> None:
        """The channel went; its tags mean nothing any more."""
        self._write = None
        lost = list(self._tags.values())
        for partition, refused in self._refused.items():
            last = max((message.number for message in lost if message.partition == partition), default=0)
            for message in refused:
                if message.number < last:  # it must not come behind one that may have been taken
                    self._done(message, self._not_taken(message))
        for message in lost:
            message.unsure = True
        self._forget()

    def hold(self) -> None:
        """Keep what is sent although there is no channel, until `attach` or `release`."""
        self._holding = self._write is None

    def release(self) -> None:
        """No channel came in time: what was sent since fails, as it was never written."""
        if not self._holding:
            return
        self._holding = False
        for message in list(self._pending.values()):
            if not message.written:
                self._done(message, Disconnected("the broker is away"))

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
            self._under_way[message.partition] -= 1
            if taken:
                self._taken(message)
            else:
                self._nacked(message)

    def limit(self, partition: int) -> None:
        """The doubt is over: the queue's leader is there, and refuses. What was refused was not taken."""
        self._limited[partition] = asyncio.get_running_loop().time() + LIMIT_SECONDS
        self._settle(partition)

    def stop(self, reason: str) -> None:
        """Give up everything that waits."""
        self._holding = False
        self._write = None
        self._forget()
        for message in list(self._pending.values()):
            self._done(message, Disconnected(reason))
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _forget(self) -> None:
        """All that is known of a channel."""
        self._tags.clear()
        self._under_way.clear()
        self._proved.clear()
        self._refused.clear()
        self._limited.clear()

    def _put(self, message: _Message) -> None:
        partition = message.partition
        if self._write is None or partition in self._refused:
            return  # it goes out with the next channel, or when the doubt is over
        self.resent += message.written
        message.written = True
        self._tag += 1
        self._tags[self._tag] = message
        self._under_way[partition] += 1
        self._write(partition, message.body)

    def _taken(self, message: _Message) -> None:
        partition = message.partition
        self._proved.add(partition)
        self._limited.pop(partition, None)
        if partition == self._refusal_of:
            self.refusal, self._refusal_of = "", -1
        self._done(message, None)
        if partition in self._refused:
            self._settle(partition)

    def _nacked(self, message: _Message) -> None:
        partition = message.partition
        now = asyncio.get_running_loop().time()
        self.refused_at, self._refusal_of = now, partition
        if partition in self._proved or now < self._limited.get(partition, 0.0):
            self.refusal = _FULL.format(partition)
            self._done(message, self._not_taken(message))
            return
        self.refusal = f"the broker refuses commands of partition {partition} (nack)"
        self._refused.setdefault(partition, []).append(message)
        if not self._under_way[partition]:
            self._doubt(partition)

    def _settle(self, partition: int) -> None:
        """It is known now that the queue was there: what was refused was not taken, what waits behind it goes out."""
        refused = self._refused.pop(partition, [])
        numbers = {message.number for message in refused}
        written = {message.number for message in self._tags.values()}
        for message in refused:
            self._done(message, self._not_taken(message))
        for message in list(self._pending.values()):
            if message.partition == partition and message.number not in numbers | written:
                self._put(message)

    @staticmethod
    def _not_taken(message: _Message) -> Unavailable:
        """How a refused message fails: nothing of its send was taken, or that is not known."""
        text = _FULL.format(message.partition)
        if message.unsure or message.send.total > 1:
            return Disconnected(f"the broker refused a part: {text}")
        return Overloaded(text)

    def _done(self, message: _Message, error: Unavailable | None) -> None:
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
