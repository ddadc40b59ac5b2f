"""Waits for outcomes of commands, and the receipts that end them.

A command's outcome is learnt from its own event (with the command's id) or from an answer; `visible` means in
addition that this process's memory has reached its position. Whatever is learnt twice is told once.
"""

from __future__ import annotations

import asyncio
import enum
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec

from skerry.bus.undecided import Undecided
from skerry.errors import InvalidMessage, OutcomeUnknown, Overloaded, SkerryError
from skerry.journal.journal import Outcome, Record, Status
from skerry.position import Position

if TYPE_CHECKING:
    from typing_extensions import TypeVar as TypeVarWithDefault

    R = TypeVarWithDefault("R", covariant=True, default=Any)
else:
    R = TypeVar("R", covariant=True)


class Level(enum.IntEnum):
    """How far a command has to come before its sender gets the receipt: the durable queue, the database, or
    also this process's memory."""

    ACCEPTED = 0
    COMMITTED = 1
    VISIBLE = 2


@dataclass(frozen=True, slots=True)
class Receipt(Generic[R]):
    """The outcome of a command as its sender gets it. `status` is PENDING when the command is durable but not
    decided within the wait. `position`: the journal's, with the effect in it; None while pending. `result`:
    JSON or None; `value` is the same decoded. `visible`: False when the sender waited for this process's
    memory, and a projection that would show the effect has stopped."""

    id: str
    status: Status
    position: Position | None = None
    reason: str = ""
    kind: str = ""
    result: bytes | None = None
    visible: bool = True
    result_type: Any = field(default=Any, repr=False, compare=False)

    @property
    def applied(self) -> bool:
        """Whether the command was decided and committed."""
        return self.status is Status.APPLIED

    @property
    def value(self) -> R:
        """The result of the handler, of the type R of `Command[R]` (else of the handler's annotation). Raises
        SkerryError unless the command was applied, InvalidMessage for a result that an older release stored
        and that no longer fits."""
        if not self.applied:
            raise SkerryError(f"command {self.id} is {self.status.value}, not applied: it has no value")
        try:
            return msgspec.json.decode(b"null" if self.result is None else self.result, type=self.result_type)  # type: ignore[no-any-return]
        except msgspec.DecodeError as error:
            raise InvalidMessage(f"the result of command {self.id}", str(error)) from error


class _Waiting:
    __slots__ = ("confirmed", "expects_result", "future", "level", "request_hash", "result_type", "timer")

    def __init__(
        self,
        future: asyncio.Future[Receipt],
        level: Level,
        request_hash: str,
        expects_result: bool,
        result_type: Any,
    ) -> None:
        self.future, self.level, self.request_hash = future, level, request_hash
        self.expects_result, self.result_type = expects_result, result_type
        self.confirmed = False
        self.timer: asyncio.TimerHandle | None = None


