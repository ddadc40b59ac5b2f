"""Keeps a process's memory equal to the journal.

The start has no race: hear hints and buffer them; load a snapshot with its position; drop what is older; read
what is missing; go live. A hint that leaves a gap waits for a moment (another consumer's may be on its way),
then the gap is read from the journal. Once a second the journal's end is asked for, so that a lost last hint
is repaired too, also while the broker is away.

A journal may lose its last events (a standby that lacked them was promoted) and give their offsets out again. So memory
knows by which epochs it came to its offset, and whose event stands there: when the journal has begun another epoch,
memory goes on if what it has applied is part of that history too, and is loaded anew if not.

Decides and waits in one place on purpose, and does nothing else: what an event means is the projections' own
business, who listens is the caller's.
"""

from __future__ import annotations

import asyncio
import enum
import random
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial

from skerry.clock import Backoff, Clock, Deadline, SystemClock
from skerry.emitter import EventEmitter
from skerry.errors import Disconnected, JournalError, SkerryError, Trimmed, Unavailable
from skerry.journal.epochs import Epochs
from skerry.journal.hints import EarlyHints, HintLike, Hints
from skerry.journal.journal import Head, JournalReader, Record
from skerry.journal.loading import gather, load
from skerry.journal.memory import Memory, Stopped
from skerry.journal.poll import Poll
from skerry.journal.projection import Projection
from skerry.journal.snapshot import Copied, SnapshotFile
from skerry.journal.waiters import Waiters
from skerry.messages.serializer import Serializer
from skerry.options import option
from skerry.position import Position


class Phase(enum.StrEnum):
    """Where a projector stands. Memory may be read from `CATCHING_UP` on when it was warm-started."""

    CREATED = "created"
    LOADING = "loading"
    CATCHING_UP = "catching up"
    LIVE = "live"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class ProjectorSettings:
    """How memory follows the journal."""

    poll_seconds: float = option(1.0, "between two looks at the journal's end", least=0.01, most=3600.0)
    reorder_seconds: float = option(
        0.02,
        "that a gap waits for another consumer's hint before it is read from the journal",
        least=0.0,
        most=10.0,
    )
    page: int = option(1000, "events read at a time", least=1, most=100_000)
    max_held: int = option(10_000, "events of early hints kept meanwhile", least=0, most=10_000_000)


MAX_OFFSET = 1 << 62
UNKNOWN_SECONDS = 0.2
"""So often, at most, the journal is asked about epochs that clients tell of and memory does not know."""
Applied = Callable[[Sequence[Record], str], None]


