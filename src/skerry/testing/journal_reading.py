"""What is read from a journal is what was written: rows, snapshots, events.

A part of `skerry.testing.journals.JournalSuite`, which inherits it; not to be used alone.
"""

from __future__ import annotations

import itertools

import msgspec
import pytest

from skerry.errors import JournalError
from skerry.journal.journal import JournalWriter, NewEvent, Writes
from skerry.testing.journal_samples import (
    ODD_KEYS,
    OTHERS,
    THINGS,
    all_records,
    all_rows,
    applied,
    as_bytes,
    command_id,
    decide,
    event,
    put,
)


class ReadingSuite:
    """Needs the fixture `journal` of `JournalSuite`."""

    # --- rows

    async def test_rows_carry_the_offset_of_their_last_change(self, journal: JournalWriter) -> None:
        """Put, replaced and deleted rows, in two tables, are as the last batch left them."""
        await decide(journal, put(1, "a", "first"))
        writes = Writes(
            puts={THINGS: {"b": (b'{"v":1}', 1), "a": ('{"v":"ü"}', 2)}, OTHERS: {"a": (b"[]", 2)}},
            events=[event(2), event(3)],
            outcomes=[applied(2, 1), applied(3, 2)],
        )
        async with journal.batch([command_id(2), command_id(3)], [(THINGS, "a"), (THINGS, "x")]) as (
            batch,
            rows,
        ):
            assert {place: (as_bytes(row.data), row.offset) for place, row in rows.items()} == {
                (THINGS, "a"): (b'{"value":"first","by":1}', 1)
            }
            assert await batch.commit(writes) == 1
        assert await all_rows(journal) == {"a": ('{"v":"ü"}'.encode(), 3), "b": (b'{"v":1}', 2)}
        assert await all_rows(journal, OTHERS) == {"a": (b"[]", 3)}
        gone = Writes(deletes={THINGS: {"a", "never"}}, events=[event(4)], outcomes=[applied(4, 1)])
        await decide(journal, gone)
        assert list(await all_rows(journal)) == ["b"]
        assert list(await all_rows(journal, OTHERS)) == ["a"]

    async def test_nobody_sees_what_is_not_committed(self, journal: JournalWriter) -> None:
        """While a batch is open, readers see the state before it; `load` brings rows on demand."""
        await decide(journal, put(1, "a", "old"))
        async with journal.batch([command_id(2)], [(THINGS, "a")]) as (batch, _):
            assert dict(await batch.load([(THINGS, "b"), (OTHERS, "a")])) == {}
            found = await batch.load([(THINGS, "a")])
            assert found[THINGS, "a"].offset == 1
            assert (await journal.head()).position.offset == 1
            assert await journal.outcome(command_id(2)) is None
            await batch.commit(put(2, "a", "new"))
        with pytest.raises(JournalError):
            await batch.load([(THINGS, "a")])
        with pytest.raises(JournalError):
            await batch.commit(put(3))
        assert (await all_rows(journal))["a"][1] == 2

    async def test_keys_of_every_kind_are_distinct_and_in_code_point_order(
        self, journal: JournalWriter
    ) -> None:
        """No two keys are taken for one another, and a snapshot lists them by code points."""
        puts: dict[str, tuple[bytes | str, int]] = {
            key: (msgspec.json.encode({"key": key}), 1) for key in ODD_KEYS
        }
        await decide(
            journal, Writes(puts={THINGS: puts}, events=[event(1, ODD_KEYS[-1])], outcomes=[applied(1, 1)])
        )
        rows = await all_rows(journal)
        assert list(rows) == sorted(ODD_KEYS)
        assert all(msgspec.json.decode(data) == {"key": key} for key, (data, _) in rows.items())
        for key in ODD_KEYS:
            async with journal.batch([], [(THINGS, key)]) as (_, found):
                assert list(found) == [(THINGS, key)]
        half = set(ODD_KEYS[::2])
        await decide(journal, Writes(deletes={THINGS: half}, events=[event(2)], outcomes=[applied(2, 1)]))
        assert list(await all_rows(journal)) == sorted(set(ODD_KEYS) - half)

    async def test_a_snapshot_has_one_position_while_writing_goes_on(self, journal: JournalWriter) -> None:
        """What is committed after it was opened is not in it, also not in a page read later."""
        many: dict[str, tuple[bytes | str, int]] = {f"k{n:05d}": (b"{}", 1) for n in range(5000)}
        await decide(journal, Writes(puts={THINGS: many}, events=[event(1)], outcomes=[applied(1, 1)]))
        async with journal.snapshot([THINGS, OTHERS]) as snapshot:
            seen: list[str] = []
            number = itertools.count(2)
            async for page in snapshot.rows(THINGS):
                seen.extend(key for key, _, offset in page)
                assert {offset for _, _, offset in page} == {1}
                await decide(journal, put(next(number), "k04999", "changed"))
                await decide(journal, put(next(number), f"k{len(seen):05d}x", "added"))
                gone = next(number)
                deletes = {THINGS: {"k04998"}}
                await decide(
                    journal, Writes(deletes=deletes, events=[event(gone)], outcomes=[applied(gone, 1)])
                )
            assert seen == list(many)
            assert snapshot.position.offset == 1
            assert [page async for page in snapshot.rows(OTHERS)] == []
        assert (await all_rows(journal))["k04999"][1] > 1

    async def test_large_rows_come_in_small_pages(self, journal: JournalWriter) -> None:
        """A page holds about 4 MiB, whatever the rows' sizes; a row of 6 MiB is a page by itself."""
        sizes = {"a": 10, "b": 6 << 20, "c": 1 << 20, "d": 1 << 20, "e": 3 << 20, "f": 10}
        for number, (key, size) in enumerate(sizes.items(), 1):
            await decide(journal, put(number, key, "x" * size))
        pages: list[list[str]] = []
        async with journal.snapshot([THINGS]) as snapshot:
            async for page in snapshot.rows(THINGS):
                pages.append([key for key, _, _ in page])
                assert len(page) == 1 or sum(len(data) for _, data, _ in page) <= 4.5 * 2**20
        assert list(itertools.chain(*pages)) == list(sizes)
        assert ["b"] in pages

    # --- reading events

    async def test_records_keep_everything(self, journal: JournalWriter) -> None:
        """Each field of an event comes back as it was appended, its JSON byte for byte."""
        at = 1_700_000_000.123456
        events = [
            NewEvent(
                command_id(n),
                key,
                "kept",
                n + 1,
                b'{ "a":"\xc3\xbc\\u0000", "n":[1.50, null] }',
                at + n,
                n % 2 == 0,
                f"{key} of ci",
                f"00-{n:032x}-{n:016x}-01",
            )
            for n, key in enumerate(ODD_KEYS)
        ]
        events.append(event(99))
        await decide(journal, Writes(events=events, outcomes=[applied(99, len(events), len(events))]))
        records = await all_records(journal)
        for offset, (new, record) in enumerate(zip(events, records, strict=True), 1):
            assert record.offset == offset
            kept = (
                record.command_id,
                record.key,
                record.name,
                record.version,
                bytes(record.data),
                record.at,
                record.more,
                record.who,
                record.trace,
            )
            expected = (new.command_id, new.key, new.name, new.version, new.data, new.at, new.more)
            assert kept == (*expected, new.who, new.trace)

    async def test_reading_is_bounded_by_count_and_bytes(self, journal: JournalWriter) -> None:
        """At most `limit` records and about 4 MiB at a time, but always one when there is one; nothing past the end."""
        small = [event(n) for n in range(10)]
        await decide(journal, Writes(events=small, outcomes=[applied(n, n + 1) for n in range(10)]))
        assert [r.offset for r in await journal.read(3, 4)] == [4, 5, 6, 7]
        assert [r.offset for r in await journal.read(8, 100)] == [9, 10]
        assert list(await journal.read(10, 100)) == []
        assert list(await journal.read(99, 100)) == []
        for n, megabytes in enumerate((3, 3, 6), 20):
            data = msgspec.json.encode("x" * (megabytes << 20))
            await decide(journal, Writes(events=[event(n, data=data)], outcomes=[applied(n, 1)]))
        assert [r.offset for r in await journal.read(9, 100)] == [10, 11]
        assert [r.offset for r in await journal.read(11, 100)] == [12]
        assert [r.offset for r in await journal.read(12, 100)] == [13]
