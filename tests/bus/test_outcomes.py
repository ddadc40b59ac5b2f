"""Who waits for what became of a command: what an event proves, and what only the answer can."""

from __future__ import annotations

import asyncio

import msgspec

from skerry.bus.outcomes import Level, Outcomes
from skerry.journal.journal import Outcome, Record, Status
from skerry.position import Position


def waiting(asked: list[str] | None = None) -> Outcomes:
    def when(offset: int) -> asyncio.Future[bool]:
        reached: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        reached.set_result(True)
        return reached

    return Outcomes(lambda: Position("e", 7), when, (asked if asked is not None else []).append)


def event(command_id: str) -> Record:
    return Record(7, command_id, "k", "put", 1, 0.0, False, msgspec.Raw(b"{}"))


async def test_an_event_with_its_id_answers_a_command() -> None:
    """Nobody else can have used an id that was made here: its event is the answer."""
    outcomes = waiting()
    receipt = outcomes.expect("c1", Level.VISIBLE, 5.0)

    outcomes.applied([event("c1")], "e")

    assert (await receipt).position == Position("e", 7)


async def test_an_event_does_not_answer_who_may_have_asked_for_something_else() -> None:
    """Under an Idempotency-Key another server may have sent another request: the event of that one is not ours."""
    outcomes = waiting()
    receipt = outcomes.expect("c1", Level.VISIBLE, 5.0, request_hash="mine")

    outcomes.applied([event("c1")], "e")
    assert not receipt.done()
    outcomes.answered([Outcome("c1", Status.APPLIED, 7, 1, request_hash="theirs")], "e")

    assert (await receipt).kind == "different_request"


async def test_the_answer_to_the_same_request_is_its_answer() -> None:
    """Whoever repeats a request, on whichever server, is told the same."""
    outcomes = waiting()
    receipt = outcomes.expect("c1", Level.VISIBLE, 5.0, request_hash="mine")

    outcomes.applied([event("c1")], "e")
    outcomes.answered([Outcome("c1", Status.APPLIED, 7, 1, request_hash="mine")], "e")

    assert (await receipt).applied


async def test_an_answer_that_does_not_follow_its_event_is_looked_up() -> None:
    """Answers travel at most once: the database is asked when one is missing."""
    asked: list[str] = []
    outcomes = waiting(asked)
    receipt = outcomes.expect("c1", Level.VISIBLE, 1.0, request_hash="mine")
    outcomes.confirmed("c1")

    outcomes.applied([event("c1")], "e")
    await receipt

    assert asked == ["c1"]


async def test_what_is_pending_elsewhere_is_refused_to_another_request() -> None:
    """The first of an Idempotency-Key is decided first: another body is refused at once, the same may ask again."""
    outcomes = waiting()
    outcomes.note_pending("c1", "theirs")

    refused = outcomes.find("c1", "mine")
    assert refused is not None
    assert (await refused).kind == "different_request"
    assert outcomes.find("c1", "theirs") is None

    outcomes.applied([event("c1")], "e")
    assert outcomes.find("c1", "mine") is None
    assert not outcomes.is_pending("c1")
