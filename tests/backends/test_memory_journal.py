"""The journal in memory passes the suite."""

from __future__ import annotations

import pytest

from skerry.backends.memory.journal import MemoryJournal
from skerry.journal.journal import JournalWriter, StoredRow
from skerry.testing.clock import VirtualClock
from skerry.testing.journal_samples import THINGS, OpenJournal
from skerry.testing.journals import JournalSuite


class TestMemoryJournal(JournalSuite):
    clock: VirtualClock

    @pytest.fixture
    def open_journal(self) -> OpenJournal:
        self.clock = VirtualClock()
        journal = MemoryJournal("suite", clock=self.clock)
        return lambda: journal

    async def pass_time(self, journal: JournalWriter, seconds: float) -> None:
        await self.clock.advance(seconds)

    async def fail_over(self, journal: JournalWriter, keep: int) -> None:
        assert isinstance(journal, MemoryJournal)
        del journal._records[keep - journal._floor :]
        for table in journal._tables.values():
            for key in [key for key, row in table.items() if row.offset > keep]:
                del table[key]
        for command in [c for c, outcome in journal._outcomes.items() if outcome.offset > keep]:
            del journal._outcomes[command]
        await journal.new_epoch("restored", keep)

    async def damage(self, journal: JournalWriter, what: str) -> None:
        assert isinstance(journal, MemoryJournal)
        if what == "event missing":
            del journal._records[1]
        else:
            table = journal._tables[THINGS]
            table["k1"] = StoredRow(table["k1"].data, 99)
