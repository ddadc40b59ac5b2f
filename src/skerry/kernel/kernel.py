"""The parts of one process, composed once from what was declared, what was set and what was opened.

Here everything is made and wired: serializer, projections, projector, outcomes, buses, feed, services. Roles start
and stop what they need of it. Not here: how backends are opened (roles/wiring.py), what a role does.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from skerry.bus.bus import CommandBus, CommandBusSettings, EventBus, QueryBus
from skerry.bus.decider import Decider
from skerry.bus.handlers import Handler, bind, event_arguments, place_of, plan_of
from skerry.bus.outcomes import Outcomes
from skerry.bus.transport import Announcement, Transport
from skerry.clock import Clock, SystemClock
from skerry.errors import DeclarationError, MessageError, SettingsError, SkerryError
from skerry.http.kept import KeptAnswers
from skerry.injection import Plan, Resolve
from skerry.journal.correcting import RESERVED
from skerry.journal.intake import HasIntake
from skerry.journal.journal import JournalReader, JournalWriter, Record
from skerry.journal.mirror import ReadsMirrors
from skerry.journal.projection import Projection
from skerry.journal.projector import Projector, ProjectorSettings
from skerry.journal.reactor import React, Reactor, ReactorRun
from skerry.journal.snapshot import SnapshotFile
from skerry.kernel.declaration import Declaration, Render
from skerry.kernel.feed import JournalFeed
from skerry.kernel.intake_watch import IntakeWatch
from skerry.kernel.losses import Losses
from skerry.kernel.services import Services
from skerry.kernel.sessions import declare_sessions
from skerry.kernel.settings import Settings
from skerry.kernel.traced import (
    TracedDecider,
    traced_listener,
    traced_projection,
    traced_reactor,
    traced_send,
)
from skerry.kernel.visibility import Visibility
from skerry.kernel.writable import Writable
from skerry.kernel.writes import HttpReads, HttpWrites
from skerry.messages.message import Command, Event
from skerry.messages.serializer import Serializer
from skerry.messages.typed import typed
from skerry.position import Position
from skerry.telemetry import Registry

logger = logging.getLogger("skerry.kernel")
ACCEPTED = "skerry.accepted"
"""Topic of announcements: these commands were accepted durably and are pending; a line `ID HASH` for each."""
ASKING = "skerry.accepted?"
"""Topic of announcements: a process that has just started asks which are."""
LOOK_UP_SECONDS = 5.0
"""How long the database is asked what became of a command that has waited for long."""
TOLD_PENDING = 1000
"""How many pending commands are sent to a process that asks; the newest first."""
MEMORY_EVENTS = ("reloaded", "moved", "failure", "revived", "lost", "caught_up")
"""Events of the projector after which memory may show something else, or under another position, beside those that it
has applied."""


def copy_path(settings: Settings, namespace: str, name: str) -> Path | None:
    """Where a process keeps its copy of memory; none on `memory:`, which is gone after a restart anyway."""
    if not settings.warm_start or settings.journal.startswith("memory:"):
        return None
    return Path(settings.data) / f"{namespace}.{name}.warm"


def has_copy(settings: Settings, namespace: str, name: str) -> bool:
    """Whether there is such a copy, so that reads can be answered before anything else is there."""
    path = copy_path(settings, namespace, name)
    return path is not None and path.exists()


class Kernel:
    """One process of an application. `writer` is there where commands are decided, None elsewhere. `replace`: services
    by type, instead of what would be made."""

    def __init__(
        self,
        declaration: Declaration,
        settings: Settings,
        transport: Transport,
        reader: JournalReader,
        writer: JournalWriter | None = None,
        *,
        clock: Clock | None = None,
        name: str = "",
        replace: Mapping[type, object] | None = None,
    ) -> None:
        declaration.check()
        if settings.tokens:
            declaration = declaration.sealed()  # what Skerry adds is not the application's
            declare_sessions(declaration)
        mirrored = [mirror.mirrored for mirror in declaration.mirrors.values()]
        if isinstance(reader, ReadsMirrors):
            reader.follow(mirrored)
        elif mirrored:
            raise SettingsError("journal", f"app.mirror({mirrored[0].table!r}) needs a postgresql: journal")
        self.declaration, self.settings = declaration, settings
        self.transport, self.reader, self.writer = transport, reader, writer
        self.clock = clock or SystemClock()
        self.namespace = settings.namespace or declaration.namespace
        self.name = name or settings.process or declaration.name
        self.registry = Registry()
        self.application = declaration.http.copy()
        self.tracer = self.application.tracer
        for kind in (
            *declaration.handlers.commands,
            *declaration.handlers.queries,
            *declaration.handlers.events,
        ):
            declaration.messages.add(kind)
        for message in declaration.messages:
            if issubclass(message, Command | Event):
                typed(message)  # one that JSON cannot say is told now, not when it is sent first
        self.serializer = Serializer(declaration.messages)
        self.services = Services()
        self.projections = self._make_projections()
        self.projector = Projector(
            reader, transport, self.projections, self.serializer, settings=settings.of(ProjectorSettings),
            warm=self._warm_file(), clock=self.clock,
        )  # fmt: skip
        self.outcomes = Outcomes(
            lambda: self.projector.position,
            self.projector.reach,
            self._ask_outcome,
            now=self.clock.monotonic,
            shows=self.projector.shows,
            epoch_of=self.projector.epoch_of,
        )
        self.visibility = Visibility(self.projector, self.services)
        self.writable = Writable(
            transport,
            reader,
            self.outcomes.undecided,
            self._is_decided,
            self.clock,
            settings.writable_after,
        )
        self.commands = CommandBus(
            transport,
            self.outcomes,
            declaration.handlers.commands,
            CommandBusSettings(settings.partitions, settings.wait),
            self.clock,
            None if self.tracer is None else traced_send(transport.send, self.tracer),
        )
        self.queries = QueryBus(declaration.handlers.queries)
        self.events = EventBus()
        self.events.on_error = _log_listener  # a runtime takes them over
        self.projector.events.on("failure", _log_memory)
        self.projector.events.on("revived", _log_revived)
        self.projector.events.on("reloaded", self._memory_jumped)
        self.projector.events.on("moved", _log_moved)
        self.projector.events.on("lost", _log_lost)
        self.reactors: list[ReactorRun] = []
        """Those of a process that decides."""
        self.losses = Losses(declaration.messages, self.registry)
        self.feed = JournalFeed(
            self.projector,
            reader,
            self.serializer,
            {},
            lost=self.losses.note,
            hidden=[
                name for name, of in declaration.mirrored_events().items() if not declaration.mirrors[of].live
            ],
        )
        self._asking: set[asyncio.Task[None]] = set()
        self._watching: list[asyncio.Task[None]] = []
        self.intake = (
            IntakeWatch(reader, mirrored, self.clock)
            if isinstance(reader, HasIntake) and (declaration.foreign or mirrored)
            else None
        )
        """Where foreign transactions may leave events that have to be moved."""
        self._subscriptions: list[Any] = []
        parts = (
            self.commands,
            self.queries,
            self.events,
            self.feed,
            self.projector,
            settings,
            self.registry,
            self,
        )
        for service in parts:
            self.services.add(service)
        self.services.add(self.clock, Clock)
        self.services.add(reader, JournalReader)
        self.services.add(HttpWrites(self.commands, transport, settings.wait, self.announce_pending))
        self.services.add(
            HttpReads(self.projector, guarded=bool(settings.tokens) or declaration.http.authenticates)
        )
        for made, factory in declaration.services.items():
            self.services.add_factory(made, factory)
        self.services.replace(replace or {})
        self.queries.compile(self.services.resolve, self.visibility.guarded)

    def _make_projections(self) -> list[Projection]:
        made: list[Projection] = []
        for kind in self.declaration.projections:
            try:
                projection = kind()
            except TypeError as error:
                raise DeclarationError(
                    f"projection {kind.__name__} must be made without arguments: {error}"
                ) from error
            self.services.add(projection)
            if self.tracer is not None:
                traced_projection(projection, self.tracer)
            made.append(projection)
            if not (kind.source_tables() or kind.stored or kind.ephemeral):
                logger.warning(
                    "projection %s begins empty at every start: give it a table, or stored = True to keep its state; "
                    "if that is meant, say ephemeral = True",
                    kind.__name__,
                )
        return made

    def _warm_file(self) -> SnapshotFile | None:
        path = copy_path(self.settings, self.namespace, self.name)
        return None if path is None else SnapshotFile(path)

    @property
    def tables(self) -> list[str]:
        return list(self.declaration.tables)

    # --- reading: what every server and gateway does

    async def start_reading(self, *, wait: bool = True) -> None:
        """Subscribe, load memory, catch up."""
        transport = self.transport
        self._subscriptions += [
            transport.answers(self.outcomes.answered),
            transport.announcements(self._on_announcement),
            self.projector.listen(self.outcomes.applied),
        ]
        self._subscriptions.append(self.projector.listen(lambda records, epoch: self.losses.look(records)))
        self._compose_renderers()
        self._listen_for_application()
        transport.announce(Announcement(ASKING, b""))
        await self.projector.start(wait=wait)
        self._watching = [asyncio.create_task(self.writable.run(), name="skerry-writable")]
        if self.intake is not None:
            self._watching.append(asyncio.create_task(self.intake.run(), name="skerry-intake-watch"))

    def keep_answers(self, kept: KeptAnswers) -> Callable[[], None]:
        """Let answers be kept for as long as memory shows the same. Returns how to end it."""
        kept.stopped = self.projector.stopped
        events = [self.projector.events.on(name, kept.clear) for name in MEMORY_EVENTS]

        def applied(records: Sequence[Record], epoch: str) -> None:
            if not kept.answers:
                return
            if any(record.name.startswith(RESERVED) for record in records):  # may be of any key
                kept.clear()
            else:
                kept.drop((record.key for record in records), Position(epoch, records[-1].offset))

        unlisten = self.projector.listen(applied)

        def forget() -> None:
            unlisten()
            for event in events:
                event.cancel()

        return forget

    async def stop_reading(self) -> None:
        """Stop following; writes the warm-start file."""
        await self.projector.stop()
        for unsubscribe in self._subscriptions:
            unsubscribe()
        self._subscriptions.clear()
        tasks = self._asking.union(self._watching)
        for task in list(tasks):
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _compose_renderers(self) -> None:
        self.feed.renderers = {
            kind: render_plan(kind, render, self.services.resolve).compile()
            for kind, render in self.declaration.renderers.items()
        }

    def _listen_for_application(self) -> None:
        declared = self.declaration.handlers.events
        if not declared:
            return
        for kind, handlers in declared.items():
            for handler in handlers:
                plan = bind(handler, self.services.resolve, event_arguments(kind))
                if plan.is_async:
                    raise DeclarationError(
                        f"{handler.name}: a listener is a plain function of plain services"
                    )
                listener = plan.compile()
                if self.tracer is not None:
                    listener = traced_listener(
                        listener, self.tracer, getattr(handler.function, "__name__", handler.name)
                    )
                self._subscriptions.append(self.events.on(kind, self._counted(handler, listener)).cancel)
        names = {kind.message_name: kind for kind in declared}

        def applied(records: Sequence[Record], epoch: str) -> None:
            for record in records:
                kind = names.get(record.name)
                if kind is None:
                    continue
                try:
                    event = self.serializer.decode(record.name, record.version, record.data)
                except MessageError as error:
                    self.losses.note(map(_listener_name, declared[kind]), record, error)
                    continue
                self.events.emit(kind, event, record)

        self._subscriptions.append(self.projector.listen(applied))

    def _counted(
        self, handler: Handler[Any], listener: Callable[..., Any]
    ) -> Callable[[Event, Record], None]:
        """The listener; what it raises is counted under its name, and reported as before."""

        def counted(event: Event, record: Record) -> None:
            try:
                listener(event, record)
            except Exception as error:
                self.losses.note([_listener_name(handler)], record, error)
                raise

        return counted

    # --- outcomes that may have been lost

    def _ask_outcome(self, command_id: str) -> None:
        self._ask(self._look_up(command_id))

    def _memory_jumped(self, position: Position) -> None:
        """Memory was loaded anew: it may hold the effects of commands whose events nobody will tell of any more."""
        if waiting := self.outcomes.waiting:
            self._ask(self._look_up(*waiting))

    def _ask(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work, name="skerry-outcomes")
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)

    async def _look_up(self, *command_ids: str) -> None:
        try:
            for command_id in command_ids:
                await self._find_outcome(command_id)
        except (SkerryError, OSError, TimeoutError) as error:
            logger.debug("outcome of %s could not be looked up: %s", command_id, error)

    async def _find_outcome(self, command_id: str) -> bool:
        """Whether the database knows what became of it; then those that wait here get it."""
        outcome = await self.reader.outcome(command_id)
        if outcome is not None:
            self.outcomes.answered([outcome], self.projector.position.epoch, looked_up=True)
        return outcome is not None

    async def _is_decided(self, command_id: str) -> bool:
        try:
            async with asyncio.timeout(LOOK_UP_SECONDS):
                return await self._find_outcome(command_id)
        except (SkerryError, OSError, TimeoutError) as error:
            logger.debug("outcome of %s could not be looked up: %s", command_id, error)
            return False

    def announce_pending(self, command_id: str) -> None:
        """Let every process know that this command is durable and pending, so that any of them can say so."""
        self._tell_pending([(command_id, self.outcomes.pending.get(command_id, ""))])

    def _tell_pending(self, commands: Sequence[tuple[str, str]]) -> None:
        lines = "\n".join(f"{command_id} {request_hash}" for command_id, request_hash in commands)
        self.transport.announce(Announcement(ACCEPTED, lines.encode()))

    def _on_announcement(self, announcement: Announcement) -> None:
        if announcement.topic == ACCEPTED:
            for line in announcement.payload.decode("ascii", "replace").splitlines():
                command_id, _, request_hash = line.partition(" ")
                self.outcomes.note_pending(command_id, request_hash)
        elif announcement.topic == ASKING and self.outcomes.pending:
            self._tell_pending(list(self.outcomes.pending.items())[-TOLD_PENDING:])

    # --- deciding: what a consumer does

    def decider(self) -> Decider:
        """The composed handlers of all commands."""
        declared = self.declaration
        decider = Decider if self.tracer is None else partial(TracedDecider, self.tracer)
        return decider(
            declared.handlers.commands,
            declared.middlewares,
            self.serializer,
            self.services.resolve,
            declared.tables,
        )

    def reaction(self, reactor: Reactor) -> React:
        """A reactor's function with its services filled in."""
        handler = Handler(reactor.events[0], reactor.react)
        react = bind(handler, self.services.resolve, event_arguments(handler.message)).compile()
        return react if self.tracer is None else traced_reactor(react, self.tracer, reactor.name)


