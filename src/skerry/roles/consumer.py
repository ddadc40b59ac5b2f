"""The consumer role: decides commands, runs reactors, keeps the stored projections' snapshots, trims.

One embedded journal has one consumer, which owns it. On a shared journal several consumers divide the partitions
among themselves by leases with a fencing number, so that order per key holds while they come, hang and go. How many
each of them takes is decided in partition_balance.py.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket as socket_module
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import msgspec

from skerry.bus.attempts import Attempts
from skerry.bus.bus import partition_of
from skerry.bus.consumer import INFRASTRUCTURE, Consumer, ConsumerSettings
from skerry.bus.deadletter import DeadQueue, SetsAside
from skerry.bus.decider import Decider
from skerry.bus.intake import Mover
from skerry.bus.transport import Announcement
from skerry.clock import Backoff
from skerry.emitter import EventEmitter
from skerry.errors import Fenced, Unavailable
from skerry.journal.correcting import rename
from skerry.journal.hints import tip
from skerry.journal.intake import GUEST_SECONDS, LOOK, HasIntake, TakesGuests
from skerry.journal.journal import DeadLetter, Lease
from skerry.journal.leases import Leases
from skerry.journal.migration import migrate
from skerry.journal.poll import Poll
from skerry.kernel.kernel import Kernel
from skerry.kernel.metrics import register_consumer_metrics, register_intake_metrics, register_reactor_metrics
from skerry.roles.housekeeping import Housekeeping
from skerry.roles.kind import RoleKind
from skerry.roles.partition_balance import SHARING, ConsumerStatus, PartitionBalance, decode, encode
from skerry.roles.reactors import reactor_runs, state_of
from skerry.roles.wiring import prepare
from skerry.supervision.supervisor import Supervisor
from skerry.telemetry import Metric

logger = logging.getLogger("skerry.consumer")


class ConsumerRole:
    """Works on all partitions of an embedded journal, or on those it gets leases for (`shared`)."""

    name = "consumer"

    def __init__(self, kernel: Kernel, *, shared: bool = False, parent: Supervisor | None = None) -> None:
        assert kernel.writer is not None, "a consumer needs the writing end of the journal"
        self.kernel, self.writer = kernel, kernel.writer
        self.shared = shared
        self.events = EventEmitter()
        self.reactions = EventEmitter()
        self.intake = EventEmitter()
        """What the mover tells (`skerry.bus.intake`)."""
        self.consumers: dict[int, Consumer] = {}
        self._at_work: set[int] = set()
        self._idle = asyncio.Event()
        self.owner = f"{socket_module.gethostname()}.{os.getpid()}.{os.urandom(3).hex()}"
        self.supervisor = Supervisor("consumer", clock=kernel.clock, registry=kernel.registry)
        self.supervisor.parent = parent
        self.sharing = PartitionBalance(self.owner, kernel.settings.lease, kernel.clock)
        self._attempts = Attempts(self.writer)
        self._taking = 0
        self._giving_up: set[int] = set()
        self._yielded: dict[int, str] = {}
        self._freed: defaultdict[int, asyncio.Event] = defaultdict(asyncio.Event)
        self._leases = Leases(
            self.writer, self.owner, kernel.settings.lease, lambda: kernel.transport.connected, kernel.clock
        )
        self._troubles: dict[str, str] = {}
        self._unhear: Callable[[], None] = lambda: None
        self.drain = kernel.settings.drain
        """Seconds that a batch under way may take when it stops."""
        self.decided = 0
        """Commands of this process's life."""
        self._decider: Decider | None = None
        self._mover: Mover | None = None
        self._guests = Poll(kernel.clock)
        self._stopping = False
        register_consumer_metrics(kernel.registry, self.events, self.consumers)
        register_intake_metrics(kernel.registry, self.intake)
        self.events.on(
            "dead",
            lambda dead: logger.error("command %s became a dead letter: %s", dead.command_id, dead.reason),
        )
        self.events.on("waiting", self._say_waiting)
        self.events.on("retrying", lambda error, pause: self._say("commands", str(error)))
        self.events.on("batch", self._on_batch)
        self.events.on("failure", lambda error: self.supervisor.report("after commit", error))
        self.events.on_error = lambda error, event: self.supervisor.report("consumer.events", error)

    async def start(self) -> None:
        """Prepare the journal's tables, then begin to take commands."""
        await prepare(self.writer, self.kernel.declaration)
        await self._rename_tables()
        await migrate(self.writer, self.kernel.declaration.migrations)
        self._decider = self.kernel.decider()
        self._stopping = False
        if not self.supervisor.children:  # else it is started again after a failure
            self._employ()
        self._unhear()
        self._unhear = self.kernel.transport.announcements(self._heard)
        await self.supervisor.start()

    async def _rename_tables(self) -> None:
        """Take over the rows of tables that have another name now, and say which are stored and not declared."""
        declared, clock = self.kernel.declaration.tables, self.kernel.clock
        for table in declared.values():
            old = table.renamed_from
            if old and await rename(self.writer, old, table.name, clock.now()):
                logger.info("table %s was renamed: its name is %s now", old, table.name)
        for name in await self.writer.tables():
            if name not in declared:
                logger.warning(
                    "table %s is stored and not declared; if it was renamed, declare Table(..., renamed_from=%r)",
                    name,
                    name,
                )

    def _employ(self) -> None:
        """Everything that this role does, each as a supervised task."""
        for partition in range(self.kernel.settings.partitions):
            self.supervisor.spawn(f"partition-{partition}", partial(self._work_on, partition), ends=True)
        self.supervisor.spawn("waiting", self._settle)
        if isinstance(self.writer, HasIntake):
            self.supervisor.spawn("intake", self._move)
        elif isinstance(self.writer, TakesGuests) and self.kernel.declaration.foreign:
            self.supervisor.spawn("guests", partial(self._watch_guests, self.writer))
        if self.shared:
            self.supervisor.spawn("sharing", self._share)
        self.kernel.reactors = reactor_runs(self.kernel, self.writer, self.owner, self.shared, self.reactions)
        for run in self.kernel.reactors:
            register_reactor_metrics(self.kernel.registry, run)
            self.supervisor.spawn(f"reactor-{run.reactor.name}", run.run)
        transport, clock = self.kernel.transport, self.kernel.clock
        if isinstance(transport, SetsAside):
            dead = DeadQueue(transport, transport, self.writer, clock=clock, events=self.events)
            self.supervisor.spawn("dead-queue", dead.run)
        housekeeping = Housekeeping(self.kernel, self.writer, self.shared, self.owner)
        self.supervisor.spawn("housekeeping", housekeeping.run)

    async def hold(self) -> None:
        """Take no more commands; what was taken is finished."""
        self._stopping = True
        for consumer in list(self.consumers.values()):
            await consumer.stop()

    async def resume(self) -> None:
        self._stopping = False
        for partition in range(self.kernel.settings.partitions):
            await self.supervisor.start(f"partition-{partition}")

    async def stop(self) -> None:
        """Finish the batch, commit, acknowledge, publish the tip; give leases back."""
        await self.hold()
        try:
            async with asyncio.timeout(max(self.drain, 0.1)):
                while self._at_work:
                    self._idle.clear()
                    await self._idle.wait()
        except TimeoutError:
            logger.warning("a batch did not end within the drain time; its commands will come again")
        self._unhear()
        await self.supervisor.stop()
        if self.shared:
            self._tell()

    # --- partitions

    async def _work_on(self, partition: int) -> None:
        if not self.shared:
            with self._working(partition):
                while not self._stopping:  # resumed before the last batch had ended: go on
                    await self._consume(partition, None)
            return
        name, seconds, clock = self._lease_name(partition), self.kernel.settings.lease, self.kernel.clock
        backoff = Backoff(0.1, seconds / 3)
        while not self._stopping:
            try:
                lease = await self._acquire(partition, name)
                self._troubles.pop(name, None)
                if lease is None:
                    await self._until_freed(partition, seconds / 4)
                    continue
                backoff.reset()
                with self._working(partition):
                    await self._leases.hold(lease, consuming=self._consume(partition, lease))
                self._tell(partition)
            except (Unavailable, OSError, TimeoutError) as error:
                self._say(name, str(error) or type(error).__name__)
                await clock.sleep(backoff.next())

    def _lease_name(self, partition: int) -> str:
        """Queues of another generation are other queues: a consumer that empties them does not wait for these."""
        generation = self.kernel.settings.generation
        return f"partition:{partition}" if generation == 1 else f"partition:{generation}.{partition}"

    async def _acquire(self, partition: int, name: str) -> Lease | None:
        """The partition's lease, if it is to be had and nobody else should have it."""
        if not self.kernel.transport.connected:  # somebody else may be better off
            return None
        if self._yielded.get(partition) in self.sharing.others:  # it knows what this one does not
            return None
        self._yielded.pop(partition, None)
        if not self.sharing.may_take(partition, self._held + self._taking):
            return None
        self._taking += 1
        try:
            return await self._leases.acquire(name)
        finally:
            self._taking -= 1

    async def _until_freed(self, partition: int, seconds: float) -> None:
        """Wait until the partition's consumer says that it gave it back, `seconds` at most."""
        freed = self._freed[partition]
        freed.clear()
        try:
            async with asyncio.timeout(seconds):
                await freed.wait()
        except TimeoutError:
            pass

    def _on_batch(self, count: int, seconds: float) -> None:
        self.decided += count
        self._troubles.pop("commands", None)

    def gauges(self) -> dict[str, float | str]:
        """For `skerry ps`."""
        found: dict[str, float | str] = {"decided": self.decided}
        if held := sum(consumer.waiting for consumer in self.consumers.values()):
            found["held"] = held
        if reactors := [state_of(run) for run in self.kernel.reactors if run.at_work]:
            found["reactors"] = "\n".join(reactors)
        for consumer in self.consumers.values():
            found["position"] = str(consumer.position)
        return found

    def collect(self) -> list[Metric]:
        """All of its numbers are registered."""
        return []

    @property
    def troubles(self) -> list[str]:
        """What keeps it from its work just now, for readiness."""
        told = self._troubles.items()
        return [f"{what}: {trouble}" for what, trouble in told if what.startswith(("commands", "partition:"))]

    def _say(self, what: str, trouble: str) -> None:
        """A warning; the same trouble is said once."""
        if self._troubles.get(what) != trouble:
            self._troubles[what] = trouble
            logger.warning("%s: %s; trying on", what, trouble)

    @contextmanager
    def _working(self, partition: int) -> Iterator[None]:
        """From the first command to the lease's return: what `stop` waits for."""
        self._at_work.add(partition)
        try:
            yield
        finally:
            self._at_work.discard(partition)
            self._giving_up.discard(partition)
            self._idle.set()

    async def _consume(self, partition: int, lease: Lease | None) -> None:
        assert self._decider is not None
        consumer = Consumer(
            self.kernel.transport,
            self.writer,
            self._decider,
            partition=partition,
            lease=lambda: lease,
            settings=self.kernel.settings.of(ConsumerSettings),
            clock=self.kernel.clock,
            events=self.events,
            attempts=self._attempts,
            mine=lambda key: partition_of(key, self.kernel.settings.partitions) == partition,
        )
        self.consumers[partition] = consumer
        try:
            await consumer.run()
        finally:
            self.consumers.pop(partition, None)

    # --- the others

    @property
    def _held(self) -> int:
        """Partitions that this consumer works on, without those that it is giving up; with those that it left to one
        that knows more, which is not to give them back."""
        yielded = sum(owner in self.sharing.others for owner in self._yielded.values())
        return len(self._at_work - self._giving_up) + yielded

    async def _share(self) -> None:
        """Tell the others, as long as this one can do its work, and give up what is more than a fair share."""
        seconds, clock = self.kernel.settings.lease, self.kernel.clock
        while True:
            if clock.monotonic() - self._leases.answered_at < seconds:
                self._tell()
                await self._give_up(self.sharing.gives_up(self._held))
            await self._attempts.settle()
            await clock.sleep(seconds / 3)

    async def _give_up(self, number: int) -> None:
        for partition in sorted(self.consumers.keys() - self._giving_up, reverse=True)[:number]:
            logger.info("partition %d is left to another consumer, which has fewer", partition)
            self._giving_up.add(partition)
            await self.consumers[partition].stop()

    def _tell(self, *freed: int) -> None:
        held = -1 if self._stopping else self._held
        wants = sorted(
            {f"{name} {version}" for each in self.consumers.values() for name, version in each.wants}
        )
        self._announce(ConsumerStatus(self.owner, self.kernel.settings.generation, held, list(freed), wants))

    def _announce(self, told: ConsumerStatus) -> None:
        self.kernel.transport.announce(Announcement(SHARING, encode(told)))

    def _heard(self, announcement: Announcement) -> None:
        if announcement.topic == LOOK:
            self._guests.repair()
            if self._mover is not None:
                self._mover.look()
        if announcement.topic != SHARING or not self.shared:
            return
        try:
            told = decode(announcement.payload)
        except msgspec.MsgspecError:  # of another version: the leases are enough
            return
        if told.generation != self.kernel.settings.generation:
            return
        is_new = told.owner not in self.sharing.others
        self.sharing.heard(told)
        if told.owner != self.owner and not self._stopping:
            if known := [each for each in told.wants if self._knows(each)]:
                self._announce(ConsumerStatus(self.owner, told.generation, self._held, knows=known))
            if told.knows:
                self._yield_to(told)
            elif is_new and any(each.wants for each in self.consumers.values()):
                self._tell()
        for partition in told.freed if told.owner != self.owner else ():
            self._freed[partition].set()

    # --- events of foreign transactions

    async def _move(self) -> None:
        """Move what they left into the journal, as long as this process works on partition 0."""
        seconds, clock = self.kernel.settings.lease, self.kernel.clock
        while True:
            consumer = self.consumers.get(0)
            if consumer is not None and not self._stopping:
                try:
                    lease = await self._leases.acquire("intake") if self.shared else None
                    if lease is not None or not self.shared:
                        await self._move_with(consumer, lease)
                except (Unavailable, OSError, TimeoutError) as error:
                    self._say("intake", str(error) or type(error).__name__)
            await clock.sleep(seconds / 20)

    async def _watch_guests(self, journal: TakesGuests) -> None:
        """Tell everybody of what foreign transactions wrote into this journal themselves."""
        while True:
            self._guests.settle()
            try:
                end = await journal.guests_end()
            except (Unavailable, OSError, TimeoutError) as error:
                self._say("guests", str(error) or type(error).__name__)
            else:
                self._troubles.pop("guests", None)
                if end is not None:
                    self.kernel.transport.publish(tip(end))
            await self._guests.pause(GUEST_SECONDS)

    async def _move_with(self, consumer: Consumer, lease: Lease | None) -> None:
        """Until the partition, or the lease, is somebody else's."""
        kernel = self.kernel
        declared = kernel.declaration
        mover = Mover(
            self.writer, kernel.transport, kernel.serializer, declared.foreign, mirrored=declared.mirrored_events(),
            lease=lambda: lease, turn=consumer.turn, clock=kernel.clock, events=self._moving(),
        )  # fmt: skip
        self._mover = mover
        try:
            await self._leases.hold(lease, moving=mover.run(), watching=self._watch_partition(consumer))
        finally:
            self._mover = None

    async def _watch_partition(self, consumer: Consumer) -> None:
        while self.consumers.get(0) is consumer and not self._stopping:
            await self.kernel.clock.sleep(0.1)

    def _moving(self) -> EventEmitter:
        events = EventEmitter()
        events.on("dead", self._say_dead_event)
        events.on("retrying", lambda error, pause: self._say("intake", str(error)))
        events.on("moved", lambda count, position: self._troubles.pop("intake", None))
        events.forward_events(self.intake)
        return events

    def _say_dead_event(self, letter: DeadLetter) -> None:
        logger.error("event %s of %r became a dead letter: %s", letter.name, letter.key, letter.reason)

    # --- commands that wait for another release

    async def _settle(self) -> None:
        """Look at what waits, once a second."""
        while True:
            await self.kernel.clock.sleep(1.0)
            for consumer in list(self.consumers.values()):
                try:
                    await consumer.settle()
                except (Fenced, *INFRASTRUCTURE) as error:
                    self._say("waiting commands", str(error) or type(error).__name__)
                else:
                    self._troubles.pop("waiting commands", None)

    def _knows(self, wanted: str) -> bool:
        name, _, version = wanted.rpartition(" ")
        return self._decider is not None and version.isdecimal() and self._decider.knows(name, int(version))

    def _yield_to(self, told: ConsumerStatus) -> None:
        """Leave partitions whose commands wait here to the one that knows them."""
        for partition, consumer in list(self.consumers.items()):
            wants = {f"{name} {version}" for name, version in consumer.wants}
            if partition not in self._yielded and not wants.isdisjoint(told.knows):
                logger.info(
                    "partition %d is left to a consumer that knows %s", partition, ", ".join(told.knows)
                )
                self._yielded[partition] = told.owner
                self._giving_up.add(partition)
                consumer.leave()

    def _say_waiting(self, letter: DeadLetter) -> None:
        self._say(
            f"command {letter.name} version {letter.version}",
            "waits for a consumer that knows it, with all later ones of its key; after 10 minutes it is a dead letter",
        )


CONSUMER = RoleKind(
    "consumer",
    lambda context: ConsumerRole(context.kernel, shared=context.shared, parent=context.runtime.supervisor),
    journal="decides",
)