class Outcomes:
    """The commands that this process waits for, at most `limit` of them.

    `reach` gives a future for "memory is there": True, or False when the journal's history does not have that position
    (any more). `position` tells where memory is, `epoch_of` the epoch in which an offset was given out.
    `ask` is told of commands whose outcome should be looked up in the database, because an answer may be lost.
    `shows` tells whether memory, which has reached an offset, shows the effect of the command that ended there.
    `now` is a monotonic clock, by which `undecided` tells since when commands wait.
    """

    def __init__(
        self,
        position: Callable[[], Position],
        reach: Callable[[Position], asyncio.Future[bool]],
        ask: Callable[[str], None],
        limit: int = 100_000,
        remembered: int = 10_000,
        now: Callable[[], float] = time.monotonic,
        shows: Callable[[str, int], bool] = lambda command_id, offset: True,
        epoch_of: Callable[[int], str] | None = None,
    ) -> None:
        self._position, self._reach, self._ask, self._limit = position, reach, ask, limit
        self._epoch_of = epoch_of
        self._waiting: dict[str, _Waiting] = {}
        self._remembered = remembered
        self._pending: OrderedDict[str, str] = OrderedDict()  # with the hash of the request
        self._now, self._shows = now, shows
        self.undecided = Undecided(remembered)

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def waiting(self) -> list[str]:
        """The ids of the commands that are waited for."""
        return list(self._waiting)

    def is_pending(self, command_id: str) -> bool:
        """Whether this process knows the command to be on its way, undecided as far as it has heard."""
        return command_id in self._waiting or command_id in self._pending

    def note_pending(self, command_id: str, request_hash: str = "") -> None:
        """This command was accepted durably, here or by another process that says so."""
        self.undecided.sent(command_id, self._now(), durable=True)
        self._pending[command_id] = request_hash
        while len(self._pending) > self._remembered:
            self._pending.popitem(last=False)

    @property
    def pending(self) -> dict[str, str]:
        """Commands that are on their way as far as is known here, accepted by whichever process: the hash of the
        request by id."""
        return dict(self._pending)

    def find(self, command_id: str, request_hash: str) -> asyncio.Future[Receipt] | None:
        """The future of the same command that is already on its way from here; a conflict is answered at once,
        also with one that is pending elsewhere."""
        waiting = self._waiting.get(command_id)
        if waiting is not None and waiting.request_hash == request_hash:
            return waiting.future
        if waiting is None and self._pending.get(command_id, request_hash) in ("", request_hash):
            return None
        future: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
        future.set_result(conflict(command_id))
        return future

    def expect(
        self,
        command_id: str,
        level: Level,
        wait_seconds: float,
        request_hash: str = "",
        expects_result: bool = False,
        result_type: Any = Any,
    ) -> asyncio.Future[Receipt]:
        """Begin to wait. `result_type`: of its receipt's value. Raises Overloaded when too many are waited for."""
        if len(self._waiting) >= self._limit:
            raise Overloaded(f"{self._limit} commands are under way from this process")
        loop = asyncio.get_running_loop()
        waiting = _Waiting(loop.create_future(), level, request_hash, expects_result, result_type)
        waiting.timer = loop.call_later(wait_seconds, self._expire, command_id)
        self._waiting[command_id] = waiting
        self.undecided.sent(command_id, self._now(), durable=False)
        return waiting.future

    def confirmed(self, command_id: str) -> None:
        """The command is durable in its queue."""
        waiting = self._waiting.get(command_id)
        if waiting is not None:
            waiting.confirmed = True
            self.undecided.durable(command_id)
            if waiting.level is Level.ACCEPTED:
                self._finish(command_id, Receipt(command_id, Status.PENDING))
                self.note_pending(command_id, waiting.request_hash)

    def failed(self, command_id: str, error: Exception) -> None:
        """The command was certainly not sent, or nobody knows."""
        waiting = self._waiting.get(command_id)
        if waiting is not None:
            self._drop(command_id, waiting)
            if not isinstance(error, OutcomeUnknown):
                self.undecided.refused(command_id)
            if not waiting.future.done():
                waiting.future.set_exception(error)

    def applied(self, records: Sequence[Record], epoch: str) -> None:
        """Memory has just applied these events."""
        waiting, undecided = self._waiting, self.undecided
        if not undecided and not waiting and not self._pending:
            return
        undecided.heard(self._now())
        for record in records:
            command_id = record.command_id
            undecided.decided(command_id)
            if self._pending:
                self._pending.pop(command_id, None)
            if record.more or command_id not in waiting:
                continue
            if waiting[command_id].expects_result or waiting[command_id].request_hash:
                # An event does not say what its sender was to be told, nor whether that sender asked for the same
                # as this one, who may have used the id (an Idempotency-Key) on another server: the answer does.
                self._ask_soon(command_id)
            else:
                given = self._epoch_of(record.offset) if self._epoch_of is not None else epoch
                self._finish(command_id, Receipt(command_id, Status.APPLIED, Position(given, record.offset)))

    def answered(self, outcomes: Sequence[Outcome], epoch: str, *, looked_up: bool = False) -> None:
        """Answers came, by the wire or from a look-up in the database (which does not say when it was decided)."""
        if not looked_up:
            self.undecided.heard(self._now())
        for outcome in outcomes:
            self._pending.pop(outcome.command_id, None)
            self.undecided.decided(outcome.command_id)
            waiting = self._waiting.get(outcome.command_id)
            if waiting is None:
                continue
            if outcome.request_hash and waiting.request_hash and outcome.request_hash != waiting.request_hash:
                self._finish(outcome.command_id, conflict(outcome.command_id))
                continue
            receipt = receipt_of(outcome, epoch, waiting.result_type)
            here, at = self._position(), Position(outcome.epoch or epoch, outcome.offset)
            if waiting.level < Level.VISIBLE or (here.epoch == at.epoch and here.offset >= at.offset):
                self._finish(outcome.command_id, receipt)
            else:
                self._reach(at).add_done_callback(partial(self._visible, receipt))

    def _finish(self, command_id: str, receipt: Receipt) -> None:
        waiting = self._waiting.get(command_id)
        if waiting is not None:
            self._drop(command_id, waiting)
            if waiting.level is Level.VISIBLE and not self._is_shown(receipt):
                receipt = replace(receipt, visible=False)
            if not waiting.future.done():
                waiting.future.set_result(receipt)

    def _is_shown(self, receipt: Receipt) -> bool:
        """Whether memory shows what it has reached."""
        position = receipt.position
        return not receipt.applied or position is None or self._shows(receipt.id, position.offset)

    def _visible(self, receipt: Receipt, reached: asyncio.Future[bool]) -> None:
        if reached.cancelled() or reached.result():
            self._finish(receipt.id, receipt)
        else:  # of a history that is not the journal's any more: it is decided again, or was
            self._ask_soon(receipt.id)

    def _drop(self, command_id: str, waiting: _Waiting) -> None:
        del self._waiting[command_id]
        if waiting.timer is not None:
            waiting.timer.cancel()

    def _ask_soon(self, command_id: str) -> None:
        """The event is here, the outcome is not: if its answer does not follow, look it up."""
        asyncio.get_running_loop().call_later(
            0.05, lambda: self._ask(command_id) if command_id in self._waiting else None
        )

    def _expire(self, command_id: str) -> None:
        waiting = self._waiting.get(command_id)
        if waiting is None:
            return
        self._drop(command_id, waiting)
        if waiting.future.done():
            return
        if waiting.confirmed:
            self.note_pending(command_id, waiting.request_hash)
            waiting.future.set_result(Receipt(command_id, Status.PENDING))
        else:
            waiting.future.set_exception(OutcomeUnknown(command_id))


def receipt_of(outcome: Outcome, epoch: str, result_type: Any = Any) -> Receipt:
    """An outcome as its sender is told. `epoch`: for one that does not say its own."""
    result = bytes(outcome.result) if outcome.result is not None else None
    return Receipt(
        outcome.command_id,
        outcome.status,
        Position(outcome.epoch or epoch, outcome.offset),
        outcome.reason,
        outcome.kind,
        result,
        result_type=result_type,
    )


def conflict(command_id: str) -> Receipt:
    """The same idempotency key came with another request."""
    reason = "this idempotency key was used with another request"
    return Receipt(command_id, Status.REJECTED, reason=reason, kind="different_request")
