"""The RabbitMQ transport of one process: `skerry.bus.transport.Transport` over two supervised connections.

Promises of order: commands of one process to one partition arrive in the order of `send` (one that the broker refused
is sent again only when none behind it can have been taken); hints, answers and announcements of one process arrive at
another in the order in which they were told. `name` stays the same over reconnects, and a lost connection counts as
connected for `grace_seconds`, while what is sent is held for the next one. See docs/rabbitmq.md for operation.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable

import msgspec

from skerry.backends import packets
from skerry.backends.listeners import Hearing
from skerry.backends.rabbitmq.brokers import Brokers
from skerry.backends.rabbitmq.channel import Incoming
from skerry.backends.rabbitmq.consumer import WorkSession
from skerry.backends.rabbitmq.large_bodies import BodyStore, stored
from skerry.backends.rabbitmq.publisher import Publisher
from skerry.backends.rabbitmq.pubsub import PubSubSession
from skerry.backends.rabbitmq.settings import RabbitSettings
from skerry.backends.rabbitmq.topology import EVERYBODY, Topology
from skerry.backends.supervisor import Supervisor
from skerry.bus.transport import Announcement, Commands
from skerry.clock import Clock, SystemClock
from skerry.errors import Disconnected, MessageTooLarge, Overloaded, SettingsError, SkerryError
from skerry.journal.hints import Hint
from skerry.journal.journal import Outcome
from skerry.messages.envelope import Envelope, encode_body, pack

log = logging.getLogger("skerry.rabbitmq")

_BACKLOG_BYTES = 8 * 1024 * 1024
"""Unwritten bytes above which hints are dropped rather than kept: a process that misses one reads the journal."""


MAX_NAME_BYTES = 200
"""Of a process's name: it is a routing key, and travels with every command."""

_TRY_SECONDS = 1.0
"""How long a start tries that need not succeed."""
_REFUSAL_SECONDS = 10.0
"""How long a refusal shows that no later answer took back."""
_SURE = 2
"""So many connections in a row found a leader in a queue that refuses: then it is a limit, and no stale knowledge."""


