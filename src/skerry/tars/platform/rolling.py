"""The local log of a server, rolled by size: `App.Server.log`, then `App.Server1.log` to the oldest.

Several worker processes write one file: each appends whole lines, one of them rolls, the others notice and go on in the
new file. Not for: logs by day and hour, which the platform keeps (`log`).

Source: TarsCpp `TC_RollLogger`, `logsize` and `lognum` of the server's file.
"""

from __future__ import annotations

import fcntl
import logging
import os
import time
from pathlib import Path

from skerry.tars.platform.log import line_of

LOOK_SECONDS = 0.2


class RollingLogHandler(logging.Handler):
    """Writes to `folder/NAME.log`; beyond `max_bytes` it becomes `NAME1.log`, at most `files` of them are kept."""

    def __init__(
        self, folder: str | Path, name: str, max_bytes: int, files: int, level: int | str = logging.NOTSET
    ) -> None:
        super().__init__(level)
        self._folder, self._name = Path(folder), name
        self._path = self._folder / f"{name}.log"
        self._max_bytes, self._files = max(1, max_bytes), max(1, files)
        self._file = -1
        self._size = 0
        self._looked = 0.0

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record's line; when that cannot be done, as other handlers: a word on stderr."""
        try:
            line = self.format(record) if self.formatter is not None else line_of(record)
            data = line.encode("utf-8", "surrogateescape") + (b"" if line.endswith("\n") else b"\n")
            now = time.monotonic()
            if self._file < 0 or now - self._looked > LOOK_SECONDS:
                self._look(now)
            if self._size and self._size + len(data) > self._max_bytes:
                self._roll()
                self._look(now)
            os.write(self._file, data)
            self._size += len(data)
        except Exception:
            self.handleError(record)

    def close(self) -> None:
        """Close the file; a later record opens it again."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        super().close()

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
