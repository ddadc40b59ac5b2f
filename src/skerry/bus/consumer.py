"""The consumer: takes what waits, decides it in one transaction, tells, acknowledges.

Take (no timer) -> claim ids and load rows -> decide on an overlay -> write everything at once -> publish the
events -> answer -> acknowledge. Infrastructure that fails repeats the batch in place and in order; a batch that
the database refuses is halved until the command that spoils it stands alone; a command that killed its process
is tried alone after redelivery, and buried after some deaths. Any crash in between is harmless: redelivery
meets known ids, and readers repair themselves from the journal.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from skerry.bus.attempts import Attempts
from skerry.bus.batch import BatchLimit, halves
from skerry.bus.commit_notice import CommitNotice, answers_to, hint_of
from skerry.bus.decider import Decider, letter_of_bytes, refuse
from skerry.bus.transport import Commands, Delivery, Transport
from skerry.bus.waiting import Line, envelope_of, letter_that_waits
from skerry.clock import Backoff, Clock, SystemClock
from skerry.emitter import EventEmitter
from skerry.errors import Conflict, Fenced, MessageError, SkerryError, Unavailable, UnknownMessage
from skerry.journal.epochs import Epochs
from skerry.journal.hints import tip
from skerry.journal.journal import WAITS, Batch, DeadLetter, JournalWriter, Lease, Status
from skerry.journal.unit import Overlay, Place
from skerry.messages.envelope import Envelope
from skerry.options import option
from skerry.position import Position

T = TypeVar("T")
INFRASTRUCTURE = (Unavailable, OSError, TimeoutError)
_BLIND = 100
"""So many commands of a class, one after the other, look at no row before the rows of the next ones are left out."""


@dataclass(frozen=True, slots=True)
class ConsumerSettings:
    """How one partition is worked on."""

    attempts: int = option(3, "tries of a command that kills its process, alone", least=1, most=1000)
    idle_tip_seconds: float = option(
        0.1, "of silence after which the journal's end is published", least=0.01, most=60.0
    )
    unknown_seconds: float = option(
        600.0,
        "that a command of an unknown type or version waits for a consumer that knows it",
        least=0.0,
        most=7 * 86_400.0,
    )


class Consumer:
    """Works on one partition. Emits on `events`: `batch` (commands, seconds), `rejected` (command id, reason),
    `dead` (letter), `waiting` (letter), `retrying` (exception, pause seconds), `failure` (exception of a hook).
    `mine`: whether a key belongs to this partition."""

    def __init__(
        self,
        transport: Transport,
        writer: JournalWriter,
        decider: Decider,
        *,
        partition: int = 0,
        lease: Callable[[], Lease | None] = lambda: None,
        settings: ConsumerSettings | None = None,
        clock: Clock | None = None,
        events: EventEmitter | None = None,
        attempts: Attempts | None = None,
        mine: Callable[[str], bool] = lambda key: True,
    ) -> None:
        self._transport, self._writer, self._decider = transport, writer, decider
        self._partition, self._lease = partition, lease
        self._settings = settings or ConsumerSettings()
        self._clock = clock or SystemClock()
        self.events = events or EventEmitter()
        self._attempts = attempts or Attempts(writer)
        self.limit = BatchLimit()
        self._position = Position("", 0)
        self._epochs = Epochs()
        # Of the last commit from here: the journal's end, and whose event that is.
        self._last = (self._position, "")
        self._mine = mine
        self._turn = asyncio.Lock()
        self._letters = True
        self._any_wait = True
        self._blind: dict[type, int] = {}
        """How many commands of a class have looked at no row, since the last that did."""
        self._noted = 0  # letters that were told to wait, so far
        self._stored: set[str] = set()  # of the commands at hand, those that are letters already
        self._met: dict[str, float] = {}  # unknown ones, and when they were first met, on the monotonic clock
        self.wants: set[tuple[str, int]] = set()
        """Names and versions of commands that wait here, as this consumer does not know them."""
        self.waiting = 0
        """Commands of this partition that are letters until a consumer knows their type, or that of the one before."""
        self._stopping = False
        self._busy = False
        self._receiving: asyncio.Task[list[Delivery]] | None = None
        self._idle: asyncio.TimerHandle | None = None

    @property
    def turn(self) -> asyncio.Lock:
        """Held while a batch of this partition is under way."""
        return self._turn

    @property
    def position(self) -> Position:
        """The journal's end as this consumer last knew it."""
        return self._position

    async def run(self) -> None:
        """Consume until `stop`, reconnecting for ever. Raises Fenced when the lease is lost."""
        backoff = Backoff(0.05, 5.0)
        while not self._stopping:
            try:
                head = await self._writer.head()
                self._position = head.position
                self._letters = bool(await self._writer.letters(limit=1))
                self._any_wait = self._letters and bool(await self._writer.letters(0, 1, True))
                await self.settle()
                self._transport.publish(tip(self._position))
                commands = await self._transport.commands(self._partition)
            except INFRASTRUCTURE as error:
                await self._rest(backoff, error)
                continue
            try:
                backoff.reset()
                await self._consume(commands)
            except INFRASTRUCTURE as error:
                await self._rest(backoff, error)
            finally:
                self._cancel_tip()
                await asyncio.shield(commands.close())

    async def stop(self) -> None:
        """Stop taking; what was taken is finished, committed, answered and acknowledged by `run`, which returns."""
        self.leave()

    def leave(self) -> None:
        """`stop`, from where nothing can be awaited."""
        self._stopping = True
        if self._receiving is not None:
            self._receiving.cancel()

    async def _rest(self, backoff: Backoff, error: Exception) -> None:
        pause = backoff.next()
        self.events.emit("retrying", error, pause)
        await self._clock.sleep(pause)

    async def _consume(self, commands: Commands) -> None:
        while not self._stopping:
            self._receiving = asyncio.ensure_future(commands.receive(self.limit.commands))
            try:
                deliveries = await self._receiving
            except asyncio.CancelledError:
                if self._stopping and not _cancelling():
                    break
                raise
            finally:
                self._receiving = None
            self._cancel_tip()
            started = self._clock.monotonic()
            async with self._turn:
                count = await self._work(deliveries)
            await commands.ack(deliveries)
            seconds = self._clock.monotonic() - started
            self.limit.after(count, seconds)
            self.events.emit("batch", count, seconds)
            self._idle = asyncio.get_running_loop().call_later(
                self._settings.idle_tip_seconds, self._publish_tip
            )
        if self._position.epoch:
            self._say_tip()

    def _publish_tip(self) -> None:
        self._idle = None
        self._say_tip()

    def _say_tip(self) -> None:
        self._transport.publish(tip(self._position, self._last[1] if self._last[0] == self._position else ""))

    def _cancel_tip(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None

    # --- one lot of deliveries, in order

    async def _work(self, deliveries: Sequence[Delivery]) -> int:
        count = 0
        ready: list[Envelope] = []
        for delivery in deliveries:
            if delivery.undecodable is None and not delivery.redelivered:
                ready.extend(delivery.envelopes)
                continue
            await self._decide(ready, recall=True)
            count += len(ready)
            ready = []
            if delivery.undecodable is not None:
                await self._bury_bytes(delivery.undecodable)
            else:
                await self._decide_redelivered(delivery.envelopes)
                count += len(delivery.envelopes)
        await self._decide(ready, recall=True)
        return count + len(ready)

    async def _decide_redelivered(self, envelopes: list[Envelope]) -> None:
        """These were with a process that did not end well, perhaps because of one of them."""
        if not envelopes:
            return
        pack = f"pack-{envelopes[0].id}"
        tried = await self._persist(lambda: self._attempts.note([pack]))
        if tried.get(pack, 1) <= 1:
            async with self._attempts.survived([pack]):
                await self._decide(envelopes)
            return
        for envelope in envelopes:
            tried = await self._persist(partial(self._attempts.note, [envelope.id]))
            count, crashed = tried.get(envelope.id, 1), None
            if count > self._settings.attempts:
                crashed = MessageError(f"its process died {count - 1} times while deciding it alone")
            async with self._attempts.survived([envelope.id]):
                await self._decide([envelope], crashed)

    async def _decide(
        self, envelopes: list[Envelope], crashed: MessageError | None = None, *, recall: bool = False
    ) -> None:
        """Decide these, whatever it takes: again while infrastructure is away, in halves when refused. `recall`: first
        on what the journal remembers, as none of them is likely to have been decided before."""
        if not envelopes:
            return
        backoff = Backoff(0.05, 5.0)
        while True:
            try:
                told = await self._attempt(envelopes, crashed, recall)
                break
            except Fenced:
                raise
            except Conflict:
                # Another writer was quicker, or one of them was decided before: decide again on what is there now.
                recall = False
                await asyncio.sleep(0)
            except INFRASTRUCTURE as error:
                if self._stopping and backoff.attempts >= 3:
                    raise
                await self._rest(backoff, error)
            except (SkerryError, ValueError, TypeError) as error:
                if len(envelopes) == 1:
                    if crashed is not None:
                        raise
                    crashed = MessageError(f"the database refused it: {error}")
                    continue
                for half in halves(envelopes):
                    await self._decide(half)
                return
        self._stored.clear()
        self._tell(told)

    async def _attempt(
        self, envelopes: list[Envelope], crashed: MessageError | None, recall: bool
    ) -> CommitNotice:
        """One transaction over these commands."""
        first: dict[str, Envelope] = {}
        refused: dict[str, MessageError] = {}
        for envelope in envelopes:
            if first.setdefault(envelope.id, envelope) is envelope:
                error = crashed or self._decider.decode(envelope)
                if error is not None:
                    refused[envelope.id] = error
        places, unread = self._places(first.values(), refused, recall)
        now = self._clock.now()
        line = await self._line(first.values(), refused)
        async with self._writer.batch(list(first), places, self._lease(), recall) as (batch, rows):
            overlay = Overlay(batch.load, rows, places, unread)
            if batch.position.epoch != self._epochs.present:
                self._epochs = Epochs.of(await self._writer.epochs())
            overlay.epochs = self._epochs
            self._position = batch.position
            hooks: list[Callable[[], None]] = []
            for envelope in first.values():
                if envelope.id in batch.known:
                    continue
                error = refused.get(envelope.id)
                if waits := self._waits(envelope, error, line):
                    if envelope.id not in self._stored:
                        seconds = self._settings.unknown_seconds
                        overlay.writes.dead.append(letter_that_waits(envelope, waits, now, seconds))
                elif error is not None:
                    refuse(overlay, envelope, error, now)
                elif (first_one := line.held_behind(envelope)) and self._decider.holds(envelope):
                    refuse(overlay, envelope, MessageError(f"held behind {first_one} of its key"), now)
                else:
                    hooks += await self._decide_one(envelope, overlay, batch, now)
                if overlay.writes.dead and overlay.writes.dead[-1].command_id == envelope.id:
                    line.add(overlay.writes.dead[-1])
            known = dict(batch.known)
            writes = overlay.writes
            base = self._position.offset
            if writes.outcomes or writes.events or writes.dead:
                base = await self._decider.commit(batch, writes, first.values())
        before = self._last[1] if self._last[0] == Position(self._position.epoch, base) else ""
        if writes.outcomes or writes.events:
            self._position = Position(self._position.epoch, base + len(writes.events))
        if writes.events:
            self._last = (self._position, writes.events[-1].command_id)
        for new in writes.outcomes:
            if new.status is Status.REJECTED:
                self.events.emit("rejected", new.command_id, new.reason)
        for letter in writes.dead:
            self._note_letter(letter)
        hint = hint_of(writes.events, self._position.epoch, base, before)
        return CommitNotice(hint, answers_to(envelopes, known, writes, base, self._epochs), hooks)

    def _places(
        self, envelopes: Iterable[Envelope], refused: Mapping[str, MessageError], recall: bool
    ) -> tuple[dict[Place, None], set[Place]]:
        """What is loaded for these commands and, with `recall`, what is left out: rows of those whose class has looked
        at none for long."""
        wanted, unread = dict[Place, None](), set[Place]()
        for envelope in envelopes:
            if envelope.id not in refused:
                places = self._decider.places(envelope)
                if recall and self._blind.get(type(envelope.command), 0) >= _BLIND:
                    unread.update(places)
                else:
                    wanted.update(dict.fromkeys(places))
        return wanted, unread.difference(wanted)

    async def _decide_one(
        self, envelope: Envelope, overlay: Overlay, batch: Batch, now: float
    ) -> list[Callable[[], None]]:
        """Raises Conflict when it looked at a row that was left out, whatever the handler made of that."""
        overlay.looked, kind = False, type(envelope.command)
        try:
            hooks = await self._decider.decide(envelope, overlay, batch, now, self._position.epoch)
        finally:
            self._blind[kind] = 0 if overlay.looked else self._blind.get(kind, 0) + 1
        if overlay.missed:
            raise Conflict("a row was looked at that was not read")
        return hooks

    def _note_letter(self, letter: DeadLetter) -> None:
        self._letters = True
        if WAITS in letter.headers:
            self._any_wait = True
            self._noted += 1
            self.waiting += 1
        self.events.emit("waiting" if WAITS in letter.headers else "dead", letter)

    def _tell(self, told: CommitNotice) -> None:
        if told.hint is not None:
            self._transport.publish(told.hint)
        for sender, outcomes in told.answers.items():
            self._transport.answer(sender, outcomes, self._position.epoch)
        for hook in told.hooks:
            try:
                hook()
            except Exception as error:
                self.events.emit("failure", error)

    # --- dead letters and held keys

    async def _line(self, envelopes: Iterable[Envelope], refused: Mapping[str, MessageError]) -> Line:
        """The letters before these, as far as there are any. Of those that may have to wait it is noted
        which do so already: they came twice."""
        if not self._letters:
            return Line()
        commands = list(envelopes)
        if not self._any_wait:  # then only what holds looks behind
            commands = [each for each in commands if each.command is not None and self._decider.holds(each)]
            if not commands:
                return Line()
        line = Line.of(await self._writer.first_letters(sorted({each.key for each in commands})))
        for envelope in commands:
            unknown = isinstance(refused.get(envelope.id), UnknownMessage)
            if envelope.id not in self._stored and (unknown or envelope.key in line.waiting):
                letter = await self._writer.dead_letter(envelope.id)
                if letter is not None and WAITS in letter.headers:
                    self._stored.add(envelope.id)
        return line

    def _waits(self, envelope: Envelope, error: MessageError | None, line: Line) -> MessageError | None:
        """Why this command is not decided now: the one before it waits, or it is not known here, and may be
        elsewhere. How long that may be counts from when this process met it: a wall clock may be wrong, and ends
        nothing."""
        if first := line.waits_behind(envelope):
            return MessageError(f"{first} of its key is not decided yet")
        if isinstance(error, UnknownMessage):
            now = self._clock.monotonic()
            if now < self._met.setdefault(envelope.id, now) + self._settings.unknown_seconds:
                self.wants.add((envelope.name, envelope.version))
                return error
        return None

    async def settle(self) -> None:
        """Decide what waits and can be decided by now, in order for each key; what has waited too long is failed. One
        look at an empty list when nothing waits."""
        if not self._any_wait or self._stopping:
            return
        after, blocked, left, noted, began = 0, set[str](), 0, self._noted, self._clock.monotonic()
        found: set[str] = set()
        self.wants.clear()
        while page := await self._writer.letters(after, 100, True):
            after = page[-1].number
            for head in page:
                if self._mine(head.key):
                    found.add(head.command_id)
                    if head.key not in blocked and not await self._settle(head.command_id):
                        blocked.add(head.key)
                    left += head.key in blocked
        # One that was noted after the last page was read is not in it.
        self._any_wait, self.waiting = bool(found) or noted != self._noted, left
        self._met = {id: at for id, at in self._met.items() if id in found or at >= began}

    async def _settle(self, command_id: str) -> bool:
        """Try one that waits; whether the next of its key may be tried."""
        async with self._turn:
            letter = await self._writer.dead_letter(command_id)
            if letter is None or WAITS not in letter.headers:
                return True
            self._stored.add(command_id)
            try:
                await self._decide([envelope_of(letter)])
            finally:
                self._stored.clear()
            outcome = await self._writer.outcome(command_id)
            if outcome is None:
                return False
            if outcome.status is not Status.FAILED:  # a failed one has become a letter like others
                await self._writer.exhume(command_id)
            return True

    async def _bury_bytes(self, data: bytes) -> None:
        """A message that is no pack of commands: kept under the hash of its bytes."""
        letter = letter_of_bytes(data, self._clock.now())
        await self._persist(lambda: self._writer.bury(letter))
        self.events.emit("dead", letter)

    async def _persist(self, call: Callable[[], Awaitable[T]]) -> T:
        backoff = Backoff(0.05, 5.0)
        while True:
            try:
                return await call()
            except INFRASTRUCTURE as error:
                await self._rest(backoff, error)


def _cancelling() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
