"""The PostgreSQL transport of one process: `skerry.bus.transport.Transport` over tables and notifications.

Promises of order: commands of one process to one partition arrive in the order of `send`; hints, answers and
announcements of one process arrive at another in the order in which they were told. `name` stays the same over
reconnects, and a lost connection counts as connected for `grace_seconds`, while what is sent is held for the next one.
See docs/postgresql.md for operation.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Sequence
from dataclasses import replace

import msgspec

from skerry.backends import packets
from skerry.backends.listeners import Hearing
from skerry.backends.postgres.connections import Connections
from skerry.backends.postgres.queue import notifications
from skerry.backends.postgres.queue.consumer import WorkSession, wake
from skerry.backends.postgres.queue.depth import Depth
from skerry.backends.postgres.queue.outbox import Outbox
from skerry.backends.postgres.queue.pubsub import BACKLOG_BYTES, PubSubSession
from skerry.backends.postgres.queue.settings import QueueSettings
from skerry.backends.postgres.queue.table import Queue
from skerry.backends.postgres.session import committing
from skerry.backends.postgres.settings import PostgresSettings
from skerry.backends.supervisor import Supervisor
from skerry.bus.transport import Announcement, Commands
from skerry.clock import Clock, SystemClock
from skerry.errors import Disconnected, MessageTooLarge, SettingsError, SkerryError
from skerry.journal.hints import Hint
from skerry.journal.journal import Outcome
from skerry.messages.envelope import Envelope, pack

log = logging.getLogger("skerry.transport")

CONNECTIONS = 4
"""At most, of one process: one that talks, one that inserts commands, one of a consumer, and one in doubt."""
_TRY_SECONDS = 1.0
"""How long a start tries that need not succeed."""


class PostgresTransport(Hearing):
    """One process's transport. `dsn`: as of `PostgresJournal`, and as a rule the same."""

    def __init__(
        self,
        dsn: str,
        namespace: str,
        settings: QueueSettings | None = None,
        database: PostgresSettings | None = None,
        clock: Clock | None = None,
        name: str = "",
    ) -> None:
        super().__init__()
        self._settings = settings or QueueSettings()
        self._clock = clock or SystemClock()
        self._name = name or secrets.token_urlsafe(9)
        self._queue = Queue(namespace)
        database = replace(database or PostgresSettings(), connections=CONNECTIONS)
        self._connections = Connections(dsn, f"{namespace} queue", database)
        self._outbox = Outbox(
            self._insert, self._inserted, self._clock,
            window=self._settings.window, window_bytes=self._settings.window_bytes,
            resend_seconds=self._settings.resend_seconds,
        )  # fmt: skip
        self._depth = Depth(self._count, self._settings.most_waiting, self._clock)
        self._grace: asyncio.TimerHandle | None = None
        self._is_open = False
        self._talk: Supervisor[PubSubSession] = Supervisor(
            "the queue in PostgreSQL", self._open_talk, self._opened, self._closed, self._clock
        )
        self._work: Supervisor[WorkSession] = Supervisor(
            "the queue in PostgreSQL (consuming)",
            self._open_work,
            lambda session: None,
            lambda reason: None,
            self._clock,
        )
        self.dropped = 0
        """Event messages that were not told, as the database was away or slow."""
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
        if not self.connected:
            return str(self._talk.failure)
        return self._outbox.trouble or self._depth.refusal or None

    @property
    def accepts_early(self) -> bool:
        return True

    @property
    def unconfirmed(self) -> int:
        """Command messages that wait for their commit."""
        return self._outbox.unconfirmed

    @property
    def waiting(self) -> int:
        """Messages of commands in the table, as last counted; while nobody sends and none waits it is not looked."""
        return self._depth.waiting

    @property
    def resent(self) -> int:
        """Command messages that were inserted again, as it was not known whether they had been."""
        return self._outbox.resent

    async def start(self, *, required: bool = True) -> None:
        """Connect, make what is missing, and prove it by a beat. Raises SettingsError for what only a person can put
        right, Disconnected after `start_seconds`; it is stopped then. When it is not `required`, it returns after a
        short try and goes on trying."""
        seconds = self._settings.start_seconds if required else _TRY_SECONDS
        self._is_open = True
        try:
            await self._connections.open(required=False)
            self._talk.start()
            self._outbox.start()
            self._depth.start()
            try:
                await self._talk.wait(seconds)
            except Disconnected:
                if required:
                    raise
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        self._is_open = False
        await self._depth.stop()
        await self._outbox.stop("this transport was stopped")
        await self._work.stop()
        await self._talk.stop()
        self._end_grace()
        await self._connections.close()

    def send(self, envelopes: list[Envelope], partition: int) -> Awaitable[None]:
        """As the contract says; every error comes through the future. Above `pack_commands` or `pack_bytes` it
        becomes several messages, and the future is done when all are durable."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        try:
            self._send(envelopes, partition, future)
        except SkerryError as error:
            future.set_exception(error)
        return future

    def _send(self, envelopes: list[Envelope], partition: int, future: asyncio.Future[None]) -> None:
        self._check(partition)
        if not self.connected:
            raise Disconnected(f"the database is away: {self._talk.failure}")
        settings = self._settings
        parts = packets.cut_pack(envelopes, settings.pack_commands, settings.pack_bytes)
        bodies = [pack(part) for part in parts]
        largest = max(map(len, bodies), default=0)
        if largest > settings.max_message_bytes:
            raise MessageTooLarge(largest, settings.max_message_bytes)
        full = self._outbox.room(len(bodies), sum(map(len, bodies)))
        full = full or self._depth.room(partition)
        if full is not None:
            raise full
        if bodies:
            self._outbox.send(bodies, partition, future)
        else:
            future.set_result(None)

    async def commands(self, partition: int) -> Commands:
        """Raises Disconnected when there is no connection in time."""
        self._check(partition)
        if not self._talk.running:
            raise Disconnected("this transport is not started")
        self._work.start()
        try:
            session = await self._work.wait(self._settings.start_seconds / 3)
        except SettingsError as error:  # proved by `start`: a server that is just coming up refuses too
            raise Disconnected(str(error)) from error
        return await session.consume(partition)

    def publish(self, hint: Hint) -> None:
        for body in packets.encode_hint(hint, notifications.MOST_BYTES):
            self._tell(self._queue.everybody, notifications.HINT, body)

    def answer(self, sender: str, outcomes: list[Outcome], epoch: str) -> None:
        for body in packets.encode_answer(outcomes, epoch):
            self._tell(self._queue.channel(sender), notifications.ANSWER, body)

    def announce(self, announcement: Announcement) -> None:
        body = packets.encode_announcement(announcement)
        self._tell(self._queue.everybody, notifications.ANNOUNCEMENT, body)

    def _check(self, partition: int) -> None:
        if not 0 <= partition < self._settings.partitions:
            raise ValueError(f"partition {partition} of {self._settings.partitions}")

    # --- commands out

    async def _insert(self, parts: Sequence[int], bodies: Sequence[bytes]) -> None:
        statement = self._queue["send"]
        values = {"generation": self._settings.generation, "parts": parts, "bodies": bodies}
        async with self._connections.one() as connection:
            with committing(connection):
                await connection.execute(statement.sql, *statement.arguments(values))

    def _inserted(self, partitions: set[int]) -> None:
        """They are committed: wake their reader. One that is not woken looks by itself, soon."""
        if self._talk.session is not None:
            for partition in partitions:
                self._talk.session.call(self._queue.work, wake(self._settings.generation, partition))

    async def _count(self) -> dict[int, int]:
        settings = self._settings
        async with self._connections.one() as connection:
            found = await self._queue.rows(
                connection, "depth",
                generation=settings.generation, partitions=settings.partitions, most=settings.most_waiting,
            )  # fmt: skip
        return {row[0]: row[1] for row in found}

    # --- events

    def _tell(self, channel: str, kind: str, body: bytes) -> None:
        session = self._talk.session
        if session is None or session.backlog_bytes > BACKLOG_BYTES:
            self.dropped += 1
            return
        session.tell(channel, kind, body)

    def _heard(self, kind: str, body: bytes) -> None:
        try:
            match kind:
                case notifications.HINT:
                    self._hints.tell(packets.decode_hint(body))
                case notifications.ANSWER:
                    self._answers.tell(*packets.decode_answer(body))
                case notifications.ANNOUNCEMENT:
                    self._announcements.tell(packets.decode_announcement(body))
                case _:
                    raise msgspec.DecodeError(f"of kind {kind!r}")
        except msgspec.DecodeError as error:
            self.foreign += 1
            if self.foreign == 1:
                log.warning("a notification cannot be read and is left out (said once): %s", error)

    # --- sessions

    async def _open_talk(self) -> PubSubSession:
        return await PubSubSession.connect(
            self._connections, self._queue, self._settings, self._clock, self._name, self._heard
        )

    async def _open_work(self) -> WorkSession:
        return await WorkSession.connect(self._connections, self._queue, self._settings, self._clock)

    def _opened(self, session: PubSubSession) -> None:
        self._end_grace()

    def _closed(self, reason: str) -> None:
        if self._is_open:
            loop = asyncio.get_running_loop()
            self._grace = loop.call_later(self._settings.grace_seconds, self._grace_is_over)

    def _end_grace(self) -> None:
        if self._grace is not None:
            self._grace.cancel()
            self._grace = None

    def _grace_is_over(self) -> None:
        self._grace = None
        self._outbox.release(f"the database is away: {self._talk.failure}")