class Projector:
    """Applies the journal's events, in order and without a gap, to the projections of this process.

    Emits on `events`: `applied` (offset, number), `gap` (expected, got), `caught_up` (position), `reloaded`
    (position), `moved` (position: memory goes on in another epoch), `lost` (position, number: so many events that
    memory had applied are not in the journal any more; 0: nobody knows), `revived` (name of a projection that had
    stopped, position), `failure` (name of a projection, "listener", "feed", "memory" or "the local copy of memory";
    record or None; exception).
    """

    def __init__(
        self,
        reader: JournalReader,
        hints: Hints,
        projections: Sequence[Projection],
        serializer: Serializer,
        *,
        settings: ProjectorSettings | None = None,
        warm: SnapshotFile | None = None,
        clock: Clock | None = None,
        events: EventEmitter | None = None,
    ) -> None:
        self._reader, self._hints = reader, hints
        self._settings = settings or ProjectorSettings()
        self._warm = warm
        self._clock = clock or SystemClock()
        self.events = events or EventEmitter()
        self._memory = Memory(projections, serializer, partial(self.events.emit, "failure"))
        self.phase = Phase.CREATED
        self.fresh_at = 0.0
        self._epoch, self._offset, self._last_id = "", 0, ""
        self._epochs = Epochs()
        self._common = 0  # above it offsets are named by the present epoch
        self._asked_at = 0.0
        self._missed: Position | None = None
        self._position = Position("", 0)
        self._tip = 0
        self._early = EarlyHints(self._settings.max_held)
        self._poll = Poll(self._clock)
        self._waiters = Waiters()
        self._elsewhere: list[tuple[Position, asyncio.Future[bool]]] = []
        self._listeners: list[Applied] = []
        self._owner: asyncio.Task[None] | None = None
        self._unsubscribe: Callable[[], None] = lambda: None
        self._live = asyncio.Event()

    # --- what others ask

    @property
    def position(self) -> Position:
        """What this memory has applied; the same object until it changes."""
        known = self._position
        if known.offset != self._offset or known.epoch != self._epoch:
            known = self._position = Position(self._epoch, self._offset)
        return known

    @property
    def stopped(self) -> dict[str, Stopped]:
        """Projections that could not apply an event, by name. They are not fed any more. Always the same dict,
        for those who look at it often; not to be changed."""
        return self._memory.stopped

    @property
    def held(self) -> int:
        """The offset up to which every projection has everything: less than that of `position` when one stopped."""
        return min((each.held for each in self._memory.stopped.values()), default=self._offset)

    @property
    def behind(self) -> int:
        """How many known events not every projection has applied yet (exact as of the last hint or poll)."""
        return max(0, self._tip - self.held)

    def shows(self, command_id: str, offset: int) -> bool:
        """Whether memory shows the effect of a command whose last event is at `offset`, which it has reached: no
        projection that would apply one of its events has stopped."""
        return self._memory.shows(command_id, offset)

    @property
    def stale_seconds(self) -> float:
        """How long ago memory was last known to be equal to the journal; huge before the first time."""
        return self._clock.monotonic() - self.fresh_at if self.fresh_at else float("inf")

    def listen(self, listener: Applied) -> Callable[[], None]:
        """Call `listener(records, epoch)` after each applied run of records, in order. Returns how to end it."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener) if listener in self._listeners else None

    def reached(self, position: Position) -> bool:
        here = self.carry(position)
        return here is not None and self._offset >= here.offset

    def carry(self, position: Position) -> Position | None:
        """The same place in the present epoch; None when the journal's history, as known here, does not have it."""
        return position if position.epoch == self._epoch else self._epochs.carry(position)

    def epoch_of(self, offset: int) -> str:
        """The epoch in which an offset was given out: with it, the offset names the same event for good."""
        return self._epoch if offset > self._common else self._epochs.named(offset).epoch

    def when(self, offset: int) -> asyncio.Future[bool]:
        """A future that is done (True) when memory has reached `offset` of the present epoch."""
        return self._waiters.add(offset, self._offset)

    def expect(self, offset: int) -> asyncio.Future[bool]:
        """Like `when`, for an offset that somebody says exists: the journal is asked at once, not at the next poll."""
        if self._offset < offset:
            self._poll.repair()
        return self.when(offset)

    def reach(self, position: Position, *, hurry: bool = True) -> asyncio.Future[bool]:
        """A future for a position that somebody says exists, of whichever epoch: done with True when memory is there,
        with False when the history does not have it (any more). The journal is asked when memory does not know of its
        epoch, which another server may have met first: at once, or (not `hurry`: it comes from outside, and may be
        invented) so that it is not asked all the time."""
        here = self.carry(position)
        if here is not None:
            return self.when(here.offset)
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        if position.epoch in self._epochs:
            future.set_result(False)
        else:
            self._elsewhere.append((position, future))
            since = self._clock.monotonic() - self._asked_at
            self._poll.repair(0.0 if hurry else max(0.0, UNKNOWN_SECONDS - since))
        return future

    async def wait(self, position: Position, deadline: Deadline) -> bool:
        """Whether memory reached `position` in time. One that the history does not have is never waited for: False."""
        here = self.carry(position)
        if here is not None and self._offset >= here.offset:
            return True
        future = self.reach(position, hurry=False) if here is None else self.expect(here.offset)
        try:
            async with asyncio.timeout(deadline.remaining(self._clock)):
                return await future
        except TimeoutError:
            return False
        finally:
            future.cancel()

    # --- life

    async def start(self, *, wait: bool = True) -> None:
        """Load and catch up. With `wait` it returns when memory is live; without, at once after a warm start or
        with the loading under way (`phase` tells). Raises what the first load raises when there is no warm start."""
        if self._owner is not None:
            return
        self._live.clear()
        self._unsubscribe = self._hints.subscribe(self._on_hint)
        self.phase = Phase.LOADING
        if self._warm is not None and self._start_warm(self._warm):
            self.phase = Phase.CATCHING_UP
        self._owner = asyncio.create_task(self._run(), name="skerry-projector")
        if wait:
            await self.live()

    async def live(self) -> None:
        """Return when memory has caught up for the first time; raises what ended the projector, if that comes first."""
        assert self._owner is not None
        waiting = asyncio.ensure_future(self._live.wait())
        try:
            await asyncio.wait({waiting, self._owner}, return_when=asyncio.FIRST_COMPLETED)
            if not self._live.is_set():
                self._owner.result()
        finally:
            waiting.cancel()

    async def stop(self) -> None:
        """Stop following; memory stays readable. Writes the warm-start file when there is one."""
        self._unsubscribe()
        owner, self._owner = self._owner, None
        if owner is not None:
            owner.cancel()
            await asyncio.wait({owner})
        whole = self._live.is_set() and self.phase is not Phase.LOADING  # else it is the state of no position
        self.phase = Phase.STOPPED
        self._waiters.cancel()
        for _, future in self._elsewhere:
            future.cancel()
        self._elsewhere.clear()
        if whole:
            try:
                self.save()
            except OSError as error:  # a full or read-only disk: the next start is a little slower
                self.events.emit("failure", "the local copy of memory", None, error)

    def save(self) -> None:
        """Write the warm-start file now, when one is configured and every projection can be dumped."""
        if self._warm is not None and self._epoch and not self.stopped and self.phase is not Phase.LOADING:
            known_at = self._clock.now() - self.stale_seconds if self.fresh_at else 0.0
            copy = Copied(self.position, self._last_id, tuple(self._epochs), known_at)
            self._warm.write(copy, self._memory.projections)

    # --- hints: what usually happens, without a task

    def _on_hint(self, hint: HintLike) -> None:
        if hint.epoch != self._epoch or self.phase is not Phase.LIVE:
            if hint.epoch == self._epoch:
                self._tip = max(self._tip, hint.last)
            elif hint.epoch in self._epochs:
                return  # of a writer that has not noticed yet
            elif self.phase is Phase.LIVE:
                self._poll.repair()  # the journal knows what that is
            self._early.keep(hint)
            return
        if self._contradicts(hint):
            self._poll.repair()
            return
        if hint.last > self._tip:
            self._tip = hint.last
        if hint.last <= self._offset:
            if hint.last == self._offset:
                self.fresh_at = self._clock.monotonic()
            return
        if hint.first <= self._offset + 1 and hint.records is not None and not self._early.waiting:
            self._take(hint.records)
            return
        self._early.keep(hint)
        self._take_early()
        if self._offset < self._tip and not self._poll.repairing:
            self.events.emit("gap", self._offset + 1, hint.first)
            self._poll.repair(0.0 if hint.records is None else self._settings.reorder_seconds)

    def _contradicts(self, hint: HintLike) -> bool:
        """Whether its writer says of the event at memory's offset that it is another one. Normally the epoch tells; not
        where a database hides what it knows of its history."""
        return hint.first == self._offset + 1 and "" != hint.before != self._last_id != ""

    def _take_early(self) -> None:
        while (hint := self._early.take(self._offset + 1)) is not None:
            if hint.epoch == self._epoch and hint.last > self._offset and hint.records:
                if self._contradicts(hint):
                    self._poll.repair()
                    return
                self._take(hint.records)

    def _take(self, records: Sequence[Record]) -> None:
        """Apply what is new of `records`, which are contiguous and begin at or before the next offset."""
        skip = self._offset + 1 - records[0].offset
        if skip > 0:
            records = records[skip:]
            if not records:
                return
        self._memory.apply(records)
        self._offset, self._last_id = records[-1].offset, records[-1].command_id
        if self._memory.outdated:
            self._poll.repair()
        if self._offset >= self._tip:
            self._tip = self._offset
            self.fresh_at = self._clock.monotonic()
        for listener in list(self._listeners):
            try:
                listener(records, self._epoch)
            except Exception as error:  # memory goes on, and the others hear it
                self.events.emit("failure", "listener", records[-1], error)
        self._waiters.reached(self._offset)
        self.events.emit("applied", self._offset, len(records))

    # --- loading and repair: one task

    async def _run(self) -> None:
        backoff = Backoff(0.1, 5.0)
        jitter = random.Random()
        stale = self.phase is Phase.LOADING
        while True:
            self._poll.settle()
            try:
                if stale:
                    await self._load()
                    stale = False
                was_live = self.phase is Phase.LIVE
                if not await self._catch_up():
                    stale = True
                    continue
                if self._memory.outdated:
                    await self._refill()
                if was_live and backoff.attempts:
                    self.events.emit("caught_up", self.position)
                await self._tell_missed()
                backoff.reset()
                pause = self._settings.poll_seconds * (0.75 + 0.5 * jitter.random())
            except Trimmed:
                stale = True
                continue
            except (Unavailable, TimeoutError, OSError) as error:
                pause = backoff.next()
                self.events.emit("retrying", error, pause)
                self._poll.settle()
            except SkerryError as error:
                if not self._epoch:
                    raise  # the start fails
                # Memory stays what it is, and is loaded anew; it must never stop without a word.
                self.events.emit("failure", "memory", None, error)
                stale, pause = True, backoff.next()
                self._poll.settle()
            await self._poll.pause(pause)

    async def _load(self) -> None:
        self.phase = Phase.LOADING
        first = not self._epoch
        self._arrive(*await load(self._reader, self._memory, self._settings.page, first=first))

    async def _refill(self) -> None:
        """Fill what a correction is about anew, while everything else goes on."""
        memory, page = self._memory, self._settings.page
        asked = dict(memory.outdated)
        refill = await gather(self._reader, _named(memory.projections, asked), page)
        at = refill.position
        if at.epoch != self._epoch:
            self._poll.repair()  # first it is found out whether memory is part of that history
            return
        while self._offset < at.offset:
            self._take(await self._more(self._offset))
        since: list[Record] = []
        upto = at.offset
        while upto < self._offset:
            since += await self._more(upto)
            upto = since[-1].offset
        if at.epoch != self._epoch:
            return  # tried again, when it was not loaded anew anyway
        # A further correction meanwhile: once more for what that is about.
        still = {name: offset for name, offset in asked.items() if memory.outdated.get(name) == offset}
        ready = _named(memory.projections, still)
        memory.refill(refill, ready, [record for record in since if record.offset <= self._offset])
        for name in still:
            if name not in memory.stopped:
                self.events.emit("revived", name, self.position)
        if memory.outdated:
            self._poll.repair()

    async def _more(self, after: int) -> Sequence[Record]:
        """Events that are known to be there."""
        records = await self._reader.read(after, self._settings.page)
        if not records:
            raise JournalError(f"the journal has nothing after {after} any more")
        return records

    def _arrive(self, position: Position, epochs: Epochs) -> None:
        """Memory is at `position`, not by events."""
        moved = self._epoch != position.epoch
        self._offset, self._last_id = position.offset, ""
        self._know(epochs)
        self._tip = position.offset
        if moved:
            self._early.forget_others(position.epoch)
            self._waiters.release()
        else:
            self._waiters.reached(self._offset)
        self.phase = Phase.CATCHING_UP
        self.events.emit("reloaded", position)

    # --- whose history it is

    def _know(self, epochs: Epochs) -> None:
        """The journal has these; memory is in the last one."""
        self._epochs, self._epoch = epochs, epochs.present
        self._common = list(epochs)[-1][2]

    async def _is_same(self) -> Head | None:
        """The journal's ends, when memory is part of its history: memory is in its epoch then. None when everything has
        to be loaded anew."""
        while True:
            # Hints may overtake the answer: it is older than what they bring, and only proves what was here before.
            before, last_id = self._offset, self._last_id
            self._asked_at = self._clock.monotonic()
            head = await self._reader.head(before)
            if head.position.epoch == self._epoch:
                break
            epochs = Epochs.of(await self._reader.epochs())
            if head.is_standby and self._epoch not in epochs:
                raise Disconnected(f"this standby of the journal is at {head.position}, memory further on")
            if not self._move(epochs):
                return None
        if head.position.offset < before:
            if head.is_standby:
                raise Disconnected(f"this standby of the journal is at {head.position}, memory further on")
            self._lose(before - head.position.offset)  # and nobody has begun the next epoch yet
            return None
        if head.floor > self._offset:
            return None
        if "" != head.command_id != last_id != "":
            self._lose(0)
            return None
        if before == self._offset:
            self._last_id = head.command_id or last_id
        return head

    def _move(self, epochs: Epochs) -> bool:
        """Go on in the last of these; False when memory has what that history has not."""
        here = self.position
        common = epochs.agree(self._epochs, here)
        if common < here.offset:
            number = epochs.lost(self._epochs, here)
            if number > 0:  # else an operator wants everything to be loaded anew
                self._lose(number)
            return False
        old = self._epochs
        self._know(epochs)
        self._tip = self._offset
        self._early.forget_others(self._epoch)
        self._waiters.release(beyond=epochs.agree(old, Position(here.epoch, MAX_OFFSET)))
        self.events.emit("moved", self.position)
        return True

    def _lose(self, number: int) -> None:
        """What memory has applied last is not in the journal any more: `number` events, 0 when nobody knows."""
        self._missed = self.position
        self.events.emit("lost", self.position, number)

    async def _tell_missed(self) -> None:
        """Tell the journal what was lost, once it knows where that history ended."""
        missed = self._missed
        if missed is None or missed.epoch == self._epoch:
            return
        self._missed = None
        try:
            await self._reader.missed(missed)
        except Unavailable:
            self._missed = missed
        except SkerryError as error:  # no right to write there: it is in the log and in the metrics
            self.events.emit("retrying", error, 0.0)

    def _settle_elsewhere(self, asked: Sequence[tuple[Position, asyncio.Future[bool]]]) -> None:
        """The journal's epochs are known as of after these were asked for."""
        for position, future in asked:
            here = self.carry(position)
            if here is None:
                if not future.done():
                    future.set_result(False)
            else:
                self._waiters.join(here.offset, self._offset, future)

    async def _catch_up(self) -> bool:
        """Read until the journal's end; False when everything has to be loaded anew."""
        asked, self._elsewhere = self._elsewhere, []
        head = None
        try:
            head = await self._is_same()
        finally:
            if head is None:  # they wait on, but for those who gave up
                self._elsewhere += [each for each in asked if not each[1].done()]
        if head is None:
            return False
        self._settle_elsewhere(asked)
        self._tip = max(self._tip, head.position.offset)
        self._take_early()
        while self._offset < head.position.offset:
            records = await self._reader.read(self._offset, self._settings.page)
            if records and records[0].offset <= self._offset + 1:
                self._take(records)
            self._take_early()
            if not records and self._offset < head.position.offset:
                raise JournalError(
                    f"the journal ends at {head.position} but has nothing after {self._offset}"
                )
            await asyncio.sleep(0)  # reads go on between pages
        if self.phase is not Phase.LIVE:
            self.phase = Phase.LIVE
            self._live.set()
            self.events.emit("caught_up", self.position)
        if self._offset >= head.position.offset:
            self._tip = max(self._offset, self._early.highest)
            self.fresh_at = self._clock.monotonic()
        return True

    def _start_warm(self, warm: SnapshotFile) -> bool:
        """Load the local snapshot file; False when there is none that fits."""
        copy = warm.read(self._memory.projections)
        if copy is None:
            self._memory.clear()
            return False
        offset = copy.position.offset
        self._memory.loaded(offset)
        self._offset, self._last_id, self._tip = offset, copy.command_id, offset
        self._know(Epochs(copy.epochs))
        if copy.known_at:
            age = max(0.0, self._clock.now() - copy.known_at)
            self.fresh_at = (self._clock.monotonic() - age) or -1.0
        return True


def _named(projections: Sequence[Projection], names: Collection[str]) -> list[Projection]:
    return [projection for projection in projections if type(projection).__name__ in names]
