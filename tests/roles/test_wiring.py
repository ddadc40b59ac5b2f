"""Which backends go together: valid pairs open and close, others are refused with the list of those that can."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from skerry import App
from skerry.backends.memory.journal import MemoryJournal
from skerry.backends.sqlite.journal import SqliteJournal
from skerry.errors import Disconnected, SettingsError
from skerry.kernel.settings import Settings
from skerry.roles.wiring import named, open_parts, pairs, plan

POSTGRES, RABBIT = "postgresql://user:secret@host/db", "amqp://user:secret@host/"
URLS = {
    "memory": "memory:", "sqlite": "sqlite:///x.db", "postgresql": POSTGRES, "local": "local:", "amqp": RABBIT,
}  # fmt: skip


PAIRS = pairs()


@pytest.mark.parametrize("pair", PAIRS)
def test_valid_pairs(pair: tuple[str, str]) -> None:
    """Every pair of the list can be planned in one process."""
    journal, transport = pair
    found = plan(Settings(journal=URLS[journal], transport=URLS[transport]), "app", one_process=True)
    assert (found.journal, found.transport) == pair


@pytest.mark.parametrize(
    ("journal", "transport"),
    [
        (j, t)
        for j in ("memory", "sqlite", "postgresql")
        for t in ("memory", "local", "postgresql", "amqp")
        if (j, t) not in PAIRS
    ],
)
def test_any_other_pair_is_refused_with_the_list(journal: str, transport: str) -> None:
    """A queue in front of a private file, say, could not keep the promises. No password is shown."""
    with pytest.raises(SettingsError) as caught:
        plan(Settings(journal=URLS[journal], transport=URLS[transport]), "app", one_process=True)
    assert caught.value.setting == "transport"
    for one, other in PAIRS:
        assert f"{one}: with {other}:" in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("journal", ["memory:", "sqlite:///x.db"])
def test_memory_between_processes_is_refused(journal: str) -> None:
    """It would be two memories."""
    with pytest.raises(SettingsError, match="memory: is for one process"):
        plan(Settings(journal=journal, transport="memory:"), "app", one_process=False)


def test_the_transport_follows_from_the_journal() -> None:
    """Memory stays in its process, a file is shared by local sockets, a server needs a broker that is named."""
    assert plan(Settings(journal="memory:"), "app", one_process=True).transport == "memory"
    assert plan(Settings(), "app", one_process=True).transport == "local"
    assert plan(Settings(), "app", one_process=False).transport == "local"
    with pytest.raises(
        SettingsError, match=r"needs a transport: set SKERRY_TRANSPORT=postgresql: .* or amqp"
    ):
        plan(Settings(journal=POSTGRES), "app", one_process=False)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("memory:", "memory"),
        ("sqlite:///x", "sqlite"),
        ("postgres://x", "postgresql"),
        ("postgresql://x", "postgresql"),
    ],
)
def test_schemes_and_their_other_names(url: str, name: str) -> None:
    """What users write in other places is understood."""
    assert named(url, "journal").scheme == name


@pytest.mark.parametrize("url", ["", "memory", "mysql://u:secret@h/d", "://x", "Sqlite:///x"])
def test_what_is_no_scheme_here(url: str) -> None:
    """The setting is named, the choices are listed, a password is not repeated."""
    with pytest.raises(
        SettingsError, match=r"journal: .*begins with none of memory:, postgresql:, sqlite:"
    ) as caught:
        named(url, "journal")
    assert "secret" not in str(caught.value)


def sockets(directory: Path) -> list[Path]:
    return [path for path in directory.rglob("*") if path.is_socket()]


async def test_memory_parts() -> None:
    """One process, nothing kept; the transport is stopped at the end."""
    app, settings = App("parts"), Settings(journal="memory:")
    chosen = plan(settings, "parts", one_process=True)
    async with open_parts(app.declaration, settings, chosen, decides=True, name="one") as parts:
        assert isinstance(parts.writer, MemoryJournal)
        assert parts.transport.connected
        assert not parts.shared
    assert not parts.transport.connected


async def test_local_parts(tmp_path: Path) -> None:
    """The consumer owns the file and answers; a server reads through it and writes nothing itself; at the end neither
    a socket nor a lock is held."""
    app = App("parts")
    settings = Settings(journal=f"sqlite:///{tmp_path}/x.db")
    chosen = plan(settings, "parts", one_process=False)
    async with open_parts(app.declaration, settings, chosen, decides=True, name="consumer") as owner:
        assert isinstance(owner.writer, SqliteJournal)
        async with open_parts(app.declaration, settings, chosen, decides=False, name="server") as server:
            assert server.writer is None
            assert (await server.reader.head()).position == (await owner.reader.head()).position
    assert not sockets(tmp_path)
    async with open_parts(app.declaration, settings, chosen, decides=True, name="consumer"):
        pass


async def test_the_next_owner_stands_by(tmp_path: Path) -> None:
    """It is told so, and opens the file when the first one has let go of it."""
    app = App("parts")
    settings = Settings(journal=f"sqlite:///{tmp_path}/x.db")
    chosen = plan(settings, "parts", one_process=False)
    standby, opened = asyncio.Event(), asyncio.Event()

    async def second() -> None:
        async with open_parts(
            app.declaration, settings, chosen, decides=True, name="second", on_standby=standby.set
        ):
            opened.set()

    async with open_parts(app.declaration, settings, chosen, decides=True, name="first"):
        task = asyncio.create_task(second())
        await standby.wait()
        assert not opened.is_set()
    async with asyncio.timeout(60):
        await task
    assert opened.is_set()


async def test_a_file_that_cannot_be_opened_is_a_clear_error(tmp_path: Path) -> None:
    """A directory in its place: our error, and the ownership is given back for the next try."""
    (tmp_path / "x.db").mkdir()
    app, settings = App("parts"), Settings(journal=f"sqlite:///{tmp_path}/x.db")
    chosen = plan(settings, "parts", one_process=False)
    for _ in range(2):
        with pytest.raises((SettingsError, Disconnected)):
            async with open_parts(app.declaration, settings, chosen, decides=True, name="one"):
                pass
    (tmp_path / "x.db").rmdir()
    async with open_parts(app.declaration, settings, chosen, decides=True, name="one"):
        pass
