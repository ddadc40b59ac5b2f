"""The right to write to a database file: one process at a time has it, by a lock file beside it.

The lock is the kernel's, so it ends with its process however that ends, and is not inherited over fork. The
file names its owner's process id for people, and behind it how far the journal had come: the next owner can tell
that the database was replaced by an older copy. Not for network file systems.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
import sys
from functools import cache
from typing import Any

from skerry.errors import JournalError

_held: set[str] = set()
_PID, _NOTE = 32, 224
"""Bytes of the two parts of a lock file."""
_FLOCK = "hhqqi4x"
_ASK = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
"""`struct flock` of Linux: who would be in the way of a lock for writing?"""


def owned_here() -> frozenset[str]:
    """The files that this process owns, by their real paths."""
    return frozenset(_held)


TWO_LIBRARIES = (
    "this process owns the journal's file and writes to it by another SQLite library, and two of them in one process "
    "damage the file (their locks are the process's): let the consumer be a process of its own (skerry up), and have "
    "reactors take what they need from the event, or use a connection of apsw"
)
"""Why Python's sqlite3 is kept away from it (sqlite.org/howtocorrupt.html, section 2.2.1)."""


def _keep_away(event: str, arguments: tuple[Any, ...]) -> None:
    """An audit hook: whichever ORM or driver wants to open the file by sqlite3, it has no descriptor of it yet."""
    if event == "sqlite3.connect" and _held:
        name = os.fsdecode(arguments[0]).removeprefix("file:").partition("?")[0]
        if os.path.realpath(name) in _held:
            raise JournalError(f"{name}: {TWO_LIBRARIES}")


@cache
def _watch() -> None:
    """Once a process: an audit hook stays."""
    sys.addaudithook(_keep_away)


def owner_of(path: str) -> str:
    """The id of the other process that owns this file, empty when none does."""
    path = os.path.realpath(path)
    if path in _held:  # and closing a lock file of our own would let it go
        return ""
    try:
        file = os.open(path + ".lock", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        pid: int = struct.unpack(_FLOCK, fcntl.fcntl(file, fcntl.F_GETLK, _ASK))[4]
    except (OSError, struct.error):
        return ""
    finally:
        os.close(file)
    return str(pid) if pid > 0 else ""


class Ownership:
    """The right to write to `path`, from `take` to `give_back`."""

    def __init__(self, path: str) -> None:
        self.path = os.path.realpath(path)
        self._lock_path = self.path + ".lock"
        self._file: int | None = None
        self.noted = ""
        """What the owner before had noted last."""

    def note(self, text: str) -> None:
        """Keep a line for the next owner. Written, not flushed: after a power cut it may be an older one."""
        if self._file is not None:
            os.pwrite(self._file, text.encode()[:_NOTE].ljust(_NOTE), _PID)

    def take(self) -> None:
        """Raises JournalError naming the owner when there is one, OSError when the lock file cannot be made."""
        if self.path in _held:
            raise JournalError(f"{self.path} is already open for writing in this process ({os.getpid()})")
        file = self._locked()
        while file is None:  # its last owner has just removed it
            file = self._locked()
        self.noted = os.pread(file, _NOTE, _PID).decode("utf-8", "replace").strip()
        os.pwrite(file, f"{os.getpid()}\n".encode().ljust(_PID), 0)
        self._file = file
        _watch()
        _held.add(self.path)

    def _locked(self) -> int | None:
        """The lock file, locked; None when it has no name any more."""
        file = os.open(self._lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            owner = _owner(file)
            os.close(file)
            raise JournalError(
                f"{self.path} is owned by process {owner}: one process writes to it at a time"
            ) from error
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file), os.stat(self._lock_path)):
                return file
        os.close(file)
        return None

    def give_back(self) -> None:
        if self._file is not None:
            _held.discard(self.path)
            os.close(self._file)
            self._file = None


def _owner(file: int) -> str:
    """The owner's process id: from the kernel where it tells, else from the file's text."""
    try:
        pid = struct.unpack(_FLOCK, fcntl.fcntl(file, fcntl.F_GETLK, _ASK))[4]
        if pid > 0:
            return str(pid)
    except (OSError, struct.error):
        pass
    return os.pread(file, _PID, 0).decode("ascii", "replace").strip() or "unknown"
