"""Commands on their way in: a channel per partition on a connection that only consumes.

A connection of its own, because a broker in trouble stops reading from connections that publish, and then would not
see the acknowledgements that could help it. Liveness is asked of the queue itself: every beat a passive declare on the
consumer's own channel must come back and count a consumer. Any doubt loses the whole session: every `Commands` of it
raises Disconnected, and what was not acknowledged comes again.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from skerry.backends.rabbitmq.brokers import Brokers
from skerry.backends.rabbitmq.channel import Incoming, LinkChannel
from skerry.backends.rabbitmq.large_bodies import BodyStore, fetched, is_stored, stored_keys
from skerry.backends.rabbitmq.link import Link, calling, end
from skerry.backends.rabbitmq.old_queues import old_queues
from skerry.backends.rabbitmq.settings import RabbitSettings
from skerry.backends.rabbitmq.topology import Topology, depth
from skerry.bus.deadletter import SET_ASIDE
from skerry.bus.transport import Delivery
from skerry.clock import Backoff, Clock
from skerry.errors import Disconnected, Unavailable
from skerry.messages.envelope import unpack

log = logging.getLogger("skerry.rabbitmq")

NOTHING_KNOWN = (0, 0)
"""What a broker says of a quorum queue whose leader does not answer: no messages, no consumers."""
UNLED_BEATS = 5
"""So long it may stay so: a connection that is given up meanwhile waits, to declare its queues, for the same broker
that is silent, and comes back later than the new leader."""


class WorkSession:
    """One consuming connection."""

    def __init__(self, link: Link, settings: RabbitSettings, topology: Topology, clock: Clock) -> None:
        self._link, self._settings, self._topology, self._clock = link, settings, topology, clock
        self._watch = asyncio.get_running_loop().create_task(self._watching(), name="skerry: consumer watch")
        self.open: set[RabbitCommands] = set()
        link.lost.add_done_callback(self._tell)

    @classmethod
    async def connect(
        cls, settings: RabbitSettings, topology: Topology, clock: Clock, brokers: Brokers | None = None
    ) -> WorkSession:
        """Connect and declare. Raises SettingsError or Disconnected."""
        link = await Link.open(settings, "consumer", brokers)
        try:
            with calling("declaring"):
                await topology.declare(await link.channel(), settings.connect_seconds)
                for stray in await old_queues(link, settings):
                    if not stray.is_idle:
                        log.warning("%s", stray)
            return cls(link, settings, topology, clock)
        except BaseException:
            await link.close()
            raise

    @property
    def lost(self) -> asyncio.Future[str]:
        return self._link.lost

    async def consume(self, partition: int, store: BodyStore | None) -> RabbitCommands:
        """Open a partition. Raises Disconnected."""
        return await self._open(self._topology.partition(partition).name, store, RabbitCommands)

    async def consume_dead(self, store: BodyStore | None) -> RabbitCommands:
        """Open the queue of what the broker dropped from others. Raises Disconnected."""
        return await self._open(self._topology.dead_queue.name, store, DeadCommands)

    async def _open(self, queue: str, store: BodyStore | None, kind: type[RabbitCommands]) -> RabbitCommands:
        seconds = self._settings.connect_seconds
        try:
            with calling(f"consuming {queue}"):
                channel = await self._link.channel()
                commands = kind(self._link, channel, queue, store, self._clock, self.open.discard)
                channel.on_delivery = commands.deliver
                await channel.basic_qos(prefetch_count=self._settings.prefetch, timeout=seconds)
                await channel.basic_consume(queue, no_callback, timeout=seconds)
        except (Disconnected, TimeoutError) as error:
            self._link.lose(f"consuming {queue}: {error}")
            raise Disconnected(f"consuming {queue}: {error}") from error
        if self._link.lost.done():
            raise Disconnected(self._link.lost.result())
        self.open.add(commands)
        return commands

    async def close(self, polite: bool = False) -> None:
        await end(self._watch)
        await self._link.close(polite)

    def _tell(self, lost: asyncio.Future[str]) -> None:
        for commands in list(self.open):
            commands.lose(lost.result())

    async def _watching(self) -> None:
        """Ask each queue, each beat, whether it is there and counts us."""
        seconds = self._settings.beat_seconds
        while True:
            await self._clock.sleep(seconds)
            for commands in list(self.open):
                problem = await commands.doubt(seconds * 3)
                if problem is not None:
                    self._link.lose(problem)


class RabbitCommands:
    """A consumer's end of one partition. See `skerry.bus.transport.Commands`."""

    def __init__(
        self,
        link: Link,
        channel: LinkChannel,
        queue: str,
        store: BodyStore | None,
        clock: Clock,
        closed: Callable[[RabbitCommands], None],
    ) -> None:
        self.queue = queue
        self._link, self._channel, self._store, self._clock = link, channel, store, clock
        self._closed = closed
        self._waiting: deque[Incoming] = deque()
        # tags in the order received, each with the keys of its stored bodies
        self._unacked: dict[int, tuple[str, ...]] = {}
        self._wakeup: asyncio.Future[None] | None = None
        self._over: str | None = None
        self._unled = 0  # beats in a row in which nothing was known of the queue

    def deliver(self, incoming: Incoming) -> None:
        """The link's: a message came."""
        self._waiting.append(incoming)
        self._wake()

    def lose(self, reason: str) -> None:
        """The link's: nothing will come any more, and no tag means anything."""
        if self._over is None:
            self._over = reason
            self._waiting.clear()
            self._unacked.clear()
            self._closed(self)
            self._wake()

    async def receive(self, max_commands: int) -> list[Delivery]:
        while not self._waiting:
            self._check()
            self._wakeup = asyncio.get_running_loop().create_future()
            try:
                await self._wakeup
            finally:
                self._wakeup = None
        taken: list[Delivery] = []
        count = 0
        while self._waiting and (not taken or count < max_commands):
            incoming = self._waiting[0]
            delivery = self._decode(incoming)
            if taken and count + len(delivery.envelopes) > max_commands:
                break
            keys = stored_keys(delivery.envelopes) if self._store is not None else ()
            if keys and self._store is not None:
                if taken:  # hand out what is here; waiting comes with empty hands
                    break
                await self._complete(delivery, self._store)
                self._check()
            self._waiting.popleft()
            self._unacked[incoming.tag] = keys
            taken.append(delivery)
            count += len(delivery.envelopes)
        return taken

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        """One frame for the oldest ones together, one each for those that others before them still wait for. Their
        stored bodies are removed after that; what cannot be now is trimmed later."""
        done = {tag for owner, tag in (d.tag for d in deliveries) if owner is self and tag in self._unacked}
        keys = [key for tag in done for key in self._unacked[tag]]
        last = 0
        for tag in itertools.takewhile(done.__contains__, list(self._unacked)):
            del self._unacked[tag]
            done.discard(tag)
            last = tag
        if last:
            self._link.ack(self._channel, last, multiple=True)
        for tag in sorted(done):
            del self._unacked[tag]
            self._link.ack(self._channel, tag, multiple=False)
        if keys and self._store is not None:
            try:
                await self._store.remove(keys)
            except Unavailable as error:
                log.debug("%d stored bodies are left to be trimmed: %s", len(keys), error)

    async def close(self) -> None:
        if self._over is not None:
            return
        self.lose(f"the commands of {self.queue} were closed")
        await self._link.part(self._channel)

    async def doubt(self, seconds: float) -> str | None:
        """Why this is no living consumer, if so; nothing when it was closed in the meantime."""
        problem = await self._doubt(seconds)
        return problem if self._over is None else None

    async def _doubt(self, seconds: float) -> str | None:
        try:
            with calling(f"asking for {self.queue}"):
                found = await depth(self._channel, self.queue, seconds)
        except (Disconnected, TimeoutError) as error:
            return f"{self.queue} does not answer: {error}"
        if found is None:
            return f"queue {self.queue} is gone"
        self._unled = self._unled + 1 if found == NOTHING_KNOWN else 0
        if found[1] < 1 and (found != NOTHING_KNOWN or self._unled > UNLED_BEATS):
            return f"queue {self.queue} counts no consumer"
        return None

    def _decode(self, incoming: Incoming) -> Delivery:
        tag = (self, incoming.tag)
        try:
            return Delivery(unpack(incoming.body), incoming.redelivered, None, tag)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return Delivery([], incoming.redelivered, incoming.body, tag)

    async def _complete(self, delivery: Delivery, store: BodyStore) -> None:
        """Fetch stored bodies, however long the store is away: nobody may overtake."""
        backoff = Backoff()
        for number, envelope in enumerate(delivery.envelopes):
            while is_stored(delivery.envelopes[number]):
                try:
                    delivery.envelopes[number] = await fetched(envelope, store)
                except Unavailable as error:
                    log.warning("the body of command %s cannot be fetched yet: %s", envelope.id, error)
                    await self._clock.sleep(backoff.next())
                    self._check()

    def _check(self) -> None:
        if self._over is not None:
            raise Disconnected(self._over)

    def _wake(self) -> None:
        if self._wakeup is not None and not self._wakeup.done():
            self._wakeup.set_result(None)


class DeadCommands(RabbitCommands):
    """What the broker dropped from its queues, each command with the reason in its header SET_ASIDE."""

    def _decode(self, incoming: Incoming) -> Delivery:
        delivery = super()._decode(incoming)
        why = _why(incoming.headers)
        for envelope in delivery.envelopes:
            envelope.headers = {**envelope.headers, SET_ASIDE: why}
        return delivery


def _why(headers: Mapping[str, Any]) -> str:
    """The newest entry of `x-death` in words: `expired in shop.commands.v1.p0`."""
    deaths = headers.get("x-death")
    if isinstance(deaths, list) and deaths and isinstance(deaths[0], dict):
        return f"{deaths[0].get('reason', '?')} in {deaths[0].get('queue', '?')}"
    return "it does not say why"


async def no_callback(message: object) -> None:
    """aiormq wants a callback; deliveries take another way (LinkChannel)."""
