"""The runner's own socket."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from skerry.process.control import Control, ask, memory_bytes, runner_directory, running
from skerry.process.tree import RunnerStatus


@pytest.fixture(autouse=True)
def _own_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SKERRY_RUNTIME_DIR", str(tmp_path / "run"))


async def test_every_runner_of_this_user_is_found() -> None:
    """`running` asks each; nothing is left when the runner ends."""
    status = RunnerStatus("a:app", "a", "http://x", os.getpid(), 1.0, memory_bytes(os.getpid()), [])
    assert status.memory_bytes > 1 << 20
    control = Control(lambda: status)
    await control.start()
    assert await asyncio.to_thread(lambda: list(running())) == [status]
    await control.stop()
    assert not runner_directory(os.getpid()).exists()
    assert list(running()) == []


def test_what_a_killed_runner_left_is_cleared_away() -> None:
    """A directory whose runner is gone is removed by who finds it; one of a living process that does not answer yet
    is not."""
    gone, starting = runner_directory(2**22 - 3), runner_directory(os.getpid())
    for directory in (gone, starting):
        directory.mkdir()
    assert list(running()) == []
    assert not gone.exists()
    assert starting.exists()
    assert ask(starting) is None


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A directory whose path leaves room for that of a socket."""
    with tempfile.TemporaryDirectory(prefix="skerry-") as name:
        yield Path(name)


async def test_a_socket_that_was_cleared_away_is_made_again(
    short_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when its whole place is gone, as `/run/user/UID` is after a logout: then elsewhere, where it is found."""
    tmp_path = short_path
    monkeypatch.delenv("SKERRY_RUNTIME_DIR")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "session"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("skerry.process.control.LOOK_SECONDS", 0.01)
    (tmp_path / "session").mkdir()
    status = RunnerStatus("a:app", "a", "http://x", os.getpid(), 1.0, 1 << 20, [])
    control = Control(lambda: status)
    await control.start()
    first = runner_directory(os.getpid())
    for gone in (first, tmp_path / "session"):
        shutil.rmtree(gone)
        async with asyncio.timeout(60):
            while status not in await asyncio.to_thread(lambda: list(running())):  # noqa: ASYNC110 - a timer's work
                await asyncio.sleep(0.01)
    assert not first.exists()
    assert runner_directory(os.getpid()).is_relative_to(tmp_path)
    await control.stop()
    assert status not in await asyncio.to_thread(lambda: list(running()))
