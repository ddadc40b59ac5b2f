"""Looks for what is wrong with SQLite's library or a journal's file, before it shows in operation; changes nothing."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

from skerry.backends.sqlite.files import check_library, library_name
from skerry.bus.backend import Finding, Look, OpenableJournal
from skerry.errors import SettingsError, SkerryError

LEAST_FREE_BYTES = 256 * 1024 * 1024


async def doctor(
    path: Path, reading: Callable[[], OpenableJournal], look: Look | None
) -> AsyncIterator[Finding]:
    """Everything found, good news too. `reading` makes a journal that only reads the file."""
    for finding in (*_library(), *_file(path)):
        yield finding
    if look is None or not _is_there(path):
        return
    try:
        async with reading() as journal:
            async for finding in look(journal):
                yield finding
    except SkerryError as error:
        yield Finding("warning", f"the journal could not be read: {error}")


def _is_there(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 0


def _library() -> Iterator[Finding]:
    try:
        check_library()
        yield Finding("ok", library_name())
    except SettingsError as error:
        yield Finding("error", error.problem, "pip install -U apsw")


def _file(path: Path) -> Iterator[Finding]:
    folder = path.parent if path.parent.exists() else next(p for p in path.absolute().parents if p.exists())
    if not os.access(folder, os.W_OK):
        yield Finding(
            "error", f"{folder} cannot be written", "choose another place: SKERRY_JOURNAL=sqlite:///PATH"
        )
        return
    free = shutil.disk_usage(folder).free
    if free < LEAST_FREE_BYTES:
        yield Finding(
            "warning", f"only {free // 2**20} MiB are free at {folder}", "make room: a full disk ends writes"
        )
    if not path.exists():
        yield Finding("ok", f"{path} is made by the first start")
    elif path.stat().st_mode & 0o077:
        yield Finding("warning", f"{path} can be read by others on this machine", f"chmod 600 {path}")
    else:
        yield Finding("ok", f"{path}, {path.stat().st_size / 2**20:.1f} MiB")
