"""What a journal has to hold to when a batch is opened on what it remembers: a part of `JournalSuite`.

Whether it remembers is its own affair. Not here: several writers (shared_journals.py).
"""

from __future__ import annotations

import random

import msgspec
import pytest

from skerry.errors import Conflict
from skerry.journal.journal import JournalWriter, NewOutcome, Status, Writes
from skerry.testing.journal_samples import (
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


async def increment(journal: JournalWriter, number: int, key: str, *, recall: bool) -> int:
    """Decide "add one to the counter at `key`" as a consumer would, which recalls first where it may; how often it was
    too late."""
    late = 0
    while True:
        try:
            async with journal.batch(
                [command_id(number)], [(THINGS, key)], None, recall and not late
            ) as opened:
                batch, rows = opened
                if batch.known:
                    return late
                row = rows.get((THINGS, key))
                data = msgspec.json.encode(1 + (msgspec.json.decode(row.data) if row else 0))
                puts: dict[str, dict[str, tuple[bytes | str, int]]] = {THINGS: {key: (data, 1)}}
                await batch.commit(Writes(puts, events=[event(number, key)], outcomes=[applied(number, 1)]))
                return late
        except Conflict:
            late += 1


class RecallingSuite:
    """Needs `journal` and `fail_over`, as `JournalSuite` has them."""

    async def fail_over(self, journal: JournalWriter, keep: int) -> None:
        raise NotImplementedError

    async def test_a_recalled_batch_sees_what_was_committed(self, journal: JournalWriter) -> None:
        """Its position, rows that were put, and that others were deleted or never there, are as if it had asked."""
        await decide(journal, put(1, "a"))
        async with journal.batch([command_id(2)], [(THINGS, "a"), (THINGS, "b"), (THINGS, "c")]) as (
            batch,
            _,
        ):
            data = b'{"value":"two"}'
            writes = Writes({THINGS: {"b": (data, 1)}}, {THINGS: {"a"}}, [event(2)], [applied(2, 1)])
            assert await batch.commit(writes) == 1
        places = [(THINGS, key) for key in "abc"]
        async with journal.batch([command_id(3)], places, None, True) as (batch, rows):
            assert (batch.position, dict(batch.known)) == ((await journal.head()).position, {})
            assert list(rows) == [(THINGS, "b")]
            row = rows[THINGS, "b"]
            assert (msgspec.json.decode(row.data), row.offset) == ({"value": "two"}, 2)
            assert await batch.commit(put(3, "c")) == 2
        assert set(await all_rows(journal)) == {"b", "c"}
        assert [record.offset for record in await all_records(journal)] == [1, 2, 3]

    async def test_a_command_that_comes_again_is_not_decided_again(self, journal: JournalWriter) -> None:
        """One that was decided long ago is met at the commit, for effects, rejections and letters alike, or known
        before; nothing of its batch is written, and asked for it is known."""
        await decide(journal, put(1, "k"))
        await decide(journal, put(2, "k"))
        no = Writes(outcomes=[NewOutcome(command_id(1), Status.REJECTED, 0, reason="no")])
        for again in (put(1, "k", "again"), no, Writes()):
            is_refused = False
            try:
                async with journal.batch([command_id(1)], [(THINGS, "k")], None, True) as (batch, _):
                    if not batch.known:
                        await batch.commit(again)
            except Conflict:
                is_refused = True
            assert is_refused or batch.known
            async with journal.batch([command_id(1)], []) as (batch, _):
                assert batch.known[command_id(1)].offset == 1
            await decide(journal, put(len(again.events) + 10 + len(again.outcomes), "k"))
        assert (await journal.outcome(command_id(1))) is not None
        assert b"again" not in b"".join(data for data, _ in (await all_rows(journal)).values())

    async def test_what_was_remembered_is_not_of_a_lost_tail(self, journal: JournalWriter) -> None:
        """After a failover that lost what is remembered, nothing is written on it: the command is decided on what there
        is, in a new epoch."""
        for number in range(1, 4):
            assert await increment(journal, number, "k", recall=True) == 0
        await self.fail_over(journal, 2)
        left = (await all_rows(journal)).get("k")
        await increment(journal, 4, "k", recall=True)
        [(data, _)] = (await all_rows(journal)).values()
        assert msgspec.json.decode(data) == 1 + (msgspec.json.decode(left[0]) if left else 0)
        assert [r.command_id for r in await all_records(journal)] == [command_id(n) for n in (1, 2, 4)]

    @pytest.mark.parametrize("seed", range(3))
    async def test_what_is_remembered_is_what_is_stored(self, journal: JournalWriter, seed: int) -> None:
        """Batches of puts, deletes and rejections that are committed, refused or left, with new epochs and tables
        between: whenever one is recalled and can be written, what it was told is what stands there."""
        rng, number, keys = random.Random(seed), 0, [f"k{n}" for n in range(6)]
        for _ in range(120):
            number += 1
            wanted = rng.sample(keys, 3)
            stored = {key: value for key, value in (await all_rows(journal)).items() if key in wanted}
            claims = [
                command_id(number),
                *([command_id(rng.randint(1, number))] if rng.random() < 0.1 else []),
            ]
            writes = Writes(outcomes=[applied(number, 1)], events=[event(number)])
            match rng.randrange(5):
                case 0:
                    writes = Writes(outcomes=[NewOutcome(command_id(number), Status.REJECTED, 0)])
                case 1:
                    writes.deletes = {THINGS: set(wanted[:2])}
                case _:
                    writes.puts = {THINGS: dict.fromkeys(wanted[1:], (b"%d" % number, 1))}
            try:
                places = [(THINGS, key) for key in wanted]
                async with journal.batch(list(dict.fromkeys(claims)), places, None, True) as (batch, rows):
                    told = {place[1]: (as_bytes(row.data), row.offset) for place, row in rows.items()}
                    if rng.random() < 0.1:
                        continue
                    await batch.commit(writes)
            except Conflict:
                continue
            assert told == stored
            if rng.random() < 0.05:
                await journal.new_epoch()
            if rng.random() < 0.05:
                await journal.prepare([THINGS, f"more_{number}"])
        assert await journal.verify() == []
