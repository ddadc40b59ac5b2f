"""What every journal has to do, as tests that a backend inherits.

    class TestMine(JournalSuite):
        clock: VirtualClock                                  # or override `pass_time`

        @pytest.fixture
        def open_journal(self, tmp_path: Path) -> OpenJournal:
            return lambda: MyJournal(tmp_path / "file", "suite")

        async def damage(self, journal, what) -> None: ...   # plant what `verify` has to find
        async def fail_over(self, journal, keep) -> None: ...  # as a standby with `keep` events that is promoted

`open_journal` returns a function that makes an async context manager; entered, it is a `JournalWriter`. All that
one test opens are of the same journal. `JournalSuite` is for every backend; what only some can promise stands
in `skerry.testing.shared_journals` (several writers at once), `skerry.testing.durable_journals` (crashes) and
`skerry.testing.sql_journals` (SQL mode). Needs pytest with pytest-asyncio in mode auto.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import msgspec
import pytest

from skerry.errors import Disconnected, InvalidMessage, JournalError
from skerry.journal.journal import (
    JournalWriter,
    NewOutcome,
    Outcome,
    Status,
    Writes,
)
from skerry.position import Position
from skerry.testing.journal_epochs import EpochsSuite
from skerry.testing.journal_reading import ReadingSuite
from skerry.testing.journal_recalling import RecallingSuite
from skerry.testing.journal_samples import (
    OTHERS,
    THINGS,
    OpenJournal,
    all_records,
    all_rows,
    applied,
    command_id,
    comparable,
    decide,
    event,
    letter,
    put,
)
from skerry.testing.journal_upkeep import UpkeepSuite


class JournalSuite(ReadingSuite, UpkeepSuite, EpochsSuite, RecallingSuite):
    """Inherit, give it `open_journal`, `pass_time`, `damage` and `fail_over`. Here: what a batch may write,
    and what it answers."""

    @pytest.fixture
    def open_journal(self) -> OpenJournal:
        raise NotImplementedError("a fixture that returns how to open the journal under test")

    @pytest.fixture
    async def journal(self, open_journal: OpenJournal) -> AsyncIterator[JournalWriter]:
        async with open_journal() as journal:
            await journal.prepare([THINGS, OTHERS])
            yield journal

    # --- positions

    async def test_a_new_journal_is_empty(self, journal: JournalWriter) -> None:
        """It begins at offset 0 of an epoch that can stand in a position, with nothing to read."""
        head = await journal.head()
        assert (head.position.offset, head.floor) == (0, 0)
        assert Position.parse(str(head.position)) == head.position
        assert list(await journal.read(0, 10)) == []
        assert await journal.outcome(command_id(1)) is None
        assert await all_rows(journal) == {}

    async def test_preparing_again_changes_nothing(self, journal: JournalWriter) -> None:
        """`prepare` may be called at every start, with more tables or fewer."""
        await decide(journal, put(1))
        before = await journal.head()
        await journal.prepare([THINGS])
        await journal.prepare([THINGS, OTHERS, "third"])
        assert await journal.head() == before
        assert await all_rows(journal, "third") == {}
        assert len(await all_rows(journal)) == 1

    async def test_a_table_that_nobody_prepared_is_not_there_yet(self, journal: JournalWriter) -> None:
        """It is `Disconnected`, so that a process which starts before the writer waits for it; nothing is written."""
        with pytest.raises(Disconnected):
            await all_rows(journal, "never_prepared")
        with pytest.raises(Disconnected):
            async with journal.batch([command_id(1)], [("never_prepared", "k")]) as (batch, _):
                await batch.commit(put(1))
        with pytest.raises(Disconnected):
            async with journal.batch([command_id(1)], []) as (batch, _):
                await batch.commit(Writes(puts={"never_prepared": {"k": (b"1", 1)}}, events=[event(1)]))
        assert (await journal.head()).position.offset == 0

    async def test_offsets_have_no_gap_over_commits_and_rollbacks(self, journal: JournalWriter) -> None:
        """A batch that is left without commit, or by an exception, gives its numbers back."""
        assert await decide(journal, put(1)) == 0
        async with journal.batch([command_id(2)], []) as (batch, _):
            assert batch.position.offset == 1
        with pytest.raises(ZeroDivisionError):
            async with journal.batch([command_id(2)], []):
                raise ZeroDivisionError
        three = Writes(
            events=[event(2, more=True), event(2), event(3)], outcomes=[applied(2, 2, 2), applied(3, 3)]
        )
        assert await decide(journal, three) == 1
        assert await decide(journal, put(4)) == 4
        records = await all_records(journal)
        assert [record.offset for record in records] == [1, 2, 3, 4, 5]
        assert [record.more for record in records] == [False, True, False, False, False]
        assert (await journal.head()).position.offset == 5

    async def test_a_batch_without_events_has_the_end_as_its_base(self, journal: JournalWriter) -> None:
        """Outcomes alone move nothing, and stand at the journal's end."""
        await decide(journal, put(1))
        rejected = NewOutcome(command_id(2), Status.REJECTED, 0, reason="full")
        assert await decide(journal, Writes(outcomes=[rejected])) == 1
        outcome = await journal.outcome(command_id(2))
        assert outcome is not None
        assert (outcome.offset, outcome.events, outcome.status) == (1, 0, Status.REJECTED)
        assert (await journal.head()).position.offset == 1

    async def test_offset_order_is_commit_order_of_concurrent_batches(self, journal: JournalWriter) -> None:
        """Eight tasks commit at once: offsets are 1..n, a batch's events stand together where `commit` said, and
        each task's batches in its order."""
        bases: dict[int, int] = {}

        async def work(worker: int) -> None:
            for turn in range(8):
                number = worker * 1000 + turn * 10
                writes = Writes(
                    puts={THINGS: {f"k{worker}": (b'{"turn":%d}' % turn, 2)}},
                    events=[event(number, more=True), event(number), event(number + 1)],
                    outcomes=[applied(number, 2, 2), applied(number + 1, 3)],
                )
                base = await decide(journal, writes)
                assert base is not None
                bases[number] = base

        await asyncio.gather(*(work(worker) for worker in range(8)))
        records = await all_records(journal)
        assert [record.offset for record in records] == list(range(1, 8 * 8 * 3 + 1))
        for number, base in bases.items():
            ids = [record.command_id for record in records[base : base + 3]]
            assert ids == [command_id(number), command_id(number), command_id(number + 1)]
        for worker in range(8):
            own = [bases[worker * 1000 + turn * 10] for turn in range(8)]
            assert own == sorted(own)
        rows = await all_rows(journal)
        assert {k: v[1] for k, v in rows.items()} == {f"k{w}": bases[w * 1000 + 70] + 2 for w in range(8)}
        assert await journal.verify() == []

    # --- claims and outcomes

    async def test_a_decided_command_is_known(self, journal: JournalWriter) -> None:
        """Claimed again it brings its stored outcome, beside others that are new; it cannot be decided twice."""
        await decide(journal, put(1))
        async with journal.batch([command_id(2), command_id(1)], []) as (batch, _):
            assert list(batch.known) == [command_id(1)]
            assert batch.known[command_id(1)] == await journal.outcome(command_id(1))
            with pytest.raises(JournalError):
                await batch.commit(put(1))
        async with journal.batch([command_id(2)], []) as (batch, _):
            with pytest.raises(JournalError):
                await batch.commit(put(3))  # never claimed
        assert (await journal.head()).position.offset == 1
        assert await decide(journal, put(1)) is None

    async def test_one_command_claimed_by_two_takes_effect_once(self, journal: JournalWriter) -> None:
        """Two batches over the same id at once: one commits, the other finds it known in the end."""
        results = await asyncio.gather(*(decide(journal, put(1, f"k{n}")) for n in range(4)))
        assert sorted(results, key=str) == [0, None, None, None]
        assert len(await all_records(journal)) == 1
        assert len(await all_rows(journal)) == 1

    async def test_outcomes_keep_everything(self, journal: JournalWriter) -> None:
        """Every status with its reason, kind, result bytes and request hash comes back as it was stored."""
        news = [
            NewOutcome(
                command_id(1),
                Status.APPLIED,
                1,
                1,
                result=b'{"a": "\xc3\xbc\xf0\x9f\x98\x80"}',
            ),
            NewOutcome(
                command_id(2),
                Status.REJECTED,
                1,
                reason="voll: 'ü' \" % \\ 😀\n",
                kind="precondition",
            ),
            NewOutcome(command_id(3), Status.FAILED, 1, reason="", request_hash="abc", result=b"null"),
        ]
        await decide(journal, Writes(events=[event(1)], outcomes=news))
        epoch = (await journal.head()).position.epoch
        for new in news:
            found = await journal.outcome(new.command_id)
            assert found is not None
            assert found.at > 1e9  # the journal's own time
            raw = None if new.result is None else msgspec.Raw(new.result)
            expected = Outcome(
                new.command_id,
                new.status,
                1,
                new.events,
                new.reason,
                new.kind,
                raw,
                new.request_hash,
                found.at,
                epoch,
            )
            assert comparable(found) == comparable(expected)
            assert type(found.status) is Status
        async with journal.batch([new.command_id for new in news], []) as (batch, _):
            known = {key: comparable(outcome) for key, outcome in batch.known.items()}
        assert known == {new.command_id: comparable(await journal.outcome(new.command_id)) for new in news}

    # --- refusals

    @pytest.mark.parametrize(
        "writes",
        [
            Writes(puts={THINGS: {"a\x00b": (b"1", 1)}}, events=[event(1)], outcomes=[applied(1, 1)]),
            Writes(puts={THINGS: {"\ud800": (b"1", 1)}}, events=[event(1)], outcomes=[applied(1, 1)]),
            Writes(puts={THINGS: {"k" * 2001: (b"1", 1)}}, events=[event(1)], outcomes=[applied(1, 1)]),
            Writes(events=[event(1, "a\x00b")], outcomes=[applied(1, 1)]),
            Writes(outcomes=[NewOutcome(command_id(1), Status.REJECTED, 0, reason="\x00")]),
            Writes(outcomes=[NewOutcome(command_id(1), Status.FAILED, 0)], dead=[letter(1, "\x00")]),
        ],
    )
    async def test_text_that_cannot_be_stored_is_refused(
        self, journal: JournalWriter, writes: Writes
    ) -> None:
        """U+0000, lone surrogates and huge keys are refused before anything is written; the journal works on."""
        with pytest.raises(InvalidMessage):
            await decide(journal, writes)
        assert (await journal.head()).position.offset == 0
        assert await journal.outcome(command_id(1)) is None
        assert await decide(journal, put(1)) == 0

    async def test_contradictory_writes_are_refused(self, journal: JournalWriter) -> None:
        """A key put and deleted at once, or two outcomes of one command: nothing is written."""
        both = Writes(
            puts={THINGS: {"a": (b"1", 1)}},
            deletes={THINGS: {"a"}},
            events=[event(1)],
            outcomes=[applied(1, 1)],
        )
        twice = Writes(events=[event(1)], outcomes=[applied(1, 1), applied(1, 1)])
        for writes in (both, twice):
            with pytest.raises(JournalError):
                async with journal.batch([command_id(1)], []) as (batch, _):
                    await batch.commit(writes)
        assert (await journal.head()).position.offset == 0

    async def test_a_cancelled_batch_leaves_nothing_and_blocks_nobody(self, journal: JournalWriter) -> None:
        """A batch whose task is cancelled while it decides is as if it had never been."""
        entered = asyncio.Event()

        async def hang() -> None:
            async with journal.batch([command_id(1)], [(THINGS, "k")]):
                entered.set()
                await asyncio.Event().wait()

        task = asyncio.create_task(hang())
        await entered.wait()
        task.cancel()
        await asyncio.wait({task})
        assert task.cancelled()
        assert await decide(journal, put(1)) == 0
