"""What SQLite's errors mean here: away for now, damaged, or a refusal of what was asked.

A full disk, a file that cannot be written or a lock that does not go away is `Disconnected`: nothing was written,
the same again may work once somebody has helped. A damaged file is `Corrupt`. Anything else is a `JournalError`.
"""

from __future__ import annotations

import apsw

from skerry.errors import Corrupt, Disconnected, JournalError, SkerryError

_AWAY: tuple[tuple[type[apsw.Error], str], ...] = (
    (apsw.FullError, "the disk is full"),
    (apsw.ReadOnlyError, "the file or its directory cannot be written"),
    (apsw.CantOpenError, "the file cannot be opened"),
    (apsw.IOError, "reading or writing the file failed"),
    (apsw.PermissionsError, "access is denied"),
    (apsw.BusyError, "another process holds the file"),
    (apsw.LockedError, "another connection holds the table"),
    (apsw.InterruptError, "a statement was interrupted, it took too long"),
    (apsw.NoMemError, "there is no memory"),
)
_DAMAGED = (apsw.CorruptError, apsw.NotADBError, apsw.FormatError)


def translated(error: apsw.Error, path: str) -> SkerryError:
    """Ours for theirs; raise it `from` theirs."""
    if isinstance(error, _DAMAGED):
        return Corrupt(f"{path} is damaged or no SQLite database: {error}. Restore a back-up")
    for kind, meaning in _AWAY:
        if isinstance(error, kind):
            return Disconnected(f"{path}: {meaning} ({error})")
    return JournalError(f"{path}: {error}")
