"""The transport within one process: queues are deques, hints are direct calls, nothing is serialised.

A `MemoryHub` is the "broker"; every `endpoint` of it is a transport of its own, so that one test can hold several
"processes". Hints, answers and announcements reach every listener before `publish`, `answer` and `announce` return,
in order. Not for threads: everything happens in one event loop.
"""

from __future__ import annotations

import itertools
from collections import defaultdict, deque
from collections.abc import Callable

from skerry.backends.endpoint import DEFAULT_WINDOW, Endpoint, Window
from skerry.backends.queues import Message, Queue
from skerry.bus.transport import Announcement
from skerry.errors import LifecycleError
from skerry.journal.hints import Hint
from skerry.journal.journal import Outcome


class MemoryHub:
    """What several endpoints share. `window`: how many commands it holds before `send` is refused."""

    def __init__(self, window: int = DEFAULT_WINDOW) -> None:
        if window < 1:
            raise ValueError(f"window must be at least 1, not {window}")
        self.window = Window(window)
        self.endpoints: dict[str, MemoryTransport] = {}
        self._queues: defaultdict[int, Queue] = defaultdict(Queue)
        self._telling: deque[Callable[[], None]] = deque()
        self._is_telling = False
        self._numbers = itertools.count(1)

    def endpoint(self, name: str = "") -> MemoryTransport:
        """A transport of this hub: one "process". Names are unique among those started."""
        return MemoryTransport(self, name or f"memory-{next(self._numbers)}")

    def inject(self, partition: int, data: bytes) -> None:
        """Queue bytes that are no pack of envelopes, as a foreign publisher could on a broker."""
        self.queue(partition).put(Message([], lambda: None, undecodable=data))

    def queue(self, partition: int) -> Queue:
        return self._queues[partition]

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


class MemoryTransport(Endpoint):
    """One endpoint of a hub. See `skerry.bus.transport.Transport`."""

    def __init__(self, hub: MemoryHub, name: str) -> None:
        super().__init__(name, hub.queue, hub.window)
        self._hub = hub

    async def start(self) -> None:
        """Join the hub. Raises LifecycleError when another endpoint of this name is there."""
        if self._hub.endpoints.setdefault(self._name, self) is not self:
            raise LifecycleError(f"start a second endpoint {self._name!r}", "one of that name runs", ())
        self._started = True

    async def stop(self) -> None:
        """Leave. What this endpoint received and did not acknowledge goes back; what it sent stays queued, and
        its sender gets `Disconnected`."""
        if self._started:
            del self._hub.endpoints[self._name]
            await self._close()

    def publish(self, hint: Hint) -> None:
        def tell() -> None:
            for endpoint in self._reached():
                endpoint._hints.tell(hint)

        self._hub.tell(tell)

    def answer(self, sender: str, outcomes: list[Outcome], epoch: str) -> None:
        def tell() -> None:
            endpoint = self._hub.endpoints.get(sender) if self._started else None
            if endpoint is not None:
                endpoint._answers.tell(outcomes, epoch)

        self._hub.tell(tell)

    def announce(self, announcement: Announcement) -> None:
        def tell() -> None:
            for endpoint in self._reached():
                endpoint._announcements.tell(announcement)

        self._hub.tell(tell)

    def _reached(self) -> list[MemoryTransport]:
        """Everybody, when this endpoint is on; nobody when it is not: hints may be lost."""
        return list(self._hub.endpoints.values()) if self._started else []