def render_plan(event: type[Event], render: Render, resolve: Resolve) -> Plan:
    """How a renderer is called. Raises DeclarationError for one that waits, and for a parameter that nothing fills."""
    where = f"renderer {place_of(render)}"
    plan = plan_of(render, where, resolve, event_arguments(event))
    if plan.is_async:
        raise DeclarationError(f"{where} is a plain function of plain services")
    return plan


def _listener_name(handler: Handler[Any]) -> str:
    return f"listener {handler.name}"


def _log_memory(name: str, record: Record | None, error: Exception) -> None:
    where = "" if record is None else f" at event {record.offset} ({record.name})"
    stack = None if isinstance(error, OSError) else error  # of a disk that is full it says nothing more
    logger.error("%s failed%s: %s", name, where, error, exc_info=stack)


def _log_moved(position: Position) -> None:
    logger.warning(
        "the journal has begun a new epoch; memory goes on at %s, of which nothing was lost", position
    )


def _log_lost(position: Position, number: int) -> None:
    logger.error(
        "memory was at %s; %s are not in the journal any more (a standby that lacked them was promoted, or a back-up "
        "was restored). Memory is loaded anew; skerry journal verify tells where the epochs ended",
        position,
        "its last events" if number == 0 else f"the last {number} of its events",
    )  # fmt: skip


def _log_revived(name: str, position: Position) -> None:
    logger.info("%s follows the journal again, at %s", name, position)


def _log_listener(error: Exception, event: object) -> None:
    called = event.__name__ if isinstance(event, type) else event
    logger.error("a listener of %s failed: %s", called, error, exc_info=error)
