"""What every journal has to do when its history may have changed: a part of `skerry.testing.journals.JournalSuite`.

    async def fail_over(self, journal: JournalWriter, keep: int) -> None: ...

makes the journal's database what a standby that had received only the first `keep` events is after its promotion. A
backend whose database tells its history (PostgreSQL) begins the new epoch by itself, with the first thing it writes;
one of which only its owner knows that (a file, memory) begins it in `fail_over`, with `new_epoch(common=keep)`.
"""

from __future__ import annotations

import pytest

from skerry.journal.epochs import Epochs
from skerry.journal.journal import JournalWriter, NewOutcome, Status, StoredProjection, Writes
from skerry.position import Position
from skerry.testing.journal_samples import all_records, all_rows, command_id, decide, put


class EpochsSuite:
    """Needs `fail_over`."""

    async def fail_over(self, journal: JournalWriter, keep: int) -> None:
        raise NotImplementedError

    async def test_a_new_journal_has_one_epoch(self, journal: JournalWriter) -> None:
        """It begins at offset 0, and is the one that positions name."""
        [epoch] = await journal.epochs()
        assert (epoch.number, epoch.name, epoch.began) == (1, (await journal.head()).position.epoch, 0)
        await journal.prepare([])
        await decide(journal, put(1))
        assert len(await journal.epochs()) == 1

    async def test_the_head_tells_whose_event_stands_where(self, journal: JournalWriter) -> None:
        """At any offset that is kept and at the last one that was trimmed; nowhere else."""
        for number in range(1, 6):
            await decide(journal, put(number))
        head = await journal.head(4)
        assert (head.position.offset, head.command_id) == (5, command_id(4))
        assert (await journal.head()).command_id == ""
        await journal.trim(Position(head.position.epoch, 3))
        told = [(await journal.head(offset)).command_id for offset in range(7)]
        assert told == ["", "", "", command_id(3), command_id(4), command_id(5), ""]

    @pytest.mark.parametrize("lost", [0, 1, 3])
    async def test_the_first_commit_after_a_failover_begins_an_epoch(
        self, journal: JournalWriter, lost: int
    ) -> None:
        """It ends the one before at the offset that is left. Positions up to there are carried over, later ones are
        not, and what was lost is known; offsets are given out again, with another name."""
        for number in range(1, 6):
            await decide(journal, put(number, f"k{number}"))
        old, keep = (await journal.head()).position.epoch, 5 - lost
        await self.fail_over(journal, keep)
        assert await decide(journal, put(6, "new")) == keep
        position = (await journal.head()).position
        assert position.offset == keep + 1
        assert position.epoch != old
        told = await journal.epochs()
        assert [(epoch.number, epoch.name, epoch.began) for epoch in told] == [
            (1, old, 0),
            (2, position.epoch, keep),
        ]
        epochs = Epochs.of(told)
        for offset in range(1, 6):
            carried = Position(position.epoch, offset) if offset <= keep else None
            assert epochs.carry(Position(old, offset)) == carried
        assert [str(epochs.named(offset)) for offset in (keep, keep + 1)] == [f"{old}:{keep}", str(position)]
        assert await journal.missed(Position(old, 5)) is (lost > 0)
        assert (await journal.epochs())[-1].lost == lost
        assert len(await journal.epochs()) == 2
        assert [r.offset for r in await all_records(journal)] == list(range(1, keep + 2))
        assert set(await all_rows(journal)) == {*(f"k{n}" for n in range(1, keep + 1)), "new"}
        assert await journal.verify() == []

    async def test_a_batch_that_was_open_over_a_failover_writes_nothing(self, journal: JournalWriter) -> None:
        """What it decided on may be of the lost tail: it is decided again on what there is."""
        for number in range(1, 4):
            await decide(journal, put(number, "k"))
        async with journal.batch([command_id(9)], [("thing", "k")]) as (batch, rows):
            assert rows["thing", "k"].offset == batch.position.offset == 3
        await self.fail_over(journal, 2)
        assert await decide(journal, put(9, "k")) == 2
        assert [r.command_id for r in await all_records(journal)] == [command_id(n) for n in (1, 2, 9)]

    async def test_a_command_that_is_asked_again_keeps_its_answer(self, journal: JournalWriter) -> None:
        """An outcome tells the epoch in which it was decided, whatever epochs followed; one that was lost with its
        event is not known, and the command can be decided."""
        await decide(journal, put(1))
        await decide(journal, put(2))
        await decide(journal, put(3))
        old = (await journal.head()).position.epoch
        await self.fail_over(journal, 2)
        await decide(journal, put(4))
        new = (await journal.head()).position.epoch
        async with journal.batch([command_id(1), command_id(2), command_id(3)], []) as (batch, _):
            known = {key: (outcome.epoch, outcome.offset) for key, outcome in batch.known.items()}
        assert known == {command_id(1): (old, 1), command_id(2): (old, 2)}
        for number, epoch in ((1, old), (2, old), (4, new)):
            outcome = await journal.outcome(command_id(number))
            assert outcome is not None
            assert outcome.epoch == epoch
        assert await decide(journal, put(3)) == 3

    async def test_outcomes_alone_begin_an_epoch_too(self, journal: JournalWriter) -> None:
        """A rejection is not written to an epoch of another history either."""
        await decide(journal, put(1))
        await self.fail_over(journal, 1)
        await decide(journal, Writes(outcomes=[NewOutcome(command_id(2), Status.REJECTED, 0)]))
        assert len(await journal.epochs()) == 2

    async def test_a_stored_projection_of_a_lost_history_is_not_kept(self, journal: JournalWriter) -> None:
        """A reader that did not notice yet cannot bring it back: neither ahead of the end nor over a newer one."""
        for number in range(1, 4):
            await decide(journal, put(number))
        old = (await journal.head()).position.epoch
        await journal.save_projection(StoredProjection("totals", 1, Position(old, 2), b"2"))
        await self.fail_over(journal, 2)
        await journal.save_projection(StoredProjection("totals", 1, Position(old, 3), b"lost"))
        await decide(journal, put(4))
        await decide(journal, put(5))
        await journal.save_projection(StoredProjection("totals", 1, Position(old, 3), b"lost"))
        await journal.save_projection(StoredProjection("totals", 1, Position("unknown", 1), b"foreign"))
        stored = await journal.load_projection("totals")
        assert stored is not None
        assert (stored.data, stored.position.offset) == (b"2", 2)

    async def test_a_cursor_of_a_lost_history_does_not_let_trim_pass(self, journal: JournalWriter) -> None:
        """Its reader has to see again what took the place of the lost tail."""
        for number in range(1, 4):
            await decide(journal, put(number))
        old = (await journal.head()).position.epoch
        await self.fail_over(journal, 2)
        for number in range(4, 7):
            await decide(journal, put(number))
        await journal.advance("mailer", Position(old, 3))
        assert await journal.trim((await journal.head()).position) == 2

    async def test_an_epoch_that_is_asked_for_trusts_what_it_is_told(self, journal: JournalWriter) -> None:
        """By default nothing of the epochs before; else up to `common`, never beyond the end."""
        for number in range(1, 4):
            await decide(journal, put(number))
        first = (await journal.head()).position.epoch
        second = await journal.new_epoch("restored", 99)
        assert Epochs.of(await journal.epochs()).carry(Position(first, 3)) == second
        third = await journal.new_epoch()
        epochs = Epochs.of(await journal.epochs())
        assert epochs.carry(Position(first, 1)) is epochs.carry(second) is None
        assert epochs.named(2) == Position(third.epoch, 2)
        assert [epoch.reason for epoch in await journal.epochs()][1:] == ["restored", "asked for"]
        assert third.offset == second.offset == 3
