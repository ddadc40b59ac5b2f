"""Keeps a process's memory equal to the journal.

The start has no race: hear hints and buffer them; load a snapshot with its position; drop what is older; read
what is missing; go live. A hint that leaves a gap waits for a moment (another consumer's may be on its way),
then the gap is read from the journal. Once a second the journal's end is asked for, so that a lost last hint
is repaired too, also while the broker is away.

When the journal has begun another epoch, memory goes on if what it has applied is part of that history too (place.py
tells), and is loaded anew if not: beside what is read, and exchanged for it in one step.

Not here: what an event means (the projections), how memory is filled (loading.py), who waits (waiters.py).
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
from skerry.journal.hints import EarlyHints, Hint, Hints
from skerry.journal.journal import Head, JournalReader, Record
from skerry.journal.loading import SLICE, Loader
from skerry.journal.memory import REBUILDING, Memory, Stopped
from skerry.journal.place import MAX_OFFSET, Place, Verdict
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
    spread_seconds: float = option(
        2.0,
        "over which servers spread it when a memory of a million rows is loaded anew; less for smaller ones",
        least=0.0,
        most=600.0,
    )


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
        self._loader = Loader(reader, self._settings.page)
        self._left: list[Memory] = []
        """What memory was before it was loaded anew."""
        self.phase = Phase.CREATED
        self.fresh_at = 0.0
        self._place = Place()
        self._asked_at = 0.0
        self._missed: Position | None = None
        self._tip = 0
        self._early = EarlyHints(self._settings.max_held)
        self._poll = Poll(self._clock)
        self._jitter = random.Random()
        self._waiters = Waiters(self._place)
        self._listeners: list[Applied] = []
        self._owner: asyncio.Task[None] | None = None
        self._unsubscribe: Callable[[], None] = lambda: None
        self._live = asyncio.Event()

    # --- what others ask

    @property
    def position(self) -> Position:
        """What this memory has applied; the same object until it changes."""
        return self._place.position

    @property
    def stopped(self) -> dict[str, Stopped]:
        """Projections that could not apply an event, by name. They are not fed any more. Always the same dict,
        for those who look at it often; not to be changed."""
        return self._memory.stopped

    @property
    def held(self) -> int:
        """The offset up to which every projection has everything: less than that of `position` when one stopped."""
        return min((each.held for each in self._memory.stopped.values()), default=self._place.offset)

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
        """Whether memory is at `position` or further."""
        here = self.carry(position)
        return here is not None and self._place.offset >= here.offset

    def carry(self, position: Position) -> Position | None:
        """The same place in the present epoch; None when the journal's history, as known here, does not have it."""
        return self._place.carry(position)

    @property
    def place(self) -> Place:
        """Where memory is in the journal's history; always the same object."""
        return self._place

    def epoch_of(self, offset: int) -> str:
        """The epoch in which an offset was given out: with it, the offset names the same event for good."""
        return self._place.epoch_of(offset)

    def when(self, offset: int) -> asyncio.Future[bool]:
        """A future that is done (True) when memory has reached `offset` of the present epoch."""
        return self._waiters.add(offset)

    def expect(self, offset: int) -> asyncio.Future[bool]:
        """Like `when`, for an offset that somebody says exists: the journal is asked at once, not at the next poll."""
        if self._place.offset < offset:
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
        future = self._waiters.add_unknown(position)
        if not future.done():
            since = self._clock.monotonic() - self._asked_at
            self._poll.repair(0.0 if hurry else max(0.0, UNKNOWN_SECONDS - since))
        return future

    async def wait(self, position: Position, deadline: Deadline) -> bool:
        """Whether memory reached `position` in time. One that the history does not have is never waited for: False."""
        here = self.carry(position)
        if here is not None and self._place.offset >= here.offset:
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
        if whole:
            try:
                self.save()
            except OSError as error:  # a full or read-only disk: the next start is a little slower
                self.events.emit("failure", "the local copy of memory", None, error)

    def save(self) -> None:
        """Write the warm-start file now, when one is configured and every projection can be dumped."""
        if (
            self._warm is not None
            and self._place.epoch
            and not self.stopped
            and self.phase is not Phase.LOADING
        ):
            known_at = self._clock.now() - self.stale_seconds if self.fresh_at else 0.0
            copy = Copied(self.position, self._place.last_id, tuple(self._place.epochs), known_at)
            self._warm.write(copy, self._memory.projections)

    # --- hints: what usually happens, without a task

    def _on_hint(self, hint: Hint) -> None:
        place = self._place
        if hint.epoch != place.epoch or self.phase is not Phase.LIVE:
            if hint.epoch == place.epoch:
                self._tip = max(self._tip, hint.last)
            elif hint.epoch in place.epochs:
                return  # of a writer that has not noticed yet
            elif self.phase is Phase.LIVE:
                self._poll.repair()  # the journal knows what that is
            self._early.keep(hint)
            return
        if place.contradicts(hint):
            self._poll.repair()
            return
        if hint.last > self._tip:
            self._tip = hint.last
        if hint.last <= place.offset:
            if hint.last == place.offset:
                self.fresh_at = self._clock.monotonic()
            return
        if hint.first <= place.offset + 1 and hint.records is not None and not self._early.waiting:
            self._take(hint.records)
            return
        self._early.keep(hint)
        self._take_early()
        if place.offset < self._tip and not self._poll.repairing:
            self.events.emit("gap", place.offset + 1, hint.first)
            self._poll.repair(0.0 if hint.records is None else self._settings.reorder_seconds)

    def _take_early(self) -> None:
        place = self._place
        while (hint := self._early.take(place.offset + 1)) is not None:
            if hint.epoch == place.epoch and hint.last > place.offset and hint.records:
                if place.contradicts(hint):
                    self._poll.repair()
                    return
                self._take(hint.records)

    def _take(self, records: Sequence[Record]) -> None:
        """Apply what is new of `records`, which are contiguous and begin at or before the next offset."""
        place = self._place
        skip = place.offset + 1 - records[0].offset
        if skip > 0:
            records = records[skip:]
            if not records:
                return
        self._memory.apply(records)
        place.offset, place.last_id = records[-1].offset, records[-1].command_id
        if self._memory.outdated:
            self._poll.repair()
        if place.offset >= self._tip:
            self._tip = place.offset
            self.fresh_at = self._clock.monotonic()
        for listener in list(self._listeners):
            try:
                listener(records, place.epoch)
            except Exception as error:  # memory goes on, and the others hear it
                self.events.emit("failure", "listener", records[-1], error)
        self._waiters.reached()
        self.events.emit("applied", place.offset, len(records))

    # --- loading and repair: one task

    async def _run(self) -> None:
        backoff = Backoff(0.1, 5.0)
        jitter = self._jitter
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
                await self._let_go()
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
                if not self._place.epoch:
                    raise  # the start fails
                # Memory stays what it is, and is loaded anew; it must never stop without a word.
                self.events.emit("failure", "memory", None, error)
                stale, pause = True, backoff.next()
                self._poll.settle()
            await self._poll.pause(pause)

    async def _load(self) -> None:
        """Load everything; the first time nobody reads yet."""
        memory = self._memory
        if not self._place.epoch:
            self.phase = Phase.LOADING
            filled = await self._loader.fill(memory)
            gap = next((each.reason for each in memory.stopped.values() if each.where == REBUILDING), "")
            if gap:
                raise JournalError(gap)
        else:
            await self._spread()
            self.phase = Phase.LOADING
            filled = await self._loader.fill(memory.beside(memory.projections))
            memory.exchange(filled.memory)
            self._left.append(filled.memory)
        self._arrive(filled.position, filled.epochs)

    async def _spread(self) -> None:
        """Wait for a moment, so that not every server asks the database for all its rows at once."""
        seconds = self._settings.spread_seconds * min(1.0, self._loader.rows / 1_000_000)
        if seconds:
            await self._clock.sleep(seconds * self._jitter.random())

    async def _let_go(self) -> None:
        """Free what was exchanged, a little at a time."""
        while self._left:
            for _ in self._left.pop().taken_apart():
                await asyncio.sleep(0)

    async def _refill(self) -> None:
        """Fill what a correction is about anew, while everything else goes on."""
        memory, place = self._memory, self._place
        asked = dict(memory.outdated)
        await self._spread()
        filled = await self._loader.fill(memory.beside(_named(memory.projections, asked)))
        fresh, at = filled.memory, filled.position
        if at.epoch != place.epoch:
            self._poll.repair()  # first it is found out whether memory is part of that history
            return
        while place.offset < at.offset:
            self._take(await self._loader.more(place.offset))
        upto = at.offset
        while upto < place.offset:
            since = [r for r in await self._loader.more(upto) if r.offset <= place.offset]
            for begin in range(0, len(since), SLICE):
                fresh.feed(fresh.projections, since[begin : begin + SLICE])
                upto = since[begin : begin + SLICE][-1].offset
                await asyncio.sleep(0)
        if at.epoch != place.epoch:
            return  # tried again, when it was not loaded anew anyway
        # A further correction meanwhile: once more for what that is about.
        still = {name for name, offset in asked.items() if memory.outdated.get(name) == offset}
        fresh.without(asked.keys() - still)
        memory.exchange(fresh)
        self._left.append(fresh)
        for name in still:
            if name not in memory.stopped:
                self.events.emit("revived", name, self.position)
        if memory.outdated:
            self._poll.repair()

    def _arrive(self, position: Position, epochs: Epochs) -> None:
        """Memory is at `position`, not by events."""
        moved = self._place.epoch != position.epoch
        self._place.arrive(position.offset, epochs)
        self._tip = position.offset
        if moved:
            self._early.forget_others(position.epoch)
            self._waiters.release()
        else:
            self._waiters.reached()
        self.phase = Phase.CATCHING_UP
        self.events.emit("reloaded", position)

    # --- whose history it is

    async def _is_same(self) -> Head | None:
        """The journal's ends, when memory is part of its history: memory is in its epoch then. None when everything has
        to be loaded anew."""
        while True:
            before, last_id = self._place.offset, self._place.last_id
            self._asked_at = self._clock.monotonic()
            head = await self._reader.head(before)
            if head.position.epoch == self._place.epoch:
                verdict = self._place.judge(head, before, last_id)
                break
            epochs = Epochs.of(await self._reader.epochs())
            if head.is_standby and self._place.epoch not in epochs:
                verdict = Verdict(is_lagging=True)
                break
            verdict = self._move(epochs)
            if not verdict.goes_on:
                break
        if verdict.is_lagging:
            raise Disconnected(f"this standby of the journal is at {head.position}, memory further on")
        if verdict.lost is not None:
            self._lose(verdict.lost)
        return head if verdict.goes_on else None

    def _move(self, epochs: Epochs) -> Verdict:
        """Go on in the last of these, when memory is part of that history."""
        old, here = self._place.epochs, self._place.position
        verdict = self._place.move(epochs)
        if verdict.goes_on:
            self._tip = self._place.offset
            self._early.forget_others(self._place.epoch)
            self._waiters.release(beyond=epochs.agree(old, Position(here.epoch, MAX_OFFSET)))
            self.events.emit("moved", self.position)
        return verdict

    def _lose(self, number: int) -> None:
        """What memory has applied last is not in the journal any more: `number` events, 0 when nobody knows."""
        self._missed = self.position
        self.events.emit("lost", self.position, number)

    async def _tell_missed(self) -> None:
        """Tell the journal what was lost, once it knows where that history ended."""
        missed = self._missed
        if missed is None or missed.epoch == self._place.epoch:
            return
        self._missed = None
        try:
            await self._reader.missed(missed)
        except Unavailable:
            self._missed = missed
        except SkerryError as error:  # no right to write there: it is in the log and in the metrics
            self.events.emit("retrying", error, 0.0)

    async def _catch_up(self) -> bool:
        """Read until the journal's end; False when everything has to be loaded anew."""
        asked = self._waiters.take_unknown()
        head = None
        try:
            head = await self._is_same()
        finally:
            if head is None:
                self._waiters.keep_unknown(asked)
        if head is None:
            return False
        self._waiters.settle(asked)
        self._tip = max(self._tip, head.position.offset)
        self._take_early()
        while self._place.offset < head.position.offset:
            records = await self._reader.read(self._place.offset, self._settings.page)
            if records and records[0].offset <= self._place.offset + 1:
                self._take(records)
            self._take_early()
            if not records and self._place.offset < head.position.offset:
                raise JournalError(
                    f"the journal ends at {head.position} but has nothing after {self._place.offset}"
                )
            await asyncio.sleep(0)  # reads go on between pages
        if self.phase is not Phase.LIVE:
            self.phase = Phase.LIVE
            self._live.set()
            self.events.emit("caught_up", self.position)
        if self._place.offset >= head.position.offset:
            self._tip = max(self._place.offset, self._early.highest)
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
        self._place.arrive(offset, Epochs(copy.epochs), copy.command_id)
        self._tip = offset
        if copy.known_at:
            age = max(0.0, self._clock.now() - copy.known_at)
            self.fresh_at = (self._clock.monotonic() - age) or -1.0
        return True


def _named(projections: Sequence[Projection], names: Collection[str]) -> list[Projection]:
    return [projection for projection in projections if type(projection).__name__ in names]
