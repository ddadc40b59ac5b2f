"""How a journal is kept in order: trimming, checking, epochs, readers' cursors, dead letters, leases.

A part of `skerry.testing.journals.JournalSuite`, which inherits it; not to be used alone.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from skerry.errors import Fenced, JournalError, Trimmed, WrongEpoch
from skerry.journal.correcting import AMENDED, NOTHING, ROW_DELETED, ROW_PUT, SKIPPED, read_correction
from skerry.journal.journal import (
    WAITS,
    Correction,
    JournalWriter,
    NewOutcome,
    Reader,
    Status,
    StoredProjection,
    Writes,
)
from skerry.position import Position
from skerry.testing.journal_samples import (
    DAY,
    OTHERS,
    THINGS,
    all_records,
    all_rows,
    applied,
    command_id,
    decide,
    event,
    letter,
    put,
)


class UpkeepSuite:
    """Needs the fixture `journal` of `JournalSuite`, `pass_time` and `damage`."""

    async def pass_time(self, journal: JournalWriter, seconds: float) -> None:
        """Make `seconds` go by for leases and ages of outcomes."""
        raise NotImplementedError

    async def damage(self, journal: JournalWriter, what: str) -> None:
        """Plant `event missing` (that of offset 2) or `row ahead` (some row of THINGS beyond the journal's end),
        past the journal's own writing."""
        raise NotImplementedError

    # --- trimming

    async def test_trim_raises_the_floor_and_says_so(self, journal: JournalWriter) -> None:
        """What lies below is gone and asking for it is `Trimmed`; the end never moves; later events go on."""
        for n in range(1, 11):
            await decide(journal, put(n))
        epoch = (await journal.head()).position.epoch
        assert await journal.trim(Position(epoch, 4)) == 4
        assert await journal.trim(Position(epoch, 2)) == 4
        with pytest.raises(Trimmed) as trimmed:
            await journal.read(3, 10)
        assert (trimmed.value.offset, trimmed.value.floor) == (3, 4)
        assert [r.offset for r in await journal.read(4, 3)] == [5, 6, 7]
        assert await journal.trim(Position(epoch, 99)) == 10
        head = await journal.head()
        assert (head.position.offset, head.floor) == (10, 10)
        assert list(await journal.read(10, 10)) == []
        assert await decide(journal, put(12)) == 10
        assert [r.offset for r in await journal.read(10, 10)] == [11]
        assert await journal.verify() == []
        with pytest.raises(WrongEpoch):
            await journal.trim(Position("another", 11))

    async def test_trim_spares_what_a_reader_or_projection_needs(self, journal: JournalWriter) -> None:
        """Neither a cursor nor a stored projection is overtaken; a forgotten cursor holds nothing."""
        for n in range(1, 11):
            await decide(journal, put(n))
        epoch = (await journal.head()).position.epoch
        await journal.advance("mailer", Position(epoch, 3))
        await journal.save_projection(StoredProjection("totals", 1, Position(epoch, 6), b"6"))
        assert await journal.trim(Position(epoch, 9)) == 3
        await journal.advance("mailer", Position(epoch, 8))
        assert await journal.trim(Position(epoch, 9)) == 6
        await journal.save_projection(StoredProjection("totals", 1, Position(epoch, 10), b"10"))
        assert await journal.trim(Position(epoch, 9)) == 8
        await journal.forget("mailer")
        assert await journal.trim(Position(epoch, 9)) == 9

    async def test_trim_forgets_old_outcomes(self, journal: JournalWriter) -> None:
        """After seven days a command id is forgotten, unless its dead letter is still there, or nothing was decided
        since on eight days, so that it may be the clock, whether or not something is decided by that clock."""
        await decide(
            journal, Writes(events=[event(1)], outcomes=[NewOutcome(command_id(1), Status.APPLIED, 1, 1)])
        )
        failed = NewOutcome(command_id(2), Status.FAILED, 0)
        await decide(journal, Writes(outcomes=[failed], dead=[letter(2)]))
        position = (await journal.head()).position
        await journal.trim(position)
        assert await journal.outcome(command_id(1)) is not None
        await self.pass_time(journal, 7 * DAY + 60)
        await journal.trim(position)  # a clock that has jumped, or a quiet week: nobody can tell
        assert await journal.outcome(command_id(1)) is not None
        await decide(journal, Writes(outcomes=[NewOutcome(command_id(20), Status.APPLIED, 0)]))
        await journal.trim(position)
        assert await journal.outcome(command_id(1)) is not None
        for number in range(3, 12):
            await decide(journal, Writes(outcomes=[NewOutcome(command_id(number), Status.APPLIED, 0)]))
            await self.pass_time(journal, DAY)
        await decide(journal, put(12))
        await journal.trim(position)
        assert await journal.outcome(command_id(1)) is None
        assert await journal.outcome(command_id(10)) is not None
        assert await journal.outcome(command_id(2)) is not None

    # --- verify, epochs

    @pytest.mark.parametrize("what", ["event missing", "row ahead"])
    async def test_verify_finds_planted_damage(self, journal: JournalWriter, what: str) -> None:
        """A sound journal has no problems; a missing event or a row from the future is named."""
        for n in range(1, 4):
            await decide(journal, put(n, f"k{n}"))
        assert list(await journal.verify()) == []
        await self.damage(journal, what)
        problems = " / ".join(await journal.verify())
        assert ("2" in problems and "missing" in problems) if what == "event missing" else THINGS in problems

    async def test_a_new_epoch_keeps_everything_but_its_name(self, journal: JournalWriter) -> None:
        """Offset, events and rows stay; cursors and stored projections move along; positions compare no more."""
        await decide(journal, put(1))
        old = (await journal.head()).position
        await journal.advance("mailer", old)
        await journal.save_projection(StoredProjection("totals", 1, old, b"1"))
        new = await journal.new_epoch()
        assert new.offset == 1
        assert new.epoch != old.epoch
        assert not old.reached_by(new)
        assert (await journal.head()).position == new
        assert await journal.cursor("mailer") == new
        stored = await journal.load_projection("totals")
        assert stored is not None
        assert stored.position == new
        assert await decide(journal, put(2)) == 1
        assert [r.offset for r in await all_records(journal)] == [1, 2]

    # --- durable readers

    async def test_cursors_are_kept_by_name(self, journal: JournalWriter) -> None:
        """A new subscriber has none; it moves where it is told, also back; forgotten it is new again."""
        assert await journal.cursor("mailer") is None
        for offset in (5, 9, 7):
            await journal.advance("mailer", Position("e", offset))
            assert await journal.cursor("mailer") == Position("e", offset)
        await journal.advance("other 'ü'", Position("e", 1))
        await journal.forget("mailer")
        await journal.forget("mailer")
        assert await journal.cursor("mailer") is None
        assert await journal.cursor("other 'ü'") == Position("e", 1)

    async def test_a_stored_projection_does_not_go_back(self, journal: JournalWriter) -> None:
        """The newest of one version stays; another version replaces it. A new epoch takes it along."""

        def stored(version: int, epoch: str, offset: int, data: bytes) -> StoredProjection:
            return StoredProjection("totals", version, Position(epoch, offset), data)

        for number in range(1, 6):
            await decide(journal, put(number))
        first = (await journal.head()).position.epoch
        assert await journal.load_projection("totals") is None
        newest = stored(1, first, 5, bytes(range(256)))
        for saved, kept in (
            (newest, newest),
            (stored(1, first, 4, b"older"), newest),
            (stored(2, first, 3, b"rebuilt"), stored(2, first, 3, b"rebuilt")),
        ):
            await journal.save_projection(saved)
            assert await journal.load_projection("totals") == kept
        second = (await journal.new_epoch()).epoch
        assert await journal.load_projection("totals") == stored(2, second, 3, b"rebuilt")
        await journal.save_projection(stored(2, second, 2, b"older"))
        await journal.save_projection(stored(2, second, 4, b""))
        assert await journal.load_projection("totals") == stored(2, second, 4, b"")

    # --- dead letters, attempts

    async def test_dead_letters_are_kept_until_somebody_decides(self, journal: JournalWriter) -> None:
        """With their bytes, in order of their ids, by pages; exhumed, the command may be decided again."""
        failed = NewOutcome(command_id(2), Status.FAILED, 0, reason="no such thing")
        await decide(journal, Writes(outcomes=[failed], dead=[letter(2)]))
        await journal.bury(letter(3))
        await journal.bury(letter(1))
        assert list(await journal.dead_letters()) == [letter(1), letter(2), letter(3)]
        assert list(await journal.dead_letters(limit=2)) == [letter(1), letter(2)]
        assert list(await journal.dead_letters(after=command_id(2))) == [letter(3)]
        assert await journal.dead_letter(command_id(2)) == letter(2)
        assert await journal.dead_letter(command_id(9)) is None
        await journal.bury(letter(3, "another reason"))
        assert await journal.dead_letter(command_id(3)) == letter(3, "another reason")
        assert await journal.exhume(command_id(2)) is True
        assert await journal.exhume(command_id(2)) is False
        assert await journal.outcome(command_id(2)) is None
        assert await decide(journal, put(2)) == 0

    async def test_dead_letters_have_an_order(self, journal: JournalWriter) -> None:
        """That in which they came, whatever their ids say; heads tell it without bytes. One that is written again keeps
        its place, and gets it back by its number after it was tried."""
        for number in (5, 3, 4):
            await journal.bury(letter(number))
        failed = NewOutcome(command_id(1), Status.FAILED, 0, reason="no such thing")
        await decide(journal, Writes(outcomes=[failed], dead=[letter(1)]))
        heads = await journal.letters()
        order = [command_id(number) for number in (5, 3, 4, 1)]
        assert [head.command_id for head in heads] == order
        head, first = heads[0], letter(5)
        assert (head.name, head.version, head.key, head.reason, head.attempts, head.at, dict(head.headers)) == (
            first.name, first.version, first.key, first.reason, first.attempts, first.at, dict(first.headers),
        )  # fmt: skip
        assert [head.command_id for head in await journal.letters(heads[1].number, 1)] == [order[2]]
        await journal.bury(letter(3, "again"))
        found = await journal.dead_letter(command_id(3))
        assert found is not None
        await journal.exhume(command_id(3))
        await journal.bury(letter(9))
        await journal.bury(replace(letter(3), number=found.number))
        assert [head.command_id for head in await journal.letters()] == [*order, command_id(9)]
        await journal.bury(replace(letter(7), number=found.number))  # taken: it goes behind
        assert [head.command_id for head in await journal.letters()] == [*order, command_id(9), command_id(7)]

    async def test_the_first_letter_of_a_key(self, journal: JournalWriter) -> None:
        """Also the first that waits; reactors' letters and bytes that were no command stand at no key."""
        strange = [
            replace(letter(1), key="a", name=""),
            replace(letter(2), key="a", command_id="reactor-mail-7"),
            replace(letter(3), key="b"),
            replace(letter(4), key="a", body=b"x" * 100_000),
            replace(letter(5), key="a"),
            replace(letter(6), key="a", headers={WAITS: "1.5"}),
            replace(letter(7), key="a", headers={WAITS: "2.5", "other": '"skerry-waits":'}),
            replace(letter(8), key="c", headers={"other": '"skerry-waits":'}),
        ]
        for each in strange:
            await journal.bury(each)
        found = await journal.first_letters(["a", "c", "none"])
        assert {head.command_id for head in found} == {command_id(n) for n in (4, 6, 8)}
        assert await journal.first_letters([]) == []
        assert [head.command_id for head in await journal.letters(0, 100, True)] == [
            command_id(6),
            command_id(7),
        ]

    async def test_exhuming_never_forgets_an_applied_command(self, journal: JournalWriter) -> None:
        """Only a failed outcome goes with its letter."""
        await decide(journal, put(1))
        await journal.bury(letter(1))
        assert await journal.exhume(command_id(1)) is True
        assert await decide(journal, put(1)) is None

    async def test_attempts_are_counted(self, journal: JournalWriter) -> None:
        """Each call counts one more for each id, durably, beside an open batch's fate."""
        assert await journal.attempts([command_id(1)]) == {command_id(1): 1}
        assert await journal.attempts([command_id(1), command_id(2)]) == {command_id(1): 2, command_id(2): 1}
        assert await journal.attempts([]) == {}
        await journal.bury(letter(1))
        await journal.exhume(command_id(1))
        assert await journal.attempts([command_id(1)]) == {command_id(1): 1}

    async def test_an_attempt_that_was_survived_is_taken_back(self, journal: JournalWriter) -> None:
        """As often as it is named, never below none, and only for the ids named."""
        await journal.attempts([command_id(1), command_id(2)])
        await journal.attempts([command_id(1)])
        await journal.survived([command_id(1)])
        assert await journal.attempts([command_id(1), command_id(2)]) == {command_id(1): 2, command_id(2): 2}
        await journal.survived([command_id(1), command_id(3), command_id(1), command_id(1)])
        assert await journal.attempts([command_id(1), command_id(2)]) == {command_id(1): 1, command_id(2): 3}
        await journal.survived([])

    # --- leases

    async def test_a_lease_has_one_owner_until_it_ends(self, journal: JournalWriter) -> None:
        """Its owner renews it under the same fence; another gets it, with a higher one, only when it ended."""
        lease = await journal.acquire("p0", "anna", 10)
        assert lease is not None
        assert await journal.acquire("p0", "bert", 10) is None
        assert await journal.acquire("p1", "bert", 10) is not None
        await self.pass_time(journal, 8)
        assert await journal.acquire("p0", "anna", 10) == lease
        await self.pass_time(journal, 8)
        assert await journal.acquire("p0", "bert", 10) is None
        await self.pass_time(journal, 8)
        taken = await journal.acquire("p0", "bert", 10)
        assert taken is not None
        assert taken.fence > lease.fence
        assert await journal.acquire("p0", "anna", 10) is None

    async def test_a_lost_lease_writes_nothing(self, journal: JournalWriter) -> None:
        """Commits under a lease succeed until somebody else took it over, then they are `Fenced`."""
        lease = await journal.acquire("p0", "anna", 10)
        assert lease is not None
        assert await decide(journal, put(1), lease) == 0
        await self.pass_time(journal, 11)
        assert await decide(journal, put(2), lease) == 1
        await self.pass_time(journal, 11)
        other = await journal.acquire("p0", "bert", 10)
        assert other is not None
        with pytest.raises(Fenced):
            await decide(journal, put(3, "x"), lease)
        with pytest.raises(Fenced):
            await decide(journal, Writes(outcomes=[NewOutcome(command_id(4), Status.REJECTED, 0)]), lease)
        assert (await journal.head()).position.offset == 2
        assert await journal.outcome(command_id(3)) is None
        assert "x" not in await all_rows(journal)
        assert await decide(journal, put(3), other) == 2

    async def test_a_released_lease_is_free_at_once(self, journal: JournalWriter) -> None:
        """The next owner need not wait; the one who gave it back cannot write under it, nor give it back twice."""
        lease = await journal.acquire("p0", "anna", 1000)
        assert lease is not None
        await journal.release(lease)
        with pytest.raises(Fenced):
            await decide(journal, put(1), lease)
        other = await journal.acquire("p0", "bert", 1000)
        assert other is not None
        assert other.fence > lease.fence
        await journal.release(lease)
        assert await decide(journal, put(1), other) == 0

    # --- corrections

    async def test_a_row_is_corrected_by_an_event(self, journal: JournalWriter) -> None:
        """Row and event come together, at the position that is returned; the journal has its author and reason."""
        await decide(journal, put(1, "a", "wrong"))
        told = await journal.correct(
            Correction("row", "it was wrong", "ann", THINGS, "a", data='{"value":"right"}')
        )
        assert told == (await journal.head()).position
        assert (await all_rows(journal)) == {"a": (b'{"value":"right"}', 2)}
        record = (await journal.read(1, 10))[0]
        assert (record.name, record.key, record.who, record.more) == (ROW_PUT, "a", "ann", False)
        corrected = read_correction(record)
        assert corrected is not None
        assert (corrected.reason, corrected.table) == ("it was wrong", THINGS)
        outcome = await journal.outcome(record.command_id)
        assert outcome is not None
        assert (outcome.status, outcome.offset) == (Status.APPLIED, 2)
        await journal.correct(Correction("row", "never was", "bob", THINGS, "a"))
        assert await all_rows(journal) == {}
        assert (await journal.read(2, 10))[0].name == ROW_DELETED
        with pytest.raises(JournalError, match="no row 'a'"):
            await journal.correct(Correction("row", "again", "bob", THINGS, "a"))
        assert (await journal.head()).position.offset == 3

    async def test_an_amended_event_is_read_as_its_replacement(self, journal: JournalWriter) -> None:
        """At its own position, by everybody, from then on; nothing else of it changes. The last amendment counts,
        a skipped one is a record that nobody applies, and may be amended again. `verify` finds nothing."""
        await decide(journal, Writes(events=[event(n) for n in (1, 2, 3)], outcomes=[applied(3, 3, 3)]))
        before = await all_records(journal)

        async def read() -> list[tuple[str, int, bytes]]:
            records = await all_records(journal)
            assert [r.offset for r in records] == list(range(1, len(records) + 1))
            untouched = [(r.command_id, r.key, r.at, r.more, r.who) for r in records[:3]]
            assert untouched == [(r.command_id, r.key, r.at, r.more, r.who) for r in before]
            return [(r.name, r.version, bytes(r.data)) for r in records]

        mended = '{"number":22}'
        await journal.correct(Correction("event", "a slip", "ann", offset=2, version=7, data=mended))
        assert (await read())[1] == ("thing_put", 7, b'{"number":22}')
        assert (await read())[0] == ("thing_put", 1, bytes(before[0].data))
        assert [r.offset for r in await journal.read(1, 1)] == [2]
        await journal.correct(Correction("event", "should not be", "ann", offset=2))
        assert (await read())[1][0] == NOTHING
        await journal.correct(Correction("event", "it should", "bob", offset=2, version=1, data=mended))
        found = await read()
        assert found[1] == ("thing_put", 1, b'{"number":22}')
        assert [name for name, _, _ in found[3:]] == [AMENDED, SKIPPED, AMENDED]
        corrected = read_correction((await all_records(journal))[3])
        assert corrected is not None
        assert (corrected.offset, corrected.event, corrected.version) == (2, "thing_put", 1)
        assert await journal.verify() == []
        for offset in (0, 7, 4):  # none, none yet, itself a correction
            with pytest.raises(JournalError):
                await journal.correct(Correction("event", "no", "ann", offset=offset))
        epoch = (await journal.head()).position.epoch
        await journal.trim(Position(epoch, 4))
        assert [r.name for r in await journal.read(4, 10)] == [SKIPPED, AMENDED]

    async def test_who_needs_old_events_is_told(self, journal: JournalWriter) -> None:
        """Reactors' cursors and stored projections, by name, with how far they are; those that are forgotten hold
        nothing any more. The tables are those that were prepared."""
        for n in range(1, 6):
            await decide(journal, put(n))
        epoch = (await journal.head()).position.epoch
        await journal.advance("hook", Position(epoch, 2))
        await journal.save_projection(StoredProjection("Count", 1, Position(epoch, 3), b"3"))
        assert list(await journal.readers()) == [
            Reader("Count", "projection", Position(epoch, 3)),
            Reader("hook", "reactor", Position(epoch, 2)),
        ]
        assert await journal.trim(Position(epoch, 5)) == 2
        await journal.forget("hook")
        assert await journal.trim(Position(epoch, 5)) == 3
        await journal.forget_projection("Count")
        assert list(await journal.readers()) == []
        assert await journal.trim(Position(epoch, 5)) == 5
        assert sorted(await journal.tables()) == sorted([THINGS, OTHERS])

    async def test_a_renamed_table_keeps_its_rows(self, journal: JournalWriter) -> None:
        """An empty table takes the rows of the one that it was; one that has rows of its own is left alone."""
        await decide(journal, put(1, "a", "kept"))
        before = (await all_rows(journal))["a"]
        assert not await journal.rename_table("never_was", OTHERS)
        assert await journal.rename_table(THINGS, OTHERS)
        assert await all_rows(journal, OTHERS) == {"a": before}
        assert list(await journal.tables()) == [OTHERS]
        assert not await journal.rename_table(THINGS, OTHERS)
        await decide(journal, Writes(deletes={OTHERS: {"a"}}, events=[event(2)], outcomes=[applied(2, 1)]))
        assert await all_rows(journal, OTHERS) == {}
        await journal.prepare([THINGS, OTHERS])
        await decide(journal, put(3, "b"))
        await decide(
            journal, Writes(puts={OTHERS: {"c": (b"1", 1)}}, events=[event(4)], outcomes=[applied(4, 1)])
        )
        assert not await journal.rename_table(THINGS, OTHERS)
        assert list(await all_rows(journal)) == ["b"]
        assert await journal.verify() == []

    async def test_whose_journal_it_is(self, journal: JournalWriter) -> None:
        """Nobody's until somebody says so."""
        assert await journal.application() == ""
        await journal.adopt("shop")
        await journal.prepare([THINGS])
        assert await journal.application() == "shop"
        await journal.adopt("store")
        assert await journal.application() == "store"
