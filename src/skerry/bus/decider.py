"""Decides commands: runs each handler on a unit of work, and turns whatever happens into an outcome.

A rule that says no is `rejected`; anything else that a handler raises, and what cannot be decoded, is `failed`
and goes to the dead letters with its bytes. One command that fails does not touch its neighbours. The consumer
fetches, commits and answers.
"""

from __future__ import annotations

import hashlib
import logging
import traceback
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from skerry.bus.handlers import Handler, bind, command_arguments
from skerry.bus.pipeline import Decide, Middleware, compose, within
from skerry.errors import (
    InvalidMessage,
    JournalError,
    MessageError,
    PreconditionFailed,
    Rejected,
    Unavailable,
)
from skerry.injection import Resolve
from skerry.journal.journal import Batch, DeadLetter, NewOutcome, Status, Writes
from skerry.journal.unit import Overlay, Unit
from skerry.messages.envelope import PLACE, TRACE, WHO, Envelope, encode_body
from skerry.messages.message import Command, Event, storable
from skerry.messages.serializer import Serializer
from skerry.messages.typed import Typed

logger = logging.getLogger("skerry.bus")
_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class _Compiled:
    decide: Decide
    handler: Handler[Command[Any]]
    is_async: bool
    result: Typed[Any]


class Decider:
    """One composed callable per command class, made at start. `tables`: the names of those that are declared."""

    def __init__(
        self,
        handlers: Mapping[type[Command[Any]], Handler[Command[Any]]],
        middlewares: Sequence[Middleware],
        serializer: Serializer,
        resolve: Resolve,
        tables: Collection[str] | None = None,
    ) -> None:
        self._serializer, self._tables = serializer, tables
        self._compiled: dict[type[Command[Any]], _Compiled] = {}
        self._known: set[type[Event]] = set()
        for kind, handler in handlers.items():
            plan = bind(handler, resolve, command_arguments(kind))
            terminal = plan.compile()
            decide = compose(middlewares, kind, terminal, plan.is_async, resolve)
            result: Typed[Any] = Typed(f"the result of {handler.name}", handler.result)
            is_async = plan.is_async or decide is not terminal
            self._compiled[kind] = _Compiled(decide, handler, is_async, result)

    def decode(self, envelope: Envelope) -> MessageError | None:
        """Make sure that the envelope holds its command and that somebody decides it; the reason when not."""
        if envelope.command is None:
            try:
                command = self._serializer.decode(envelope.name, envelope.version, envelope.body or b"")
            except MessageError as error:
                return error
            if not isinstance(command, Command):
                return MessageError(f"{envelope.name} is not a command")
            envelope.command = command
        if type(envelope.command) not in self._compiled:
            return MessageError(f"no handler decides {envelope.name!r}")
        return None

    def knows(self, name: str, version: int) -> bool:
        """Whether a command of this name and version is decided here."""
        kind = self._serializer.find(name)
        return kind in self._compiled and version <= kind.message_version

    def places(self, envelope: Envelope) -> list[tuple[str, str]]:
        """What to load before this command is decided. Must have been decoded. Never raises: what a `loads=`
        function raises is met again, and reported, when the command is decided."""
        try:
            places = self._compiled[type(envelope.command)].handler.places(envelope.command)  # type: ignore[index]
        except Exception:
            return []
        return [place for place in places if self._tables is None or place[0] in self._tables]

    def holds(self, envelope: Envelope) -> bool:
        """Whether later commands of this one's key wait behind its failure."""
        compiled = self._compiled.get(type(envelope.command))  # type: ignore[arg-type]
        return compiled is not None and compiled.handler.hold

    async def decide(
        self, envelope: Envelope, overlay: Overlay, batch: Batch, at: float, epoch: str
    ) -> list[Any]:
        """Run the handler; fold its effects, or its failure, into the overlay's writes. Returns after-commit
        hooks. Raises only what is nobody's fault and needs the batch again (Unavailable, a broken connection)."""
        command = envelope.command
        compiled = self._compiled[type(command)]  # type: ignore[index]
        handler = compiled.handler
        connection, headers = batch.connection if handler.sql else None, envelope.headers
        who = storable(headers[WHO]) if WHO in headers else ""
        trace = storable(headers[TRACE]) if TRACE in headers else ""
        unit = Unit(overlay, envelope.id, at, epoch, connection, self._tables, who, trace)
        try:
            if callable(handler.loads):
                handler.places(command)
            if handler.sql:
                async with batch.savepoint():
                    return await self._run(compiled, command, unit, envelope)
            return await self._run(compiled, command, unit, envelope)
        except Rejected as no:
            kind = "precondition" if isinstance(no, PreconditionFailed) else ""
            _conclude(overlay, envelope, Status.REJECTED, no.reason, kind)
        except (Unavailable, OSError, JournalError):
            raise
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            public = error.without_value if isinstance(error, InvalidMessage) else str(error)
            _conclude(overlay, envelope, Status.FAILED, f"{type(error).__name__}: {public}", "")
            details = "".join(traceback.format_exception(error, limit=-20))
            overlay.writes.dead.append(letter_of(envelope, reason, details, at))
        return []

    async def commit(self, batch: Batch, writes: Writes, envelopes: Collection[Envelope]) -> int:
        """Write what was decided of these commands: `batch.commit`."""
        return await batch.commit(writes)

    async def _run(self, compiled: _Compiled, command: Any, unit: Unit, envelope: Envelope) -> list[Any]:
        result = compiled.decide(command, unit)
        if compiled.is_async:
            result = await within(result, compiled.handler.timeout_seconds, compiled.handler.name)
        encoded, _ = compiled.result.encode(result)
        for event in unit.events:
            if type(event) not in self._known:
                self._meet(type(event))
        return unit.fold(None if encoded == b"null" else encoded, envelope.request_hash)

    def _meet(self, kind: type[Event]) -> None:
        """An event class for the first time: say so when no process could tell its listeners what is in it."""
        self._known.add(kind)
        if not self._serializer.knows(kind):
            name = kind.__name__
            logger.warning(
                "%s is emitted, but nothing declares it: app.emits(%s) lets listeners see it", name, name
            )


