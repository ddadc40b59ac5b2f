"""The transport within one process: queues are deques, hints are direct calls, nothing is serialised.

A `MemoryHub` is the "broker"; every `endpoint` of it is a transport of its own, so that one test can hold several
"processes". A command is as durable as the process: `send` resolves when its delivery was acknowledged, that is,
after the commit. Hints, answers and announcements reach every listener before `publish`, `answer` and `announce`
return, in order. Not for threads: everything happens in one event loop.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from skerry.backends.listeners import Listeners
from skerry.bus.transport import Announcement, Commands, Delivery, Hint
from skerry.errors import Disconnected, LifecycleError, Overloaded
from skerry.journal.journal import Outcome
from skerry.messages.envelope import Envelope

DEFAULT_WINDOW = 10_000
"""Commands that one hub holds at most, waiting and unacknowledged together."""


@dataclass(slots=True, eq=False)
class _Message:
    envelopes: list[Envelope]
    undecodable: bytes | None = None
    done: asyncio.Future[None] | None = None
    redelivered: bool = False


@dataclass(slots=True, eq=False)
class _Queue:
    """One partition: what waits, and who may take it (the first of the consumers)."""

    waiting: deque[_Message] = field(default_factory=deque)
    consumers: list[MemoryCommands] = field(default_factory=list)

    def wake(self) -> None:
        if self.waiting and self.consumers:
            self.consumers[0].wake()


class MemoryHub:
    """What several endpoints share. `window`: how many commands it holds before `send` is refused."""

    def __init__(self, window: int = DEFAULT_WINDOW) -> None:
        if window < 1:
            raise ValueError(f"window must be at least 1, not {window}")
        self.window = window
        self.held = 0
        self.endpoints: dict[str, MemoryTransport] = {}
        self._queues: dict[int, _Queue] = {}
        self._telling: deque[Callable[[], None]] = deque()
        self._is_telling = False
        self._numbers = itertools.count(1)
        self.tags = itertools.count(1)

    def endpoint(self, name: str = "") -> MemoryTransport:
        """A transport of this hub: one "process". Names are unique among those started."""
        return MemoryTransport(self, name or f"memory-{next(self._numbers)}")

    def inject(self, partition: int, data: bytes) -> None:
        """Queue bytes that are no pack of envelopes, as a foreign publisher could on a broker."""
        self.put(partition, _Message([], undecodable=data))

    def queue(self, partition: int) -> _Queue:
        found = self._queues.get(partition)
        if found is None:
            found = self._queues[partition] = _Queue()
        return found

    def put(self, partition: int, message: _Message) -> None:
        queue = self.queue(partition)
        queue.waiting.append(message)
        self.held += len(message.envelopes)
        queue.wake()

    def tell(self, call: Callable[[], None]) -> None:
        """Run `call`, after those that are being run: what a listener publishes comes after what it hears."""
        self._telling.append(call)
        if self._is_telling:
            return
        self._is_telling = True
        try:
            while self._telling:
                self._telling.popleft()()
        finally:
            self._is_telling = False


class MemoryTransport:
    """One endpoint of a hub. See `skerry.bus.transport.Transport`."""

    def __init__(self, hub: MemoryHub, name: str) -> None:
        self._hub = hub
        self._name = name
        self._started = False
        self._pending: set[asyncio.Future[None]] = set()
        self._open: set[MemoryCommands] = set()
        self._hints: Listeners[[Hint]] = Listeners()
        self._answers: Listeners[[list[Outcome], str]] = Listeners()
        self._announcements: Listeners[[Announcement]] = Listeners()

    @property
    def name(self) -> str:
        return self._name

    @property
    def connected(self) -> bool:
        return self._started

    @property
    def accepts_early(self) -> bool:
        return False

    async def start(self) -> None:
        """Join the hub. Raises LifecycleError when another endpoint of this name is there."""
        if self._hub.endpoints.setdefault(self._name, self) is not self:
            raise LifecycleError(f"start a second endpoint {self._name!r}", "one of that name runs", ())
        self._started = True

    async def stop(self) -> None:
        """Leave. What this endpoint received and did not acknowledge goes back; what it sent stays queued, and
        whoever waits for it gets `Disconnected`."""
        self._started = False
        self._hub.endpoints.pop(self._name, None)
        for commands in list(self._open):
            await commands.close()
        for future in list(self._pending):
            if not future.done():
                future.set_exception(Disconnected("this transport was stopped"))
        self._pending.clear()

    def send(self, envelopes: list[Envelope], partition: int) -> Awaitable[None]:
        """Queue them; the future resolves when they were acknowledged. Errors come through the future."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        hub = self._hub
        if not self._started:
            future.set_exception(Disconnected("this transport is not started"))
        elif not envelopes:
            future.set_result(None)
        elif hub.held and hub.held + len(envelopes) > hub.window:
            future.set_exception(Overloaded(f"{hub.held} commands wait in memory, the limit is {hub.window}"))
        else:
            self._pending.add(future)
            future.add_done_callback(self._pending.discard)
            hub.put(partition, _Message(envelopes, done=future))
        return future

    async def commands(self, partition: int) -> Commands:
        """Raises `Disconnected` when not started. A second consumer of a partition waits for the first to go."""
        if not self._started:
            raise Disconnected("this transport is not started")
        commands = MemoryCommands(self._hub, partition, self._open.discard)
        self._open.add(commands)
        return commands

    def publish(self, hint: Hint) -> None:
        def tell() -> None:
            for endpoint in self._reached():
                endpoint._hints.tell(hint)

        self._hub.tell(tell)

    def subscribe(self, listener: Callable[[Hint], None]) -> Callable[[], None]:
        return self._hints.add(listener)

    def answer(self, sender: str, outcomes: list[Outcome], epoch: str) -> None:
        def tell() -> None:
            endpoint = self._hub.endpoints.get(sender) if self._started else None
            if endpoint is not None:
                endpoint._answers.tell(outcomes, epoch)

        self._hub.tell(tell)

    def answers(self, listener: Callable[[list[Outcome], str], None]) -> Callable[[], None]:
        return self._answers.add(listener)

    def announce(self, announcement: Announcement) -> None:
        def tell() -> None:
            for endpoint in self._reached():
                endpoint._announcements.tell(announcement)

        self._hub.tell(tell)

    def announcements(self, listener: Callable[[Announcement], None]) -> Callable[[], None]:
        return self._announcements.add(listener)

    def _reached(self) -> list[MemoryTransport]:
        """Everybody, when this endpoint is on; nobody when it is not: hints may be lost."""
        return list(self._hub.endpoints.values()) if self._started else []


