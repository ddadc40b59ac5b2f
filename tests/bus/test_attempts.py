"""What interrupts a command without its process dying is not held against it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from skerry.backends.memory.journal import MemoryJournal
from skerry.bus import attempts
from skerry.bus.attempts import Attempts
from skerry.bus.pipeline import Proceed
from skerry.errors import Disconnected, Fenced
from skerry.journal.unit import Unit
from skerry.messages.message import Command

sys.path.insert(0, str(Path(__file__).parent))
from test_consumer import Deposit, bench  # type: ignore[import-not-found]


class Gate:
    """A middleware that keeps every command until it is opened."""

    def __init__(self) -> None:
        self.reached, self.open = asyncio.Event(), False

    async def __call__(self, command: Command, unit: Unit, proceed: Proceed) -> Any:
        self.reached.set()
        if not self.open:
            await asyncio.Event().wait()
        return await proceed(command, unit)


async def interrupted(times: int) -> Any:
    """The receipt of a command whose consumer was cancelled so often while it decided it."""
    gate = Gate()
    async with bench(gate) as b:
        receipt = b.bus.submit(Deposit("a", 1))
        for _ in range(times):
            gate.reached.clear()
            task = asyncio.ensure_future(b.consumer().run())
            await gate.reached.wait()
            task.cancel()
            await asyncio.wait({task})
        gate.open = True
        await b.run(b.consumer())
        async with asyncio.timeout(10):
            return await receipt


async def test_interrupted_often_it_is_decided_in_the_end() -> None:
    """Lost leases and stops: as many as would have set it aside twice over."""
    assert (await interrupted(12)).status.value == "applied"


async def test_what_hangs_its_process_is_set_aside_though_the_process_lives(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Code that blocks until its lease is lost would go from consumer to consumer for ever."""
    monkeypatch.setattr(attempts, "HUNG_SECONDS", 0.0)
    receipt = await interrupted(5)
    assert (receipt.status.value, "its process died" in receipt.reason) == ("failed", True)


class Away(MemoryJournal):
    """A journal that cannot be reached at times."""

    is_away = False

    async def survived(self, command_ids: Sequence[str]) -> None:
        if self.is_away:
            raise Disconnected("away")
        await super().survived(command_ids)


async def test_it_is_taken_back_once_the_journal_is_there_again() -> None:
    """The database that goes away is what interrupts most, and cannot be told of it then."""
    journal = Away()
    async with journal:
        kept = Attempts(journal)
        assert await kept.note(["a"]) == {"a": 1}
        journal.is_away = True
        with pytest.raises(Disconnected):
            async with kept.survived(["a"]):
                raise Disconnected("away")
        await kept.settle()
        journal.is_away = False
        assert await kept.note(["a"]) == {"a": 1}
        async with kept.survived(["a"]):
            pass
        assert await kept.note(["a"]) == {"a": 2}


@pytest.mark.parametrize("error", [asyncio.CancelledError(), ValueError("a bug"), SystemExit(1)])
async def test_what_a_handler_raises_counts(error: BaseException) -> None:
    """Nobody outside interrupted it: again and again, without an end, if it did not count."""
    async with MemoryJournal() as journal:
        kept = Attempts(journal)
        await kept.note(["a"])
        with pytest.raises(type(error)):
            async with kept.survived(["a"]):
                raise error
        assert await kept.note(["a"]) == {"a": 2}


async def test_a_lost_lease_does_not_count() -> None:
    """Somebody else has the partition, and this process lives."""
    async with MemoryJournal() as journal:
        kept = Attempts(journal)
        await kept.note(["a"])
        with pytest.raises(Fenced):
            async with kept.survived(["a"]):
                raise Fenced("partition:0")
        assert await kept.note(["a"]) == {"a": 1}
