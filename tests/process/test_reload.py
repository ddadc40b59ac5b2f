"""Noticing that files changed."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from skerry.process.reload import Reloader, changed, look


def test_what_is_watched(tmp_path: Path) -> None:
    """Sources and templates are, caches, hidden folders and data are not; new, gone and other files are told."""
    for name in ("a.py", "t/page.html", "__pycache__/a.py", ".venv/b.py", "data.db", ".env"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("1")
    before = look([tmp_path])
    assert sorted(os.path.relpath(name, tmp_path) for name in before) == [".env", "a.py", "t/page.html"]
    (tmp_path / "a.py").write_text("other")
    (tmp_path / "b.py").write_text("new")
    (tmp_path / ".env").unlink()
    names = [os.path.relpath(name, tmp_path) for name in changed(before, look([tmp_path]))]
    assert names == [".env", "a.py", "b.py"]
    assert changed(before, before) == []


async def test_a_change_is_told_once(tmp_path: Path) -> None:
    """After files are quiet the callback gets them; nothing more happens until the next change."""
    told: asyncio.Queue[list[str]] = asyncio.Queue()
    (tmp_path / "a.py").write_text("1")
    task = asyncio.create_task(Reloader([tmp_path], told.put, pause_seconds=0.02).run())
    await asyncio.sleep(0)
    async with asyncio.timeout(90):
        number = 1
        while told.empty():  # until the first look has happened
            number += 1
            (tmp_path / "a.py").write_text("1" * number)
            await asyncio.sleep(0.2)
    assert [Path(name).name for name in told.get_nowait()] == ["a.py"]
    task.cancel()
    await asyncio.wait({task})