class MemoryCommands:
    """A consumer's end of one partition of a hub."""

    def __init__(self, hub: MemoryHub, partition: int, closed: Callable[[MemoryCommands], None]) -> None:
        self._hub = hub
        self._partition = partition
        self._closed = closed
        self._queue = hub.queue(partition)
        self._queue.consumers.append(self)
        self._unacked: dict[int, _Message] = {}
        self._wakeup: asyncio.Future[None] | None = None
        self._is_open = True

    def wake(self) -> None:
        if self._wakeup is not None and not self._wakeup.done():
            self._wakeup.set_result(None)

    async def receive(self, max_commands: int) -> list[Delivery]:
        """As the contract says; waits as well while another consumer of the partition is active."""
        while True:
            if not self._is_open:
                raise Disconnected(f"the commands of partition {self._partition} were closed")
            if self._queue.waiting and self._queue.consumers[0] is self:
                return self._take(max_commands)
            self._wakeup = asyncio.get_running_loop().create_future()
            try:
                await self._wakeup
            finally:
                self._wakeup = None

    def _take(self, max_commands: int) -> list[Delivery]:
        taken: list[Delivery] = []
        count = 0
        waiting = self._queue.waiting
        while waiting and (not taken or count + len(waiting[0].envelopes) <= max_commands):
            message = waiting.popleft()
            count += len(message.envelopes)
            tag = next(self._hub.tags)
            self._unacked[tag] = message
            taken.append(Delivery(message.envelopes, message.redelivered, message.undecodable, tag))
        return taken

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        for delivery in deliveries:
            message = self._unacked.pop(delivery.tag, None)
            if message is None:
                continue
            self._hub.held -= len(message.envelopes)
            if message.done is not None and not message.done.done():
                message.done.set_result(None)

    async def close(self) -> None:
        if not self._is_open:
            return
        self._is_open = False
        self._queue.consumers.remove(self)
        for message in reversed(self._unacked.values()):
            message.redelivered = True
            self._queue.waiting.appendleft(message)
        self._unacked.clear()
        self._closed(self)
        self.wake()
        self._queue.wake()
