"""`--reload`: notices that files of the application changed, by looking at them twice a second.

Looking costs a few milliseconds for a thousand files and needs no library, works in containers and on network
mounts, where notifications do not arrive. `changed` is what is decided, `Reloader` waits.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from pathlib import Path

SUFFIXES = frozenset({".py", ".toml", ".env", ".html", ".css", ".js", ".sql", ".json", ".tars"})
SKIPPED = frozenset({"__pycache__", "node_modules", "build", "dist", "var", "site-packages"})
MAX_FILES = 20_000

Snapshot = Mapping[str, tuple[int, int]]


class TooLarge(Exception):
    """There are more directories than may be looked at."""


def look(directories: Iterable[Path], most_directories: int = 1 << 30) -> Snapshot:
    """Modification time (ns) and size of every watched file, at most MAX_FILES. Raises TooLarge."""
    found: dict[str, tuple[int, int]] = {}
    for directory in directories:
        for entry in _files(directory, most_directories):
            if len(found) >= MAX_FILES:
                return found
            try:
                state = entry.stat()
            except OSError:
                continue
            found[entry.path] = (state.st_mtime_ns, state.st_size)
    return found


def _files(directory: Path, most_directories: int) -> Iterator[os.DirEntry[str]]:
    pending = [os.fspath(directory)]
    while pending:
        most_directories -= 1
        if most_directories < 0:
            raise TooLarge
        try:
            with os.scandir(pending.pop()) as entries:
                for entry in entries:
                    if entry.name in SKIPPED or (entry.name.startswith(".") and entry.name != ".env"):
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(entry.path)
                    elif os.path.splitext(entry.name)[1] in SUFFIXES or entry.name == ".env":
                        yield entry
        except OSError:
            continue


def changed(before: Snapshot, after: Snapshot) -> list[str]:
    """Files that are new, gone or other than before, in order."""
    return sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))


class Reloader:
    """Calls `on_change(files)` after files changed and have been quiet for one look; one call at a time."""

    def __init__(
        self,
        directories: Iterable[Path],
        on_change: Callable[[list[str]], Awaitable[object]],
        pause_seconds: float = 0.5,
    ) -> None:
        self._directories = list(directories)
        self._on_change, self._pause_seconds = on_change, pause_seconds

    async def run(self) -> None:
        """Until cancelled. Looking happens in a thread: a slow disk does not stop the supervision."""
        seen = await asyncio.to_thread(look, self._directories)
        while True:
            await asyncio.sleep(self._pause_seconds)
            now = await asyncio.to_thread(look, self._directories)
            if not changed(seen, now):
                continue
            while True:  # an editor or a checkout may still be writing
                await asyncio.sleep(min(0.2, self._pause_seconds))
                later = await asyncio.to_thread(look, self._directories)
                if later == now:
                    break
                now = later
            files, seen = changed(seen, now), now
            await self._on_change(files)
