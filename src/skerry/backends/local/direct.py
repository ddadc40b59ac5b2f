"""The hub's own process takes part without a wire: envelopes are passed as objects, listeners are called at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from skerry.backends.listeners import Listeners
from skerry.backends.local.hub import Hub
from skerry.backends.local.queues import Consumer, Message
from skerry.bus.transport import Announcement, Commands, Delivery, Hint
from skerry.errors import Disconnected, LifecycleError, Overloaded
from skerry.journal.journal import Outcome
from skerry.messages.envelope import Envelope


class DirectTransport:
    """One name at a hub in this process. See `skerry.bus.transport.Transport`."""

    def __init__(self, hub: Hub, name: str, window: int = 10_000) -> None:
        self._hub, self._name, self._window = hub, name, window
        self._answers: Listeners[[list[Outcome], str]] = Listeners()
        self._started = False
        self._held = 0
        self._pending: set[asyncio.Future[None]] = set()
        self._open: set[DirectCommands] = set()
        # The hub's listeners are told for every end of it; these end with this transport.
        self._hints: Listeners[[Hint]] = Listeners()
        self._announcements: Listeners[[Announcement]] = Listeners()
        self._leave: list[Callable[[], None]] = []

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
        """Take the name. Raises LifecycleError when it is taken."""
        if self._started:
            return
        if self._name in self._hub.answers or self._name in self._hub.peers:
            raise LifecycleError(f"start a second end {self._name!r}", "one of that name runs", ())
        self._hub.answers[self._name] = self._answers
        self._leave = [
            self._hub.hints.add(self._hints.tell),
            self._hub.announcements.add(self._announcements.tell),
        ]
        self._started = True

    async def stop(self) -> None:
        """Leave: consumers close, who waits for a send gets `Disconnected`; what was sent stays queued."""
        if not self._started:
            return
        self._started = False
        self._hub.answers.pop(self._name, None)
        for leave in self._leave:
            leave()
        for commands in list(self._open):
            await commands.close()
        for future in list(self._pending):
            if not future.done():
                future.set_exception(Disconnected("this transport was stopped"))
        self._pending.clear()

    def send(self, envelopes: list[Envelope], partition: int) -> Awaitable[None]:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        count = len(envelopes)
        if not self._started:
            future.set_exception(Disconnected("this transport is not started"))
        elif not count:
            future.set_result(None)
        elif self._held and self._held + count > self._window:
            future.set_exception(
                Overloaded(f"{self._held} commands are undecided, the window is {self._window}")
            )
        else:
            self._held += count
            self._pending.add(future)
            future.add_done_callback(self._pending.discard)

            def confirm() -> None:
                self._held -= count
                if not future.done():
                    future.set_result(None)

            self._hub.queue(partition).put(Message(envelopes, confirm))
        return future

    async def commands(self, partition: int) -> Commands:
        if not self._started:
            raise Disconnected("this transport is not started")
        commands = DirectCommands(self._hub, partition, self._open.discard)
        self._open.add(commands)
        return commands

    def publish(self, hint: Hint) -> None:
        if self._started:
            self._hub.publish(hint)

    def subscribe(self, listener: Callable[[Hint], None]) -> Callable[[], None]:
        return self._hints.add(listener)

    def answer(self, sender: str, outcomes: list[Outcome], epoch: str) -> None:
        if self._started:
            self._hub.answer(sender, outcomes, epoch)

    def answers(self, listener: Callable[[list[Outcome], str], None]) -> Callable[[], None]:
        return self._answers.add(listener)

    def announce(self, announcement: Announcement) -> None:
        if self._started:
            self._hub.announce(announcement)

    def announcements(self, listener: Callable[[Announcement], None]) -> Callable[[], None]:
        return self._announcements.add(listener)


class DirectCommands:
    """The consumer's end of a partition, in the hub's process."""

    def __init__(self, hub: Hub, partition: int, closed: Callable[[DirectCommands], None]) -> None:
        self._consumer = Consumer(hub.queue(partition), self._wake)
        self._partition, self._closed = partition, closed
        self._waiting: asyncio.Future[None] | None = None

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    async def receive(self, max_commands: int) -> list[Delivery]:
        while True:
            if self._consumer.closed:
                raise Disconnected(f"the commands of partition {self._partition} were closed")
            taken = self._consumer.take(max_commands)
            if taken:
                return [Delivery(m.envelopes, m.redelivered, m.undecodable, tag) for tag, m in taken]
            self._waiting = asyncio.get_running_loop().create_future()
            try:
                await self._waiting
            finally:
                self._waiting = None

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        self._consumer.ack(delivery.tag for delivery in deliveries)

    async def close(self) -> None:
        self._consumer.close()
        self._closed(self)
        self._wake()
