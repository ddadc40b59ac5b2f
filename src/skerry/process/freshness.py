"""Whether the files that a process has imported are still those on disk.

Files of the application's directories are remembered as they were before the import, so that one that is written
meanwhile counts as changed; files of other modules as they are after it. A directory with very many below it (the
root of a file system, a home) is no application's: then only the files of modules count.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from skerry.process.reload import Snapshot, TooLarge, changed, look

MOST_DIRECTORIES = 500
"""Below each of the application's directories: looking at so many takes some milliseconds."""


class Freshness:
    """Made before the import; `imported` is called after it."""

    def __init__(self, directories: Iterable[Path]) -> None:
        self._seen: dict[Path, Snapshot] = {}
        for directory in directories:
            with contextlib.suppress(TooLarge):
                self._seen[directory] = look([directory], MOST_DIRECTORIES)
        self._modules: Mapping[str, tuple[int, int]] = {}

    def imported(self) -> None:
        """Everything that is to be remembered is loaded."""
        files = (getattr(module, "__file__", None) for module in list(sys.modules.values()))
        self._modules = _states(each for each in files if isinstance(each, str))

    def changed(self) -> list[str]:
        """Files that are new, gone or other than they were."""
        found = changed(self._modules, _states(self._modules))
        for directory, seen in self._seen.items():
            try:
                found += changed(seen, look([directory], MOST_DIRECTORIES))
            except TooLarge:
                found.append(str(directory))
        return found


def _states(files: Iterable[str]) -> dict[str, tuple[int, int]]:
    found = {}
    for file in files:
        try:
            state = os.stat(file)
        except OSError:
            continue
        found[file] = (state.st_mtime_ns, state.st_size)
    return found
