"""The database file itself: its place, its permissions, its connections and their pragmas.

Plain functions; connections are made in the thread that uses them.
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

import apsw

from skerry.backends.sqlite.connection import SAFE_VERSION
from skerry.backends.sqlite.settings import SqliteSettings
from skerry.errors import Disconnected, JournalError, SettingsError

BUSY_MS = 5000


def make_place(path: str) -> None:
    """The directory (0700) and an empty file (0600), where they are missing. Raises Disconnected when the place
    cannot be written."""
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise Disconnected(f"{path}: cannot be opened for writing: {error.strerror}") from error


def check_library() -> None:
    """Raises SettingsError for a SQLite library that may corrupt a write-ahead log."""
    if _library_version() < SAFE_VERSION:
        raise SettingsError("apsw", f"its SQLite is {apsw.sqlite_lib_version()}: 3.51.3 or newer is needed")


def library_name() -> str:
    """The SQLite that is used, for people."""
    return f"SQLite {apsw.sqlite_lib_version()}"


def _library_version() -> int:
    major, minor, patch, *_ = (int(part) for part in apsw.sqlite_lib_version().split("."))
    return major * 1_000_000 + minor * 1000 + patch


def open_writer(path: str, settings: SqliteSettings) -> apsw.Connection:
    """The one connection that writes."""
    connection = apsw.Connection(path, flags=apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE)
    try:
        connection.set_busy_timeout(BUSY_MS)
        if connection.pragma("journal_mode", "wal") != "wal":
            raise Disconnected(f"{path}: the file system does not allow a write-ahead log")
        connection.pragma("synchronous", settings.synchronous)
        connection.pragma("cache_size", -(settings.cache_bytes // 1024))
        connection.pragma("temp_store", "memory")
        connection.pragma("journal_size_limit", 64 * 1024 * 1024)
        connection.pragma("wal_autocheckpoint", settings.checkpoint_pages)
        connection.pragma("foreign_keys", True)
    except BaseException:
        connection.close()
        raise
    return connection


def check_place(connection: apsw.Connection) -> None:
    """Raises Disconnected when the open file is not the one at its path any more: what is written to a file that was
    deleted or replaced is gone with this process. Costs one look at the directory."""
    moved = ctypes.c_int()
    connection.file_control("main", apsw.SQLITE_FCNTL_HAS_MOVED, ctypes.addressof(moved))
    if moved.value:
        path = connection.filename
        raise Disconnected(f"{path}: the file was moved, replaced or deleted; put it back, or restart")


def open_reader(path: str) -> apsw.Connection:
    """A connection that cannot write."""
    connection = apsw.Connection(path, flags=apsw.SQLITE_OPEN_READONLY)
    connection.set_busy_timeout(BUSY_MS)
    connection.pragma("query_only", True)
    connection.pragma("temp_store", "memory")
    return connection


def open_copier(path: str) -> apsw.Connection:
    """A connection that reads the file for a copy."""
    connection = apsw.Connection(
        path, flags=apsw.SQLITE_OPEN_READONLY
    )  # without query_only, which forbids copies
    connection.set_busy_timeout(BUSY_MS)
    return connection


def copy_to(connection: apsw.Connection, path: str) -> None:
    """Write a copy to `path`. Raises JournalError when there is a file already."""
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise JournalError(f"{path}: the copy cannot be made: {error.strerror}") from error
    connection.execute("vacuum into ?", (path,))
