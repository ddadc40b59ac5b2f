"""A process that is not the hub: its connection there, which comes back by itself.

Sends are kept until they are confirmed and go out again, in order and under the same ids, after a reconnect; so a
restart of the consumer is a pause, not an error, as long as it is shorter than `resend_seconds`. Hints,
announcements and answers of the meantime are lost, readers repair themselves by position. Not here: journal
calls (reader.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from skerry.backends.listeners import Hearing
from skerry.backends.local import frames
from skerry.backends.local.connection import Connection
from skerry.backends.local.hub import encoded_hints
from skerry.backends.local.unconfirmed import Unconfirmed
from skerry.backends.outcomes import encode_outcomes, outcomes_of
from skerry.bus.transport import Announcement, Commands, Delivery
from skerry.clock import Backoff
from skerry.errors import Disconnected
from skerry.journal.hints import Hint
from skerry.journal.journal import Outcome
from skerry.messages.envelope import Envelope, unpack
from skerry.options import option

log = logging.getLogger("skerry.local")

_hint_of = msgspec.json.Decoder(Hint)
_TRY_SECONDS = 1.0
"""How long a start tries that need not succeed."""


@dataclass(frozen=True, slots=True)
class PeerSettings:
    """A process that speaks to the owner of an embedded journal."""

    window: int = option(10_000, "undecided commands of one process", least=1, most=10_000_000)
    window_bytes: int = option(48 * 1024 * 1024, "of these commands together", least=1 << 16, most=1 << 34)
    start_seconds: float = option(30.0, "that a start waits for the owner", least=0.1, most=3600.0)
    resend_seconds: float = option(
        10.0, "that an unconfirmed command outlives its connection", least=0.1, most=3600.0
    )
    grace_seconds: float = option(
        3.0, "that a lost connection still counts as connected: commands are held", least=0.1, most=600.0
    )
    ping_seconds: float = option(
        2.0, "between two pings of the owner, given up after three without an answer", least=0.1, most=600.0
    )


class Calls:
    """Requests on the present connection that wait for an answer. All fail when it is lost."""

    def __init__(self) -> None:
        self.waiting: dict[int, asyncio.Future[frames.Result | frames.Fault]] = {}
        self.numbers = itertools.count(1)

    def settle(self, frame: frames.Result | frames.Fault) -> None:
        future = self.waiting.pop(frame.number, None)
        if future is not None and not future.done():
            future.set_result(frame)

    def fail(self, why: str) -> None:
        waiting, self.waiting = self.waiting, {}
        for future in waiting.values():
            if not future.done():
                future.set_exception(Disconnected(f"the consumer is away: {why}"))


class LocalPeer(Hearing):
    """A server's or gateway's transport. See `skerry.bus.transport.Transport`.

    `socket_path`: the hub's. `name`: unique among the processes. `welcomed`: a connection stands at this moment.
    """

    def __init__(self, socket_path: Path, name: str, settings: PeerSettings | None = None) -> None:
        super().__init__()
        self._path, self._name = socket_path, name
        self.settings = settings or PeerSettings()
        self._connection: Connection | None = None
        self.welcomed = False
        self._was_welcomed = asyncio.Event()
        self._refusal = ""
        self._owner: asyncio.Task[None] | None = None
        chosen = self.settings
        self._unconfirmed = Unconfirmed(chosen.window, chosen.window_bytes, chosen.resend_seconds)
        self._channels: dict[int, RemoteCommands] = {}
        self._channel_numbers = itertools.count(1)
        self._unanswered_pings = 0
        self._lost_at = 0.0
        self.calls = Calls()

    @property
    def name(self) -> str:
        return self._name

    @property
    def connected(self) -> bool:
        if self.welcomed:
            return self._unanswered_pings < 2
        held = min(self.settings.grace_seconds, self.settings.resend_seconds)
        return self._owner is not None and self._lost_at > 0.0 and time.monotonic() - self._lost_at < held

    @property
    def trouble(self) -> str | None:
        return None if self.connected else "the consumer is away"

    @property
    def accepts_early(self) -> bool:
        return False

    # --- life

    async def start(self, *, required: bool = True) -> None:
        """Connect; the hub may still be on its way. Raises Disconnected when it is not there in time, or refuses.
        When it is not `required`, it returns after a short try and goes on trying."""
        if self._owner is not None:
            return
        self._refusal = ""
        self._was_welcomed.clear()
        self._owner = asyncio.create_task(self._stay_connected(), name=f"skerry-local-{self._name}")
        waiting = asyncio.ensure_future(self._was_welcomed.wait())
        try:
            await asyncio.wait(
                {waiting, self._owner},
                timeout=self.settings.start_seconds if required else _TRY_SECONDS,
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            waiting.cancel()
        if not self._was_welcomed.is_set() and (required or self._owner.done()):
            await self.stop()
            why = self._refusal or f"no consumer at {self._path} within {self.settings.start_seconds:g} s"
            raise Disconnected(why)

    async def stop(self) -> None:
        """Disconnect; unconfirmed sends end with Disconnected (they may take effect all the same)."""
        owner, self._owner = self._owner, None
        if owner is not None:
            owner.cancel()
            await asyncio.wait({owner})
        if self._connection is not None:
            self._connection.close("stopped", flush=True)
        self._lost("this transport was stopped")
        self._unconfirmed.give_up("this transport was stopped")

    async def _stay_connected(self) -> None:
        """Connect, watch, and connect again, until cancelled or refused."""
        backoff = Backoff(first=0.02, ceiling=0.3, rng=random.Random())
        while not self._refusal:
            lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
            try:
                await self._connect(lost)
            except OSError as error:
                log.debug("cannot reach the consumer at %s: %s", self._path, error)
                await asyncio.sleep(backoff.next())
                continue
            try:
                await self._watch(lost)
            finally:
                if self._connection is not None:
                    self._connection.close("given up")
            if self.welcomed:
                backoff.reset()
            why = lost.result() if lost.done() else "no answer"
            self._lost(why)
            await asyncio.sleep(backoff.next())

    async def _connect(self, lost: asyncio.Future[str]) -> None:
        def on_lost(why: str) -> None:
            if not lost.done():
                lost.set_result(why)

        loop = asyncio.get_running_loop()
        connection = Connection(self._on_frame, on_lost)
        await loop.create_unix_connection(lambda: connection, os.fspath(self._path))
        self._connection = connection
        connection.send(frames.Hello(frames.VERSION, self._name, os.getpid()))

    async def _watch(self, lost: asyncio.Future[str]) -> None:
        """Return when the connection is lost, or three pings were not answered."""
        self._unanswered_pings = 0
        while self._unanswered_pings < 3:
            await asyncio.wait({lost}, timeout=self.settings.ping_seconds)
            if lost.done():
                return
            self._unanswered_pings += 1
            if self._connection is not None and self.welcomed:
                self._connection.send(frames.Ping(self._unanswered_pings))

    def _lost(self, why: str) -> None:
        """What hangs on this connection ends; what is sent waits for the next one, for a while."""
        if self.welcomed:
            self._lost_at = time.monotonic()
        if self.welcomed and self._owner is not None:
            log.info("lost the consumer (%s), %d sends wait for it", why, len(self._unconfirmed))
        self.welcomed = False
        self._connection = None
        self.calls.fail(why)
        channels, self._channels = self._channels, {}
        for channel in channels.values():
            channel.lost()
        self._unconfirmed.lost()

    # --- what comes

    def _on_frame(self, frame: frames.AnyFrame) -> None:
        match frame:
            case frames.Publish(hint):
                self._hints.tell(_hint_of.decode(hint))
            case frames.Sent(numbers):
                for number in numbers:
                    self._unconfirmed.confirm(number)
            case frames.Answer(_, epoch, outcomes):
                self._answers.tell(outcomes_of(outcomes), epoch)
            case frames.Announce(topic, payload, headers):
                self._announcements.tell(Announcement(topic, payload, headers))
            case frames.Result() | frames.Fault():
                self.calls.settle(frame)
            case frames.Deliver(channel, parcels):
                if channel in self._channels:
                    self._channels[channel].delivered(parcels)
            case frames.Pong():
                self._unanswered_pings = 0
            case frames.Welcome():
                self._on_welcome()
            case frames.Refused(reason):
                self._refusal = f"the consumer at {self._path} refuses: {reason}"
                log.error(self._refusal)
            case _:
                if self._connection is not None:
                    self._connection.close(f"an unexpected {type(frame).__name__}")

    def _on_welcome(self) -> None:
        self.welcomed = True
        self._was_welcomed.set()
        if self._connection is not None:
            for send in self._unconfirmed.frames():
                self._connection.send(send)

    # --- sending

    def send(self, envelopes: list[Envelope], partition: int) -> Awaitable[None]:
        """The future ends when the consumer has committed. While the connection is being renewed it waits."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self._owner is None or not self._was_welcomed.is_set():
            future.set_exception(Disconnected("this transport is not started"))
            return future
        if not self.welcomed and self.settings.resend_seconds <= 0:
            future.set_exception(Disconnected("the consumer is away"))
            return future
        if not envelopes:
            future.set_result(None)
            return future
        number = self._unconfirmed.add(envelopes, partition, future)
        if number is None:
            return future
        if self.welcomed and self._connection is not None:
            self._connection.send(self._unconfirmed.frame(number))
        else:
            self._unconfirmed.wait(number)
        return future

    # --- the rest of the contract

    async def commands(self, partition: int) -> Commands:
        """Raises Disconnected without a connection."""
        connection = self.wire()
        number = next(self._channel_numbers)
        connection.send(frames.Open(number, partition))
        commands = RemoteCommands(connection, number, lambda: self._channels.pop(number, None))
        self._channels[number] = commands
        return commands

    def wire(self) -> Connection:
        """The present connection. Raises Disconnected."""
        if not self.welcomed or self._connection is None or self._connection.closed:
            raise Disconnected("the consumer is away")
        return self._connection

    def publish(self, hint: Hint) -> None:
        with contextlib.suppress(Disconnected):
            connection = self.wire()
            for data in encoded_hints(hint):
                connection.write(data)

    def answer(self, sender: str, outcomes: list[Outcome], epoch: str) -> None:
        with contextlib.suppress(Disconnected):
            self.wire().send(frames.Answer(sender, epoch, encode_outcomes(outcomes)))

    def announce(self, announcement: Announcement) -> None:
        with contextlib.suppress(Disconnected):
            connection = self.wire()
            if connection.room:
                connection.send(
                    frames.Announce(announcement.topic, announcement.payload, announcement.headers)
                )


