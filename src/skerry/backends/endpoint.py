"""An end of a transport whose queues are in the same process: envelopes are passed as objects, nothing is serialised.

What the memory transport and the hub's own process in `local:` have in common. A command is as durable as its
decision: `send` resolves when its delivery was acknowledged, that is, after the commit. Not here: who else is there,
and how hints, answers and announcements reach them. Not for threads: everything happens in one event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from skerry.backends.listeners import Hearing
from skerry.backends.queues import Consumer, Message, Queue
from skerry.bus.transport import Commands, Delivery
from skerry.errors import Disconnected, Overloaded
from skerry.messages.envelope import Envelope

DEFAULT_WINDOW = 10_000
"""Commands that may be undecided at a time."""


@dataclass(slots=True)
class Window:
    """How many commands may be undecided, waiting and unacknowledged together, and how many are (`held`)."""

    most: int = DEFAULT_WINDOW
    held: int = 0


class Endpoint(Hearing):
    """Sending and consuming. See `skerry.bus.transport.Transport`; a subclass joins, leaves and tells."""

    def __init__(self, name: str, queue: Callable[[int], Queue], window: Window) -> None:
        super().__init__()
        self._name, self._queue, self._window = name, queue, window
        self._started = False
        self._pending: set[asyncio.Future[None]] = set()
        self._open: set[QueueCommands] = set()

    @property
    def name(self) -> str:
        return self._name

    @property
    def connected(self) -> bool:
        return self._started

    @property
    def trouble(self) -> str | None:
        return None if self._started else "this transport is not started"

    @property
    def accepts_early(self) -> bool:
        return False

    async def _close(self) -> None:
        """Consumers close: what they did not acknowledge goes back. A send that is under way ends with Disconnected;
        what was sent stays queued."""
        self._started = False
        for commands in list(self._open):
            await commands.close()
        for future in list(self._pending):
            if not future.done():
                future.set_exception(Disconnected("this transport was stopped"))
        self._pending.clear()

    def send(self, envelopes: list[Envelope], partition: int) -> Awaitable[None]:
        """Queue them; the future resolves when they were acknowledged. Errors come through the future."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        window, count = self._window, len(envelopes)
        if not self._started:
            future.set_exception(Disconnected("this transport is not started"))
        elif not count:
            future.set_result(None)
        elif window.held and window.held + count > window.most:
            future.set_exception(
                Overloaded(f"{window.held} commands are undecided, the window is {window.most}")
            )
        else:
            window.held += count
            self._pending.add(future)
            future.add_done_callback(self._pending.discard)

            def confirm() -> None:
                window.held -= count
                if not future.done():
                    future.set_result(None)

            self._queue(partition).put(Message(envelopes, confirm))
        return future

    async def commands(self, partition: int) -> Commands:
        """Raises Disconnected when not started. A second consumer of a partition waits for the first to go."""
        if not self._started:
            raise Disconnected("this transport is not started")
        commands = QueueCommands(self._queue(partition), partition, self._open.discard)
        self._open.add(commands)
        return commands


class QueueCommands:
    """The consumer's end of a partition. `closed` is called when it ends."""

    def __init__(self, queue: Queue, partition: int, closed: Callable[[QueueCommands], None]) -> None:
        self._changed = asyncio.Event()
        self._consumer = Consumer(queue, self._changed.set)
        self._partition, self._closed = partition, closed

    async def receive(self, max_commands: int) -> list[Delivery]:
        """As the contract says; waits as well while another consumer of the partition is active."""
        while True:
            if self._consumer.closed:
                raise Disconnected(f"the commands of partition {self._partition} were closed")
            taken = self._consumer.take(max_commands)
            if taken:
                return [Delivery(m.envelopes, m.redelivered, m.undecodable, tag) for tag, m in taken]
            self._changed.clear()
            await self._changed.wait()

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        self._consumer.ack(delivery.tag for delivery in deliveries)

    async def close(self) -> None:
        self._consumer.close()
        self._closed(self)
        self._changed.set()
