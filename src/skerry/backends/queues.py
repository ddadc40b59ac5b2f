"""Queues within a process: commands of one partition, who may take them, and what was taken and not acknowledged.

A message leaves its queue by an acknowledgement only. A consumer that closes gives back what it holds, first and
marked as redelivered. Several may stand in line for a partition; the first of them gets everything. Pure: no socket
and no task; `wake` callbacks tell that something may be taken.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial

from skerry.messages.envelope import Envelope


@dataclass(slots=True, eq=False)
class Message:
    """Commands that were sent together. `confirm` is called once, when they are acknowledged."""

    envelopes: list[Envelope]
    confirm: Callable[[], None]
    redelivered: bool = False
    undecodable: bytes | None = None
    size_bytes: int = 0

    @property
    def commands(self) -> int:
        return max(1, len(self.envelopes))


@dataclass(slots=True, eq=False)
class Queue:
    """One partition. `tags` number what its consumers take: one's tag means nothing to another."""

    waiting: deque[Message] = field(default_factory=deque)
    line: list[Consumer] = field(default_factory=list)
    tags: Iterator[int] = field(default_factory=partial(itertools.count, 1))

    def put(self, message: Message) -> None:
        self.waiting.append(message)
        if self.line:
            self.line[0].wake()


class Consumer:
    """One in the line of a queue. `wake` is called when it may take something; it may be called in vain."""

    def __init__(self, queue: Queue, wake: Callable[[], None]) -> None:
        self._queue, self.wake = queue, wake
        self._held: dict[int, Message] = {}
        self.closed = False
        queue.line.append(self)

    def take(self, most: int) -> list[tuple[int, Message]]:
        """What waits, up to `most` commands but at least one message; empty when nothing does, or it is not
        this consumer's turn."""
        queue = self._queue
        if self.closed or not queue.waiting or queue.line[0] is not self:
            return []
        taken: list[tuple[int, Message]] = []
        count = 0
        while queue.waiting and (not taken or count + queue.waiting[0].commands <= most):
            message = queue.waiting.popleft()
            count += message.commands
            tag = next(queue.tags)
            self._held[tag] = message
            taken.append((tag, message))
        return taken

    def ack(self, tags: Iterable[int]) -> None:
        """These are done; unknown tags (of a consumer before this one) mean nothing."""
        for tag in tags:
            message = self._held.pop(tag, None)
            if message is not None:
                message.confirm()

    def close(self) -> None:
        """Leave the line and give back what was not acknowledged. Harmless when repeated."""
        if self.closed:
            return
        self.closed = True
        queue = self._queue
        queue.line.remove(self)
        for message in reversed(self._held.values()):
            message.redelivered = True
            queue.waiting.appendleft(message)
        self._held.clear()
        if queue.line and queue.waiting:
            queue.line[0].wake()