class RemoteCommands:
    """Consuming a partition over the wire: ask, get, acknowledge, by one channel of a peer's connection. `closed` is
    called once.

    An application's one consumer is the hub itself and does without this; it makes a peer a whole transport (tools,
    tests, a consumer apart from the hub). A lost connection ends it: what was not acknowledged went back to its queue.
    """

    def __init__(self, connection: Connection, channel: int, closed: Callable[[], object]) -> None:
        self._connection, self._channel, self._closed = connection, channel, closed
        self._fetching = False
        self._ready: list[Delivery] = []
        self._changed = asyncio.Event()
        self._open = True

    async def receive(self, max_commands: int) -> list[Delivery]:
        """As the contract says. A receive that was cancelled loses nothing: the next one gets what came."""
        while True:
            if not self._open:
                raise Disconnected("the commands of this partition were closed, or the connection was lost")
            if self._ready:
                ready, self._ready = self._ready, []
                return ready
            if not self._fetching:
                self._fetching = True
                self._connection.send(frames.Fetch(self._channel, max_commands))
            self._changed.clear()
            await self._changed.wait()

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        if self._open and deliveries:
            self._connection.send(frames.Ack(self._channel, [d.tag for d in deliveries]))

    async def close(self) -> None:
        if self._open:
            self._connection.send(frames.Shut(self._channel))
            self._closed()
            self.lost()

    # --- told by the peer

    def delivered(self, parcels: list[frames.Parcel]) -> None:
        self._fetching = False
        self._ready += [_delivery(parcel) for parcel in parcels]
        self._changed.set()

    def lost(self) -> None:
        self._open = False
        self._ready.clear()
        self._changed.set()


def _delivery(parcel: frames.Parcel) -> Delivery:
    if not parcel.bad:
        try:
            return Delivery(unpack(parcel.data), parcel.again, None, parcel.tag)
        except (msgspec.DecodeError, UnicodeDecodeError):
            pass
    return Delivery([], parcel.again, parcel.data, parcel.tag)
