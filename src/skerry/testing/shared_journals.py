"""What a journal has to do that several processes write to at once: a suite on top of `JournalSuite`.

For backends whose `open_journal` may be entered more than once at a time. Not here: servers that die.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator

import msgspec
import pytest

from skerry.errors import Conflict, Fenced
from skerry.journal.journal import JournalWriter, NewOutcome, Status, Writes
from skerry.testing.journal_recalling import increment as recalling
from skerry.testing.journal_samples import (
    OTHERS,
    THINGS,
    OpenJournal,
    all_records,
    all_rows,
    applied,
    command_id,
    decide,
    event,
    put,
)
from skerry.testing.journals import JournalSuite


async def increment(journal: JournalWriter, number: int, key: str) -> int:
    """Decide "add one to the counter at `key`" as a consumer would; returns how often it was too late."""
    late = 0
    while True:
        try:
            async with journal.batch([command_id(number)], [(THINGS, key)]) as (batch, rows):
                if batch.known:
                    return late
                row = rows.get((THINGS, key))
                count = msgspec.json.decode(row.data) if row else 0
                await asyncio.sleep(0)
                data = msgspec.json.encode(count + 1)
                puts: dict[str, dict[str, tuple[bytes | str, int]]] = {THINGS: {key: (data, 1)}}
                await batch.commit(Writes(puts, events=[event(number, key)], outcomes=[applied(number, 1)]))
                return late
        except Conflict:
            late += 1


class SharedJournalSuite(JournalSuite):
    """Inherit instead of `JournalSuite` where several writers may be open at once."""

    @pytest.fixture
    async def second(self, journal: JournalWriter, open_journal: OpenJournal) -> AsyncIterator[JournalWriter]:
        async with open_journal() as second:
            yield second

    async def test_both_see_what_either_writes(self, journal: JournalWriter, second: JournalWriter) -> None:
        """Offsets, rows, outcomes, cursors and leases are one journal's, whoever wrote them."""
        assert await decide(journal, put(1, "a")) == 0
        assert await decide(second, put(2, "b")) == 1
        assert await journal.head() == await second.head()
        assert await all_rows(journal) == await all_rows(second)
        assert await journal.outcome(command_id(2)) is not None
        await journal.advance("mailer", (await journal.head()).position)
        assert await second.cursor("mailer") == (await journal.head()).position
        assert await journal.acquire("p0", "anna", 60) is not None
        assert await second.acquire("p0", "bert", 60) is None

    async def test_preparing_at_once_is_harmless(self, journal: JournalWriter, second: JournalWriter) -> None:
        """Processes that start together may all create what is missing."""
        tables = [f"made_{n}" for n in range(4)]
        await asyncio.gather(
            journal.prepare(tables), second.prepare(tables), journal.prepare([*tables, "one"])
        )
        await second.prepare(["one"])
        assert await all_rows(second, "one") == {}

    async def test_offset_order_is_commit_order_of_two_writers(
        self, journal: JournalWriter, second: JournalWriter
    ) -> None:
        """Two writers with several batches under way each: offsets are 1..n, each batch's events stand together
        where `commit` said, and one that begins after a commit comes after it."""
        placed: dict[int, int] = {}

        async def work(writer: JournalWriter, worker: int) -> None:
            for turn in range(6):
                number = worker * 100 + turn * 2
                key = f"k{worker}"
                puts: dict[str, dict[str, tuple[bytes | str, int]]] = {THINGS: {key: (b"%d" % turn, 2)}}
                events = [event(number, key), event(number + 1, key)]
                outcomes = [applied(number, 1), applied(number + 1, 2)]
                base = await decide(writer, Writes(puts, events=events, outcomes=outcomes))
                assert base is not None
                placed[number] = base

        await asyncio.gather(*(work((journal, second)[n % 2], n) for n in range(6)))
        records = await all_records(second)
        assert [record.offset for record in records] == list(range(1, 6 * 6 * 2 + 1))
        for number, base in placed.items():
            assert [r.command_id for r in records[base : base + 2]] == [
                command_id(number),
                command_id(number + 1),
            ]
        for worker in range(6):
            own = [placed[worker * 100 + turn * 2] for turn in range(6)]
            assert own == sorted(own)
        assert await journal.verify() == []

    async def test_no_update_is_lost_between_writers(
        self, journal: JournalWriter, second: JournalWriter
    ) -> None:
        """Counters that both read and raise, each by commands of its own: every command counts once."""
        rng = random.Random(5)
        jobs = [(number, f"c{rng.randrange(3)}") for number in range(60)]
        gate = asyncio.Semaphore(6)

        async def work(number: int, key: str) -> int:
            async with gate:
                return await increment((journal, second)[number % 2], number, key)

        await asyncio.gather(*(work(number, key) for number, key in jobs))
        rows = await all_rows(journal)
        assert {key: msgspec.json.decode(data) for key, (data, _) in rows.items()} == {
            key: sum(k == key for _, k in jobs) for key in {k for _, k in jobs}
        }
        assert len(await all_records(journal)) == len(jobs)

    @pytest.mark.parametrize("change", ["replaced", "created", "deleted", "loaded later"])
    async def test_what_was_read_must_still_be_so(
        self, journal: JournalWriter, second: JournalWriter, change: str
    ) -> None:
        """A row that was read (found or missing, beforehand or on demand) and is changed by the other writer before
        the commit: Conflict, and nothing is written. What was not read may change."""
        await decide(journal, put(1, "there"))
        keys = [] if change == "loaded later" else [(THINGS, "there"), (THINGS, "missing")]
        puts: dict[str, dict[str, tuple[bytes | str, int]]] = {OTHERS: {"mine": (b"1", 1)}}
        async with journal.batch([command_id(2)], keys) as (batch, _):
            if change == "loaded later":
                await batch.load([(THINGS, "there")])
            if change == "deleted":
                writes = Writes(deletes={THINGS: {"there"}}, events=[event(3)], outcomes=[applied(3, 1)])
                await decide(second, writes)
            else:
                await decide(second, put(3, "missing" if change == "created" else "there"))
            with pytest.raises(Conflict):
                await batch.commit(Writes(puts, events=[event(2)], outcomes=[applied(2, 1)]))
        assert await all_rows(journal, OTHERS) == {}
        assert await journal.outcome(command_id(2)) is None
        async with journal.batch([command_id(2)], [(THINGS, "there")]) as (batch, _):
            await decide(second, put(4, "elsewhere"))
            assert await batch.commit(Writes(events=[event(2)], outcomes=[applied(2, 1)])) == 3

    async def test_an_id_that_the_other_decided_meanwhile(
        self, journal: JournalWriter, second: JournalWriter
    ) -> None:
        """Both claim it, the other commits first: this one's commit is a Conflict, and then it is known, for
        effects and for mere rejections."""
        no = Writes(outcomes=[NewOutcome(command_id(2), Status.REJECTED, 0, reason="no")])
        for number, writes in ((1, put(1, "late")), (2, no)):
            async with journal.batch([command_id(number)], []) as (batch, _):
                assert await decide(second, put(number, "early")) == number - 1
                with pytest.raises(Conflict):
                    await batch.commit(writes)
            async with journal.batch([command_id(number)], []) as (batch, _):
                assert batch.known[command_id(number)].status is Status.APPLIED
        assert list(await all_rows(journal)) == ["early"]

    @pytest.mark.parametrize("is_rejection", [False, True], ids=["effect", "rejection"])
    @pytest.mark.parametrize("other", ["put", "delete", "make", "put without an event", "decide"])
    async def test_what_is_remembered_does_not_outlive_the_other_writer(
        self, journal: JournalWriter, second: JournalWriter, other: str, is_rejection: bool
    ) -> None:
        """This one has written rows and remembers them, the other changes or deletes one, or makes one that was not
        there: what this one decides on its memory, be it a mere rejection, is a Conflict, and so is an id that the
        other has decided."""
        places = [(THINGS, "k"), (THINGS, "none")]
        await decide(journal, put(1, "none"))
        mine = put(2, "k")
        mine.deletes = {THINGS: {"none"}}
        await decide(journal, mine)
        theirs = {
            "put": put(3, "k", "theirs"),
            "delete": Writes(deletes={THINGS: {"k"}}, events=[event(3)], outcomes=[applied(3, 1)]),
            "make": put(3, "none"),
            "put without an event": Writes({THINGS: {"k": (b"1", 0)}}, outcomes=[applied(3, 0, 0)]),
            "decide": put(4, "other"),
        }
        await decide(second, theirs[other])
        stored = await all_rows(journal)
        no = Writes(outcomes=[NewOutcome(command_id(4), Status.REJECTED, 0, reason="no")])
        with pytest.raises(Conflict):
            async with journal.batch([command_id(4)], places, None, True) as (batch, _):
                await batch.commit(no if is_rejection else put(4, "k"))
        assert await all_rows(journal) == stored
        async with journal.batch([command_id(4)], places) as (batch, rows):
            assert bool(batch.known) is (other == "decide")
            assert {key for _, key in rows} == {"k", "none"} & set(stored)
            if not batch.known:
                await batch.commit(put(4, "k"))
        assert await journal.verify() == []

    @pytest.mark.parametrize("seed", range(2))
    async def test_no_update_is_lost_between_writers_that_remember(
        self, journal: JournalWriter, second: JournalWriter, seed: int
    ) -> None:
        """Counters that both raise, in runs of one and in turns, each on what it remembers: all commands count once."""
        rng = random.Random(seed)
        counts: dict[str, int] = {}
        turns: list[list[tuple[JournalWriter, int, str]]] = [[]]
        for number in range(90):
            key = f"c{rng.randrange(4)}"
            counts[key] = counts.get(key, 0) + 1
            if rng.random() < 0.8:
                turns.append([])
            turns[-1].append(((journal, second)[rng.random() < 0.25], number, key))
            if rng.random() < 0.1:
                turns[-1].append(((journal, second)[rng.random() < 0.5], number, key))  # it is sent twice
        for turn in turns:
            await asyncio.gather(*(recalling(*each, recall=True) for each in turn))
        found = {key: msgspec.json.decode(data) for key, (data, _) in (await all_rows(journal)).items()}
        assert found == counts
        assert await journal.verify() == []

    async def test_what_is_known_is_no_conflict(self, journal: JournalWriter, second: JournalWriter) -> None:
        """A batch in which a command came again, decided before it was opened, is written although the other writer has
        moved the journal's end meanwhile: else it might never be while others write."""
        await decide(journal, put(1, "early"))
        for number in (2, 3):
            async with journal.batch([command_id(1), command_id(number)], []) as (batch, _):
                assert list(batch.known) == [command_id(1)]
                await decide(second, put(number * 10, "other"))
                await batch.commit(put(number, f"k{number}"))
        assert sorted(await all_rows(journal)) == ["early", "k2", "k3", "other"]

    async def test_a_takeover_shuts_out_the_one_before(
        self, journal: JournalWriter, second: JournalWriter
    ) -> None:
        """A writer that slept through the end of its lease finds itself fenced, in the middle of its batch."""
        lease = await journal.acquire("p0", "anna", 10)
        assert lease is not None
        async with journal.batch([command_id(1)], [(THINGS, "k")], lease) as (batch, _):
            await self.pass_time(journal, 11)
            taken = await second.acquire("p0", "bert", 10)
            assert taken is not None
            assert await decide(second, put(2), taken) == 0
            with pytest.raises(Fenced):
                await batch.commit(put(1, "other"))
        assert list(await all_rows(journal)) == ["k"]

    async def test_a_new_epoch_ends_open_batches(self, journal: JournalWriter, second: JournalWriter) -> None:
        """A batch that was opened in the old epoch is a Conflict: its writer has to look again."""
        async with journal.batch([command_id(1)], []) as (batch, _):
            await second.new_epoch()
            with pytest.raises(Conflict):
                await batch.commit(put(1))
        assert await decide(journal, put(1)) == 0
