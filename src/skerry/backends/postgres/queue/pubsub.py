"""A process's talking connection: what it tells and hears, by NOTIFY and LISTEN, and the beat.

Notifications go out in transactions of their own, never in one that writes: a commit with a notification holds a lock
over the whole server while it is flushed (8 writers: 2,052 -> 834 commits/s). What is told in one turn of the loop goes
as one statement, which waits for no disk. A beat to the own channel has to come back; three that do not lose the
session, as does a statement without an answer. Not here: commands (outbox.py, consumer.py), who opens it again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

from skerry.backends.postgres.connections import Connections
from skerry.backends.postgres.faults import Foreign
from skerry.backends.postgres.queue.notifications import BEAT, Receiver, Sender
from skerry.backends.postgres.queue.settings import QueueSettings
from skerry.backends.postgres.queue.table import Queue, prepare
from skerry.backends.postgres.session import Session
from skerry.clock import Clock
from skerry.errors import Disconnected

BEATS_MISSED = 3
"""Beats that may be on their way; one more and the connection is not believed any more."""
_MOST_PAYLOADS = 500
BACKLOG_BYTES = 8 * 1024 * 1024
"""Of what waits to be told, at most; what is more is left to the journal."""
_LAST_SECONDS = 1.0
"""That a polite end waits for what is still to be told."""


class PubSubSession:
    """One talking connection. Make it with `connect`."""

    def __init__(
        self,
        session: Session,
        queue: Queue,
        settings: QueueSettings,
        clock: Clock,
        heard: Callable[[str, bytes], None],
    ) -> None:
        self._session, self._queue, self._settings, self._clock = session, queue, settings, clock
        self._heard = heard
        self._own = ""
        self._sender = Sender()
        self._receivers: dict[str, Receiver] = {}
        self._out: deque[tuple[str, str]] = deque()
        self._out_bytes = 0
        self._something = asyncio.Event()
        self._told = asyncio.Event()
        self._told.set()
        self._beats = 0
        self._away: set[int] = set()
        self._first: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._running: list[asyncio.Task[None]] = []
        self._stack = AsyncExitStack()
        self.lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        """Done, with the reason, when it is over."""

    @classmethod
    async def connect(
        cls,
        connections: Connections,
        queue: Queue,
        settings: QueueSettings,
        clock: Clock,
        name: str,
        heard: Callable[[str, bytes], None],
    ) -> PubSubSession:
        """Connect, make what is missing, listen, and hear the first beat. Raises SettingsError or Disconnected."""
        async with AsyncExitStack() as stack:
            session = await stack.enter_async_context(connections.one())
            try:
                await prepare(session, queue)
                talk = cls(session, queue, settings, clock, heard)
                await talk._begin(name)
            except BaseException:
                session.terminate()
                raise
            talk._stack = stack.pop_all()
        return talk

    @property
    def backlog_bytes(self) -> int:
        """What waits to be told."""
        return self._out_bytes

    def tell(self, channel: str, kind: str, body: bytes) -> None:
        """Tell one channel's listeners, after what was told before."""
        for payload in self._sender.payloads(kind, body):
            self.call(channel, payload)

    def call(self, channel: str, payload: str) -> None:
        """Notify with a payload as it is."""
        self._out.append((channel, payload))
        self._out_bytes += len(payload)
        self._something.set()
        self._told.clear()

    def lose(self, reason: str) -> None:
        """Say that this session is no good any more. The first reason counts."""
        if not self.lost.done():
            self.lost.set_result(reason)

    async def close(self, polite: bool = False) -> None:
        """End it. `polite`: what was told is sent before."""
        if polite and not self.lost.done():
            either: set[asyncio.Future[Any]] = {asyncio.ensure_future(self._told.wait()), self.lost}
            await asyncio.wait(either, timeout=_LAST_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            for each in either - {self.lost}:
                each.cancel()
        self.lose("closed by this process")
        for task in self._running:
            task.cancel()
        if self._running:
            await asyncio.wait(self._running)
        self._session.terminate()
        await self._stack.aclose()

    async def _begin(self, name: str) -> None:
        queue, session = self._queue, self._session
        self._own = queue.channel(name)
        session.add_termination_listener(lambda _: self.lose("the connection was closed"))
        for channel in (queue.everybody, self._own):
            self._receivers[channel] = Receiver()
            await session.add_listener(channel, self._notified)
        create_task = asyncio.get_running_loop().create_task
        self._running = [create_task(self._telling(), name="skerry: notifications out")]
        self._beat()
        either: set[asyncio.Future[Any]] = {self._first, self.lost}
        try:
            seconds = self._settings.beat_seconds * BEATS_MISSED
            await asyncio.wait(either, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            if not self._first.done():
                why = self.lost.result() if self.lost.done() else f"no notification came within {seconds:g} s"
                raise Disconnected(f"setting up: {why}")
        except BaseException:
            await self.close()
            raise
        self._running.append(create_task(self._beating(), name="skerry: beat"))

    async def _telling(self) -> None:
        """Send what is to be told, together; ends with the session."""
        statement = self._queue["notify"]
        seconds = self._settings.beat_seconds * (BEATS_MISSED - 1)
        while not self.lost.done():
            await self._something.wait()
            self._something.clear()
            while self._out:
                taken = [self._out.popleft() for _ in range(min(len(self._out), _MOST_PAYLOADS))]
                self._out_bytes -= sum(len(payload) for _, payload in taken)
                values = {
                    "channels": [channel for channel, _ in taken],
                    "payloads": [said for _, said in taken],
                }
                try:
                    async with asyncio.timeout(seconds):
                        await self._session.fetch(statement.sql, *statement.arguments(values))
                except TimeoutError:
                    self.lose(f"a notification was not answered within {seconds:g} s")
                    return
                except Foreign as error:
                    self.lose(f"notifying failed: {self._session.lost or error}")
                    return
            self._told.set()

    async def _beating(self) -> None:
        """One beat per turn. Turns are counted, not seconds: a process that was stopped or busy for long has not
        missed what waits in its socket."""
        while True:
            await self._clock.sleep(self._settings.beat_seconds)
            if len(self._away) >= BEATS_MISSED:
                self.lose(f"{len(self._away)} notifications to this process itself did not come back")
                return
            self._beat()

    def _beat(self) -> None:
        self._beats += 1
        self._away.add(self._beats)
        self.tell(self._own, BEAT, b"%d" % self._beats)

    def _notified(self, _: Any, process: int, channel: str, payload: str) -> None:
        try:
            message = self._receivers[channel].take(process, payload)
        except ValueError:  # somebody else's
            message = ("?", payload.encode())
        if message is None:
            return
        kind, body = message
        if kind != BEAT:
            self._heard(kind, body)
        elif body.isdigit():
            self._away.discard(int(body))
            if not self._first.done():
                self._first.set_result(None)
