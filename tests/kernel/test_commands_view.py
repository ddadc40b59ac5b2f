"""What became of a command: from the database; what is only on its way is pending; nobody learns internals."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from skerry.bus.outcomes import Level, Outcomes
from skerry.errors import Disconnected
from skerry.http.problems import Problem
from skerry.journal.journal import Outcome, Status
from skerry.kernel.routes import CommandsView
from skerry.position import Position

ID = "0123456789abcdef" * 2


class Stored:
    """The part of a journal and of a projector that the view asks."""

    def __init__(self, *outcomes: Outcome) -> None:
        self.outcomes = {outcome.command_id: outcome for outcome in outcomes}
        self.position = Position("abc", 9)
        self.away = False

    async def outcome(self, command_id: str) -> Outcome | None:
        if self.away:
            raise Disconnected("away")
        return self.outcomes.get(command_id)


def view(stored: Stored, waited: Outcomes | None = None) -> CommandsView:
    outcomes = nobody(stored) if waited is None else waited
    return CommandsView(stored, outcomes, stored)  # type: ignore[arg-type]


def nobody(stored: Stored) -> Outcomes:
    """Outcomes of a process that waits for nothing."""
    return Outcomes(lambda: stored.position, lambda offset: asyncio.Future(), lambda id: None)


async def said(stored: Stored, id: str = ID) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.json.decode((await view(stored)(id)).body)
    return found


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        (Outcome(ID, Status.APPLIED, 7, 1), {"status": "applied", "position": "abc:7", "reason": None}),
        (
            Outcome(ID, Status.REJECTED, 7, reason="too little"),
            {"status": "rejected", "position": None, "reason": "too little"},
        ),
        (
            Outcome(ID, Status.FAILED, 7, reason="KeyError: 'secret'"),
            {"status": "failed", "position": None, "reason": "set aside for the operators"},
        ),
    ],
)
async def test_what_was_decided(outcome: Outcome, expected: dict[str, Any]) -> None:
    """Its position when it was applied, the rule's reason when one said no, no internals when it failed."""
    assert await said(Stored(outcome)) == {"id": ID, **expected}


@pytest.mark.parametrize("written", [ID, ID.upper(), "01234567-89ab-cdef-0123-456789abcdef"])
async def test_an_id_may_be_written_as_a_uuid(written: str) -> None:
    """With hyphens, in capitals."""
    assert (await said(Stored(Outcome(ID, Status.APPLIED, 7)), written))["id"] == ID


async def test_what_is_on_its_way_is_pending() -> None:
    """Waited for here, or accepted by another process that told of it."""
    stored = Stored()
    told, waited = nobody(stored), nobody(stored)
    told.note_pending(ID)
    waited.expect(ID, Level.VISIBLE, 5.0)
    for outcomes in (told, waited):
        found = msgspec.json.decode((await view(stored, outcomes)(ID)).body)
        assert found == {"id": ID, "status": "pending", "position": None, "reason": None}
    waited.answered([Outcome(ID, Status.APPLIED, 1)], "abc")


@pytest.mark.parametrize("id", [ID, "x", "", "g" * 32, ID + "0", "%00", "0" * 31 + "٣"])
async def test_what_nobody_knows_is_404(id: str) -> None:
    """Unknown, and what is no id at all."""
    with pytest.raises(Problem) as caught:
        await view(Stored())(id)
    assert caught.value.status == 404


async def test_a_database_that_is_away_is_no_404() -> None:
    """Nobody knows, then: 503 by the way of the error, not "no such command"."""
    stored = Stored()
    stored.away = True
    with pytest.raises(Disconnected):
        await view(stored)(ID)
