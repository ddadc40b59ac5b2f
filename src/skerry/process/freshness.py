"""Whether the files that a process has imported are still those on disk.

Files of the application's directories are remembered as they were before the import, so that one that is written
meanwhile counts as changed; files of other modules as they are after it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from skerry.process.reload import changed, look


class Freshness:
    """Made before the import; `imported` is called after it."""

    def __init__(self, directories: Iterable[Path]) -> None:
        self._directories = list(directories)
        self._seen = look(self._directories)
        self._modules: Mapping[str, tuple[int, int]] = {}

    def imported(self) -> None:
        """Everything that is to be remembered is loaded."""
        files = (getattr(module, "__file__", None) for module in list(sys.modules.values()))
        self._modules = _states(each for each in files if isinstance(each, str))

    def changed(self) -> list[str]:
        """Files that are new, gone or other than they were."""
        return changed(self._seen, look(self._directories)) or changed(self._modules, _states(self._modules))


def _states(files: Iterable[str]) -> dict[str, tuple[int, int]]:
    found = {}
    for file in files:
        try:
            state = os.stat(file)
        except OSError:
            continue
        found[file] = (state.st_mtime_ns, state.st_size)
    return found
