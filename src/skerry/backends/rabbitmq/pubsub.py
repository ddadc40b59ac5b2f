"""A process's talking connection: commands out, hints, answers and announcements both ways, and the beat.

Everything that reaches this process comes through one exclusive queue with a name of the broker's choosing, bound to
the events exchange by `all` and by the process's own name. The beat takes the same way: published to our own name,
it must come back; three that do not lose the session. So "connected" means that sending and hearing were proved. A
channel that owes confirms and gives none for three beats loses it too, and what was not confirmed is sent again on
the next one. That helps where a confirm was lost; where the queue itself has no leader, the next channel waits as long
and senders hear it after `resend_seconds` (docs/rabbitmq.md says what to do then).
Not here: the consuming connection (consumer.py), who starts a session again (supervisor.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from skerry.backends.packets import BEAT, COMMANDS
from skerry.backends.rabbitmq.brokers import Brokers
from skerry.backends.rabbitmq.channel import Incoming, LinkChannel
from skerry.backends.rabbitmq.consumer import no_callback
from skerry.backends.rabbitmq.link import Link, calling, end
from skerry.backends.rabbitmq.publisher import Publisher
from skerry.backends.rabbitmq.settings import RabbitSettings
from skerry.backends.rabbitmq.topology import Topology, depth
from skerry.clock import Clock
from skerry.errors import Disconnected

BEATS_MISSED = 3
"""Beats that may be on their way; one more and the connection is not believed any more."""


class PubSubSession:
    """One talking connection. Make it with `connect`."""

    def __init__(
        self,
        link: Link,
        settings: RabbitSettings,
        topology: Topology,
        clock: Clock,
        name: str,
        heard: Callable[[Incoming], None],
    ) -> None:
        self.link = link
        self._settings, self._topology, self._clock, self._name, self._heard = (
            settings,
            topology,
            clock,
            name,
            heard,
        )
        self._talk: LinkChannel | None = None
        self._send: LinkChannel | None = None
        self._beats = 0
        self._away: set[int] = set()
        self._first: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._watch: asyncio.Task[None] | None = None
        self._publisher: Publisher | None = None
        self._confirmed = 0
        self._still = 0

    @classmethod
    async def connect(
        cls,
        settings: RabbitSettings,
        topology: Topology,
        clock: Clock,
        name: str,
        heard: Callable[[Incoming], None],
        brokers: Brokers | None = None,
    ) -> PubSubSession:
        """Connect, declare, consume, and hear the first beat. Raises SettingsError or Disconnected."""
        link = await Link.open(settings, "server", brokers)
        try:
            session = cls(link, settings, topology, clock, name, heard)
            await session._begin()
        except BaseException:
            await link.close()
            raise
        return session

    @property
    def lost(self) -> asyncio.Future[str]:
        return self.link.lost

    async def is_led(self, partition: int) -> bool:
        """Whether the queue of a partition shows signs of a leader: this broker knows of messages or consumers in it.
        One whose leader died counts as empty and unused."""
        seconds = self._settings.beat_seconds
        try:
            with calling("looking at a queue"):
                channel = await self.link.loose_channel()
                found = await depth(channel, self._topology.partition(partition).name, seconds)
                await channel.close()
        except (Disconnected, TimeoutError):
            return False
        return found is not None and found != (0, 0)

    def confirms(self, publisher: Publisher, returned: Callable[[str], None]) -> None:
        """Whom to tell of confirms, and of what could not be routed; before the first command is sent."""
        assert self._send is not None
        self._send.on_confirm, self._send.on_return = publisher.confirm, returned
        self._publisher = publisher

    def command(self, partition: int, body: bytes) -> None:
        """Write a command message, persistent and mandatory."""
        assert self._send is not None
        topology = self._topology
        self.link.publish(
            self._send, topology.commands.name, topology.key(partition), COMMANDS, body, durable=True
        )

    def tell(self, key: str, kind: str, body: bytes) -> None:
        """Write an event message to one process by name, or to EVERYBODY."""
        assert self._talk is not None
        self.link.publish(self._talk, self._topology.events.name, key, kind, body)

    async def close(self, polite: bool = False) -> None:
        if self._watch is not None:
            await end(self._watch)
        await self.link.close(polite)

    async def _begin(self) -> None:
        seconds = self._settings.connect_seconds
        try:
            async with asyncio.timeout(seconds):
                with calling("setting up"):
                    self._talk = await self.link.channel()
                    self._talk.on_delivery = self._deliver
                    await self._topology.declare(self._talk, seconds)
                    queue = await self._topology.open_process_queue(self._talk, self._name, seconds)
                    await self._talk.basic_consume(
                        queue, no_callback, no_ack=True, exclusive=True, timeout=seconds
                    )
                    self._send = await self.link.channel(confirms=True)
                self._beat()
                either: set[asyncio.Future[Any]] = {self._first, self.link.lost}
                await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        except TimeoutError:
            raise Disconnected(f"setting up took longer than {seconds:g} s{self._trouble()}") from None
        if self.link.lost.done():
            raise Disconnected(self.link.lost.result())
        self._watch = asyncio.get_running_loop().create_task(self._beating(), name="skerry: beat")

    def _trouble(self) -> str:
        return f" (blocked: {self.link.blocked})" if self.link.blocked else ""

    async def _beating(self) -> None:
        """One beat per turn. Turns are counted, not seconds: a process that was stopped or busy for long has not
        missed what waits in its socket. A blocked broker is known to take none."""
        while True:
            await self._clock.sleep(self._settings.beat_seconds)
            if self.link.blocked is not None:
                self._away.clear()
                self._still = 0
                continue
            if self._stalled():
                self.link.lose(f"no confirm in {BEATS_MISSED} beats, though messages wait for one")
                return
            if len(self._away) >= BEATS_MISSED:
                self.link.lose(f"{len(self._away)} beats through the own queue did not come back")
                return
            self._beat()

    def _stalled(self) -> bool:
        """Whether confirms are owed and none came for some beats."""
        publisher = self._publisher
        if publisher is None or not publisher.awaited or publisher.confirmed != self._confirmed:
            self._still = 0
        else:
            self._still += 1
        self._confirmed = publisher.confirmed if publisher is not None else 0
        return self._still > BEATS_MISSED

    def _beat(self) -> None:
        self._beats += 1
        self._away.add(self._beats)
        self.tell(self._name, BEAT, b"%d" % self._beats)

    def _deliver(self, incoming: Incoming) -> None:
        if incoming.kind != BEAT:
            self._heard(incoming)
            return
        if incoming.body.isdigit():
            self._away.discard(int(incoming.body))
            if not self._first.done():
                self._first.set_result(None)
