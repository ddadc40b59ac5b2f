"""Commands on their way in: partitions that this process reads, over one connection of its own.

A partition is claimed by a row with an end by the database's clock, which every look at the queue puts off; so a
consumer that hangs or is cut off loses it after `claim_seconds`, whoever thinks what of its connection. What was given
out is written beside the claim, and nothing is deleted before it is decided: the next reader finds it again, and knows
that it was given out before. Notifications only wake; a look every `poll_seconds` finds what they missed. Any doubt
loses the whole session: every `Commands` of it raises Disconnected, and none of its ids means anything any more (after
a failover the same id may be another command's).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any

import msgspec

from skerry.backends.postgres.connections import Connections
from skerry.backends.postgres.faults import Foreign
from skerry.backends.postgres.queue.settings import QueueSettings
from skerry.backends.postgres.queue.table import Queue, prepare
from skerry.backends.postgres.session import Session
from skerry.bus.transport import Delivery
from skerry.clock import Clock
from skerry.errors import Disconnected
from skerry.messages.envelope import unpack

log = logging.getLogger("skerry.transport")

_READ_BYTES = 4 * 1024 * 1024
"""Of the messages that are read at a time, unless a single one is larger."""
_CLOSE_SECONDS = 2.0
_SURE_SECONDS = 60.0
"""An id that was given so long ago is committed by now, or never will be."""


def wake(generation: int, partition: int) -> str:
    """The payload that tells consumers to look at a partition."""
    return f"{generation}.{partition}"


class WorkSession:
    """One consuming connection. Make it with `connect`."""

    def __init__(self, session: Session, queue: Queue, settings: QueueSettings, clock: Clock) -> None:
        self._session, self._queue, self.settings, self.clock = session, queue, settings, clock
        self._turn = asyncio.Lock()
        self._stack = AsyncExitStack()
        self._watch: asyncio.Task[None] | None = None
        self.open: set[PostgresCommands] = set()
        self.lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        """Done, with the reason, when it is over."""
        self.lost.add_done_callback(self._tell)

    @classmethod
    async def connect(
        cls, connections: Connections, queue: Queue, settings: QueueSettings, clock: Clock
    ) -> WorkSession:
        """Connect and listen. Raises SettingsError or Disconnected."""
        async with AsyncExitStack() as stack:
            session = await stack.enter_async_context(connections.one())
            try:
                await prepare(session, queue)
                work = cls(session, queue, settings, clock)
                session.add_termination_listener(lambda _: work.lose("the connection was closed"))
                await session.add_listener(queue.work, work._woken)
                for row in await queue.rows(session, "backlog"):
                    if row["generation"] != settings.generation or row["part"] >= settings.partitions:
                        log.warning("%s", stray(row))
            except BaseException:
                session.terminate()
                raise
            work._stack = stack.pop_all()
        work._watch = asyncio.get_running_loop().create_task(work._watching(), name="skerry: consumer watch")
        return work

    async def consume(self, partition: int) -> PostgresCommands:
        """Open a partition. Raises Disconnected."""
        commands = PostgresCommands(self, partition)
        self.open.add(commands)
        await commands.begin()
        return commands

    async def ask(self, name: str, partition: int, /, **values: Any) -> list[Any]:
        """Run a statement on a partition. Raises Disconnected; the session is lost then."""
        values |= {"generation": self.settings.generation, "part": partition}
        try:
            async with self._turn:
                if self.lost.done():
                    raise Disconnected(self.lost.result())
                return await self._queue.rows(self._session, name, **values)
        except Foreign as error:
            self.lose(f"reading the queue failed: {self._session.lost or error}")
            raise Disconnected(self.lost.result()) from error

    async def free(self, partition: int) -> None:
        """Tell the others that a partition is to be had. Raises Disconnected."""
        payload = wake(self.settings.generation, partition)
        await self.ask("notify", partition, channels=[self._queue.work], payloads=[payload])

    def lose(self, reason: str) -> None:
        """Say that this session is no good any more. The first reason counts."""
        if not self.lost.done():
            self.lost.set_result(reason)

    async def close(self, polite: bool = False) -> None:
        """End it. `polite`: what is acknowledged is deleted, and claims are given back."""
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.wait({self._watch})
        if polite:
            await asyncio.gather(*(commands.close() for commands in list(self.open)))
        self.lose("closed by this process")
        self._session.terminate()
        await self._stack.aclose()

    def _tell(self, lost: asyncio.Future[str]) -> None:
        for commands in list(self.open):
            commands.lose(lost.result())

    def _woken(self, _: Any, process: int, channel: str, payload: str) -> None:
        for commands in self.open:
            if payload == wake(self.settings.generation, commands.partition):
                commands.look()

    async def _watching(self) -> None:
        """Put off the end of claims whose consumers do not look at the queue: they decide."""
        while True:
            await self.clock.sleep(self.settings.claim_seconds / 3)
            for commands in list(self.open):
                await commands.renew()


class PostgresCommands:
    """A consumer's end of one partition. See `skerry.bus.transport.Commands`."""

    def __init__(self, work: WorkSession, partition: int) -> None:
        self.partition = partition
        self._work, self._settings, self._clock = work, work.settings, work.clock
        self._token = secrets.token_hex(8)
        self._turn = asyncio.Lock()  # what is held is read, told and changed by one at a time
        self._waiting: deque[Delivery] = deque()
        self._unacked: dict[int, None] = {}  # ids given out, in order
        self._done: list[int] = []  # ids that are acknowledged and still in the table
        self._before: set[int] = set()  # ids that an earlier reader was given
        self._claimed = False
        self._acked = self._high = self._floor = 0
        self._high_at = self._whole_at = self._asked_at = float("-inf")
        self._over: str | None = None
        self._hungry, self._looked, self._came = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._reading: asyncio.Task[None] | None = None

    async def begin(self) -> None:
        """Claim the partition, if it is free; from now on it is looked at. Raises Disconnected."""
        try:
            await self._claim()
        except Disconnected as error:
            self.lose(str(error))
            raise
        self._reading = asyncio.get_running_loop().create_task(
            self._read(), name=f"skerry: queue {self.partition}"
        )

    def look(self) -> None:
        """Something may have come, or the partition may be free."""
        self._looked.set()

    def lose(self, reason: str) -> None:
        """Nothing will come any more, and no id means anything."""
        if self._over is None:
            self._over = reason
            self._waiting.clear()
            self._unacked.clear()
            self._work.open.discard(self)
            for event in (self._hungry, self._looked, self._came):
                event.set()

    async def receive(self, max_commands: int) -> list[Delivery]:
        while not self._waiting:
            self._check()
            self._came.clear()
            self._hungry.set()
            await self._came.wait()
        taken: list[Delivery] = []
        count = 0
        while self._waiting and (not taken or count + len(self._waiting[0].envelopes) <= max_commands):
            delivery = self._waiting.popleft()
            self._unacked[delivery.tag[1]] = None
            taken.append(delivery)
            count += len(delivery.envelopes)
        return taken

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        """They are deleted with the next look, which costs no round trip of its own."""
        for owner, number in (delivery.tag for delivery in deliveries):
            if owner is self and number in self._unacked:
                del self._unacked[number]
                self._done.append(number)
                self._acked = max(self._acked, number)

    async def close(self) -> None:
        """Delete what is acknowledged, and leave the rest to the next reader, at once."""
        if self._over is not None:
            return
        held = [*self._unacked, *self._before]
        self.lose(f"the commands of partition {self.partition} were closed")
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                async with self._turn:
                    await self._work.ask(
                        "leave", self.partition, done=self._done, held=held, token=self._token
                    )
                await self._work.free(self.partition)
        except TimeoutError:
            self._work.lose("the queue did not answer in time")
        except Disconnected:
            pass  # the claim ends by itself

    async def renew(self) -> None:
        """Put off the end of the claim, where nothing else has lately."""
        if self._claimed and self._clock.monotonic() - self._asked_at > self._settings.claim_seconds / 4:
            with contextlib.suppress(Disconnected):
                await self._take(0)

    async def _read(self) -> None:
        """Claim, and fetch when something is asked for and there is something. Ends when this is over."""
        settings = self._settings
        with contextlib.suppress(Disconnected):  # then the session has told
            while self._over is None:
                self._looked.clear()
                if not self._claimed and not await self._claim():
                    await _either(self._looked, min(settings.poll_seconds, settings.claim_seconds / 5))
                elif not self._hungry.is_set():
                    await self._hungry.wait()
                elif found := await self._take(settings.read_messages):
                    self._hungry.clear()
                    self._waiting.extend(found)
                    self._came.set()
                else:
                    await _either(self._looked, settings.poll_seconds)

    async def _claim(self) -> bool:
        seconds = self._settings.claim_seconds
        found = await self._work.ask("claim", self.partition, token=self._token, seconds=seconds)
        if found:
            self._claimed, self._before = True, set(found[0][0])
            self._asked_at = self._clock.monotonic()
        return self._claimed

    async def _take(self, limit: int) -> list[Delivery]:
        """Delete what is done, put off the claim's end, and read what is next."""
        async with self._turn:
            if self._over is not None:
                return []
            now = self._clock.monotonic()
            done, self._done = self._done, []
            rows = await self._work.ask(
                "take",
                self.partition,
                done=done,
                held=[*self._unacked, *(delivery.tag[1] for delivery in self._waiting)],
                before=list(self._before),
                floor=self._from(now),
                limit=limit,
                bytes=_READ_BYTES,
                seconds=self._settings.claim_seconds,
                token=self._token,
            )
            self._asked_at = now
            if not rows[0]["number"]:
                self.lose(f"another consumer reads partition {self.partition}")
            if self._over is not None:
                return []
            return [self._delivery(row["id"], row["body"]) for row in rows if row["id"] is not None]

    def _from(self, now: float) -> int:
        """The id to look from: below are the index's dead entries, which a busy queue has many of. Ids become visible
        in another order than they are given, so it lags far behind, and each second all of it is looked at."""
        if now - self._high_at >= _SURE_SECONDS:
            self._floor, self._high, self._high_at = self._high, self._acked, now
        if now - self._whole_at >= self._settings.poll_seconds:
            self._whole_at = now
            return 0
        return self._floor

    def _delivery(self, number: int, body: bytes) -> Delivery:
        again = number in self._before
        self._before.discard(number)
        try:
            return Delivery(unpack(body), again, None, (self, number))
        except (msgspec.DecodeError, UnicodeDecodeError):
            return Delivery([], again, body, (self, number))

    def _check(self) -> None:
        if self._over is not None:
            raise Disconnected(self._over)


async def _either(event: asyncio.Event, seconds: float) -> None:
    """Wait for the event, so long at most."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


def stray(row: Mapping[str, Any]) -> str:
    """What is to be said of commands that no consumer of these settings reads."""
    return (
        f"{row['count']} messages of commands wait in partition {row['part']} of generation {row['generation']}, which "
        f"nobody reads with these settings: run a consumer with that SKERRY_GENERATION and SKERRY_PARTITIONS above "
        f"{row['part']} until they are gone"
    )
