"""Local logs of a server, rolled by size: `App.Server_orders.log`, then `App.Server_orders1.log` to the oldest.

Several worker processes write one file: each appends whole lines, one of them rolls, the others notice and go on in the
new file. `install` says where the process's logs are. Not for: logs by day and hour, which the platform keeps (`log`).

Source: TarsCpp `TC_RollLogger`, `logsize` and `lognum` of the server's file.
"""

from __future__ import annotations

import fcntl
import logging
import os
import time
from dataclasses import dataclass
from pathlib import Path

from skerry.errors import SettingsError
from skerry.tars.platform.log import line_of

LOOK_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Place:
    """Where the logs of a server are: `folder/NAME_FILE.log`; beyond `max_bytes` it becomes `NAME_FILE1.log`, at most
    `files` of them are kept."""

    folder: Path
    name: str
    max_bytes: int
    files: int


_installed: Place | None = None


def install(place: Place | None) -> None:
    """Make this the place of the process's logs; None: there is none any more."""
    global _installed
    _installed = place


class RollingLogHandler(logging.Handler):
    """Puts records into the local log `file`, `App.Server_FILE.log` in the server's log folder, which begins anew after
    as many bytes, and of which as many files are kept, as the platform's file says (`logsize`, `lognum`). Outside of a
    running service it does nothing. For LOGGING: `{"class": "skerry.tars.RollingLogHandler", "file": "orders"}`."""

    def __init__(self, file: str, level: int | str = logging.NOTSET) -> None:
        super().__init__(level)
        if not file or file != os.path.basename(file):
            raise SettingsError("file of a local log", f"is a plain name, not {file!r}")
        self._log = file
        self._place: Place | None = None
        self._file = -1
        self._size = 0
        self._looked = 0.0

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record's line; when that fails, the error goes to stderr, as with other handlers."""
        place = _installed
        if place is None:
            return
        try:
            if self._place is not place:
                self._move(place)
            line = self.format(record) if self.formatter is not None else line_of(record)
            data = line.encode("utf-8", "surrogateescape") + (b"" if line.endswith("\n") else b"\n")
            now = time.monotonic()
            if self._file < 0 or now - self._looked > LOOK_SECONDS:
                self._look(now)
            if self._size and self._size + len(data) > place.max_bytes:
                self._roll()
                self._look(now)
            os.write(self._file, data)
            self._size += len(data)
        except Exception:
            self.handleError(record)

    def close(self) -> None:
        """Close the file; a later record opens it again."""
        self._close_file()
        super().close()

    def _close_file(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _move(self, place: Place) -> None:
        self._close_file()
        self._place = place
        self._folder, self._files = place.folder, max(1, place.files)
        self._name = f"{place.name}_{self._log}"
        self._path = self._numbered(0)

    def _look(self, now: float) -> None:
        """Open the file that has the name now, which another process may have made, and see its size."""
        self._looked = now
        if self._file >= 0:
            mine = os.fstat(self._file)
            try:
                theirs = os.stat(self._path)
            except FileNotFoundError:
                pass
            else:
                if (mine.st_dev, mine.st_ino) == (theirs.st_dev, theirs.st_ino):
                    self._size = mine.st_size
                    return
            os.close(self._file)
        self._folder.mkdir(parents=True, exist_ok=True)
        self._file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        self._size = os.fstat(self._file).st_size

    def _roll(self) -> None:
        """Move the files on by one, unless another process has done so while this one waited for the lock."""
        lock = os.open(self._folder / f".{self._name}.lock", os.O_WRONLY | os.O_CREAT, 0o644)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            before = os.fstat(self._file).st_ino
            self._look(self._looked)
            if os.fstat(self._file).st_ino != before:
                return
            for number in range(self._files - 1, 0, -1):
                if (older := self._numbered(number - 1)).exists():
                    older.replace(self._numbered(number))
            if self._files == 1:
                self._path.unlink(missing_ok=True)
        finally:
            os.close(lock)

    def _numbered(self, number: int) -> Path:
        return self._folder / f"{self._name}{number or ''}.log"
