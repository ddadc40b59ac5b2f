"""`GET /commands/{id}`: what became of a command, on any server."""

from __future__ import annotations

import msgspec

from skerry.bus.outcomes import Outcomes, receipt_of
from skerry.http.problems import Problem
from skerry.http.reply import Response
from skerry.journal.journal import JournalReader, Status
from skerry.journal.projector import Projector

_HEX = frozenset("0123456789abcdef")


class CommandStatus(msgspec.Struct, frozen=True, omit_defaults=False):
    """What became of a command. `position`: the journal's with its effect; `reason`: why not."""

    id: str
    status: str
    position: str | None = None
    reason: str | None = None


class CommandsView:
    """Answers from the database; a command that is only known to be on its way is `pending`."""

    def __init__(self, reader: JournalReader, outcomes: Outcomes, projector: Projector) -> None:
        self._reader, self._outcomes, self._projector = reader, outcomes, projector

    async def __call__(self, id: str) -> Response:
        """The state of one command. Raises Problem 404 for an unknown one."""
        command_id = id.replace("-", "").lower()
        if len(command_id) != 32 or not _HEX.issuperset(command_id):
            raise Problem(404, "no such command")
        outcome = await self._reader.outcome(command_id)
        if outcome is not None:
            receipt = receipt_of(outcome, self._projector.position.epoch)
            reason = (
                "set aside for the operators" if receipt.status is Status.FAILED else receipt.reason or None
            )
            position = str(receipt.position) if receipt.applied else None
            return Response.json(CommandStatus(command_id, receipt.status, position, reason))
        if self._outcomes.is_pending(command_id):
            return Response.json(CommandStatus(command_id, Status.PENDING))
        raise Problem(404, "no such command")
