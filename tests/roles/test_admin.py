"""Retrying a dead letter never loses it: whatever goes wrong on the way, it is still there."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from skerry.backends.memory.journal import MemoryJournal
from skerry.backends.sqlite.journal import SqliteJournal
from skerry.errors import Disconnected, Overloaded, SettingsError, SkerryError
from skerry.journal.journal import DeadLetter
from skerry.journal.reactor import RETRY
from skerry.kernel.settings import Settings
from skerry.messages.envelope import Envelope
from skerry.roles.admin import Admin, open_admin
from skerry.roles.wiring import plan

ID = "0" * 31 + "1"
LETTER = DeadLetter(ID, "put", 1, "key", b'{"key":"key"}', "KeyError: 'x'", headers={"trace": "t"})


class Transport:
    """Takes commands, or does not."""

    def __init__(self, error: BaseException | None = None, hangs: bool = False) -> None:
        self.sent: list[tuple[Envelope, int]] = []
        self.error, self.hangs = error, hangs

    async def send(self, envelopes: list[Envelope], partition: int) -> None:
        if self.hangs:
            await asyncio.Event().wait()
        if self.error is not None:
            raise self.error
        self.sent += [(envelope, partition) for envelope in envelopes]


@pytest.fixture
async def journal() -> AsyncIterator[MemoryJournal]:
    async with MemoryJournal() as made:
        await made.prepare([])
        yield made


def admin(journal: MemoryJournal, transport: Any, partitions: int = 1) -> Admin:
    return Admin(journal, transport, partitions)


async def test_a_retry_sends_the_same_command(journal: MemoryJournal) -> None:
    """Its id, name, key, headers and bytes, to the partition of its key; it leaves the dead letters."""
    await journal.bury(LETTER)
    transport = Transport()
    await admin(journal, transport, partitions=8).retry(LETTER)
    [(envelope, partition)] = transport.sent
    assert (envelope.id, envelope.name, envelope.version, envelope.key) == (ID, "put", 1, "key")
    assert (envelope.body, dict(envelope.headers)) == (LETTER.body, {"trace": "t"})
    assert 0 <= partition < 8
    assert await journal.dead_letters() == []


@pytest.mark.parametrize(
    "error", [Disconnected("away"), Overloaded("full"), OSError("broken"), RuntimeError("a bug")]
)
async def test_a_send_that_fails_leaves_the_letter(journal: MemoryJournal, error: Exception) -> None:
    """Whatever kind of failure it was."""
    await journal.bury(LETTER)
    with pytest.raises(type(error)):
        await admin(journal, Transport(error)).retry(LETTER)
    assert await journal.dead_letters() == [LETTER]


async def test_an_operator_who_gives_up_waiting_loses_nothing(journal: MemoryJournal) -> None:
    """Ctrl-C while nobody confirms."""
    await journal.bury(LETTER)
    task = asyncio.create_task(admin(journal, Transport(hangs=True)).retry(LETTER))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await journal.dead_letters() == [LETTER]


async def test_without_anybody_who_takes_commands(journal: MemoryJournal) -> None:
    """Said; the letter stays."""
    await journal.bury(LETTER)
    with pytest.raises(SkerryError, match="nothing runs that takes commands"):
        await admin(journal, None).retry(LETTER)
    assert await journal.dead_letters() == [LETTER]


async def test_bytes_that_are_no_command(journal: MemoryJournal) -> None:
    """They can be looked at, not sent."""
    letter = DeadLetter(ID, "", 0, "", b"\xff\x00", "not a pack of commands")
    await journal.bury(letter)
    with pytest.raises(SkerryError, match="these bytes are no command"):
        await admin(journal, Transport()).retry(letter)
    assert await journal.dead_letters() == [letter]


async def test_a_reactors_event_is_marked_for_its_reactor(journal: MemoryJournal) -> None:
    """It is not a command: nothing is sent, the reactor finds the mark."""
    letter = DeadLetter(
        "reactor-mail-7", "sent", 1, "k", b"{}", "no", headers={"reactor": "mail", "offset": "7"}
    )
    await journal.bury(letter)
    transport = Transport()
    await admin(journal, transport).retry(letter)
    assert transport.sent == []
    [marked] = await journal.dead_letters()
    assert RETRY in marked.headers


async def test_memory_cannot_be_looked_at_from_outside() -> None:
    """Said, not an empty list."""
    settings = Settings(journal="memory:")
    with pytest.raises(SettingsError, match="memory: lives in its process"):
        async with open_admin(settings, plan(settings, "app", one_process=True), "app"):
            pass


async def test_a_file_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    """A misspelt path must not become an empty journal."""
    settings = Settings(journal=f"sqlite:///{tmp_path}/no.db")
    with pytest.raises(SettingsError, match="there is no file"):
        async with open_admin(settings, plan(settings, "app", one_process=True), "app"):
            pass
    assert os.listdir(tmp_path) == []


async def test_a_file_that_nobody_owns_is_opened_here(tmp_path: Path) -> None:
    """Letters can be read and dropped; commands cannot be sent."""
    async with SqliteJournal(f"{tmp_path}/app.db", "app") as journal:
        await journal.prepare([])
        await journal.bury(LETTER)
    settings = Settings(journal=f"sqlite:///{tmp_path}/app.db")
    async with open_admin(settings, plan(settings, "app", one_process=True), "app") as opened:
        assert opened.transport is None
        assert [letter.command_id for letter in await opened.journal.dead_letters()] == [ID]
        assert await opened.journal.exhume(ID)
