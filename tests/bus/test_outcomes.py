"""Who waits for what became of a command: what an event proves, and what only the answer can."""

from __future__ import annotations

import asyncio

import msgspec

from skerry.bus.outcomes import Level, Outcomes
from skerry.journal.journal import Outcome, Record, Status
from skerry.position import Position
from skerry.testing.clock import run_virtual


def waiting(asked: list[str] | None = None, *, has: bool = True) -> Outcomes:
    """`has`: whether the history has the positions that are waited for."""

    def reach(position: Position) -> asyncio.Future[bool]:
        reached: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        reached.set_result(has)
        return reached

    return Outcomes(lambda: Position("e", 7), reach, (asked if asked is not None else []).append)


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


def test_an_answer_of_a_lost_history_is_no_answer() -> None:
    """It came before the failover, and memory has what is left: the command is looked up, and waits for the answer that
    the present history gives. Without it a 200 would speak of an event that is not there."""

    async def run() -> None:
        asked: list[str] = []
        outcomes = waiting(asked, has=False)
        receipt = outcomes.expect("c1", Level.VISIBLE, 5.0)
        outcomes.answered([Outcome("c1", Status.APPLIED, 8, 1, epoch="older")], "older")
        await asyncio.sleep(0.1)
        assert asked == ["c1"]
        assert not receipt.done()
        outcomes.answered([Outcome("c1", Status.APPLIED, 7, 1, epoch="e")], "e")
        assert (await receipt).position == Position("e", 7)

    run_virtual(run())


async def test_an_answer_keeps_its_epoch() -> None:
    """A command that is asked again after later epochs began is told the position that it was told before."""
    outcomes = waiting()
    receipt = outcomes.expect("c1", Level.VISIBLE, 5.0, request_hash="mine")
    outcomes.answered([Outcome("c1", Status.APPLIED, 3, 1, request_hash="mine", epoch="first")], "e")
    assert (await receipt).position == Position("first", 3)