def refuse(overlay: Overlay, envelope: Envelope, error: Exception, at: float) -> None:
    """A command that cannot be decided at all: a failed outcome and a dead letter."""
    reason = str(error)
    _conclude(overlay, envelope, Status.FAILED, reason, "")
    overlay.writes.dead.append(letter_of(envelope, reason, "", at))


def _conclude(overlay: Overlay, envelope: Envelope, status: Status, reason: str, kind: str) -> None:
    before = len(overlay.writes.events)
    overlay.writes.outcomes.append(
        NewOutcome(envelope.id, status, before, 0, storable(reason), kind, request_hash=envelope.request_hash)
    )


def letter_of(envelope: Envelope, reason: str, details: str, at: float, attempts: int = 1) -> DeadLetter:
    """The dead letter of a command, with its bytes."""
    try:
        body = encode_body(envelope)
    except Exception as error:  # what cannot be encoded can still be told of
        body = _encode({"unencodable": repr(error)})
    # Whatever it is, it must be possible to keep it: else it would stand in the way for ever.
    name, key, version = storable(envelope.name), storable(envelope.key), envelope.version
    headers = {storable(field): storable(value) for field, value in envelope.headers.items()}
    place = headers.pop(PLACE, "")
    number = int(place) if place.isdecimal() else 0
    told = storable(reason), storable(details, 20_000)
    return DeadLetter(envelope.id, name, version, key, body, *told, attempts, at, headers, number)


def letter_of_bytes(data: bytes, at: float) -> DeadLetter:
    """The dead letter of a message that is no pack of commands: kept under the hash of its bytes."""
    digest = hashlib.sha256(data).hexdigest()[:32]
    return letter_of(Envelope(digest, "", 0, "", body=data), "not a pack of commands", "", at)
