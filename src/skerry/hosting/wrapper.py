"""`wsgi.file_wrapper` (PEP 3333, "Optional Platform-Specific File Handling"), and which files the system can send."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterator
from typing import Any

_REAL = (io.BufferedReader, io.BufferedRandom, io.FileIO)
_WRAPPERS = {"_TemporaryFileWrapper", "File", "FieldFile", "TemporaryUploadedFile"}
"""Classes of Python and Django that hold a real file in `file`."""


class FileWrapper:
    """An iterable over something with `read`; returned as it is, a regular file is sent without passing through
    Python."""

    def __init__(self, filelike: Any, block_size: int = 65_536) -> None:
        self.filelike, self.block_size = filelike, block_size

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        data: bytes = self.filelike.read(self.block_size)
        if not data:
            raise StopIteration
        return data

    def close(self) -> None:
        close = getattr(self.filelike, "close", None)
        if close is not None:
            close()


def regular_file(filelike: Any) -> tuple[int, int, int] | None:
    """A descriptor of our own, where it stands, and how many bytes are left; None for what must be read: a pipe, and
    whatever changes what it reads (a GzipFile has a `fileno` as well)."""
    found = filelike
    if type(found).__name__ in _WRAPPERS:
        found = getattr(found, "file", None)
        if type(found).__name__ in _WRAPPERS:
            found = getattr(found, "file", None)
    if type(found) not in _REAL:
        return None
    try:
        descriptor = found.fileno()
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            return None
        offset = found.tell()
        return os.dup(descriptor), offset, max(0, status.st_size - offset)
    except (OSError, ValueError):
        return None