class RabbitTransport(Hearing):
    """One process's transport. `bodies` keeps large commands (see large_bodies.py); without it they travel whole."""

    def __init__(
        self,
        settings: RabbitSettings,
        bodies: BodyStore | None = None,
        clock: Clock | None = None,
        name: str = "",
    ) -> None:
        super().__init__()
        self._settings, self._bodies = settings, bodies
        self._clock = clock or SystemClock()
        self._name = name or secrets.token_urlsafe(9)
        if self._name == EVERYBODY or len(self._name.encode()) > MAX_NAME_BYTES:
            raise SettingsError(
                "name", f"a process's name must be 1 to {MAX_NAME_BYTES} bytes and not {EVERYBODY!r}"
            )
        self._topology = Topology(settings)
        self._publisher = Publisher(settings.window, settings.window_bytes, settings.resend_seconds)
        self._storing: dict[int, asyncio.Task[None]] = {}  # the last of each partition's chain
        self._tasks: set[asyncio.Task[None]] = set()
        self._grace: asyncio.TimerHandle | None = None
        self._led: dict[int, int] = {}  # connections in a row that were refused by a partition with a leader
        self._brokers = Brokers(settings.hosts)
        place = settings.place
        self._talk: Supervisor[PubSubSession] = Supervisor(
            f"RabbitMQ at {place}", self._open_talk, self._opened, self._closed, self._clock
        )
        self._work: Supervisor[WorkSession] = Supervisor(
            f"RabbitMQ at {place} (consuming)",
            self._open_work,
            lambda session: None,
            lambda reason: None,
            self._clock,
        )
        self.dropped = 0
        """Event messages that were not told, as the broker was away, blocked or slow."""
        self.foreign = 0
        """Event messages that came and could not be read."""

    @property
    def name(self) -> str:
        return self._name

    @property
    def connected(self) -> bool:
        return self._talk.session is not None or self._grace is not None

    @property
    def trouble(self) -> str | None:
        now = asyncio.get_running_loop().time()
        if self._publisher.refusal and now - self._publisher.refused_at < _REFUSAL_SECONDS:
            return self._publisher.refusal
        if not self.connected:
            return str(self._talk.failure)
        return None if self.blocked is None else f"the broker takes no messages: {self.blocked}"

    @property
    def accepts_early(self) -> bool:
        return True

    @property
    def unconfirmed(self) -> int:
        """Command messages that wait for the broker's confirm."""
        return self._publisher.unconfirmed

    @property
    def resent(self) -> int:
        """Command messages that were written again after a lost connection."""
        return self._publisher.resent

    @property
    def connections(self) -> int:
        """How often this process got connected; one more than its reconnects."""
        return self._talk.opens

    @property
    def blocked(self) -> str | None:
        """Why the broker takes no messages now (its memory or disk alarm), None when it does."""
        session = self._talk.session
        return session.link.blocked if session is not None else None

    async def start(self, *, required: bool = True) -> None:
        """Connect, declare, and prove it by a beat. Raises SettingsError for what only a person can put right (a
        refused login, a queue made otherwise), Disconnected after `start_seconds`; it is stopped then. When it is
        not `required`, it returns after a short try and goes on trying."""
        self._talk.start()
        try:
            await self._talk.wait(self._settings.start_seconds if required else _TRY_SECONDS)
        except Disconnected:
            if required:
                await self.stop()
                raise
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self._work.stop()
        await self._talk.stop()
        self._end_grace()
        self._publisher.stop("this transport was stopped")

    def send(self, envelopes: list[Envelope], partition: int) -> Awaitable[None]:
        """As the contract says; every error comes through the future. Above `pack_commands` or `pack_bytes` it
        becomes several messages, and the future is done when all are durable."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        try:
            if self._must_wait(envelopes, partition):
                self._send_later(envelopes, partition, future)
            else:
                self._send(envelopes, partition, future)
        except SkerryError as error:
            future.set_exception(error)
        return future

    async def commands(self, partition: int) -> Commands:
        """Raises Disconnected when there is no connection within `connect_seconds`."""
        self._check(partition)
        return await (await self._working()).consume(partition, self._bodies)

    async def set_aside(self) -> Commands:
        """What the broker itself dropped from command queues (`skerry.bus.deadletter`). Raises Disconnected."""
        return await (await self._working()).consume_dead(self._bodies)

    async def _working(self) -> WorkSession:
        if not self._talk.running:
            raise Disconnected("this transport is not started")
        self._work.start()
        try:
            return await self._work.wait(self._settings.connect_seconds)
        except SettingsError as error:  # proved by `start`: a broker that is just coming up refuses too
            raise Disconnected(str(error)) from error

    def publish(self, hint: Hint) -> None:
        for body in packets.encode_hint(hint):
            self._tell(EVERYBODY, packets.HINT, body)

    def answer(self, sender: str, outcomes: list[Outcome], epoch: str) -> None:
        for body in packets.encode_answer(outcomes, epoch):
            self._tell(sender, packets.ANSWER, body)

    def announce(self, announcement: Announcement) -> None:
        self._tell(EVERYBODY, packets.ANNOUNCEMENT, packets.encode_announcement(announcement))

    # -- commands out

    def _check(self, partition: int) -> None:
        if not 0 <= partition < self._settings.partitions:
            raise ValueError(f"partition {partition} of {self._settings.partitions}")

    def _must_wait(self, envelopes: list[Envelope], partition: int) -> bool:
        """Whether a body is to be stored first, here or in what was sent to this partition before."""
        if partition in self._storing:
            return True
        limit = self._settings.stored_above_bytes
        return self._bodies is not None and any(len(encode_body(e)) > limit for e in envelopes)

    def _send(self, envelopes: list[Envelope], partition: int, future: asyncio.Future[None]) -> None:
        self._check(partition)
        if not self.connected:
            raise Disconnected(f"the broker is away: {self._talk.failure}")
        if self.blocked is not None:
            raise Overloaded(f"the broker takes no messages: {self.blocked}", retry_after_seconds=5.0)
        settings = self._settings
        parts = packets.cut_pack(envelopes, settings.pack_commands, settings.pack_bytes)
        bodies = [pack(part) for part in parts]
        largest = max(map(len, bodies), default=0)
        if largest > settings.max_message_bytes:
            raise MessageTooLarge(largest, settings.max_message_bytes)
        full = self._publisher.room(len(bodies), sum(map(len, bodies)))
        if full is not None:
            raise full
        if bodies:
            self._publisher.send(bodies, partition, future)
        else:
            future.set_result(None)

    def _send_later(self, envelopes: list[Envelope], partition: int, future: asyncio.Future[None]) -> None:
        if len(self._tasks) >= self._settings.window:
            raise Overloaded(f"{len(self._tasks)} sends wait for large bodies to be stored")
        task = asyncio.get_running_loop().create_task(
            self._store_and_send(envelopes, partition, future, self._storing.get(partition))
        )
        self._storing[partition] = task
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._stored(partition, done))

    async def _store_and_send(
        self,
        envelopes: list[Envelope],
        partition: int,
        future: asyncio.Future[None],
        before: asyncio.Task[None] | None,
    ) -> None:
        """Store the large bodies while those before are still busy; send after them."""
        try:
            limit = self._settings.stored_above_bytes
            store = self._bodies
            ready: list[Envelope] = []
            async with asyncio.timeout(self._settings.resend_seconds):
                for envelope in envelopes:
                    large = store is not None and len(encode_body(envelope)) > limit
                    ready.append(await stored(envelope, store) if large and store is not None else envelope)
                if before is not None:
                    await asyncio.wait({before})
            if not future.done():
                self._send(ready, partition, future)
        except TimeoutError:
            _fail(future, Disconnected("storing a large command took too long"))
        except SkerryError as error:
            _fail(future, error)
        except BaseException:
            _fail(future, Disconnected("sending was given up"))
            raise

    def _stored(self, partition: int, done: asyncio.Task[None]) -> None:
        self._tasks.discard(done)
        if self._storing.get(partition) is done:
            del self._storing[partition]
        if not done.cancelled() and done.exception() is not None:
            log.error("sending a large command failed", exc_info=done.exception())

    # -- events

    def _tell(self, key: str, kind: str, body: bytes) -> None:
        session = self._talk.session
        if session is None or session.link.blocked is not None or session.link.backlog_bytes > _BACKLOG_BYTES:
            self.dropped += 1
            return
        session.tell(key, kind, body)

    def _heard(self, incoming: Incoming) -> None:
        try:
            match incoming.kind:
                case packets.HINT:
                    self._hints.tell(packets.decode_hint(incoming.body))
                case packets.ANSWER:
                    self._answers.tell(*packets.decode_answer(incoming.body))
                case packets.ANNOUNCEMENT:
                    self._announcements.tell(packets.decode_announcement(incoming.body))
                case _:
                    raise msgspec.DecodeError(f"of type {incoming.kind!r}")
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            self.foreign += 1
            if self.foreign == 1:
                log.warning("an event message cannot be read and is left out (said once): %s", error)

    # -- sessions

    async def _open_talk(self) -> PubSubSession:
        return await PubSubSession.connect(
            self._settings, self._topology, self._clock, self._name, self._heard, self._brokers
        )

    async def _open_work(self) -> WorkSession:
        return await WorkSession.connect(self._settings, self._topology, self._clock, self._brokers)

    def _opened(self, session: PubSubSession) -> None:
        self._end_grace()
        session.confirms(self._publisher, lambda reason: self._returned(session, reason))
        self._publisher.attach(session.command, lambda partition: self._doubted(session, partition))

    def _closed(self, reason: str) -> None:
        self._publisher.detach()
        if self._talk.running:
            self._publisher.hold()
            loop = asyncio.get_running_loop()
            self._grace = loop.call_later(self._settings.grace_seconds, self._grace_is_over)

    def _end_grace(self) -> None:
        if self._grace is not None:
            self._grace.cancel()
            self._grace = None

    def _grace_is_over(self) -> None:
        self._grace = None
        self._publisher.release()

    def _doubted(self, session: PubSubSession, partition: int) -> None:
        """A queue refuses, and it is not known why."""
        task = asyncio.get_running_loop().create_task(self._judge(session, partition))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _judge(self, session: PubSubSession, partition: int) -> None:
        """A limit when its leader is there, and was on the connection before this; else this connection is no good:
        its channels may know a leader that died."""
        led = await session.is_led(partition)
        if session is not self._talk.session or session.lost.done():
            return
        self._led[partition] = self._led.get(partition, 0) + 1 if led else 0
        if self._led[partition] >= _SURE:
            self._led[partition] = 0
            log.warning("partition %d is at a limit that somebody set on its queue: refused", partition)
            self._publisher.limit(partition)
        else:
            session.link.lose(self._publisher.refusal)

    def _returned(self, session: PubSubSession, reason: str) -> None:
        """A command had no queue, though it was declared: somebody deleted it. Its confirm, which follows, must
        not count; the next session declares again, and sends again."""
        self._publisher.detach()
        session.link.lose(f"a command was returned: {reason}")


def _fail(future: asyncio.Future[None], error: SkerryError) -> None:
    if not future.done():
        future.set_exception(error)
