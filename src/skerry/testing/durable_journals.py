"""What a durable journal has to do over restarts and crashes: a suite to be inherited beside `JournalSuite`.

    class TestMine(DurableJournalSuite, JournalSuite):
        def opening(self) -> str:                      # Python source that makes the journal in another process
            return "from mine import MyJournal\njournal = MyJournal('/path', 'suite')"

The writer of the crash test is a process of its own, killed with SIGKILL; what it reported as committed on its
standard output has to be there afterwards, and nothing of a batch without the rest of it.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys

import pytest

from skerry.journal.journal import JournalWriter
from skerry.testing.journal_samples import (
    OTHERS,
    THINGS,
    OpenJournal,
    all_records,
    all_rows,
    command_id,
    decide,
    letter,
    put,
)
from skerry.testing.journals import JournalSuite

EVENTS = 20
_WRITER = """
import asyncio, sys
from skerry.journal.journal import NewEvent, NewOutcome, Status, Writes
{opening}

async def main():
    first = int(sys.argv[1])
    async with journal:
        await journal.prepare(["thing", "other_thing"])
        for number in range(first, first + 100000):
            ids = ["%032x" % (number * 1000 + n) for n in range({events})]
            events = [NewEvent(i, "k", "thing_put", 1, b"{{}}", 1.0, False) for i in ids]
            outcomes = [NewOutcome(i, Status.APPLIED, n, 1) for n, i in enumerate(ids, 1)]
            puts = {{"thing": {{f"{{i}}": (b"%d" % number, n) for n, i in enumerate(ids, 1)}}}}
            async with journal.batch(ids, []) as (batch, _):
                base = await batch.commit(Writes(puts=puts, events=events, outcomes=outcomes))
            sys.stdout.write(f"{{number}} {{base}}\\n")
            sys.stdout.flush()

asyncio.run(main())
"""


class DurableJournalSuite(JournalSuite):
    """Needs `opening`."""

    def opening(self) -> str:
        """Python source whose last statement binds `journal`, of the journal that `open_journal` opens."""
        raise NotImplementedError

    async def test_reopening_keeps_everything(self, open_journal: OpenJournal) -> None:
        """Closed and opened again: position, events, rows, outcomes, dead letters, cursors, leases, attempts."""
        async with open_journal() as journal:
            await journal.prepare([THINGS, OTHERS])
            for number in range(1, 4):
                await decide(journal, put(number, f"k{number}"))
            await journal.bury(letter(9))
            head = await journal.head()
            await journal.advance("mailer", head.position)
            lease = await journal.acquire("p0", "anna", 1000)
            await journal.attempts([command_id(7)])
            before = (await all_records(journal), await all_rows(journal))
        async with open_journal() as journal:
            assert await journal.head() == head
            records, rows = await all_records(journal), await all_rows(journal)
            assert [(r.offset, r.command_id, bytes(r.data)) for r in records] == [
                (r.offset, r.command_id, bytes(r.data)) for r in before[0]
            ]
            assert rows == before[1]
            assert await journal.dead_letter(command_id(9)) == letter(9)
            assert await journal.cursor("mailer") == head.position
            assert await journal.acquire("p0", "bert", 10) is None
            assert await journal.acquire("p0", "anna", 10) == lease
            assert await journal.attempts([command_id(7)]) == {command_id(7): 2}
            assert await decide(journal, put(1)) is None
            assert await decide(journal, put(4)) == 3  # writing goes on without `prepare`

    @pytest.mark.parametrize("seed", [1, 2, 3])
    async def test_a_killed_writer_leaves_whole_batches(
        self, journal: JournalWriter, open_journal: OpenJournal, seed: int
    ) -> None:
        """SIGKILL at a random moment, twice over: what was reported is there, each batch wholly or not at all,
        offsets without a gap, and the next writer simply goes on."""
        await self.close(journal)
        rng = random.Random(seed)
        reported: dict[int, int] = {}
        for turn in range(2):
            reported.update(await self._write_and_die(turn * 1_000_000, rng.randrange(3, 60)))
        async with open_journal() as again:
            assert await again.verify() == []
            records = await all_records(again)
            rows = await all_rows(again)
            numbers = sorted({int(r.command_id, 16) // 1000 for r in records})
            assert set(reported) <= set(numbers)
            assert len(numbers) - len(reported) <= 2  # at most one batch a turn was committed and not told of
            assert len(records) == len(rows) == len(numbers) * EVENTS
            assert [r.offset for r in records] == list(range(1, len(records) + 1))
            for number, base in reported.items():
                assert int(records[base].command_id, 16) == number * 1000
            assert await again.outcome(f"{numbers[-1] * 1000:032x}") is not None

    async def close(self, journal: JournalWriter) -> None:
        """Make room for the other process, where only one may write; the fixture may close it again."""

    async def _write_and_die(self, first: int, batches: int) -> dict[int, int]:
        source = _WRITER.format(opening=self.opening(), events=EVENTS)
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", source, str(first), stdout=asyncio.subprocess.PIPE, env=dict(os.environ)
        )
        assert process.stdout is not None
        reported: dict[int, int] = {}
        try:
            while len(reported) < batches:
                line = await process.stdout.readline()
                assert line, "the writer ended by itself"
                number, base = line.split()
                reported[int(number)] = int(base)
        finally:
            process.send_signal(signal.SIGKILL)
            rest = await process.stdout.read()
            await process.wait()
        for line in rest.splitlines(keepends=True):
            if line.endswith(b"\n"):
                number, base = line.split()
                reported[int(number)] = int(base)
        return reported
